//! Which port carries what, and what cannot be carried.

use bessemer_core::Timestamp;
use bessemer_core::id::NetworkId;
use bessemer_core::network::NetworkScope;
use uuid::Uuid;

use super::*;

fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

/// A network of VLAN 100 + `number` and this MTU.
fn network(number: u8, mtu: u16) -> NetworkRecord {
    NetworkRecord {
        id: NetworkId(Uuid::from_u128(number.into())),
        name: format!("n{number}"),
        kind: NetworkKind::Vlan,
        scope: NetworkScope::Public,
        project: None,
        vlan: Some(100 + u16::from(number)),
        vni: None,
        mtu,
        created_at: Timestamp::UNIX_EPOCH,
        servers: 0,
        subnets: vec![],
    }
}

/// Ports 1 and 2; the first one boots.
fn ports() -> [NodePort; 2] {
    [1, 2].map(|number| NodePort {
        mac: mac(number),
        switch: None,
        switch_port: None,
    })
}

/// A network, the port that is asked for, and the mode.
type Asked<'a> = (u8, u16, Option<&'a str>, Option<AttachmentMode>);

/// What carries the networks: port, VLAN and mode of each, or why they cannot be.
fn placed(asked: &[Asked<'_>]) -> Result<Vec<(u8, u16, AttachmentMode)>, String> {
    let networks = asked.iter().map(|(number, mtu, ..)| network(*number, *mtu));
    let networks: Vec<_> = networks.collect();
    let wanted: Vec<_> = asked
        .iter()
        .zip(&networks)
        .map(|((_, _, port, mode), network)| Wanted {
            network,
            port: *port,
            mode: *mode,
        })
        .collect();
    let placed = place(&wanted, "node1", &ports()).map_err(|error| error.to_string())?;
    let told = placed.into_iter().map(|each| {
        let Carrier::Port(port) = each.carrier else {
            panic!("{:?}", each.carrier);
        };
        (port.octets()[5], each.vlan, each.mode)
    });
    Ok(told.collect())
}

#[test]
fn the_first_network_of_a_port_is_native_and_the_others_are_tagged() {
    use AttachmentMode::{Native, Tagged};
    let second = "52:54:00:00:00:02";
    assert_eq!(
        placed(&[(1, 1500, None, None)]).unwrap(),
        [(1, 101, Native)]
    );
    assert_eq!(
        placed(&[
            (1, 1500, None, None),
            (2, 1500, None, None),
            (3, 1500, Some(second), None),
            (4, 1500, Some(second), None),
        ])
        .unwrap(),
        [
            (1, 101, Native),
            (1, 102, Tagged),
            (2, 103, Native),
            (2, 104, Tagged)
        ]
    );
    // What is said goes before what is usual, wherever it is said.
    assert_eq!(
        placed(&[(1, 1500, None, None), (2, 1500, None, Some(Native))]).unwrap(),
        [(1, 101, Tagged), (1, 102, Native)]
    );
    assert_eq!(
        placed(&[(1, 1500, None, Some(Tagged)), (2, 1500, None, Some(Tagged))]).unwrap(),
        [(1, 101, Tagged), (1, 102, Tagged)]
    );
    assert_eq!(
        placed(&[(1, 1500, None, Some(Tagged)), (2, 1500, None, None)]).unwrap(),
        [(1, 101, Tagged), (1, 102, Native)]
    );
}

#[test]
fn what_cannot_be_carried_is_told() {
    use AttachmentMode::{Native, Tagged};
    for (asked, words) in [
        (
            vec![(1, 1500, Some("52:54:00:00:00:09"), None)],
            "no port `52:54:00:00:00:09`, but 52:54:00:00:00:01, 52:54:00:00:00:02",
        ),
        (
            vec![(1, 1500, None, Some(Native)), (2, 1500, None, Some(Native))],
            "`n1` and `n2` are both native",
        ),
        (
            vec![(1, 1500, None, None), (2, 9000, None, None)],
            "`n2` has an MTU of 9000",
        ),
    ] {
        let why = placed(&asked).unwrap_err();
        assert!(why.contains(words), "{why}");
    }
    // Side by side they are no matter to each other.
    placed(&[
        (1, 1500, None, None),
        (2, 9000, Some("52:54:00:00:00:02"), None),
    ])
    .unwrap();
    placed(&[(1, 1500, None, Some(Tagged)), (2, 9000, None, Some(Tagged))]).unwrap();

    let mut far = network(1, 1500);
    (far.kind, far.vlan, far.vni) = (NetworkKind::Vxlan, None, Some(7000));
    let wanted = [Wanted {
        network: &far,
        port: None,
        mode: None,
    }];
    let why = place(&wanted, "node1", &ports()).unwrap_err().to_string();
    assert_eq!(why, "network `n1` has no VLAN");
}
