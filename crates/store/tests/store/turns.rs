//! Turns: how an intent ended and what follows from it, in one commit, and nodes that are held on.

use bessemer_core::cause::Cause;
use bessemer_core::id::Generation;
use bessemer_core::lifecycle::{Action, Intent, IntentKey, Outcome, Phase, PowerState, Step};
use bessemer_core::reason::Failure;
use bessemer_store::{Claim, Commit, Committed, Ended, Error, NewEvent, Store, Turn, Work};

use crate::on_both;
use crate::site::{LEASE, Site, at, claim, enroll, node_id, state, to};

on_both! {
    an_outcome_and_what_follows_from_it_are_one_commit
    a_node_that_is_held_on_is_nobody_elses_until_the_lease_ends
    what_rests_on_an_intent_that_is_not_open_any_more_is_not_stored
    what_does_not_know_the_latest_news_is_not_stored
    an_outcome_counts_only_for_the_open_intent
    what_is_too_old_of_a_node_is_deleted
}

fn intent(key: &str, action: Action) -> Intent {
    Intent {
        key: IntentKey(key.into()),
        generation: Generation(1),
        action,
    }
}

fn told(kind: &'static str) -> NewEvent {
    NewEvent {
        kind,
        node: Some(node_id(1)),
        server: None,
        project: None,
        message: kind.into(),
        data: serde_json::json!({}),
    }
}

fn done(key: &str, action: Action) -> Ended {
    Ended {
        key: IntentKey(key.into()),
        action,
        outcome: Outcome::Done,
        events: vec![told("ended")],
    }
}

/// A claimed node that is to be switched on.
async fn to_be_switched_on(store: &Store) -> Claim {
    enroll(store, 1).await;
    let first = claim(store, at(10)).await;
    let work = store.work(first).await.unwrap();
    let mut commit = to(
        &work,
        state(&work.node.state, Phase::Inspecting, Step::PowerOn),
    );
    commit.intent = Some(intent("on", Action::PowerOn));
    commit.wake_at = Some(at(10));
    store.commit(first, commit, at(10)).await.unwrap();
    claim(store, at(10)).await
}

/// What follows once it is on.
fn follows(work: &Work) -> Commit {
    let mut commit = to(
        work,
        state(&work.node.state, Phase::Inspecting, Step::AwaitAgent),
    );
    commit.intent = Some(intent("next", Action::PowerOff));
    commit.wake_at = Some(at(11));
    commit.events = vec![told("followed")];
    commit
}

/// The turn that is told of it.
async fn turn(store: &Store, claim: Claim, keep_ms: Option<i64>) -> Turn {
    let mut work = store.work(claim).await.unwrap();
    let ended = done("on", Action::PowerOn);
    assert!(work.take_in(&ended));
    Turn {
        commit: follows(&work),
        ended: Some(ended),
        foreseen: true,
        keep_ms,
    }
}

async fn an_outcome_and_what_follows_from_it_are_one_commit(site: Site) {
    let store = site.open().await;
    let claimed = to_be_switched_on(&store).await;
    let (events, commits) = (store.last_event().await.unwrap(), store.commits());
    let turn = turn(&store, claimed, None).await;
    let committed = store.commit_turn(claimed, &turn, at(11)).await.unwrap();
    assert_eq!(committed, Committed::GivenBack);
    assert_eq!(store.commits(), commits + 1);

    let outcome = store.outcome(node_id(1), "on").await.unwrap();
    assert_eq!(outcome, Some(Outcome::Done), "and not superseded");
    let outcome = store.outcome(node_id(1), "next").await.unwrap();
    assert_eq!(outcome, Some(Outcome::Pending));
    let node = store.node("node1").await.unwrap();
    assert_eq!(node.state.step, Step::AwaitAgent);
    assert_eq!(node.power, Some(PowerState::On));
    let told = store.events_after(events, None, 10).await.unwrap();
    let kinds: Vec<_> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["ended", "followed"]);
    let again = store.commit_turn(claimed, &turn, at(11)).await;
    assert!(matches!(again, Err(Error::LeaseLost)), "used up");
    let next = claim(&store, at(11)).await;
    assert_eq!(
        store.work(next).await.unwrap().intent.unwrap().key.0,
        "next"
    );
}

