//! Wiring nodes anew: when that may be, whose a switch port is, and what orders make of it.

use bessemer_core::lifecycle::{PortControl, PortRole};
use bessemer_core::port_plan::{GroupMode, PortGroup};
use bessemer_store::{
    Error, NetworkChanges, NewNetwork, NewWiring, NodeRecord, Placed, Store, SwitchSettings,
};
use bessemer_wire::api::NodePort;

use crate::on_both;
use crate::places::{new_switch, settings};
use crate::site::{
    Site, at, available_nodes, claim, enroll, mac, network, new_network, node_id, order, server_id,
    stock, to,
};

on_both! {
    a_node_is_wired_anew_while_nothing_hangs_on_its_ports
    of_many_who_wire_a_node_at_once_one_does
    a_node_is_not_wired_to_what_is_another_ones
    an_order_takes_a_node_only_as_it_was_looked_at
    a_network_stays_in_its_physical_network_while_servers_are_on_it
    a_switch_stays_in_its_physical_network_while_servers_are_on_it
}

/// Two ports of node `number`, on these ports of switch `tor`, bonded.
fn bonded(number: u32, switch_ports: [&str; 2]) -> NewWiring {
    let ports = [number, number + 100].into_iter().zip(switch_ports);
    let ports = ports.map(|(number, switch_port)| NodePort {
        switch: Some("tor".into()),
        switch_port: Some(switch_port.into()),
        group: Some("bond0".into()),
        ..NodePort::bare(mac(number))
    });
    NewWiring {
        ports: ports.collect(),
        port_groups: vec![PortGroup {
            name: "bond0".into(),
            mode: GroupMode::Lacp,
        }],
        port_control: PortControl::Switched,
    }
}

/// The switch that they are on.
async fn tor(store: &Store) {
    store
        .create_switch(&new_switch(1, "tor"), "me", at(0))
        .await
        .unwrap();
}

async fn wire(store: &Store, seen: &NodeRecord, wiring: &NewWiring) -> Result<(), Error> {
    let what = "port group bond0 is made";
    store.wire_node(seen, wiring, what, "ops", at(2000)).await
}

async fn node(store: &Store, number: u32) -> NodeRecord {
    store.node_by_id(node_id(number)).await.unwrap()
}

