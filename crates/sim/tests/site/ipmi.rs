//! Nodes whose controllers are spoken to by IPMI, and systems that can say only on their serial
//! console that they are up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bessemer_core::instance::serial_marker;
use bessemer_core::lifecycle::{Step, Timing};
use bessemer_sim::machine::{Machine, PowerState as Power};
use bessemer_wire::api::{BmcTrust, BmcUpdate, IpmiKey, NodeUpdate};

use crate::harness::disk::{assert_erased, assert_has_image, soil};
use crate::harness::node::USERNAME;
use crate::harness::{SimNode, Site, eager, problem, says};

/// A site with one node for rent that is known by its IPMI address only.
async fn ready_by_ipmi(timing: Timing) -> (Site, SimNode) {
    let site = Site::start_with(timing, None).await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    site.api.create_node(&node.request_by_ipmi()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    (site, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lives_its_whole_life_by_ipmi_alone() {
    let (site, node) = ready_by_ipmi(eager()).await;
    assert_eq!(node.machine.power_state().await, Power::Off);
    let shown = site.node(&node).await;
    says(&shown.bmc.url, &["ipmi://"]);
    soil(node.disk());
    let boots = node.boots();
    site.deploy("one").await;
    assert_has_image(node.disk());
    assert_eq!(node.boots() - boots, 1);
    site.release("one", &node).await;
    assert_erased(node.disk());
    assert_eq!(node.machine.power_state().await, Power::Off);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ipmi_password_is_named() {
    let site = Site::start().await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    let mut request = node.request_by_ipmi();
    request.bmc.password = "wrong".into();
    site.api.create_node(&request).await.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be given up", |node| {
            node.provision_state == "enroll" && node.state.at_rest()
        })
        .await;
    let reason = serde_json::to_string(&shown.state.reason).unwrap();
    says(reason, &["refuses the password", "operator", "ipmi://"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_only_look_is_named_with_the_level_that_is_needed() {
    let site = Site::start().await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    node.set_ipmi(|settings| settings.privilege = 2);
    let created = site.api.create_node(&node.request_by_ipmi()).await;
    created.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be given up", |node| {
            node.provision_state == "enroll" && node.state.at_rest()
        })
        .await;
    let reason = serde_json::to_string(&shown.state.reason).unwrap();
    let needed = "give the account the operator or administrator role";
    says(reason, &["does not allow user", USERNAME, needed]);
    let explained = site.api.explain_node(&node.name).await.unwrap();
    assert_eq!(
        explained.into_value().standing.cause.code,
        "bmc-account-too-weak"
    );

    // An operator's account is good for all of it.
    node.set_ipmi(|settings| settings.privilege = 3);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_key_is_given_when_it_is_registered_or_later() {
    const KEY: &str = "0x00a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3";
    let site = Site::start().await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    let bytes = |text: &str| -> Vec<u8> {
        let pairs = text.as_bytes()[2..].chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    node.set_ipmi(|settings| settings.key = Some(bytes(KEY)));
    let mut request = node.request_by_ipmi();
    for wrong in ["no hexadecimal", "abc", "0000"] {
        request.bmc.ipmi_key = Some(IpmiKey(wrong.into()));
        let refused = problem(site.api.create_node(&request).await);
        assert_eq!(refused.field.as_deref(), Some("bmc.ipmi_key"));
    }
    request.bmc.ipmi_key = None;
    site.api.create_node(&request).await.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be given up", |node| {
            node.provision_state == "enroll" && node.state.at_rest()
        })
        .await;
    let reason = serde_json::to_string(&shown.state.reason).unwrap();
    says(reason, &["BMC key (K_g)"]);
    assert!(!shown.bmc.has_ipmi_key);

    let change = NodeUpdate {
        bmc: Some(BmcUpdate {
            ipmi_key: Some(Some(IpmiKey(KEY.into()))),
            ..BmcUpdate::default()
        }),
        ..NodeUpdate::default()
    };
    let changed = site.api.update_node(&node.name, &change).await.unwrap();
    assert!(!changed.json().contains(&KEY[2..]), "the key is told");
    assert!(changed.into_value().bmc.has_ipmi_key);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ipmi_has_no_room_for_is_refused_at_the_door() {
    let site = Site::start().await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    let mut request = node.request_by_ipmi();
    request.bmc.password = "x".repeat(21);
    let refused = problem(site.api.create_node(&request).await);
    assert_eq!(refused.field.as_deref(), Some("bmc.password"));
    let mut request = node.request_by_ipmi();
    request.bmc.trust = BmcTrust::Pinned("ab".repeat(32));
    let refused = problem(site.api.create_node(&request).await);
    assert_eq!(refused.field.as_deref(), Some("bmc.trust.pinned"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_cannot_call_home_is_up_by_its_serial_console() {
    let (site, node) = ready_by_ipmi(eager()).await;
    node.host.faults.no_way_home.store(true, Ordering::SeqCst);
    let server = site.deploy("one").await;
    assert_eq!(server.posts, 1);
    // The console has been given back, and what was read of it is kept for people.
    let serial = node.machine.serial();
    site.wait("the console to be given back", async || {
        (!serial.write("anybody?")).then_some(())
    })
    .await;
    let id = site.node(&node).await.id;
    let seen = site.server().site.sightings.seen(id);
    // Who reads it here cannot say it there.
    let tail = seen.console_of(Some(server.id)).join("\n");
    says(tail, &["bessemer-up-***"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_of_a_redfish_controller_is_found_beside_it() {
    let site = Site::start().await;
    let mut node = site.machine_with_tls().await;
    node.speak_ipmi(true).await;
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    node.host.faults.no_way_home.store(true, Ordering::SeqCst);
    site.deploy("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_old_markers_are_ignored_and_noise_is_borne() {
    let (site, node) = ready_by_ipmi(eager()).await;
    node.host.faults.silent_os.store(1, Ordering::SeqCst);
    let ordered = site.order("one").await;
    let awaits = site
        .wait_for_node(&node, "its system to be started", |node| {
            node.state.step == Step::AwaitOs
        })
        .await;
    let serial = node.machine.serial();
    site.wait("the console to be listened to", async || {
        serial.write("\r\nlogin: ").then_some(())
    })
    .await;
    let generation = awaits.state.generation;
    let keyring = &site.server().site.keyring;
    let right = serial_marker(&keyring.serial_marker_token(ordered.id, generation));
    let before = bessemer_core::id::Generation(generation.0 - 1);
    let old = serial_marker(&keyring.serial_marker_token(ordered.id, before));
    let over_http = serial_marker(&keyring.phone_home_token(ordered.id, generation));
    let forged = serial_marker(&"0".repeat(32));
    for wrong in [
        &old,
        &over_http,
        &forged,
        &right[..right.len() - 1].to_owned(),
    ] {
        serial.write(format!("\r\n{wrong}\r\n"));
    }
    // All of it has been heard once something that was said after it has been.
    serial.write("\r\nthat was all\r\n");
    let heard = || {
        let seen = site.server().site.sightings.seen(awaits.id);
        seen.console_of(Some(ordered.id))
    };
    site.wait("it to be heard", async || {
        heard()
            .iter()
            .any(|line| line == "that was all")
            .then_some(())
    })
    .await;
    let server = site.api.server("one").await.unwrap();
    assert_eq!(server.active_at, None);
    assert_eq!(site.node(&node).await.state.step, Step::AwaitOs);

    // The right one, in pieces, coloured, after binary noise.
    let (first, second) = right.split_at(20);
    serial.write(vec![0xff; 300]);
    serial.write(format!("\r\n\x1b[1;31m{first}"));
    serial.write(format!("\x1b[0m{second}\r\n"));
    site.wait_for_active("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_is_lost_is_opened_again_also_by_the_next_server() {
    let (mut site, mut node) = ready_by_ipmi(eager()).await;
    node.host.faults.silent_os.store(1, Ordering::SeqCst);
    let ordered = site.order("one").await;
    let awaits = site
        .wait_for_node(&node, "its system to be started", |node| {
            node.state.step == Step::AwaitOs
        })
        .await;
    let serial = node.machine.serial();
    let listened = async || serial.write("\r\nhello\r\n").then_some(());
    site.wait("the console to be listened to", listened).await;
    node.restart_ipmi().await;
    site.kill().await;
    site.start_again(None).await;
    site.wait("the console to be listened to again", listened)
        .await;
    let keyring = &site.server().site.keyring;
    let token = keyring.serial_marker_token(ordered.id, awaits.state.generation);
    let marker = serial_marker(&token);
    let marking = async {
        loop {
            serial.write(format!("\r\n{marker}\r\n"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = site.wait_for_active("one") => {}
        () = marking => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redfish_controller_without_a_console_is_not_asked_for_one() {
    let site = Site::start().await;
    let mut node = site.machine_with_tls().await;
    node.speak_ipmi(true).await;
    // It says that it carries none, although somebody answers there.
    node.set_ipmi(|settings| settings.is_served = false);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    node.host.faults.silent_os.store(1, Ordering::SeqCst);
    let ordered = site.order("one").await;
    let awaits = site
        .wait_for_node(&node, "its system to be started", |node| {
            node.state.step == Step::AwaitOs
        })
        .await;
    assert_eq!(awaits.boot_abilities.unwrap().serial_over_lan, Some(false));
    let store = &site.server().site.store;
    let now = site.server().site.now();
    let generation = awaits.state.generation;
    assert!(store.os_up(ordered.id, generation, now).await.unwrap());
    site.server().site.bell.ring();
    site.wait_for_active("one").await;
    assert!(
        !node.machine.serial().write("anybody?"),
        "it was listened to"
    );
    let seen = site.server().site.sightings.seen(awaits.id);
    assert!(seen.console.is_none());
}
