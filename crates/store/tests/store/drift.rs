//! What switch ports should carry, and the suspicion that they do not.

use bessemer_core::lifecycle::{Phase, PortRole, Step};
use bessemer_core::reason::Reason;
use bessemer_store::Error;

use crate::on_both;
use crate::site::{Site, at, claim, enroll, reach, to};

on_both! {
    ports_are_read_in_turn_and_only_while_it_is_known_what_they_carry
    a_suspicion_wakes_the_node_and_what_is_found_is_history
}

async fn ports_are_read_in_turn_and_only_while_it_is_known_what_they_carry(site: Site) {
    let store = site.open().await;
    for number in 1..=3 {
        enroll(&store, number).await;
    }
    assert!(
        store
            .ports_to_read(at(100), 9, at(100))
            .await
            .unwrap()
            .is_empty()
    );
    let mut nodes = Vec::new();
    for second in 11..=13 {
        let claimed = claim(&store, at(second)).await;
        let parked = Some(PortRole::Parked);
        store
            .expect_ports(claimed, parked, at(second))
            .await
            .unwrap();
        nodes.push(claimed.node);
    }
    // Those first that were read longest ago, and none twice.
    assert_eq!(
        store.ports_to_read(at(13), 1, at(50)).await.unwrap(),
        nodes[..1]
    );
    let mut others = store.ports_to_read(at(14), 9, at(50)).await.unwrap();
    others.sort();
    nodes[1..].sort();
    assert_eq!(others, nodes[1..]);
    assert!(
        store
            .ports_to_read(at(50), 9, at(51))
            .await
            .unwrap()
            .is_empty()
    );
    // What is about to change is not read.
    let now = at(500);
    let claimed = claim(&store, now).await;
    store.expect_ports(claimed, None, now).await.unwrap();
    let due = store.ports_to_read(at(400), 9, now).await.unwrap();
    assert_eq!(due.len(), 2);
    assert!(!due.contains(&claimed.node));
    let stale = bessemer_store::Claim {
        fence: claimed.fence - 1,
        ..claimed
    };
    let late = store.expect_ports(stale, Some(PortRole::Tenant), now).await;
    assert!(matches!(late, Err(Error::LeaseLost)), "{late:?}");
    assert_eq!(
        store.node_by_id(claimed.node).await.unwrap().port_role,
        None
    );
}

async fn a_suspicion_wakes_the_node_and_what_is_found_is_history(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let node = reach(&store, Phase::Available, Step::Rest, at(10)).await;
    store.suspect_ports(node, at(11)).await.unwrap();
    let asleep = store.claim_due("worker", at(12), 1000).await.unwrap();
    assert_eq!(asleep, None, "nobody knows what its ports should carry");

    store.wake(node, at(20)).await.unwrap();
    let claimed = claim(&store, at(20)).await;
    store
        .expect_ports(claimed, Some(PortRole::Parked), at(20))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    let state = work.node.state.clone();
    store
        .commit(claimed, to(&work, state), at(20))
        .await
        .unwrap();
    store.suspect_ports(node, at(30)).await.unwrap();
    assert!(
        store
            .ports_to_read(at(999), 9, at(31))
            .await
            .unwrap()
            .is_empty()
    );
    let claimed = claim(&store, at(31)).await;
    let work = store.work(claimed).await.unwrap();
    assert!(work.node.ports_suspect);
    assert_eq!(work.node.port_role, Some(PortRole::Parked));
    let before = store.history(node, 99).await.unwrap().len();
    let reason = Reason::new("ports").expected_seen("parked", "VLAN 7");
    store
        .ports_looked_at(claimed, &work.node.state, vec![reason.clone()], &[], at(31))
        .await
        .unwrap();
    let history = store.history(node, 99).await.unwrap();
    assert_eq!(history.len(), before + 1);
    assert_eq!(history[0].state.reason, reason);
    let node = store.node_by_id(node).await.unwrap();
    assert!(!node.ports_suspect && node.port_role == Some(PortRole::Parked));
    assert_ne!(node.state.reason, reason, "where it is has not changed");
}
