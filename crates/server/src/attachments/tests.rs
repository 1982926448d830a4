//! What is only known here: the VLANs.

use bessemer_core::Timestamp;
use bessemer_core::id::NetworkId;
use bessemer_core::net::MacAddress;
use bessemer_core::network::NetworkScope;
use bessemer_core::port_plan::{GroupMode, PortGroup};
use bessemer_wire::api::NodePort;
use uuid::Uuid;

use super::*;

fn network() -> NetworkRecord {
    NetworkRecord {
        id: NetworkId(Uuid::from_u128(1)),
        name: "n1".into(),
        kind: NetworkKind::Vlan,
        scope: NetworkScope::Public,
        project: None,
        vlan: Some(101),
        vni: None,
        mtu: 9000,
        physical_network: Some("public".into()),
        created_at: Timestamp::UNIX_EPOCH,
        servers: 0,
        subnets: vec![],
    }
}

fn placed(network: &NetworkRecord, local: &LocalVlans) -> Result<Vec<Attachment>, Error> {
    let wanted = [Wanted {
        network,
        port: None,
        mode: None,
    }];
    let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
    let port = NodePort {
        physical_network: Some("public".into()),
        ..NodePort::bare(mac)
    };
    let ports = [NodePort {
        switch: Some("leaf1".into()),
        switch_port: Some("p1".into()),
        ..port
    }];
    place(
        &wanted,
        &wiring::declared("node1", (&ports, &[]), None, &Switches::default()),
        local,
    )
}

#[test]
fn a_place_has_the_vlan_of_its_network() {
    let nowhere = LocalVlans::default();
    let placed_on = placed(&network(), &nowhere).unwrap();
    assert_eq!(
        placed_on,
        [Attachment {
            network: "n1".into(),
            carrier: Carrier::Port("52:54:00:00:00:01".parse().unwrap()),
            vlan: 101,
            mode: AttachmentMode::Native,
            mtu: 9000,
            segment: Some("public".into()),
        }]
    );
    let mut far = network();
    (far.kind, far.vlan, far.vni) = (NetworkKind::Vxlan, None, Some(7000));
    let why = placed(&far, &nowhere).unwrap_err().to_string();
    assert!(why.contains("`n1` has no VLAN on switch `leaf1`"), "{why}");
    let mut local = LocalVlans::default();
    local.set(far.id, "leaf2", Ok(3500));
    assert!(placed(&far, &local).is_err(), "another switch's");
    local.set(far.id, "leaf1", Ok(3000));
    assert_eq!(placed(&far, &local).unwrap()[0].vlan, 3000);
    local.set(far.id, "leaf1", Err("it is full".into()));
    let why = placed(&far, &local).unwrap_err().to_string();
    assert_eq!(why, "it is full");
}

/// A bond over the switches of these ports; an empty name for a port without a known cable.
fn bond(switches: [&str; 2]) -> Result<Vec<Attachment>, Error> {
    let port = |(number, switch): (u8, &str)| NodePort {
        switch: (!switch.is_empty()).then(|| switch.to_owned()),
        switch_port: (!switch.is_empty()).then(|| format!("p{number}")),
        group: Some("bond0".into()),
        ..NodePort::bare(MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap())
    };
    let ports: Vec<_> = (1..).zip(switches).map(port).collect();
    let group = PortGroup {
        name: "bond0".into(),
        mode: GroupMode::ActiveBackup,
    };
    let wiring = wiring::declared("node1", (&ports, &[group]), None, &Switches::default());
    let far = NetworkRecord {
        kind: NetworkKind::Vxlan,
        vlan: None,
        vni: Some(7000),
        physical_network: None,
        ..network()
    };
    let mut local = LocalVlans::default();
    local.set(far.id, "leaf1", Ok(3000));
    let wanted = [Wanted {
        network: &far,
        port: None,
        mode: None,
    }];
    place(&wanted, &wiring, &local)
}

#[test]
fn a_bond_has_one_vlan_of_a_vxlan_network() {
    assert_eq!(bond(["leaf1", "leaf1"]).unwrap()[0].vlan, 3000);
    let why = bond(["leaf2", "leaf1"]).unwrap_err().to_string();
    assert!(
        why.contains("group `bond0` is on switches leaf1 and leaf2"),
        "{why}"
    );
    let why = bond(["leaf1", ""]).unwrap_err().to_string();
    assert!(why.contains("not every cable of group `bond0`"), "{why}");
}
