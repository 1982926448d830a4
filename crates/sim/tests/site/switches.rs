//! Sites whose switch ports are ours: a real Open vSwitch behind the real conductor. (Simulated agents
//! reach it over loopback, whatever their ports carry.)

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bessemer_core::lifecycle::{Step, Timing};
use bessemer_core::network::NetworkKind;
use bessemer_store::{Gate, When};
use bessemer_wire::api::{
    NetworkCreate, NetworkRequest, NodeCreate, NodePortCreate, ServerStatus, SwitchUpdate,
};

use self::vswitch::Vswitch;
use crate::harness::trap::panics_at;
use crate::harness::{SimNode, Site, order};

#[allow(dead_code, reason = "the driver's own tests use all of it")]
#[path = "../../../fabric/tests/ovsdb/vswitch.rs"]
pub(crate) mod vswitch;

/// A site with the switches behind these sockets, `leaf1` and so on, where ports are read every second;
/// and a node with a NIC on the port p1 of each.
async fn site(sockets: &[PathBuf], gate: Option<Gate>) -> (Site, SimNode) {
    let site = site_with(sockets, gate).await;
    let node = site.machine_with_two_nics().await;
    let request = on_p1(&node, sockets.len());
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    (site, node)
}

/// A site with the switches behind these sockets, `leaf1` and so on, where ports are read every second.
pub(crate) async fn site_with(sockets: &[PathBuf], gate: Option<Gate>) -> Site {
    let timing = Timing {
        retry_pause: 1,
        ..Timing::default()
    };
    site_with_timing(timing, sockets, gate).await
}

/// The same with this timing.
pub(crate) async fn site_with_timing(
    timing: Timing,
    sockets: &[PathBuf],
    gate: Option<Gate>,
) -> Site {
    let site = Site::start_as(timing, gate, |config| {
        config.port_check = 1;
        let provisioning = config.provisioning.as_mut().unwrap();
        provisioning.vlan = Some(10);
    })
    .await;
    for (index, socket) in sockets.iter().enumerate() {
        site.know_switch(&format!("leaf{}", index + 1), socket)
            .await;
    }
    site
}

/// The second NIC of the first machine.
pub(crate) const SECOND: &str = "52:54:00:52:00:01";

fn on_p1(node: &SimNode, switches: usize) -> NodeCreate {
    let mut request = node.request();
    let boots = request.ports[0].mac;
    let port = |number| {
        let mac = match number {
            1 => boots,
            _ => SECOND.parse().unwrap(),
        };
        NodePortCreate {
            switch: Some(format!("leaf{number}")),
            switch_port: Some("p1".into()),
            ..NodePortCreate::bare(mac)
        }
    };
    request.ports = (1..=switches).map(port).collect();
    request
}

