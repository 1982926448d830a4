//! Sites, racks and switches, their VLANs and ports.

use bessemer_core::id::{RackId, SiteId, SwitchId};
use bessemer_core::network::{IdPool, NetworkKind};
use bessemer_core::port_plan::PortState;
use bessemer_core::switch::{SwitchDriver, VlanOverrides, usual_tunnel_vlans};
use bessemer_store::{
    Error, NewNetwork, NewRack, NewSite, NewSwitch, NumberFrom, PlaceSort, RackChanges, Store,
    SwitchFilter, SwitchSettings,
};
use bessemer_wire::api::NodePort;
use uuid::Uuid;

use crate::on_both;
use crate::site::{Site, at, mac, new_network, new_node};

on_both! {
    places_hold_what_is_in_them
    a_switch_is_stored_whole_and_every_change_raises_the_generation
    a_switch_changed_by_somebody_else_is_not_overwritten
    networks_and_switches_share_no_vlan
    cables_lead_to_switches_and_no_two_to_one_port
    a_switch_is_forgotten_or_cabled_never_both
    ports_and_health_are_as_they_were_last_seen
}

pub(crate) fn settings() -> SwitchSettings {
    SwitchSettings {
        rack: None,
        address: "unix:/x".into(),
        authority: None,
        certificate: None,
        key_sealed: None,
        tunnel_address: None,
        tunnel_vlans: usual_tunnel_vlans(),
        physical_network: None,
        largest_mtu: None,
        vlans: VlanOverrides::default(),
    }
}

pub(crate) fn new_switch(number: u128, name: &str) -> NewSwitch {
    NewSwitch {
        id: SwitchId(Uuid::from_u128(0x900 + number)),
        name: name.into(),
        driver: SwitchDriver::Ovsdb,
        settings: settings(),
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Conflict { field, message }) => (field.unwrap_or_default(), message),
        other => panic!("{other:?}"),
    }
}

async fn rack(store: &Store) -> (SiteId, RackId) {
    let site = NewSite {
        id: SiteId(Uuid::from_u128(0x700)),
        name: "fra1".into(),
        description: String::new(),
    };
    store.create_site(&site, "me", at(0)).await.unwrap();
    let rack = NewRack {
        id: RackId(Uuid::from_u128(0x800)),
        name: "a07".into(),
        site: site.id,
        position: "row A".into(),
    };
    store.create_rack(&rack, "me", at(1)).await.unwrap();
    (site.id, rack.id)
}

async fn places_hold_what_is_in_them(site: Site) {
    let store = site.open().await;
    let (fra1, a07) = rack(&store).await;
    let mut switch = new_switch(1, "leaf1");
    switch.settings.rack = Some(a07);
    store.create_switch(&switch, "me", at(2)).await.unwrap();
    let shown = store.rack("a07").await.unwrap();
    assert_eq!((shown.switches, shown.nodes), (1, 0));
    assert_eq!(store.site("fra1").await.unwrap().racks, 1);
    let (_, message) = conflict(store.delete_site(fra1, "me", at(3)).await);
    assert!(message.contains("rack `a07`"), "{message}");
    let (_, message) = conflict(store.delete_rack(a07, "me", at(3)).await);
    assert!(message.contains("switch `leaf1`"), "{message}");
    let changes = RackChanges {
        position: Some("row B".into()),
        ..RackChanges::default()
    };
    store.change_rack(a07, changes, "me", at(4)).await.unwrap();
    let shown = store.rack("a07").await.unwrap();
    assert_eq!((shown.site, &*shown.position), (fra1, "row B"));
    store.delete_switch(switch.id, "me", at(5)).await.unwrap();
    store.delete_rack(a07, "me", at(6)).await.unwrap();
    store.delete_site(fra1, "me", at(7)).await.unwrap();
    let (racks, next) = store.racks(None, PlaceSort::Name, None, 10).await.unwrap();
    assert!(racks.is_empty() && next.is_none());
}

