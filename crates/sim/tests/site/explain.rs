//! Explaining nodes: the likely cause is the one that was planted.

use bessemer_core::lifecycle::Timing;
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::NodeExplanation;

use crate::harness::node::PASSWORD;
use crate::harness::{SimNode, Site, eager, problem, says};

async fn explain(site: &Site, node: &SimNode) -> NodeExplanation {
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let json = explained.json();
    assert!(!json.contains(PASSWORD), "{json}");
    explained.into_value()
}

async fn failed(site: &Site, node: &SimNode) -> NodeExplanation {
    site.wait_for_node(node, "it to fail and rest", |node| {
        node.state.came_from.is_some() && node.state.at_rest()
    })
    .await;
    explain(site, node).await
}

/// A site on which nothing is waited for for long.
async fn impatient() -> Site {
    let timing = Timing {
        bmc_deadline: 1,
        agent_boot_deadline: 1,
        os_boot_deadline: 1,
        os_boot_deadline_kexec: 1,
        expected_agent_boot: 0,
        ..eager()
    };
    Site::start_with(timing, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_works_is_explained_with_what_was_seen() {
    let (site, node) = Site::ready().await;
    let explained = explain(&site, &node).await;
    assert_eq!(explained.cause.name, "at_rest");
    assert_eq!(explained.provision_state, "available");
    let agent: Vec<_> = explained
        .agent
        .recent
        .iter()
        .map(|each| &each.what)
        .collect();
    let agent = format!("{agent:?}");
    says(&agent, &["an agent called", "erase", "inspect"]);
    assert!(explained.agent.last.is_some());
    let last = explained.bmc.last().unwrap();
    assert!(last.well, "{last:?}");
    says(&last.what, &["GET /redfish/v1/Systems/", "200"]);
    let refused = problem(site.api.explain_node("no-such").await);
    assert_eq!(refused.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_the_cause() {
    let site = impatient().await;
    let node = site.machine().await;
    let mut request = node.request();
    request.bmc.password = "wrong".into();
    site.api.create_node(&request).await.unwrap();
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "bmc_refuses");
    assert_eq!(explained.step.name(), "check_bmc");
    says(&explained.bmc.last().unwrap().what, &["401"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_bmc_is_the_cause() {
    let site = impatient().await;
    let node = site.machine().await;
    node.set_faults(Faults {
        refuse_connections: true,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "bmc_silent");
    assert_eq!(explained.power, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_does_nothing_is_the_cause() {
    let site = impatient().await;
    let node = site.machine().await;
    node.set_faults(Faults {
        ignore_power_commands: true,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "bmc_disobeys");
    assert_eq!(explained.step.name(), "power_on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_asks_for_an_address_is_the_cause() {
    let site = impatient().await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "no_dhcp");
    assert_eq!(explained.step.name(), "await_agent");
    says(&explained.cause.remedy, &["VLAN"]);
    assert!(explained.boot.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_system_is_the_cause() {
    let site = impatient().await;
    let node = site.available().await;
    site.offer(&node).await;
    node.host
        .faults
        .silent_os
        .store(9, std::sync::atomic::Ordering::SeqCst);
    site.order("one").await;
    let explained = failed(&site, &node).await;
    // It had nothing but its cloud-init to say it with.
    assert_eq!(explained.cause.name, "cloud_init_silent");
    assert_eq!(explained.phase.name(), "deploying");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_silent_although_it_has_our_unit_is_the_cause() {
    let site = impatient().await;
    let node = site.available().await;
    node.host
        .root_is_writable
        .store(true, std::sync::atomic::Ordering::SeqCst);
    site.offer(&node).await;
    node.host
        .faults
        .silent_os
        .store(9, std::sync::atomic::Ordering::SeqCst);
    site.order("one").await;
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "os_silent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_stopped_it_is_the_cause() {
    let site = Site::start().await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "inspect wait").await;
    site.api.abort_node(&node.name, "wrong rack").await.unwrap();
    let explained = failed(&site, &node).await;
    assert_eq!(explained.cause.name, "stopped");
    says(&explained.reason.summary, &["wrong rack"]);
    site.api.hold_node(&node.name, "new fans").await.unwrap();
    site.wait_for_state(&node, "held").await;
    assert_eq!(explain(&site, &node).await.cause.name, "held");
}
