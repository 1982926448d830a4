//! Claims, fences, news, and what one commit does.

use std::collections::HashSet;

use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::id::BootId;
use bessemer_core::lifecycle::{Action, Goal, Intent, IntentKey, Outcome, Phase, PortRole, Step};
use bessemer_core::reason::Failure;
use bessemer_store::{Commit, Error, NewEvent, Store};

use crate::on_both;
use crate::site::{LEASE, Site, at, claim, enroll, mac, node_id, reach, state, to};

on_both! {
    sixteen_workers_never_share_a_node
    a_lease_keeps_others_away_until_it_ends
    a_server_that_is_alone_takes_the_leases_of_the_dead_back
    a_claim_that_is_given_back_is_free_at_once
    who_leaves_gives_all_back
    a_late_commit_changes_nothing
    a_commit_ends_its_claim
    no_news_is_slept_over
    due_times_are_never_early
    an_older_intent_is_superseded
    an_outcome_is_written_once
    a_step_that_comes_twice_is_done_twice
    history_has_a_line_for_each_move
    operators_ask_nodes_at_rest_only
}

async fn sixteen_workers_never_share_a_node(site: Site) {
    let store = site.open().await;
    for number in 1..=60 {
        enroll(&store, number).await;
    }
    let workers: Vec<_> = (0..16)
        .map(|worker| tokio::spawn(claim_all(store.clone(), format!("worker{worker}"))))
        .collect();
    let mut claimed = Vec::new();
    for worker in workers {
        claimed.extend(worker.await.unwrap());
    }
    let distinct: HashSet<_> = claimed.iter().copied().collect();
    assert_eq!(claimed.len(), 60, "each node once");
    assert_eq!(distinct.len(), 60, "and every node");
}

async fn claim_all(store: Store, worker: String) -> Vec<bessemer_core::id::NodeId> {
    let mut nodes = Vec::new();
    loop {
        // One, two, three or four at a time.
        let most = nodes.len() % 4 + 1;
        let claims = store.claim_some_due(&worker, at(1000), LEASE, most);
        let claims = claims.await.unwrap();
        if claims.is_empty() {
            return nodes;
        }
        assert!(claims.len() <= most);
        nodes.extend(claims.iter().map(|(claim, _)| claim.node));
    }
}

async fn a_lease_keeps_others_away_until_it_ends(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let first = claim(&store, at(10)).await;
    assert_eq!(store.claim_due("other", at(60), LEASE).await.unwrap(), None);
    store.renew(first, at(60), LEASE).await.unwrap();
    assert_eq!(store.claim_due("other", at(71), LEASE).await.unwrap(), None);
    // It can be claimed from the moment at which the lease is over, and not a millisecond before.
    let next = store
        .next_due(at(71))
        .await
        .unwrap()
        .expect("is to be claimed some time");
    let before = Timestamp::from_millisecond(next.as_millisecond() - 1).unwrap();
    assert_eq!(store.claim_due("other", before, LEASE).await.unwrap(), None);
    let second = claim(&store, next).await;
    assert!(second.fence > first.fence);
    assert!(matches!(
        store.renew(first, next, LEASE).await,
        Err(Error::LeaseLost)
    ));
}

async fn a_server_that_is_alone_takes_the_leases_of_the_dead_back(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let dead = claim(&store, at(10)).await;
    let work = store.work(dead).await.unwrap();
    store.take_back_leases().await.unwrap();
    // Should it be less dead than thought, it has lost all the same.
    let late = to(&work, state(&work.node.state, Phase::Held, Step::Rest));
    let late = store.commit(dead, late, at(11)).await;
    assert!(matches!(late, Err(Error::LeaseLost)));
    let renewed = store.renew(dead, at(11), LEASE).await;
    assert!(matches!(renewed, Err(Error::LeaseLost)));
    let next = claim(&store, at(11)).await;
    assert_eq!(next.node, dead.node);
    assert!(next.fence > dead.fence);
    assert!(store.work(next).await.unwrap().node.state.phase != Phase::Held);
}

