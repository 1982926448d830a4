//! The life of a node and of the servers on it, when nothing goes wrong.

use std::net::Ipv4Addr;

use bessemer_sim::machine::{Machine, PowerState as Power};
use bessemer_wire::api::PowerState;
use serde_json::json;

use crate::harness::disk::{ConfigDrive, assert_erased, assert_has_image, soil};
use crate::harness::{PUBLIC_KEY, Site, order, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_becomes_a_system_that_calls_home_and_a_release_leaves_nothing() {
    let site = Site::start().await;
    let node = site.machine_with_tls().await;
    soil(node.disk());
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert_erased(node.disk());
    assert_eq!(node.machine.power_state().await, Power::Off);
    site.offer(&node).await;

    // Whatever is on the disk when it is written: zeros of the image are zeros afterwards.
    soil(node.disk());
    let boots = node.boots();
    let mut request = order("one");
    request.user_data = Some("#cloud-config\n# http://not.the.url/\n".into());
    let ordered = site.api.create_server(&request, "key").await.unwrap();
    assert_eq!(ordered.plan.posts, 1);
    let server = site.wait_for_active("one").await;
    assert_eq!(server.posts, 1);
    assert_eq!(node.boots() - boots, 1);
    assert_eq!(
        server.address,
        Some(Ipv4Addr::new(192, 168, 100, 10).into())
    );
    assert_has_image(node.disk());
    check_config_drive(&ConfigDrive::read(node.disk()), &server, &node.host.mac);

    site.release("one", &node).await;
    assert_erased(node.disk());
    let shown = site.node(&node).await;
    assert_eq!((shown.server, shown.state.deadline), (None, None));
    assert_eq!(node.machine.power_state().await, Power::Off);
}

fn check_config_drive(
    drive: &ConfigDrive,
    server: &bessemer_wire::api::Server,
    mac: &bessemer_core::net::MacAddress,
) {
    assert_eq!(drive.meta_data["hostname"], "one");
    assert_eq!(drive.meta_data["uuid"], json!(server.id));
    assert_eq!(drive.meta_data["public_keys"], json!({ "me": PUBLIC_KEY }));
    assert_eq!(
        drive.network_data,
        json!({
            "links": [{ "id": "nic0", "type": "phy", "ethernet_mac_address": mac, "mtu": 1500 }],
            "networks": [{ "id": "network0", "network_id": server.networks[0].network, "link": "nic0",
                "type": "ipv4", "ip_address": "192.168.100.10", "netmask": "255.255.255.0",
                "gateway": "192.168.100.1", "routes": [],
                "dns_nameservers": ["192.168.100.53"] }],
            "services": [{ "type": "dns", "address": "192.168.100.53" }],
        })
    );
    says(
        &drive.vendor_data.as_ref().unwrap()["cloud-init"],
        &["#!/bin/sh", "/phone-home/", &server.id.to_string()],
    );
    says(drive.user_data.as_ref().unwrap(), &["not.the.url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_from_tenant_to_tenant_and_each_finds_only_their_own() {
    let (site, node) = Site::ready().await;
    for name in ["first", "second"] {
        site.deploy(name).await;
        let drive = ConfigDrive::read(node.disk());
        assert_eq!(drive.meta_data["hostname"], name);
        site.release(name, &node).await;
    }
    let kinds: Vec<_> = site.events().await;
    let count = |kind: &str| kinds.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count("server.active"), count("server.deleted")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_node_is_not_sold_until_it_is_provided() {
    let (site, node) = Site::ready().await;
    site.api.hold_node(&node.name, "fan is loud").await.unwrap();
    site.wait_for_node(&node, "it to be held and at rest", |node| {
        node.provision_state == "held" && node.state.at_rest()
    })
    .await;
    let refused = problem(site.api.create_server(&order("one"), "key").await);
    says(&refused, &["No node of flavor metal is free", "1 held"]);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.deploy("one").await;
    let refused = problem(site.api.hold_node(&node.name, "fan is loud").await);
    assert_eq!(refused.status, 409);
    says(&refused, &["has a server", "delete the server first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_only_when_nothing_is_lost_by_it() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    let refused = problem(site.api.delete_node(&node.name, true).await);
    assert_eq!(refused.status, 409);
    says(&refused, &["has server", "delete the server first"]);
    site.release("one", &node).await;

    let other = site.machine().await;
    other.machine.set_stuck_in_firmware(true);
    site.api.create_node(&other.request()).await.unwrap();
    site.wait_for_state(&other, "inspect wait").await;
    let refused = problem(site.api.delete_node(&other.name, true).await);
    assert_eq!(refused.status, 409);
    says(&refused, &["node2", "inspecting", "hold it first"]);

    site.api.delete_node(&node.name, true).await.unwrap();
    assert!(site.api.node(&node.name).await.unwrap_err().is_not_found());
    // Nothing of it is left in the way of registering it again.
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_switches_only_nodes_at_rest() {
    let (site, node) = Site::ready().await;
    let boots = node.boots();
    site.api
        .set_power(&node.name, PowerState::On)
        .await
        .unwrap();
    assert_eq!(node.machine.power_state().await, Power::On);
    site.api
        .set_power(&node.name, PowerState::Off)
        .await
        .unwrap();
    assert_eq!(node.machine.power_state().await, Power::Off);
    assert_eq!(node.boots() - boots, 1);
    assert_eq!(site.node(&node).await.provision_state, "available");
    node.machine.set_stuck_in_firmware(true);
    site.order("one").await;
    site.wait_for_state(&node, "wait call-back").await;
    let refused = problem(site.api.set_power(&node.name, PowerState::Off).await);
    assert_eq!(refused.status, 409);
    says(&refused, &["deploying", "at rest"]);
}