#[track_caller]
fn conflict<T>(result: Result<T, Error>) -> (Option<String>, String) {
    match result.map(drop) {
        Err(Error::Conflict { field, message }) => (field, message),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, words: &str) {
    let (_, message) = conflict(result);
    assert!(message.contains(words), "{message}");
}

async fn a_node_is_wired_anew_while_nothing_hangs_on_its_ports(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    tor(&store).await;
    let wiring = bonded(1, ["p1", "p2"]);
    enroll(&store, 2).await;
    let not_yet = wire(&store, &node(&store, 2).await, &wiring).await;
    refused(
        not_yet,
        "node `node2` is enrolled: wait until it is at rest",
    );
    store.delete_node(node_id(2), true, at(5)).await.unwrap();

    available_nodes(&store, 1).await;
    let seen = node(&store, 1).await;
    wire(&store, &seen, &wiring).await.unwrap();
    let wired = node(&store, 1).await;
    assert_eq!(
        (&wired.ports, &wired.port_groups),
        (&wiring.ports, &wiring.port_groups)
    );
    assert_eq!(wired.wirings, seen.wirings + 1);
    // Nobody knows yet what its ports carry, so there is nothing to look at.
    assert!(!wired.ports_suspect);
    refused(
        wire(&store, &seen, &wiring).await,
        "changed by somebody else",
    );

    // What is known is looked at, at once; until then somebody is at work.
    store.wake(seen.id, at(2000)).await.unwrap();
    let claimed = claim(&store, at(2000)).await;
    refused(wire(&store, &wired, &wiring).await, "being worked on");
    let parked = Some(PortRole::Parked);
    store.expect_ports(claimed, parked, at(2000)).await.unwrap();
    let work = store.work(claimed).await.unwrap();
    let state = work.node.state.clone();
    store
        .commit(claimed, to(&work, state), at(2000))
        .await
        .unwrap();
    wire(&store, &wired, &bonded(1, ["p1", "p3"]))
        .await
        .unwrap();
    assert!(node(&store, 1).await.ports_suspect);
    let claimed = claim(&store, at(2001)).await;
    assert_eq!(claimed.node, seen.id, "it is due");
    let work = store.work(claimed).await.unwrap();
    let state = work.node.state.clone();
    store
        .commit(claimed, to(&work, state), at(2001))
        .await
        .unwrap();
    // An idle agent's port is not left as it is.
    store.wake(seen.id, at(2002)).await.unwrap();
    let claimed = claim(&store, at(2002)).await;
    let standby = Some(PortRole::Standby);
    store
        .expect_ports(claimed, standby, at(2002))
        .await
        .unwrap();
    let work = store.work(claimed).await.unwrap();
    let state = work.node.state.clone();
    store
        .commit(claimed, to(&work, state), at(2002))
        .await
        .unwrap();
    let wired = node(&store, 1).await;
    refused(
        wire(&store, &wired, &bonded(1, ["p1", "p4"])).await,
        "port p3 of switch `tor` is not parked, but `standby`: hold node `node1` first",
    );
    let told = store.events_after(0, None, 100).await.unwrap();
    let told = told.iter().filter(|event| event.kind == "node.wired");
    let told: Vec<_> = told.map(|event| event.message.as_str()).collect();
    assert_eq!(
        told,
        ["port group bond0 is made of node `node1`, says `ops`"; 2]
    );

    let mut wanted = order(1, 1);
    wanted.candidates[0].wirings = 2;
    let placed = store.place(wanted, at(2002)).await.unwrap();
    assert_eq!(placed, Placed::New(server_id(1)));
    let seen = node(&store, 1).await;
    refused(
        wire(&store, &seen, &wiring).await,
        "delete the server first",
    );
    assert_eq!(node(&store, 1).await.ports, bonded(1, ["p1", "p3"]).ports);
}

async fn of_many_who_wire_a_node_at_once_one_does(site: Site) {
    let store = site.open().await;
    tor(&store).await;
    available_nodes(&store, 1).await;
    let seen = node(&store, 1).await;
    let wiring = bonded(1, ["p1", "p2"]);
    let all = (0..8).map(|_| {
        let (store, seen, wiring) = (store.clone(), seen.clone(), wiring.clone());
        tokio::spawn(async move { wire(&store, &seen, &wiring).await })
    });
    let mut wired = 0;
    for each in all.collect::<Vec<_>>() {
        match each.await.unwrap() {
            Ok(()) => wired += 1,
            Err(error) => refused(Err::<(), _>(error), "changed by somebody else"),
        }
    }
    assert_eq!(wired, 1);
}

async fn a_node_is_not_wired_to_what_is_another_ones(site: Site) {
    let store = site.open().await;
    tor(&store).await;
    available_nodes(&store, 2).await;
    let first = bonded(1, ["p1", "p2"]);
    wire(&store, &node(&store, 1).await, &first).await.unwrap();
    let taken = wire(&store, &node(&store, 2).await, &bonded(2, ["p3", "p2"])).await;
    let (field, message) = conflict(taken);
    assert_eq!(field.as_deref(), Some("ports[1].switch_port"));
    assert_eq!(
        message,
        "port `p2` of switch `tor` already belongs to node `node1`"
    );
    assert_eq!(node(&store, 2).await.wirings, 0, "nothing is changed");
    // What a node leaves is free, and its own ports are not in its way.
    let moved = bonded(1, ["p4", "p1"]);
    wire(&store, &node(&store, 1).await, &moved).await.unwrap();
    let second = bonded(2, ["p3", "p2"]);
    wire(&store, &node(&store, 2).await, &second).await.unwrap();
    let mut nowhere = second;
    nowhere.ports[0].switch = Some("leaf9".into());
    refused(
        wire(&store, &node(&store, 2).await, &nowhere).await,
        "no switch `leaf9`",
    );
}

async fn an_order_takes_a_node_only_as_it_was_looked_at(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    tor(&store).await;
    available_nodes(&store, 1).await;
    let looked_at = order(1, 1);
    wire(&store, &node(&store, 1).await, &bonded(1, ["p1", "p2"]))
        .await
        .unwrap();
    let late = store.place(looked_at.clone(), at(2001)).await;
    assert!(matches!(late, Err(Error::NoNode)), "{late:?}");
    let mut again = looked_at;
    again.candidates[0].wirings = 1;
    store.place(again, at(2002)).await.unwrap();
}

async fn a_network_stays_in_its_physical_network_while_servers_are_on_it(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    let part_of = async || {
        let found = store.network(None, "tenant").await.unwrap();
        found.physical_network
    };
    let to = |name: Option<&str>| NetworkChanges {
        physical_network: Some(name.map(str::to_owned)),
        ..NetworkChanges::default()
    };
    assert_eq!(part_of().await, None);
    store
        .change_network(network(), to(Some("public")))
        .await
        .unwrap();
    assert_eq!(part_of().await.as_deref(), Some("public"));
    store.place(order(1, 1), at(2000)).await.unwrap();
    let moved = store.change_network(network(), to(None)).await;
    let (field, message) = conflict(moved);
    assert_eq!(field.as_deref(), Some("physical_network"));
    assert!(message.contains("delete them first"), "{message}");
    assert_eq!(part_of().await.as_deref(), Some("public"));
    // A new one says it at once.
    let new = NewNetwork {
        id: bessemer_core::id::NetworkId(crate::site::uuid(9, 1)),
        name: "storage".into(),
        number: bessemer_store::NumberFrom::Given(200),
        physical_network: Some("storage".into()),
        subnets: vec![],
        ..new_network(5)
    };
    store.create_network(&new, at(2)).await.unwrap();
    let stored = store.network(None, "storage").await.unwrap();
    assert_eq!(stored.physical_network.as_deref(), Some("storage"));
}

async fn a_switch_stays_in_its_physical_network_while_servers_are_on_it(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    tor(&store).await;
    available_nodes(&store, 1).await;
    let wiring = bonded(1, ["p1", "p2"]);
    wire(&store, &node(&store, 1).await, &wiring).await.unwrap();
    let change = async |name: Option<&str>| {
        let changed = SwitchSettings {
            physical_network: name.map(str::to_owned),
            ..settings()
        };
        let switch = store.switch("tor").await.unwrap();
        let (id, generation) = (switch.id, switch.generation);
        store
            .change_switch(id, generation, &changed, "me", at(2001))
            .await
    };
    let looked_at = node(&store, 1).await.wirings;
    change(Some("public")).await.unwrap();
    // Who looked at the node before looks again.
    let wirings = node(&store, 1).await.wirings;
    assert_eq!(wirings, looked_at + 1);
    change(Some("public")).await.unwrap();
    assert_eq!(node(&store, 1).await.wirings, wirings);
    let mut wanted = order(1, 1);
    wanted.candidates[0].wirings = wirings;
    store.place(wanted, at(2002)).await.unwrap();
    let (field, message) = conflict(change(None).await);
    assert_eq!(field.as_deref(), Some("physical_network"));
    assert!(message.contains("`node1` has a server"), "{message}");
    change(Some("public")).await.unwrap();
}
