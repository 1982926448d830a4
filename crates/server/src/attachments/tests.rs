//! What is only known here: the VLANs.

use bessemer_core::Timestamp;
use bessemer_core::id::NetworkId;
use bessemer_core::net::MacAddress;
use bessemer_core::network::NetworkScope;
use bessemer_core::port_plan::Carrier;
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

fn placed(network: &NetworkRecord) -> Result<Vec<Attachment>, Error> {
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
    place(&wanted, &wiring::declared("node1", &[port], &[], None))
}

#[test]
fn a_place_has_the_vlan_of_its_network() {
    let placed_on = placed(&network()).unwrap();
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
    let why = placed(&far).unwrap_err().to_string();
    assert_eq!(why, "network `n1` has no VLAN");
}