async fn a_claim_that_is_given_back_is_free_at_once(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let first = claim(&store, at(10)).await;
    store.give_back(first).await.unwrap();
    let second = claim(&store, at(10)).await;
    assert!(second.fence > first.fence);
    // Nobody gives back what is somebody else's by now.
    store.give_back(first).await.unwrap();
    store.work(second).await.unwrap();
    assert_eq!(store.claim_due("other", at(11), LEASE).await.unwrap(), None);
}

async fn who_leaves_gives_all_back(site: Site) {
    let store = site.open().await;
    for number in 1..=3 {
        enroll(&store, number).await;
    }
    let leaving = [claim(&store, at(10)).await, claim(&store, at(10)).await];
    let staying = store.claim_due("other", at(10), LEASE).await.unwrap();
    store.give_back_all("worker").await.unwrap();
    store.work(staying.expect("a third node")).await.unwrap();
    for claim in leaving {
        let late = store.renew(claim, at(10), LEASE).await;
        assert!(matches!(late, Err(Error::LeaseLost)), "it is fenced off");
    }
    let mut free = [claim(&store, at(11)).await, claim(&store, at(11)).await];
    free.sort_by_key(|claim| claim.node);
    let free = free.map(|claim| claim.node);
    let mut left = leaving.map(|claim| claim.node);
    left.sort();
    assert_eq!(free, left);
}

async fn a_late_commit_changes_nothing(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let slow = claim(&store, at(10)).await;
    let slow_work = store.work(slow).await.unwrap();
    let quick = claim(&store, at(100)).await;
    let mut late = to(
        &slow_work,
        state(&slow_work.node.state, Phase::Available, Step::Rest),
    );
    late.intent = Some(intent("late", Action::PowerOff));
    late.events = vec![event("late")];

    let lost = store.commit(slow, late, at(101)).await;
    assert!(matches!(lost, Err(Error::LeaseLost)));
    assert!(matches!(store.work(slow).await, Err(Error::LeaseLost)));
    let key = IntentKey("late".into());
    let lost = store
        .record_outcome(slow, &key, &Outcome::Done, &[], at(101))
        .await;
    assert!(matches!(lost, Err(Error::LeaseLost)));

    let node = store.node("node1").await.unwrap();
    assert_eq!(node.state, slow_work.node.state);
    assert!(store.history(node.id, 10).await.unwrap().is_empty());
    assert_eq!(store.outcome(node.id, "late").await.unwrap(), None);
    assert_eq!(
        store.events_after(0, None, 10).await.unwrap().len(),
        1,
        "only the enrolment"
    );
    let work = store.work(quick).await.unwrap();
    store
        .commit(quick, to(&work, work.node.state.clone()), at(102))
        .await
        .unwrap();
}

async fn a_commit_ends_its_claim(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let claim = claim(&store, at(10)).await;
    let work = store.work(claim).await.unwrap();
    let commit = to(&work, work.node.state.clone());
    store.commit(claim, commit.clone(), at(10)).await.unwrap();
    let again = store.commit(claim, commit, at(10)).await;
    assert!(matches!(again, Err(Error::LeaseLost)), "used up");
    assert!(matches!(
        store.renew(claim, at(10), LEASE).await,
        Err(Error::LeaseLost)
    ));
}

async fn no_news_is_slept_over(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    reach(&store, Phase::Held, Step::Rest, at(10)).await;
    assert_eq!(store.next_due(at(10)).await.unwrap(), None, "asleep");

    store.wake(node_id(1), at(20)).await.unwrap();
    let claim = claim(&store, at(20)).await;
    let work = store.work(claim).await.unwrap();
    // Between the reading and the commit, somebody wants something.
    store
        .set_goal(node_id(1), Goal::Available, "alice", at(21))
        .await
        .unwrap();
    let commit = to(&work, work.node.state.clone());
    store.commit(claim, commit, at(22)).await.unwrap();
    assert_eq!(store.next_due(at(22)).await.unwrap(), Some(at(22)));
    reach(&store, Phase::Held, Step::Rest, at(22)).await;
    assert_eq!(store.next_due(at(22)).await.unwrap(), None, "asleep again");
}