async fn a_switch_is_stored_whole_and_every_change_raises_the_generation(site: Site) {
    let store = site.open().await;
    let (fra1, a07) = rack(&store).await;
    let before = store.switch_generation().await.unwrap();
    let mut switch = new_switch(1, "leaf1");
    switch.settings = SwitchSettings {
        rack: Some(a07),
        authority: Some("authority".into()),
        certificate: Some("certificate".into()),
        key_sealed: Some(vec![0, 255, 7]),
        tunnel_address: Some("2001:db8::1".parse().unwrap()),
        tunnel_vlans: "7,100-200".parse().unwrap(),
        physical_network: Some("dc".into()),
        largest_mtu: Some(9000),
        vlans: VlanOverrides {
            parked: Some(1),
            provisioning: Some(2),
            standby: Some(3),
            rescue: Some(4),
        },
        ..settings()
    };
    store.create_switch(&switch, "me", at(2)).await.unwrap();
    let stored = store.switch("leaf1").await.unwrap();
    let told = &stored.settings;
    assert_eq!(stored.rack_name.as_deref(), Some("a07"));
    assert_eq!(told.key_sealed.as_deref(), Some(&[0, 255, 7][..]));
    assert_eq!(told.tunnel_address, switch.settings.tunnel_address);
    assert_eq!(told.tunnel_vlans, switch.settings.tunnel_vlans);
    assert_eq!(told.vlans, switch.settings.vlans);
    assert_eq!((told.largest_mtu, stored.nodes), (Some(9000), 0));
    let generation = store.switch_generation().await.unwrap();
    assert!(generation > before);
    assert_eq!(stored.generation, generation);

    let changed = settings();
    let id = stored.id;
    store
        .change_switch(id, generation, &changed, "me", at(3))
        .await
        .unwrap();
    let (latest, all) = store.all_switches().await.unwrap();
    assert!(latest > generation);
    assert_eq!((all.len(), all[0].generation), (1, latest));
    assert_eq!(all[0].settings.key_sealed, None);
    assert_eq!(all[0].settings.vlans, VlanOverrides::default());

    store
        .create_switch(&new_switch(2, "leaf2"), "me", at(4))
        .await
        .unwrap();
    let (field, _) = conflict(
        store
            .create_switch(&new_switch(3, "leaf2"), "me", at(4))
            .await,
    );
    assert_eq!(field, "name");
    let filter = SwitchFilter {
        site: Some(fra1),
        ..SwitchFilter::default()
    };
    let (found, _) = store
        .switches(filter, PlaceSort::Name, None, 10)
        .await
        .unwrap();
    assert!(found.is_empty(), "leaf1 is in no rack any more");
    let filter = SwitchFilter::default();
    let page = store.switches(filter.clone(), PlaceSort::CreatedDescending, None, 1);
    let (first, next) = page.await.unwrap();
    assert_eq!(first[0].name, "leaf2");
    let page = store.switches(filter, PlaceSort::CreatedDescending, next, 1);
    let (second, next) = page.await.unwrap();
    assert_eq!((&*second[0].name, next), ("leaf1", None));
    let before = store.switch_generation().await.unwrap();
    store.delete_switch(id, "me", at(5)).await.unwrap();
    assert!(store.switch_generation().await.unwrap() > before);
}

async fn a_switch_changed_by_somebody_else_is_not_overwritten(site: Site) {
    let store = site.open().await;
    store
        .create_switch(&new_switch(1, "leaf1"), "me", at(0))
        .await
        .unwrap();
    let read = store.switch("leaf1").await.unwrap();
    let address = |text: &str| SwitchSettings {
        address: text.into(),
        ..settings()
    };
    let (id, generation) = (read.id, read.generation);
    store
        .change_switch(id, generation, &address("unix:/a"), "me", at(1))
        .await
        .unwrap();
    let late = store
        .change_switch(id, generation, &address("unix:/b"), "me", at(2))
        .await;
    assert!(conflict(late).1.contains("try again"));
    let stored = store.switch("leaf1").await.unwrap();
    assert_eq!(stored.settings.address, "unix:/a");
}

fn vlan_network(number: u128, vlans: NumberFrom) -> NewNetwork {
    NewNetwork {
        id: bessemer_core::id::NetworkId(Uuid::from_u128(0x600 + number)),
        name: format!("n{number}"),
        kind: NetworkKind::Vlan,
        number: vlans,
        subnets: vec![],
        ..new_network(5)
    }
}

async fn networks_and_switches_share_no_vlan(site: Site) {
    let store = site.open().await;
    let given = vlan_network(1, NumberFrom::Given(3500));
    store.create_network(&given, at(0)).await.unwrap();
    let mut switch = new_switch(1, "leaf1");
    switch.settings.tunnel_address = Some("10.50.0.1".parse().unwrap());
    let (field, message) = conflict(store.create_switch(&switch, "me", at(1)).await);
    assert_eq!(field, "tunnel_vlans");
    assert!(
        message.contains("3500") && message.contains("`n1`"),
        "{message}"
    );
    switch.settings.tunnel_vlans = "12-13".parse().unwrap();
    switch.settings.vlans.parked = Some(10);
    store.create_switch(&switch, "me", at(1)).await.unwrap();
    for vlan in [10, 12] {
        let taken = vlan_network(2, NumberFrom::Given(vlan));
        let (field, message) = conflict(store.create_network(&taken, at(2)).await);
        assert!(field == "vlan" && message.contains("`leaf1`"), "{message}");
    }
    let pool: IdPool = "10-14".parse().unwrap();
    let from_pool = || NumberFrom::Pool {
        name: "pool".into(),
        ranges: pool.ranges().to_vec(),
    };
    for (number, vlan) in [(2, 11), (3, 14)] {
        let network = vlan_network(number, from_pool());
        store.create_network(&network, at(3)).await.unwrap();
        let stored = store.network(None, &network.name).await.unwrap();
        assert_eq!(stored.vlan, Some(vlan));
    }
    let more = store
        .create_network(&vlan_network(4, from_pool()), at(4))
        .await;
    assert!(
        matches!(more, Err(Error::Exhausted { what: "VLAN", .. })),
        "{more:?}"
    );
}

