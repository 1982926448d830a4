//! VXLAN networks on switches: their VLANs there, and whose turn their tunnels are.

use std::collections::HashSet;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ServerId};
use bessemer_core::lifecycle::{Phase, Step};
use bessemer_core::network::{IdPool, NetworkKind, NetworkScope};
use bessemer_store::{Error, NewLocalNetwork, NewNetwork, NumberFrom, Order, Store, TunnelWork};
use uuid::Uuid;

use crate::on_both;
use crate::places::new_switch;
use crate::site::{
    LEASE, Site, at, available_nodes, enroll, new_network, node_id, on, order, reach, server_id,
    stock,
};

on_both! {
    a_network_has_one_vlan_on_a_switch_and_no_other_network_has_it
    a_thousand_orders_at_once_have_a_vlan_each
    tunnels_are_wanted_anew_with_the_first_server_on_a_switch_and_the_last
    a_vlan_is_given_back_when_the_switch_was_seen_without_the_network
    who_lost_the_tunnels_of_a_switch_changes_nothing
    servers_that_come_and_go_at_once_leave_nothing_behind
    a_switch_keeps_its_tunnel_address_while_servers_need_it
}

fn id(number: u32) -> NetworkId {
    NetworkId(Uuid::from_u128(0x900_0000 + u128::from(number)))
}

fn network(number: u32, kind: NetworkKind, number_from: NumberFrom) -> NewNetwork {
    NewNetwork {
        id: id(number),
        name: format!("far{number}"),
        kind,
        scope: NetworkScope::Shared,
        number: number_from,
        subnets: vec![],
        ..new_network(5)
    }
}

/// Makes the VXLAN network `number` with VNI 5000 + `number`.
async fn vxlan(store: &Store, number: u32) {
    let vni = NumberFrom::Given(5000 + number);
    let network = network(number, NetworkKind::Vxlan, vni);
    store.create_network(&network, at(3)).await.unwrap();
}

fn local(number: u32, switch: &str, vlans: &str) -> NewLocalNetwork {
    let pool: IdPool = vlans.parse().unwrap();
    NewLocalNetwork {
        network: id(number),
        switch: switch.into(),
        port: format!("p{number}"),
        vlans: pool.ranges().to_vec(),
        pool: format!("tunnel_vlans ({pool}) of switch `{switch}`"),
    }
}

/// An order of server `number` on node `number`, on these networks of that node's switch.
fn ordered(number: u32, networks: Vec<NewLocalNetwork>) -> Order {
    let mut order = order(number, number);
    order.candidates.drain(..order.candidates.len() - 1);
    order.attachments = networks.iter().map(|each| on(each.network)).collect();
    order.candidates[0].local_networks = networks;
    order
}

async fn place(store: &Store, number: u32, networks: Vec<NewLocalNetwork>) {
    let order = ordered(number, networks);
    store.place(order, at(2000)).await.unwrap();
}

async fn vlans(store: &Store, number: u32) -> Vec<u16> {
    let vlans = store.local_vlans(server_id(number)).await.unwrap();
    vlans.iter().map(|each| each.vlan).collect()
}

/// Takes node `number` through the release of its server until that is gone.
async fn released(store: &Store, number: u32, now: Timestamp) {
    store.release_server(server_id(number), now).await.unwrap();
    // Its own turn, whoever else is due.
    loop {
        let node = reach(store, Phase::Cleaning, Step::PowerOff, now).await;
        if node == node_id(number) {
            return;
        }
    }
}

async fn claim(store: &Store, switch: &str, now: Timestamp) -> TunnelWork {
    let claimed = store.claim_tunnels(switch, "worker", now, LEASE).await;
    claimed.unwrap().expect("nobody has them")
}

/// Claims the tunnels of a switch and says that they are as wanted; gives the networks with their
/// switches.
async fn set(store: &Store, switch: &str, now: Timestamp) -> Vec<String> {
    let work = claim(store, switch, now).await;
    store.tunnels_set(&work, None, &[], now).await.unwrap();
    told(&work)
}

fn told(work: &TunnelWork) -> Vec<String> {
    let networks = work.networks.iter();
    let each = networks.map(|each| format!("{} {} {}", each.switch, each.vni, each.vlan));
    each.collect()
}

