//! Leases that somebody has tampered with, and a clock that was set back.

use bessemer_core::lifecycle::{Phase, Step};
use bessemer_store::{Error, Store};

use crate::on_both;
use crate::site::{LEASE, Site, at, claim, enroll, node_id, reach, state, to};

on_both! {
    a_lease_for_years_is_ended
    a_fence_that_no_claim_gives_is_replaced
    leases_that_are_right_are_left_alone
    an_owner_whom_nobody_knows_is_waited_for_no_longer_than_others
    a_clock_that_was_set_back_lets_nothing_wait
}

/// More than any lease of these tests.
const LONGEST: i64 = 2 * LEASE;

const TEN_YEARS: i64 = 10 * 365 * 24 * 3600;

async fn events(store: &Store, kind: &str) -> Vec<String> {
    let events = store.events_after(0, None, 1000).await.unwrap();
    let events = events.into_iter().filter(|event| event.kind == kind);
    events.map(|event| event.message).collect()
}

async fn a_lease_for_years_is_ended(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let ghost = store.claim_due("ghost", at(10), TEN_YEARS * 1000).await;
    let ghost = ghost.unwrap().expect("a node is due");
    let work = store.work(ghost).await.unwrap();
    assert_eq!(
        store.claim_due("other", at(3600), LEASE).await.unwrap(),
        None
    );

    // PostgreSQL's clock counts as well: the tests' is ahead of it.
    let mended = store.mend_leases(at(20), LONGEST).await.unwrap();
    assert_eq!(mended.len(), 1);
    assert!(
        mended[0].contains("`node1`") && mended[0].contains("`ghost`"),
        "{mended:?}"
    );
    assert_eq!(events(&store, "node.lease_mended").await, mended);
    let late = to(&work, state(&work.node.state, Phase::Held, Step::Rest));
    let late = store.commit(ghost, late, at(21)).await;
    assert!(matches!(late, Err(Error::LeaseLost)), "it is fenced off");
    assert!(claim(&store, at(21)).await.fence > ghost.fence);
    assert!(store.mend_leases(at(22), LONGEST).await.unwrap().is_empty());
}

async fn a_fence_that_no_claim_gives_is_replaced(site: Site) {
    let store = site.open().await;
    for (number, fence) in [(1, -7), (2, i64::MAX)] {
        enroll(&store, number).await;
        let set = format!(
            "UPDATE node SET fence = {fence} WHERE id = '{}'",
            node_id(number)
        );
        site.tamper(set).await;
    }
    assert_eq!(store.mend_leases(at(20), LONGEST).await.unwrap().len(), 2);
    let claims = [claim(&store, at(21)).await, claim(&store, at(21)).await];
    for claimed in claims {
        let fence = at(20).as_millisecond() + 1;
        assert_eq!(claimed.fence, fence, "more than any that was given out");
        store.renew(claimed, at(22), LEASE).await.unwrap();
    }
    assert!(store.mend_leases(at(23), LONGEST).await.unwrap().is_empty());
}

async fn leases_that_are_right_are_left_alone(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let held = claim(&store, at(10)).await;
    // Looked at by a server whose clock is a little behind.
    assert!(
        store
            .mend_leases(at(-30), LONGEST)
            .await
            .unwrap()
            .is_empty()
    );
    store.work(held).await.unwrap();
    assert!(events(&store, "node.lease_mended").await.is_empty());
}

async fn an_owner_whom_nobody_knows_is_waited_for_no_longer_than_others(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    site.tamper("UPDATE node SET owner = 'nobody knows', lease_until = 0".into())
        .await;
    claim(&store, at(10)).await;
}

async fn a_clock_that_was_set_back_lets_nothing_wait(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    // Years ahead, the node was moved and is to be looked at again a minute later.
    let ahead = at(TEN_YEARS);
    let claimed = claim(&store, ahead).await;
    let work = store.work(claimed).await.unwrap();
    let mut moved = to(&work, work.node.state.clone());
    moved.wake_at = Some(at(TEN_YEARS + 60));
    store.commit(claimed, moved, ahead).await.unwrap();
    assert_eq!(
        store.claim_due("worker", at(20), LEASE).await.unwrap(),
        None
    );

    store.clock_was_set_back(ahead, at(20)).await.unwrap();
    claim(&store, at(20)).await;
    let told = events(&store, "site.clock_set_back").await;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("set back by 315359980 s"), "{told:?}");
    assert_eq!(store.last_happened_at().await.unwrap(), Some(at(20)));

    // A node at rest is left to rest.
    enroll(&store, 2).await;
    let rests = reach(&store, Phase::Available, Step::Rest, at(20)).await;
    store.clock_was_set_back(at(40), at(30)).await.unwrap();
    let due = store.claim_due("worker", at(30), LEASE).await.unwrap();
    assert!(due.is_none_or(|claim| claim.node != rests));
}