/// Node `number`, cabled to a port of a switch.
fn cabled(number: u32, switch: &str, port: &str) -> bessemer_store::NewNode {
    bessemer_store::NewNode {
        ports: vec![NodePort {
            mac: mac(number),
            switch: Some(switch.into()),
            switch_port: Some(port.into()),
            physical_network: None,
            group: None,
            boots: true,
        }],
        ..new_node(number)
    }
}

async fn cables_lead_to_switches_and_no_two_to_one_port(site: Site) {
    let store = site.open().await;
    let nowhere = store.create_node(cabled(1, "leaf1", "p1"), at(0)).await;
    let (field, message) = conflict(nowhere.map(drop));
    assert_eq!(field, "ports[0].switch");
    assert!(message.contains("`leaf1`"), "{message}");
    for (number, name) in [(1, "leaf_1"), (2, "Leaf_1"), (3, "leafx1")] {
        store
            .create_switch(&new_switch(number, name), "me", at(0))
            .await
            .unwrap();
    }
    store
        .create_node(cabled(1, "leaf_1", "p1"), at(1))
        .await
        .unwrap();
    let (field, message) = conflict(
        store
            .create_node(cabled(2, "leaf_1", "p1"), at(1))
            .await
            .map(drop),
    );
    assert_eq!(field, "ports[0].switch_port");
    assert!(message.contains("`node1`"), "{message}");
    store
        .create_node(cabled(2, "Leaf_1", "p1"), at(2))
        .await
        .unwrap();
    store
        .create_node(cabled(3, "leaf_1", "p2"), at(3))
        .await
        .unwrap();
    let leaf1 = store.switch("leaf_1").await.unwrap();
    assert_eq!(leaf1.nodes, 2);
    let nodes = store.nodes_on_switch(&leaf1).await.unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node1", "node3"]);
    let (_, message) = conflict(store.delete_switch(leaf1.id, "me", at(4)).await);
    assert!(message.contains("`node1`, `node3`"), "{message}");
    let other = store.switch("leafx1").await.unwrap();
    store.delete_switch(other.id, "me", at(4)).await.unwrap();
}

/// Whoever is first: a node is never cabled to a switch that is gone.
async fn a_switch_is_forgotten_or_cabled_never_both(site: Site) {
    let store = site.open().await;
    for round in 0..10 {
        let name = format!("leaf{round}");
        let switch = new_switch(round, &name);
        store.create_switch(&switch, "me", at(0)).await.unwrap();
        let number = 10 + u32::try_from(round).unwrap();
        let (cabled, forgotten) = tokio::join!(
            store.create_node(cabled(number, &name, "p1"), at(1)),
            store.delete_switch(switch.id, "me", at(1)),
        );
        assert_ne!(cabled.is_ok(), forgotten.is_ok(), "{forgotten:?}");
    }
}

async fn ports_and_health_are_as_they_were_last_seen(site: Site) {
    let store = site.open().await;
    store
        .create_switch(&new_switch(1, "leaf1"), "me", at(0))
        .await
        .unwrap();
    let port = |name: &str, description: &str| PortState {
        description: description.into(),
        ..PortState::uncontrolled(name)
    };
    let first = [port("p1", "a"), port("p2", "b")];
    store.note_ports_read("leaf1", &first, at(1)).await.unwrap();
    store
        .note_switch_error("leaf1", "no answer", at(2))
        .await
        .unwrap();
    store
        .note_switch_error("leaf1", "still none", at(3))
        .await
        .unwrap();
    let leaf1 = store.switch("leaf1").await.unwrap();
    assert!(leaf1.health.failing);
    assert_eq!(leaf1.health.read_at, Some(at(1)));
    assert_eq!(leaf1.health.error, Some(("still none".into(), at(3))));
    let later = [port("p1", "c")];
    store.note_ports_read("leaf1", &later, at(4)).await.unwrap();
    store.note_ports_read("leaf1", &later, at(5)).await.unwrap();
    let ports = store.switch_ports(&leaf1).await.unwrap();
    let ports: Vec<_> = ports
        .iter()
        .map(|(state, then)| (&*state.port, &*state.description, *then))
        .collect();
    assert_eq!(ports, [("p1", "c", at(5)), ("p2", "b", at(1))]);
    let leaf1 = store.switch("leaf1").await.unwrap();
    assert!(!leaf1.health.failing);
    assert_eq!(
        leaf1.health.error,
        Some(("still none".into(), at(3))),
        "the last one is kept"
    );
    let generation = store.switch_generation().await.unwrap();
    assert_eq!(
        generation, leaf1.generation,
        "how it fares is no change of it"
    );
    let events = store.events_after(0, None, 100).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["switch.created", "switch.failing", "switch.recovered"]
    );
    // One that is gone by now is no error.
    store.delete_switch(leaf1.id, "me", at(6)).await.unwrap();
    store.note_ports_read("leaf1", &later, at(7)).await.unwrap();
}
