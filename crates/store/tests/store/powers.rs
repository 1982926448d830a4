//! Whether machines are on, and what follows from finding that they are.

use bessemer_core::cause::Cause;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::lifecycle::{Action, Intent, IntentKey, Outcome, Phase, PowerState, Step};
use bessemer_core::reason::Failure;
use bessemer_store::{Commit, PowerCounts, PowerWatch, Store};

use crate::on_both;
use crate::site::{Site, at, claim, enroll, node_id, reach, state, to};

on_both! {
    nodes_are_watched_in_turn_once_their_controllers_are_known
    what_intents_leave_is_known_and_no_change
    a_machine_that_was_switched_on_wakes_its_node_once
    what_is_found_while_somebody_works_on_the_node_does_not_count
    a_silent_controller_is_told_of_once_and_so_is_its_return
}

fn identity() -> MachineIdentity {
    MachineIdentity {
        serial: "S1".into(),
        uuid: None,
    }
}

/// The only node that is watched.
async fn watched(store: &Store) -> PowerWatch {
    let mut watches = store.power_watches(None, 9).await.unwrap();
    assert_eq!(watches.len(), 1);
    watches.remove(0)
}

/// The kinds of events since there were `before`.
async fn kinds(store: &Store, before: i64) -> Vec<String> {
    let events = store.events_after(before, None, 100).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// Has a claimed node at rest carry out `action`, and rest again.
async fn carry_out(store: &Store, action: Action, outcome: Outcome, second: i64) {
    let key = format!("test.{second}");
    let node = node_id(1);
    store
        .request_action(node, &key, action, at(second))
        .await
        .unwrap();
    let claimed = claim(store, at(second)).await;
    let key = IntentKey(key);
    store
        .record_outcome(claimed, &key, &outcome, &[], at(second))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    let rest = work.node.state.clone();
    store
        .commit(claimed, to(&work, rest), at(second))
        .await
        .unwrap();
}

async fn nodes_are_watched_in_turn_once_their_controllers_are_known(site: Site) {
    let store = site.open().await;
    for number in 1..=4 {
        enroll(&store, number).await;
    }
    assert_eq!(store.node_count().await.unwrap(), 4);
    assert!(store.power_watches(None, 9).await.unwrap().is_empty());
    for number in [1, 3, 4] {
        let set = store.set_identity(node_id(number), &identity()).await;
        set.unwrap();
    }
    let first = store.power_watches(None, 2).await.unwrap();
    let nodes: Vec<_> = first.iter().map(|watch| watch.node).collect();
    assert_eq!(nodes, [node_id(1), node_id(3)]);
    assert_eq!(first[0].bmc.url, "https://bmc1");
    let rest = store.power_watches(Some(nodes[1]), 2).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].node, node_id(4));
    let counts = store.power_counts().await.unwrap();
    let unknown = PowerCounts {
        unknown: 4,
        ..PowerCounts::default()
    };
    assert_eq!(counts, unknown);
}

async fn what_intents_leave_is_known_and_no_change(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    store.set_identity(node_id(1), &identity()).await.unwrap();
    reach(&store, Phase::Held, Step::Rest, at(10)).await;
    let before = store.last_event().await.unwrap();
    carry_out(&store, Action::PowerOn, Outcome::Done, 20).await;
    carry_out(&store, Action::PowerOn, Outcome::Done, 30).await;
    let node = store.node_by_id(node_id(1)).await.unwrap();
    assert_eq!(node.power, Some(PowerState::On));
    assert_eq!(node.power_since, Some(at(20)), "it has been on since");
    carry_out(&store, Action::CheckBmc, Outcome::Done, 40).await;
    // What was not tried changes nothing.
    let deferred = Outcome::Deferred {
        until: at(300),
        failure: Failure::transient(Cause::BmcUnreachable, "silent since noon"),
    };
    carry_out(&store, Action::PowerOff, deferred.clone(), 45).await;
    let (_, outcome) = store.newest_intent(node_id(1)).await.unwrap().unwrap();
    assert_eq!(outcome, deferred);
    assert_eq!(watched(&store).await.power, Some(PowerState::On));
    let failure = Failure::transient(Cause::PowerCommandIgnored, "it reads off");
    carry_out(&store, Action::PowerOff, Outcome::Failed { failure }, 50).await;
    let node = store.node_by_id(node_id(1)).await.unwrap();
    assert_eq!((node.power, node.power_since), (None, Some(at(50))));

    // The first look after that tells nobody anything new.
    let watch = watched(&store).await;
    let seen = store
        .power_seen(&watch, Some(PowerState::Off), at(60))
        .await;
    assert!(seen.unwrap());
    assert_eq!(watched(&store).await.power, Some(PowerState::Off));
    assert_eq!(kinds(&store, before).await, Vec::<String>::new());
    assert_eq!(store.power_counts().await.unwrap().off, 1);
}