async fn a_network_has_one_vlan_on_a_switch_and_no_other_network_has_it(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 5).await;
    for number in 1..=4 {
        vxlan(&store, number).await;
    }
    // A VLAN of a network that is everywhere is nobody's local one.
    let everywhere = network(9, NetworkKind::Vlan, NumberFrom::Given(3001));
    store.create_network(&everywhere, at(3)).await.unwrap();
    let here = |number| local(number, "leaf1", "3000-3009");
    let foreseen = |number| {
        let store = &store;
        async move {
            let vlans = local(number, "leaf1", "3000-3009").vlans;
            store.local_vlan("leaf1", id(number), &vlans).await.unwrap()
        }
    };
    assert_eq!(foreseen(1).await, Some(3000));
    place(&store, 1, vec![here(1)]).await;
    assert_eq!(vlans(&store, 1).await, [3000]);
    assert_eq!(foreseen(2).await, Some(3002));
    place(&store, 2, vec![here(2), here(1)]).await;
    assert_eq!(vlans(&store, 2).await, [3000, 3002], "by network");
    assert_eq!(
        (foreseen(1).await, foreseen(2).await),
        (Some(3000), Some(3002))
    );
    // Another switch has VLANs of its own.
    place(&store, 3, vec![local(2, "leaf2", "3000-3009")]).await;
    assert_eq!(vlans(&store, 3).await, [3000]);

    // No VLAN network may have one of them now, whether it is given or from a pool.
    let taken = network(8, NetworkKind::Vlan, NumberFrom::Given(3002));
    let refused = store.create_network(&taken, at(4)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "VLAN 3002 already belongs to network `far2` on switch `leaf1`"
    );
    let pool: IdPool = "3000-3009".parse().unwrap();
    let pool = NumberFrom::Pool {
        name: "pool".into(),
        ranges: pool.ranges().to_vec(),
    };
    let lowest = network(7, NetworkKind::Vlan, pool);
    store.create_network(&lowest, at(4)).await.unwrap();
    let lowest = store.network(None, "far7").await.unwrap();
    assert_eq!(lowest.vlan, Some(3003));

    // What is exhausted is named, and the order leaves nothing behind.
    let full = ordered(4, vec![local(3, "leaf1", "3000-3003")]);
    let error = store.place(full, at(2000)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "tunnel_vlans (3000-3003) of switch `leaf1` has no free VLAN left"
    );
    assert!(matches!(error, Error::Exhausted { what: "VLAN", .. }));
    let left = local(3, "leaf1", "3000-3003").vlans;
    assert_eq!(store.local_vlan("leaf1", id(3), &left).await.unwrap(), None);
    assert!(store.server(None, "server4").await.is_err());
    place(&store, 4, vec![local(3, "leaf1", "3000-3003,3008-3009")]).await;
    assert_eq!(vlans(&store, 4).await, [3008], "the next range");
}

async fn a_thousand_orders_at_once_have_a_vlan_each(site: Site) {
    const ORDERS: u32 = 1000;
    let store = site.open().await;
    stock(&store, 1).await;
    available_nodes(&store, ORDERS).await;
    for number in 1..=ORDERS + 1 {
        vxlan(&store, number).await;
    }
    let begun = std::time::Instant::now();
    let orders: Vec<_> = (1..=ORDERS)
        .map(|number| {
            let store = store.clone();
            let order = ordered(number, vec![local(number, "leaf1", "2000-2499,3000-3499")]);
            tokio::spawn(async move { store.place(order, at(2000)).await })
        })
        .collect();
    for order in orders {
        order.await.unwrap().unwrap();
    }
    println!(
        "{ORDERS} orders on a VXLAN network each: {:?}",
        begun.elapsed()
    );
    let mut seen = HashSet::new();
    for number in 1..=ORDERS {
        seen.extend(vlans(&store, number).await);
    }
    let expected: HashSet<u16> = (2000..=2499).chain(3000..=3499).collect();
    assert_eq!(seen, expected);
    enroll(&store, ORDERS + 1).await;
    reach(&store, Phase::Available, Step::Rest, at(3000)).await;
    let networks = vec![local(ORDERS + 1, "leaf1", "2000-2499,3000-3499")];
    let more = store.place(ordered(ORDERS + 1, networks), at(3000)).await;
    assert!(
        matches!(more, Err(Error::Exhausted { what: "VLAN", .. })),
        "{more:?}"
    );
}