async fn due_times_are_never_early(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let claim = claim(&store, at(10)).await;
    let work = store.work(claim).await.unwrap();
    let mut commit = to(&work, work.node.state.clone());
    let wake_at = Timestamp::new(at(20).as_second(), 1).unwrap();
    commit.wake_at = Some(wake_at);
    store.commit(claim, commit, at(10)).await.unwrap();
    let due = store.next_due(at(10)).await.unwrap().unwrap();
    assert!(due >= wake_at);
    assert_eq!(due.as_millisecond(), at(20).as_millisecond() + 1);
    assert_eq!(
        store.claim_due("worker", at(20), LEASE).await.unwrap(),
        None
    );
}

async fn an_older_intent_is_superseded(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    commit_intent(&store, "first", Step::PowerOff, 10).await;
    let claimed = claim(&store, at(10)).await;
    let work = store.work(claimed).await.unwrap();
    assert_eq!(work.intent, Some(intent("first", Action::PowerOff)));
    assert_eq!(
        work.seen.intent,
        Some((IntentKey("first".into()), Outcome::Pending))
    );
    let mut commit = to(
        &work,
        state(&work.node.state, Phase::Inspecting, Step::PowerOn),
    );
    commit.intent = Some(intent("second", Action::PowerOn));
    commit.wake_at = Some(at(11));
    store.commit(claimed, commit, at(11)).await.unwrap();

    let outcome = store.outcome(node_id(1), "first").await.unwrap();
    assert!(
        matches!(outcome, Some(Outcome::Failed { .. })),
        "whoever waits for it is told"
    );
    let claimed = claim(&store, at(11)).await;
    let work = store.work(claimed).await.unwrap();
    assert_eq!(work.intent, Some(intent("second", Action::PowerOn)));
    // A late outcome of the first is no outcome of the second.
    let first = IntentKey("first".into());
    store
        .record_outcome(claimed, &first, &Outcome::Done, &[], at(11))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    assert_eq!(
        work.seen.intent,
        Some((IntentKey("second".into()), Outcome::Pending))
    );
    // A move without an intent supersedes as well.
    let next = state(&work.node.state, Phase::Inspecting, Step::AwaitAgent);
    store
        .commit(claimed, to(&work, next), at(12))
        .await
        .unwrap();
    let outcome = store.outcome(node_id(1), "second").await.unwrap();
    assert!(matches!(outcome, Some(Outcome::Failed { .. })));
}

async fn an_outcome_is_written_once(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    commit_intent(&store, "key", Step::PowerOff, 10).await;
    let claim = claim(&store, at(10)).await;
    let key = IntentKey("key".into());
    let failed = Outcome::Failed {
        failure: Failure::operator(Cause::BmcPasswordRefused, "the BMC refused the password"),
    };
    store
        .record_outcome(claim, &key, &failed, &[], at(11))
        .await
        .unwrap();
    store
        .record_outcome(claim, &key, &Outcome::Done, &[], at(12))
        .await
        .unwrap();
    let work = store.work(claim).await.unwrap();
    assert_eq!(work.seen.intent, Some((key, failed)));
    assert_eq!(work.intent, None);
}

/// Cleaning switches the machine off twice, under one key.
async fn a_step_that_comes_twice_is_done_twice(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    commit_intent(&store, "off", Step::PowerOff, 10).await;
    let claimed = claim(&store, at(10)).await;
    let off = IntentKey("off".into());
    store
        .record_outcome(claimed, &off, &Outcome::Done, &[], at(10))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    let mut commit = to(
        &work,
        state(&work.node.state, Phase::Inspecting, Step::Park),
    );
    commit.wake_at = Some(at(10));
    commit.intent = Some(intent(
        "park",
        Action::ConnectPorts {
            role: PortRole::Parked,
        },
    ));
    store.commit(claimed, commit, at(10)).await.unwrap();
    commit_intent(&store, "off", Step::PowerOff, 11).await;
    let claim = claim(&store, at(11)).await;
    let work = store.work(claim).await.unwrap();
    assert_eq!(work.seen.intent, Some((off, Outcome::Pending)));
    assert_eq!(work.intent, Some(intent("off", Action::PowerOff)));
}