async fn a_machine_that_was_switched_on_wakes_its_node_once(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    store.set_identity(node_id(1), &identity()).await.unwrap();
    let node = reach(&store, Phase::Available, Step::Rest, at(10)).await;
    let look = async |seen, second| {
        let watch = watched(&store).await;
        let seen = store.power_seen(&watch, Some(seen), at(second)).await;
        assert!(seen.unwrap());
    };
    look(PowerState::Off, 20).await;
    assert_eq!(store.next_due(at(21)).await.unwrap(), None);
    let before = store.last_event().await.unwrap();
    look(PowerState::On, 30).await;
    assert_eq!(kinds(&store, before).await, ["node.power_changed"]);
    let claimed = claim(&store, at(30)).await;
    assert_eq!(claimed.node, node);
    let work = store.work(claimed).await.unwrap();
    assert!(work.seen.switched_on);
    let rest = work.node.state.clone();
    store
        .commit(claimed, to(&work, rest), at(31))
        .await
        .unwrap();
    // It has been looked at.
    store.wake(node, at(32)).await.unwrap();
    let claimed = claim(&store, at(32)).await;
    let work = store.work(claimed).await.unwrap();
    assert!(!work.seen.switched_on);
    let rest = work.node.state.clone();
    store
        .commit(claimed, to(&work, rest), at(33))
        .await
        .unwrap();

    look(PowerState::Off, 40).await;
    let kinds = kinds(&store, before).await;
    assert_eq!(kinds, ["node.power_changed", "node.power_changed"]);
    assert_eq!(store.next_due(at(41)).await.unwrap(), None, "off is well");
}

async fn what_is_found_while_somebody_works_on_the_node_does_not_count(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    store.set_identity(node_id(1), &identity()).await.unwrap();
    let node = reach(&store, Phase::Available, Step::Rest, at(10)).await;
    let seen = async |watch: &PowerWatch, second| {
        let seen = store.power_seen(watch, Some(PowerState::On), at(second));
        seen.await.unwrap()
    };
    let early = watched(&store).await;
    store.wake(node, at(20)).await.unwrap();
    let claimed = claim(&store, at(20)).await;
    assert!(!seen(&early, 21).await, "read before the claim");
    assert!(
        !seen(&watched(&store).await, 22).await,
        "read under the claim"
    );
    let work = store.work(claimed).await.unwrap();
    let on = Intent {
        key: IntentKey("on".into()),
        generation: work.node.spec.generation,
        action: Action::PowerOn,
    };
    let commit = Commit {
        intent: Some(on.clone()),
        wake_at: Some(at(23)),
        ..to(
            &work,
            state(&work.node.state, Phase::Deploying, Step::PowerOn),
        )
    };
    store.commit(claimed, commit, at(23)).await.unwrap();
    // Its conductor may have died in the middle of it.
    assert!(!seen(&watched(&store).await, 24).await, "an intent is open");
    let claimed = claim(&store, at(25)).await;
    store
        .record_outcome(claimed, &on.key, &Outcome::Done, &[], at(25))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    let next = state(&work.node.state, Phase::Deploying, Step::AwaitAgent);
    store
        .commit(claimed, to(&work, next), at(26))
        .await
        .unwrap();
    assert_eq!(watched(&store).await.power, Some(PowerState::On));
    let before = store.last_event().await.unwrap();
    let watch = watched(&store).await;
    let off = store
        .power_seen(&watch, Some(PowerState::Off), at(30))
        .await;
    assert!(off.unwrap());
    assert_eq!(kinds(&store, before).await, ["node.power_changed"]);
}

async fn a_silent_controller_is_told_of_once_and_so_is_its_return(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    store.set_identity(node_id(1), &identity()).await.unwrap();
    reach(&store, Phase::Active, Step::Rest, at(10)).await;
    let watch = watched(&store).await;
    store
        .power_seen(&watch, Some(PowerState::On), at(11))
        .await
        .unwrap();
    let before = store.last_event().await.unwrap();
    let watch = watched(&store).await;
    store.bmc_silent(&watch, "no route", at(12)).await.unwrap();
    store.bmc_silent(&watch, "no route", at(13)).await.unwrap();
    let node = store.node_by_id(node_id(1)).await.unwrap();
    assert_eq!(node.bmc_silent_since, Some(at(12)));
    let counts = store.power_counts().await.unwrap();
    assert_eq!((counts.on, counts.unknown, counts.silent), (0, 1, 1));
    let watch = watched(&store).await;
    assert!(watch.silent);
    // It answers, and says nothing of use.
    assert!(store.power_seen(&watch, None, at(14)).await.unwrap());
    // Another look that was under way tells nobody anything.
    assert!(!store.power_seen(&watch, None, at(15)).await.unwrap());
    let kinds = kinds(&store, before).await;
    assert_eq!(kinds, ["node.bmc_unreachable", "node.bmc_reachable"]);
    let node = store.node_by_id(node_id(1)).await.unwrap();
    assert_eq!(
        (node.power, node.bmc_silent_since),
        (Some(PowerState::On), None)
    );
    assert_eq!(node.power_since, Some(at(11)));
}