async fn tunnels_are_wanted_anew_with_the_first_server_on_a_switch_and_the_last(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 4).await;
    vxlan(&store, 1).await;
    let on = |switch| vec![local(1, switch, "3000-3009")];
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    place(&store, 1, on("leaf1")).await;
    let now = at(2000);
    assert_eq!(store.tunnels_due(now, 9).await.unwrap(), ["leaf1"]);
    assert_eq!(set(&store, "leaf1", now).await, ["leaf1 5001 3000"]);
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    // Another one there changes nothing; one elsewhere changes both.
    place(&store, 2, on("leaf1")).await;
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    place(&store, 3, on("leaf2")).await;
    let both = ["leaf1 5001 3000", "leaf2 5001 3000"];
    assert_eq!(store.tunnels_due(now, 9).await.unwrap(), ["leaf1", "leaf2"]);
    let wanted = store.tunnels_of_server(server_id(1)).await.unwrap();
    let wanted: Vec<_> = wanted
        .iter()
        .map(|each| (each.switch.as_str(), each.wanted, each.done))
        .collect();
    assert_eq!(wanted, [("leaf1", 2, 1), ("leaf2", 1, 0)]);
    assert_eq!(set(&store, "leaf1", now).await, both);
    assert_eq!(set(&store, "leaf2", now).await, both);
    // The first of two that leave is not the last.
    released(&store, 1, now).await;
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    released(&store, 2, now).await;
    assert_eq!(store.tunnels_due(now, 9).await.unwrap(), ["leaf1", "leaf2"]);
    assert_eq!(set(&store, "leaf2", now).await, ["leaf2 5001 3000"]);
    assert!(set(&store, "leaf1", now).await.is_empty());
    // Looked at again when that is asked for, and at once when it fails.
    let work = claim(&store, "leaf2", now).await;
    let next = Some(at(2300));
    store.tunnels_set(&work, next, &[], now).await.unwrap();
    assert!(store.tunnels_due(at(2299), 9).await.unwrap().is_empty());
    assert_eq!(store.tunnels_due(at(2300), 9).await.unwrap(), ["leaf2"]);
    let work = claim(&store, "leaf2", at(2300)).await;
    store.tunnels_failed(&work, at(2310)).await.unwrap();
    assert!(store.tunnels_due(at(2309), 9).await.unwrap().is_empty());
    assert_eq!(store.tunnels_due(at(2310), 9).await.unwrap(), ["leaf2"]);
}

async fn a_vlan_is_given_back_when_the_switch_was_seen_without_the_network(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 4).await;
    for number in 1..=3 {
        vxlan(&store, number).await;
    }
    let one = |number| vec![local(number, "leaf1", "3000-3000")];
    place(&store, 1, one(1)).await;
    let now = at(2100);
    set(&store, "leaf1", now).await;
    released(&store, 1, now).await;
    let exhausted = store.place(ordered(2, one(2)), now).await;
    assert!(
        matches!(exhausted, Err(Error::Exhausted { .. })),
        "{exhausted:?}"
    );
    let refused = store.delete_network(id(1)).await.unwrap_err().to_string();
    assert!(
        refused.contains("switch `leaf1` has not been seen"),
        "{refused}"
    );
    // Nor while what was read is of before.
    place(&store, 3, one(1)).await;
    let work = claim(&store, "leaf1", now).await;
    released(&store, 3, now).await;
    store.tunnels_set(&work, None, &[], now).await.unwrap();
    assert_eq!(store.tunnels_due(now, 9).await.unwrap(), ["leaf1"]);
    assert!(store.place(ordered(2, one(2)), now).await.is_err());
    assert!(set(&store, "leaf1", now).await.is_empty());
    place(&store, 2, one(2)).await;
    assert_eq!(vlans(&store, 2).await, [3000]);
    store.delete_network(id(1)).await.unwrap();
}