async fn history_has_a_line_for_each_move(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    for (step, now) in [
        (Step::PowerOff, 10),
        (Step::PowerOff, 11),
        (Step::PowerOn, 12),
    ] {
        store.wake(node_id(1), at(now)).await.unwrap();
        reach(&store, Phase::Inspecting, step, at(now)).await;
    }
    let history = store.history(node_id(1), 10).await.unwrap();
    let lines: Vec<_> = history
        .iter()
        .map(|entry| (entry.state.step, entry.at))
        .collect();
    assert_eq!(lines, [(Step::PowerOn, at(12)), (Step::PowerOff, at(10))]);
}

async fn operators_ask_nodes_at_rest_only(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let node = node_id(1);
    let busy = store
        .request_action(node, "ask", Action::PowerOn, at(5))
        .await;
    let busy = busy.err().unwrap().to_string();
    assert_eq!(
        busy,
        "node `node1` is enrolled: wait until it is at rest, or hold it"
    );
    reach(&store, Phase::Held, Step::Rest, at(10)).await;
    let agents = store
        .request_action(node, "ask", Action::Erase, at(10))
        .await;
    assert!(matches!(agents, Err(Error::Conflict { .. })));

    store
        .request_action(node, "ask", Action::PowerOn, at(11))
        .await
        .unwrap();
    assert_eq!(
        store.outcome(node, "ask").await.unwrap(),
        Some(Outcome::Pending)
    );
    let claim = claim(&store, at(11)).await;
    let work = store.work(claim).await.unwrap();
    let asked = work.intent.clone().expect("the conductor is to do it");
    assert_eq!(asked.action, Action::PowerOn);
    store
        .record_outcome(claim, &asked.key, &Outcome::Done, &[], at(12))
        .await
        .unwrap();
    store
        .commit(claim, to(&work, work.node.state.clone()), at(12))
        .await
        .unwrap();
    assert_eq!(
        store.outcome(node, "ask").await.unwrap(),
        Some(Outcome::Done)
    );
    // Asked again under the same key, it is not done again.
    store
        .request_action(node, "ask", Action::PowerOn, at(13))
        .await
        .unwrap();
    assert_eq!(
        store.outcome(node, "ask").await.unwrap(),
        Some(Outcome::Done)
    );
    assert_eq!(store.next_due(at(13)).await.unwrap(), None);
    // Two requests at once: the later one counts.
    store
        .request_action(node, "on", Action::PowerOn, at(14))
        .await
        .unwrap();
    store
        .request_action(node, "off", Action::PowerOff, at(14))
        .await
        .unwrap();
    let outcome = store.outcome(node, "on").await.unwrap();
    assert!(matches!(outcome, Some(Outcome::Failed { .. })));
    assert_eq!(
        store.outcome(node, "off").await.unwrap(),
        Some(Outcome::Pending)
    );
    assert_eq!(
        store
            .boot_by_mac(mac(1))
            .await
            .unwrap()
            .map(|boot| boot.boot),
        None::<BootId>
    );
}

fn intent(key: &str, action: Action) -> Intent {
    Intent {
        key: IntentKey(key.into()),
        generation: bessemer_core::id::Generation(1),
        action,
    }
}

fn event(kind: &'static str) -> NewEvent {
    NewEvent {
        kind,
        node: None,
        server: None,
        project: None,
        message: String::new(),
        data: serde_json::json!({}),
    }
}

/// Commits a step of inspecting with a power-off under this key.
async fn commit_intent(store: &Store, key: &str, step: Step, now: i64) {
    let claim = claim(store, at(now)).await;
    let work = store.work(claim).await.unwrap();
    let commit = Commit {
        intent: Some(intent(key, Action::PowerOff)),
        wake_at: Some(at(now)),
        ..to(&work, state(&work.node.state, Phase::Inspecting, step))
    };
    store.commit(claim, commit, at(now)).await.unwrap();
}
