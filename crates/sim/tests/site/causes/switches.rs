//! Switches that are away, refuse, forget or cannot, and cables that lead elsewhere.

use bessemer_core::lifecycle::Timing;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::GroupMode;
use bessemer_tls::SelfSigned;
use bessemer_wire::api::{NodePortCreate, PortGroupCreate, SwitchCreate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::expect_failed;
use crate::harness::{Site, eager};
use crate::switches::site_with_timing;
use crate::switches::vswitch::Vswitch;

/// A switch whose database answers whatever it is asked that this is not allowed; where it is.
async fn unwilling() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            // The driver's first request has the number 1 on every connection.
            let answer = br#"{"id":1,"error":"not allowed","result":null}"#;
            if stream
                .read(&mut request)
                .await
                .is_ok_and(|length| length > 0)
            {
                // A driver that has hung up needs no answer.
                let _ = stream.write_all(answer).await;
            }
        }
    });
    format!("tcp:127.0.0.1:{}", address.port())
}

/// A certificate of nobody in particular, and its key.
fn certificate(site: &Site) -> (String, String) {
    let files = [site.path("switch.pem"), site.path("switch-key.pem")];
    SelfSigned::load_or_create(&files[0], &files[1], &["nobody".into()]).unwrap();
    let [certificate, key] = files.map(|file| std::fs::read_to_string(file).unwrap());
    (certificate, key)
}

fn port(mac: MacAddress, switch: &str, port: &str) -> NodePortCreate {
    NodePortCreate {
        switch: Some(switch.into()),
        switch_port: Some(port.into()),
        ..NodePortCreate::bare(mac)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_switches_and_cables() {
    let vswitch = Vswitch::start();
    // A second bridge, whose port cannot be bonded with one of the first.
    let words = [
        "add-br",
        "br1",
        "--",
        "set",
        "bridge",
        "br1",
        "datapath_type=dummy",
    ];
    vswitch.vsctl(&words);
    let words = [
        "add-port",
        "br1",
        "q1",
        "--",
        "set",
        "interface",
        "q1",
        "type=dummy",
    ];
    vswitch.vsctl(&words);
    let timing = Timing {
        bmc_deadline: 3,
        ..eager()
    };
    let site = site_with_timing(timing, &[vswitch.socket()], None).await;
    let unwilling = unwilling().await;
    // It speaks TLS, and its certificate is not the authority's.
    let stranger = site.machine_with_tls().await;
    let another = stranger.address();
    let (certificate, key) = certificate(&site);
    for switch in [
        serde_json::json!({ "name": "away", "driver": "ovsdb", "address": "unix:/nowhere/db.sock" }),
        serde_json::json!({ "name": "unwilling", "driver": "ovsdb", "address": unwilling }),
        serde_json::json!({ "name": "distrusted", "driver": "ovsdb", "address": format!("ssl:{another}"),
            "authority": certificate, "certificate": certificate, "key": key }),
    ] {
        let request: SwitchCreate = serde_json::from_value(switch).unwrap();
        site.api.create_switch(&request).await.unwrap();
    }
    let mut nodes = Vec::new();
    for (code, switch, name) in [
        ("switch-unreachable", "away", "p1"),
        ("switch-refuses", "unwilling", "p1"),
        ("switch-settings-wrong", "distrusted", "p1"),
        ("wrong-cabling", "leaf1", "p99"),
    ] {
        let node = site.machine().await;
        let mut request = node.request();
        request.ports = vec![port(node.host.mac, switch, name)];
        site.api.create_node(&request).await.unwrap();
        nodes.push((code, node));
    }
    let bonded = site.machine_with_two_nics().await;
    let second = bonded.host.inventory.nics[1].mac;
    let mut request = bonded.request();
    request.ports = vec![
        port(bonded.host.mac, "leaf1", "p1"),
        port(second, "leaf1", "q1"),
    ];
    request.port_groups = vec![PortGroupCreate {
        name: "bond0".into(),
        mode: GroupMode::Lacp,
        members: vec![bonded.host.mac, second],
    }];
    site.api.create_node(&request).await.unwrap();
    nodes.push(("switch-cannot-carry", bonded));
    for (code, node) in &nodes {
        let explained = expect_failed(&site, node, code).await;
        // What the switch answered last is there to be read.
        let last = explained.switch.last().expect("an answer of the switch");
        assert!(!last.well, "{last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_does_not_do_what_is_in_its_database() {
    let mut vswitch = Vswitch::start();
    let timing = Timing {
        bmc_deadline: 3,
        ..eager()
    };
    let site = site_with_timing(timing, &[vswitch.socket()], None).await;
    vswitch.stop_daemon();
    let node = site.machine().await;
    let mut request = node.request();
    request.ports = vec![port(node.host.mac, "leaf1", "p1")];
    site.api.create_node(&request).await.unwrap();
    expect_failed(&site, &node, "switch-forgets").await;
}