fn vlan_of_p1(vswitch: &Vswitch) -> String {
    vswitch
        .vsctl(&["get", "port", "p1", "tag"])
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_moves_is_put_back_and_told() {
    let vswitch = Vswitch::start();
    let (site, node) = site(&[vswitch.socket()], None).await;
    assert_eq!(vlan_of_p1(&vswitch), "4094");
    vswitch.vsctl(&[
        "set",
        "port",
        "p1",
        "vlan_mode=trunk",
        "tag=[]",
        "trunks=7,8",
    ]);
    let told = site
        .wait("the drift to be told", async || {
            let mut events = site.events().await.into_iter();
            events.find(|event| event.kind == "node.ports_drifted")
        })
        .await;
    assert_eq!(vlan_of_p1(&vswitch), "4094");
    assert!(vswitch.flooded_from("p1").is_empty());
    assert!(told.message.contains("put back and read back"), "{told:?}");
    assert_eq!(
        told.data["before"][0]["carries"]["tagged"],
        serde_json::json!([7, 8])
    );
    assert_eq!(told.data["after"][0]["carries"]["vlan"], 4094);
    let history = site.api.node_history(&node.name, 100).await.unwrap();
    let reasons = history.iter().map(|entry| entry.state.reason.to_string());
    let drift = reasons.filter(|reason| reason.contains("switch ports were not as they should be"));
    let drift: Vec<_> = drift.collect();
    assert_eq!(drift.len(), 1);
    assert!(drift[0].contains("parked in VLAN 4094") && drift[0].contains("VLANs 7, 8"));
    // It is put back once, and the node stays where it was.
    assert_eq!(site.node(&node).await.provision_state, "available");
}

/// What reads ports in turn is started again, and finds what it would have found.
#[tokio::test(flavor = "multi_thread")]
async fn the_watch_over_switch_ports_goes_on_after_a_panic() {
    let vswitch = Vswitch::start();
    let broken = Arc::new(AtomicBool::new(false));
    let gate = panics_at("ports_to_read", &broken);
    let (site, _node) = site(&[vswitch.socket()], Some(gate)).await;
    broken.store(true, Ordering::SeqCst);
    site.wait_for_down("the watch over switch ports").await;
    vswitch.vsctl(&["set", "port", "p1", "tag=7"]);
    broken.store(false, Ordering::SeqCst);
    let put_back = async || (vlan_of_p1(&vswitch) == "4094").then_some(());
    site.wait("the port to be put back", put_back).await;
    site.wait_for_none_down().await;
    assert!(
        site.server().site.supervisor.panics() > 0,
        "none is counted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_away_delays_a_hand_over_and_says_so() {
    let vswitch = Arc::new(Mutex::new(Vswitch::start()));
    let second = Vswitch::start();
    // An order changes ports twice, and says each time that it is about to and that it has: the third
    // of these is just before the tenant's network.
    let left = Arc::new(AtomicUsize::new(0));
    let (switch, countdown) = (vswitch.clone(), left.clone());
    let gate: Gate = Arc::new(move |point| {
        if point.name == "expect_ports" && point.when == When::Before {
            let before = countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            if before == Ok(1) {
                switch.lock().unwrap().stop_database();
            }
        }
        true
    });
    let sockets = [vswitch.lock().unwrap().socket(), second.socket()];
    let (site, node) = site(&sockets, Some(gate)).await;
    site.offer(&node).await;
    site.api.create_network(&storage()).await.unwrap();
    left.store(3, Ordering::SeqCst);
    let mut both = order("web");
    both.networks.push(NetworkRequest {
        network: "storage".into(),
        addresses: vec![],
        port: Some(SECOND.into()),
        mode: None,
    });
    site.api.create_server(&both, "web").await.unwrap();
    let waiting = site
        .wait_for_node(&node, "the hand-over to wait for the switch", |node| {
            let reason = node.state.reason.to_string();
            node.state.step == Step::ConnectTenant && reason.contains("leaf1 cannot be reached")
        })
        .await;
    assert!(waiting.state.reason.next.is_some());
    let server = site.api.server("web").await.unwrap();
    assert_ne!(server.status, ServerStatus::Active, "handed over blindly");
    // The other switch could have moved its port, but our agent still runs.
    assert_ne!(
        vlan_of_p1(&second),
        "200",
        "our agent in a tenant's network"
    );
    vswitch.lock().unwrap().start_database();
    site.wait_for_active("web").await;
    assert_eq!(vlan_of_p1(&vswitch.lock().unwrap()), "100");
    assert_eq!(vlan_of_p1(&second), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_a_switch_counts_at_once() {
    let vswitch = Vswitch::start();
    let (site, node) = site(&[vswitch.socket()], None).await;
    let ports = site.api.switch_ports("leaf1", true).await.unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!((&*ports[0].port, &*ports[0].node_name), ("p1", &*node.name));
    let state = ports[0].state.as_ref().expect("it was read");
    assert!(state.carries.to_string().contains("4094"), "{state:?}");
    assert!(ports[0].wanted.as_ref().unwrap().contains("4094"));
    assert_eq!(ports[0].differences, Vec::<String>::new());

    let parked = SwitchUpdate {
        parked_vlan: Some(Some(4000)),
        ..SwitchUpdate::default()
    };
    site.api.update_switch("leaf1", &parked).await.unwrap();
    let moved = async || (vlan_of_p1(&vswitch) == "4000").then_some(());
    site.wait("the port to be where parked ports are now", moved)
        .await;

    let told = async |kind: &str| {
        let told = async || {
            let mut events = site.events().await.into_iter();
            events.find(|event| event.kind == kind)
        };
        site.wait(kind, told).await
    };
    let address = |address: String| SwitchUpdate {
        address: Some(address),
        ..SwitchUpdate::default()
    };
    let nowhere = address("unix:/nowhere/db.sock".into());
    site.api.update_switch("leaf1", &nowhere).await.unwrap();
    let failing = told("switch.failing").await;
    assert!(failing.message.contains("/nowhere/db.sock"), "{failing:?}");
    let shown = site.api.switch("leaf1").await.unwrap();
    assert!(shown.health.failing && shown.health.error.is_some());
    let back = address(format!("unix:{}", vswitch.socket().display()));
    site.api.update_switch("leaf1", &back).await.unwrap();
    told("switch.recovered").await;
    assert!(!site.api.switch("leaf1").await.unwrap().health.failing);
}

pub(crate) fn storage() -> NetworkCreate {
    NetworkCreate {
        name: "storage".into(),
        kind: NetworkKind::Vlan,
        scope: None,
        project: None,
        vlan: Some(200),
        vni: None,
        mtu: None,
        physical_network: None,
        subnets: vec![],
    }
}