async fn who_lost_the_tunnels_of_a_switch_changes_nothing(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    vxlan(&store, 1).await;
    let none = store.claim_tunnels("leaf1", "worker", at(1), LEASE).await;
    assert!(none.unwrap().is_none(), "it never had any");
    place(&store, 1, vec![local(1, "leaf1", "3000-3009")]).await;
    let slow = claim(&store, "leaf1", at(2000)).await;
    let busy = store.claim_tunnels("leaf1", "other", at(2001), LEASE).await;
    assert!(busy.unwrap().is_none());
    assert!(store.tunnels_due(at(2001), 9).await.unwrap().is_empty());
    // Its lease has run out.
    let late = at(2000 + LEASE / 1000 + 1);
    let quick = claim(&store, "leaf1", late).await;
    let lost = store.tunnels_set(&slow, None, &[], late).await;
    assert!(matches!(lost, Err(Error::LeaseLost)), "{lost:?}");
    store.tunnels_failed(&slow, late).await.unwrap();
    let busy = store.claim_tunnels("leaf1", "other", late, LEASE).await;
    assert!(
        busy.unwrap().is_none(),
        "it was not the slow one's to give back"
    );
    store.tunnels_set(&quick, None, &[], late).await.unwrap();
    // A process that is alone takes back what the one before had.
    claim(&store, "leaf1", late).await;
    store.take_back_leases().await.unwrap();
    claim(&store, "leaf1", late).await;
}

async fn servers_that_come_and_go_at_once_leave_nothing_behind(site: Site) {
    const SERVERS: u32 = 32;
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 2 * SERVERS).await;
    for number in 1..=3 {
        vxlan(&store, number).await;
    }
    let networks = |number: u32| {
        let switch = if number.is_multiple_of(2) {
            "leaf1"
        } else {
            "leaf2"
        };
        let first = number % 3 + 1;
        let second = (number + 1) % 3 + 1;
        [second, first]
            .map(|each| local(each, switch, "3000-3009"))
            .to_vec()
    };
    for number in 1..=SERVERS {
        place(&store, number, networks(number)).await;
    }
    // Half leave while the other half comes.
    for number in 1..=SERVERS {
        let server: ServerId = server_id(number);
        store.release_server(server, at(2100)).await.unwrap();
    }
    let mut tasks = Vec::new();
    for number in 1..=SERVERS {
        let leaving = store.clone();
        tasks.push(tokio::spawn(async move {
            reach(&leaving, Phase::Cleaning, Step::PowerOff, at(2100)).await;
        }));
        let coming = store.clone();
        let order = ordered(SERVERS + number, networks(number));
        tasks.push(tokio::spawn(async move {
            coming.place(order, at(2100)).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let now = at(2200);
    for switch in ["leaf1", "leaf2"] {
        let there = set(&store, switch, now).await;
        assert_eq!(there.len(), 6, "three networks on both: {there:?}");
    }
    // A network that has a server somewhere is wanted there: nobody's coming was overlooked.
    for number in SERVERS + 1..=2 * SERVERS {
        let wanted = store.tunnels_of_server(server_id(number)).await.unwrap();
        assert!(
            wanted.iter().all(|each| each.wanted == each.done),
            "{wanted:?}"
        );
    }
}

async fn a_switch_keeps_its_tunnel_address_while_servers_need_it(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    vxlan(&store, 1).await;
    let mut made = new_switch(1, "leaf1");
    made.settings.tunnel_address = Some("10.50.0.1".parse().unwrap());
    store.create_switch(&made, "me", at(4)).await.unwrap();
    place(&store, 1, vec![local(1, "leaf1", "3000-3009")]).await;
    let now = at(2100);
    set(&store, "leaf1", now).await;
    let change = async |address: Option<&str>| {
        let known = store.switch("leaf1").await.unwrap();
        let mut settings = known.settings;
        settings.tunnel_address = address.map(|address| address.parse().unwrap());
        store
            .change_switch(known.id, known.generation, &settings, "me", now)
            .await
    };
    let refused = change(None).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "servers on the switch are on VXLAN network `far1`: delete them first"
    );
    // What stays the same moves no tunnels; another address moves those of all.
    change(Some("10.50.0.1")).await.unwrap();
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    change(Some("10.50.0.9")).await.unwrap();
    assert_eq!(store.tunnels_due(now, 9).await.unwrap(), ["leaf1"]);
    released(&store, 1, now).await;
    change(None).await.unwrap();
    // It stays until it has been seen without them.
    let refused = store.delete_switch(made.id, "me", now).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("still has tunnels of network `far1`"),
        "{refused}"
    );
    set(&store, "leaf1", now).await;
    store.delete_switch(made.id, "me", now).await.unwrap();
    assert!(store.tunnels_due(at(9999), 9).await.unwrap().is_empty());
    store.delete_network(id(1)).await.unwrap();
}