async fn a_node_that_is_held_on_is_nobody_elses_until_the_lease_ends(site: Site) {
    let store = site.open().await;
    let claimed = to_be_switched_on(&store).await;
    let watched = || async {
        let identity = bessemer_core::hardware::MachineIdentity {
            serial: "S1".into(),
            uuid: None,
        };
        store.set_identity(node_id(1), &identity).await.unwrap();
        store.power_watches(None, 1).await.unwrap().remove(0)
    };
    let before = watched().await;
    let turn = turn(&store, claimed, Some(LEASE)).await;
    let committed = store.commit_turn(claimed, &turn, at(11)).await.unwrap();
    let Committed::Kept(kept) = committed else {
        panic!("{committed:?}");
    };
    assert_eq!(kept.node, claimed.node);
    assert!(kept.fence > claimed.fence);
    let late = store.commit_turn(claimed, &turn, at(11)).await;
    assert!(matches!(late, Err(Error::LeaseLost)), "used up");
    let others = store.claim_due("other", at(11), LEASE).await.unwrap();
    assert_eq!(others, None);

    let work = store.work(kept).await.unwrap();
    let off = work.intent.clone().unwrap();
    assert_eq!(off.key.0, "next");
    let rest = to(&work, state(&work.node.state, Phase::Held, Step::Rest));
    // So that nothing is known of its power, as before.
    let failed = Ended {
        outcome: Outcome::Failed {
            failure: Failure::transient(Cause::BmcSlow, "it does not answer"),
        },
        ..done("next", Action::PowerOff)
    };
    let last = Turn {
        ended: Some(failed),
        commit: rest,
        foreseen: false,
        keep_ms: None,
    };
    let committed = store.commit_turn(kept, &last, at(12)).await.unwrap();
    assert_eq!(committed, Committed::GivenBack);
    assert_eq!(store.next_due(at(12)).await.unwrap(), None, "asleep");
    // What a look finds that was begun before may be what we did ourselves.
    let seen = store.power_seen(&before, Some(PowerState::On), at(13));
    assert!(!seen.await.unwrap());

    // Who dies while it holds a node on loses it with its lease.
    store.wake(node_id(1), at(20)).await.unwrap();
    let claimed = claim(&store, at(20)).await;
    let work = store.work(claimed).await.unwrap();
    let mut commit = to(&work, work.node.state.clone());
    commit.wake_at = Some(at(20));
    let turn = Turn {
        commit,
        ended: None,
        foreseen: false,
        keep_ms: Some(LEASE),
    };
    store.commit_turn(claimed, &turn, at(20)).await.unwrap();
    let end = at(20) + std::time::Duration::from_millis(LEASE as u64 + 1);
    assert_eq!(store.next_due(at(20)).await.unwrap(), Some(end));
    let taken = store.claim_due("other", end, LEASE).await.unwrap();
    assert_eq!(taken.unwrap().node, node_id(1));
}

async fn what_rests_on_an_intent_that_is_not_open_any_more_is_not_stored(site: Site) {
    let store = site.open().await;
    let claimed = to_be_switched_on(&store).await;
    let turn = turn(&store, claimed, None).await;
    let key = IntentKey("on".into());
    store
        .record_outcome(claimed, &key, &Outcome::Done, &[], at(10))
        .await
        .unwrap();
    let (node, events) = (store.node("node1").await.unwrap(), store.last_event().await);
    let committed = store.commit_turn(claimed, &turn, at(11)).await.unwrap();
    assert_eq!(committed, Committed::Overtaken);
    let after = store.node("node1").await.unwrap();
    assert_eq!(after.state, node.state);
    assert_eq!(store.last_event().await.unwrap(), events.unwrap());
    assert_eq!(store.outcome(node_id(1), "next").await.unwrap(), None);
    // It is still held, and can be decided about anew.
    let work = store.work(claimed).await.unwrap();
    store.commit(claimed, follows(&work), at(12)).await.unwrap();
}

