//! What a site offers: switches, networks for everybody, flavors and an image.

use std::net::Ipv4Addr;
use std::time::Duration;

use bessemer_client::Client;
use bessemer_core::lifecycle::HandOver;
use bessemer_core::network::NetworkKind;
use bessemer_core::subnet::AddressPool;
use bessemer_sim::switch::SimulatedSwitch;
use bessemer_wire::api::{
    FlavorCreate, ImageCreate, ImageStatus, KeyPairCreate, NetworkCreate, NetworkRequest,
    ServerCreate, SubnetCreate, SwitchCreate,
};
use serde_json::json;

use crate::image::image;
use crate::judge::{TENANTS, TUNNELED};
use crate::world::TRIES;

/// The network that all tenants may use.
pub(crate) const SHARED: &str = "tenants";

/// Another one, which has a VLAN of its own on each switch, and tunnels between them.
pub(crate) const OVERLAY: &str = "overlay";

/// Its VNI, which is in nobody's pool.
const OVERLAY_VNI: u32 = 4000;

/// The switches, each with the address of its tunnels in the order of their names.
pub(crate) const SWITCHES: [&str; 2] = ["leaf1", "leaf2"];

const PUBLIC_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example";

/// Where the tunnels of a switch end.
pub(crate) fn tunnel_address(switch: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, switch as u8 + 1)
}

/// Makes all of it.
pub(crate) async fn offer(api: &Client, switches: &[SimulatedSwitch]) {
    for (number, switch) in switches.iter().enumerate() {
        let request = json!({
            "name": SWITCHES[number], "driver": "ovsdb", "address": switch.url(),
            "tunnel_address": tunnel_address(number),
            "tunnel_vlans": format!("{}-{}", TUNNELED.start(), TUNNELED.end()),
        });
        let request: SwitchCreate = serde_json::from_value(request).unwrap();
        api.create_switch(&request).await.unwrap();
    }
    for (name, number) in [(SHARED, None), (OVERLAY, Some(OVERLAY_VNI))] {
        api.create_network(&network(name, number)).await.unwrap();
    }
    let key = KeyPairCreate {
        name: "me".into(),
        public_key: PUBLIC_KEY.into(),
    };
    api.create_key(&key).await.unwrap();
    flavors(api).await;
    image_of(api).await;
}

async fn flavors(api: &Client) {
    let hardware = json!({
        "architecture": "x86_64", "threads": 4, "memory_mib": 16384,
        "disks": [{"count": 1, "size_gib": 1}],
    });
    for (name, hand_over) in [
        ("kexec", HandOver::TryKexec),
        ("cycle", HandOver::PowerCycle),
    ] {
        let flavor = FlavorCreate {
            name: name.into(),
            hardware: Some(serde_json::from_value(hardware.clone()).unwrap()),
            from_node: None,
            standby: false,
            hand_over,
            root_disk_hint: None,
        };
        api.create_flavor(&flavor).await.unwrap();
    }
}

/// Brings the image in.
async fn image_of(api: &Client) {
    let (path, sha256) = image();
    let request = ImageCreate {
        name: "small".into(),
        source: Some(path.to_str().unwrap().into()),
        sha256: Some(sha256.into()),
        ..ImageCreate::default()
    };
    api.create_image(&request).await.unwrap();
    for _ in 0..TRIES {
        let image = api.image("small").await.unwrap();
        assert_ne!(image.status, ImageStatus::Failed, "{:?}", image.message);
        if image.status == ImageStatus::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the image does not get ready");
}

/// A network for everybody: a VXLAN network with this VNI, or else in the VLAN of all tenants.
fn network(name: &str, vni: Option<u32>) -> NetworkCreate {
    let third = if vni.is_some() { 101 } else { 100 };
    let address = |last| Ipv4Addr::new(192, 168, third, last).into();
    NetworkCreate {
        name: name.into(),
        kind: match vni {
            Some(_) => NetworkKind::Vxlan,
            None => NetworkKind::Vlan,
        },
        scope: None,
        project: None,
        vlan: vni.is_none().then_some(TENANTS),
        vni,
        mtu: None,
        physical_network: None,
        subnets: vec![SubnetCreate {
            cidr: format!("192.168.{third}.0/24").parse().unwrap(),
            gateway: Some(address(1)),
            dns: vec![],
            routes: vec![],
            pools: Some(vec![AddressPool {
                first: address(10),
                last: address(99),
            }]),
        }],
    }
}

/// An order of what the site offers, on this network.
pub(crate) fn order(name: &str, flavor: &str, network: &str) -> ServerCreate {
    ServerCreate {
        name: name.into(),
        flavor: flavor.into(),
        image: "small".into(),
        networks: vec![NetworkRequest {
            network: network.into(),
            addresses: vec![],
            port: None,
            mode: None,
        }],
        keys: vec!["me".into()],
        user_data: None,
    }
}
