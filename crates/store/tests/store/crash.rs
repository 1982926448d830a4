//! A server that dies at a commit point: whichever it is, the next one finishes the work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bessemer_core::Timestamp;
use bessemer_core::lifecycle::Phase;
use bessemer_store::{Gate, GatePoint, Placed, Store, When};
use tokio::sync::Notify;

use crate::machine::run_until;
use crate::on_both;
use crate::site::{Site, allocated, at, enroll, node_id, order, server_id, stock};

on_both! {
    a_life_of_a_node
    the_gate_stops_before_and_after_the_commit
    a_death_at_any_commit_is_survived
}

/// From registration to rent, order, release and rent again, through every phase.
async fn a_life_of_a_node(site: Site) {
    let store = site.open().await;
    let mut now = at(10);
    stock(&store, 5).await;
    let node = enroll(&store, 1).await.id;
    run_until(&store, node, Phase::Available, &mut now).await;
    let candidates = store.available_nodes(10).await.unwrap();
    assert_eq!(candidates.len(), 1);
    assert!(candidates[0].inventory.is_some());
    let placed = store.place(order(1, 1), now).await.unwrap();
    let Placed::New(server) = placed else {
        panic!("{placed:?}")
    };
    run_until(&store, node, Phase::Active, &mut now).await;
    let active = store.server(None, "server1").await.unwrap();
    assert!(active.active_at.is_some());
    assert_eq!(active.node_state.posts - active.posts_before, 1, "one POST");
    assert!(
        store
            .boot(active.node_state.boot(node))
            .await
            .unwrap()
            .is_none()
    );
    store.release_server(server, now).await.unwrap();
    run_until(&store, node, Phase::Available, &mut now).await;
    assert!(store.server(None, "server1").await.is_err());
    assert_eq!(allocated(&store).await, 0);
    let history = store.history(node, 1000).await.unwrap();
    let mut phases: Vec<_> = history
        .iter()
        .map(|entry| entry.state.phase.name())
        .collect();
    phases.dedup();
    phases.reverse();
    assert_eq!(
        phases.join(" "),
        "enrolled inspecting cleaning available deploying active releasing cleaning available"
    );
}

async fn the_gate_stops_before_and_after_the_commit(site: Site) {
    for when in [When::Before, When::After] {
        let gate: Gate = Arc::new(move |point: GatePoint| point.when != when);
        let store = site.open_with(gate).await;
        let number = if when == When::Before { 1 } else { 2 };
        let stuck = tokio::spawn(async move { enroll(&store, number).await.name });
        let survivor = site.open().await;
        if when == When::After {
            // Its own news would never come: the other process is all that there is.
            while survivor.node("node2").await.is_err() {
                tokio::task::yield_now().await;
            }
        }
        // It holds no lock: the next server can write at once.
        enroll(&survivor, number + 10).await;
        assert!(!stuck.is_finished());
        let found = survivor.node(&format!("node{number}")).await.is_ok();
        assert_eq!(found, when == When::After);
        stuck.abort();
    }
}

/// One server dies at its first gate, the next at its second, and so on through a whole order and
/// a whole release; after each death another one finishes what was begun.
async fn a_death_at_any_commit_is_survived(site: Site) {
    let survivor = site.open().await;
    let mut now = at(10);
    stock(&survivor, 5).await;
    let node = enroll(&survivor, 1).await.id;
    run_until(&survivor, node, Phase::Available, &mut now).await;
    let mut orders = 0;
    let mut deaths = BTreeSet::new();
    loop {
        orders += 1;
        survivor.place(order(orders, 1), now).await.unwrap();
        let death = live_and_die(&site, orders as usize, Phase::Active, &mut now).await;
        run_until(&survivor, node, Phase::Active, &mut now).await;
        survivor
            .release_server(server_id(orders), now)
            .await
            .unwrap();
        let later = live_and_die(&site, orders as usize, Phase::Available, &mut now).await;
        run_until(&survivor, node, Phase::Available, &mut now).await;
        if death.is_none() && later.is_none() {
            break;
        }
        deaths.extend(death.into_iter().chain(later));
    }
    assert!(orders > 60, "{orders} orders went through too few commits");
    for name in [
        "claim_due",
        "commit",
        "record_outcome",
        "prepare_boot",
        "hello",
        "agent_outcome",
        "os_up",
    ] {
        for when in ["Before", "After"] {
            assert!(deaths.contains(&format!("{when} {name}")), "{when} {name}");
        }
    }
    told_once_each(&survivor, orders).await;
}

async fn told_once_each(store: &Store, orders: u32) {
    let mut counts = BTreeMap::new();
    let mut last = 0;
    loop {
        let events = store.events_after(last, None, 500).await.unwrap();
        let Some(newest) = events.last() else { break };
        last = newest.sequence;
        for event in events {
            *counts.entry((event.kind, event.server)).or_insert(0) += 1;
        }
    }
    for number in 1..=orders {
        for kind in [
            "server.ordered",
            "server.active",
            "server.deleting",
            "server.deleted",
        ] {
            let count = counts.get(&(kind.to_owned(), Some(server_id(number))));
            assert_eq!(count, Some(&1), "{kind} of order {number}");
        }
    }
}

/// A server that dies at its gate number `gate`, from 1, unless the node rests in `phase` before.
/// Says where it died.
async fn live_and_die(
    site: &Site,
    gate: usize,
    phase: Phase,
    now: &mut Timestamp,
) -> Option<String> {
    let died = Arc::new(Notify::new());
    let place = Arc::new(Mutex::new(None));
    let closed: Gate = Arc::new({
        let (died, place, passed) = (died.clone(), place.clone(), AtomicUsize::new(0));
        move |point| {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 < gate {
                return true;
            }
            let name = format!("{:?} {}", point.when, point.name);
            place.lock().unwrap().get_or_insert(name);
            died.notify_one();
            false
        }
    });
    let store = site.open_with(closed).await;
    tokio::select! {
        biased;
        () = died.notified() => {}
        () = run_until(&store, node_id(1), phase, now) => {}
    }
    place.lock().unwrap().take()
}