async fn what_does_not_know_the_latest_news_is_not_stored(site: Site) {
    let store = site.open().await;
    let claimed = to_be_switched_on(&store).await;
    let mut turn = turn(&store, claimed, None).await;
    store.wake(node_id(1), at(10)).await.unwrap();
    let (node, events) = (store.node("node1").await.unwrap(), store.last_event().await);
    let committed = store.commit_turn(claimed, &turn, at(11)).await.unwrap();
    assert_eq!(committed, Committed::Outdated);
    let after = store.node("node1").await.unwrap();
    assert_eq!((after.state, after.power), (node.state, node.power));
    assert_eq!(store.last_event().await.unwrap(), events.unwrap());
    let outcome = store.outcome(node_id(1), "on").await.unwrap();
    assert_eq!(outcome, Some(Outcome::Pending));
    // What was read after the intent was carried out counts, and leaves the node due for its news.
    turn.foreseen = false;
    let committed = store.commit_turn(claimed, &turn, at(11)).await.unwrap();
    assert_eq!(committed, Committed::GivenBack);
    assert_eq!(store.next_due(at(11)).await.unwrap(), Some(at(11)));
    // Whoever has lost the node is told that.
    turn.foreseen = true;
    let late = store.commit_turn(claimed, &turn, at(12)).await;
    assert!(matches!(late, Err(Error::LeaseLost)));
}

async fn an_outcome_counts_only_for_the_open_intent(site: Site) {
    let store = site.open().await;
    let claimed = to_be_switched_on(&store).await;
    let mut work = store.work(claimed).await.unwrap();
    work.seen.switched_on = true;
    let before = work.clone();
    assert!(!work.take_in(&done("another", Action::PowerOn)));
    assert_eq!(work.seen.intent, before.seen.intent);
    assert_eq!(work.intent, before.intent);
    assert!(work.take_in(&done("on", Action::PowerOn)));
    assert_eq!(
        work.seen.intent,
        Some((IntentKey("on".into()), Outcome::Done))
    );
    assert_eq!((work.intent.clone(), work.seen.switched_on), (None, false));
    assert_eq!(work.node.power, Some(PowerState::On));
    assert!(!work.take_in(&done("on", Action::PowerOn)), "it has ended");
}

/// A node that goes on and on fills no database: of its states and its intents, only the newest stay.
async fn what_is_too_old_of_a_node_is_deleted(site: Site) {
    const STATES: std::ops::RangeInclusive<usize> = 1000..=1050;
    let store = site.open().await;
    enroll(&store, 1).await;
    let mut held = claim(&store, at(10)).await;
    let work = store.work(held).await.unwrap();
    let mut before = work.node.state.clone();
    for tries in 1..=1_110_u32 {
        let mut next = state(&before, Phase::Inspecting, Step::PowerOn);
        next.tries = tries;
        let key = format!("on-{tries}");
        let turn = Turn {
            commit: Commit {
                before: before.clone(),
                intent: Some(intent(&key, Action::PowerOn)),
                ..to(&work, next.clone())
            },
            ended: None,
            foreseen: false,
            keep_ms: Some(LEASE),
        };
        let committed = store.commit_turn(held, &turn, at(11)).await.unwrap();
        let Committed::Kept(kept) = committed else {
            panic!("it was to be kept: {committed:?}");
        };
        (held, before) = (kept, next);
    }
    let history = store.history(node_id(1), 10_000).await.unwrap();
    assert!(STATES.contains(&history.len()), "{}", history.len());
    let newest = history.iter().map(|entry| entry.state.tries).max();
    assert_eq!(newest, Some(1_110));
    // Of intents, a hundred and a few.
    let kept = async |tries: u32| {
        store
            .outcome(node_id(1), &format!("on-{tries}"))
            .await
            .unwrap()
    };
    assert_eq!(kept(1_110).await, Some(Outcome::Pending));
    assert!(kept(1_011).await.is_some());
    assert_eq!(kept(950).await, None);
}
