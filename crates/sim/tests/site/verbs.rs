//! What people do with nodes and servers in the course of their lives: rebuilding, switching,
//! stopping, retiring.

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::{Cleanliness, Timing};
use bessemer_sim::machine::{BootMode, Machine, MachineEvent, PowerState as Power};
use bessemer_wire::api::{
    NodeCreate, PowerSeen, PowerVerb, RequestStatus, ServerPower, ServerPowerRequest,
    ServerRebuild, ServerStatus,
};
use tokio::task::JoinHandle;

use crate::harness::disk::{ConfigDrive, assert_erased, assert_has_image};
use crate::harness::image::small;
use crate::harness::{SimNode, Site, eager, order, problem, says};

fn anew(image: Option<&str>) -> ServerRebuild {
    ServerRebuild {
        image: image.map(str::to_owned),
        ..ServerRebuild::default()
    }
}

/// The URL that the server's system would call home at.
fn home(drive: &ConfigDrive) -> String {
    let script = drive.vendor_data.as_ref().unwrap()["cloud-init"]
        .as_str()
        .unwrap();
    let url = script.split("urls='").nth(1).unwrap();
    url.split('\'').next().unwrap().to_owned()
}

async fn calls(url: &str) -> u16 {
    let trust = bessemer_tls::Trust::InsecureNoVerification;
    let tls = bessemer_tls::client_config(&trust).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap();
    client.post(url).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_server_keeps_its_node_and_address_and_gets_what_was_asked_for() {
    let (site, node) = Site::ready().await;
    let mut other = small().to_vec();
    other[3 << 20] ^= 0xff;
    site.import("other", &other).await;
    let server = site.deploy("one").await;
    let before = home(&ConfigDrive::read(node.disk()));
    let boots = node.boots();
    let commands = node.host.carried_out().len();

    let plan = site.api.plan_rebuild("one", &anew(Some("other"))).await;
    let plan = plan.unwrap();
    assert_eq!((plan.plan.posts, plan.disk.name.as_str()), (1, "nvme0n1"));
    let begun = site
        .api
        .rebuild_server("one", &anew(Some("other")), "key")
        .await;
    assert_eq!(begun.unwrap().status, ServerStatus::Building);
    let rebuilt = site.wait_for_active("one").await;
    assert_eq!((rebuilt.id, rebuilt.node), (server.id, server.node));
    assert_eq!(rebuilt.address, server.address);
    assert_eq!((rebuilt.posts, node.boots() - boots), (1, 1));
    let steps = node.steps_since(commands);
    let erased = steps.iter().any(|(_, step)| step == "erase");
    assert!(!erased, "the same tenant needs no erasing: {steps:?}");
    let disk = std::fs::read(node.disk()).unwrap();
    assert_eq!(disk[3 << 20], other[3 << 20]);

    // What the system before knew opens nothing any more.
    let after = home(&ConfigDrive::read(node.disk()));
    assert_ne!(before, after);
    assert_eq!(calls(&before).await, 404);
    site.release("one", &node).await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_deployment_failed_is_rebuilt() {
    let timing = Timing {
        agent_boot_deadline: 1,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    node.machine.set_stuck_in_firmware(true);
    site.order("one").await;
    site.wait_for_state(&node, "deploy failed").await;
    site.wait_for_node(&node, "it to be at rest", |node| node.state.at_rest())
        .await;
    let failed = site.api.server("one").await.unwrap();
    assert_eq!(failed.status, ServerStatus::Error);
    says(&failed.reason, &["did not call", "rebuild"]);
    node.machine.set_stuck_in_firmware(false);
    let begun = site.api.rebuild_server("one", &anew(None), "key").await;
    begun.unwrap();
    site.wait_for_active("one").await;
    assert_has_image(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_cannot_be_is_refused_before_anything_happens() {
    let (site, node) = Site::ready().await;
    let huge = crate::harness::image::large(9);
    site.import("huge", &huge).await;
    site.order("one").await;
    let refused = problem(site.api.rebuild_server("one", &anew(None), "a").await);
    says(&refused, &["is being built"]);
    site.wait_for_active("one").await;
    let boots = node.boots();
    for (image, words) in [("huge", "nvme0n1"), ("no-such", "`no-such`")] {
        let asked = site
            .api
            .rebuild_server("one", &anew(Some(image)), image)
            .await;
        let refused = problem(asked);
        assert_eq!(
            (refused.status, refused.field.as_deref()),
            (422, Some("image"))
        );
        says(&refused, &[words]);
    }
    assert_eq!(node.boots(), boots);
    let server = site.api.server("one").await.unwrap();
    assert_eq!(server.status, ServerStatus::Active);
}

/// A system that shuts down when it is asked to.
fn obedient(node: &SimNode) -> JoinHandle<()> {
    let (machine, mut events) = (node.machine.clone(), node.machine.events());
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if event == MachineEvent::ShutdownRequested {
                machine.power_off_from_within();
            }
        }
    })
}

/// Asks for `power` and waits for what comes of it.
async fn switch(site: &Site, power: PowerVerb, force: bool) -> ServerPower {
    let request = ServerPowerRequest {
        power,
        force,
        shut_down_seconds: Some(10),
    };
    let key = uuid::Uuid::new_v4().to_string();
    let asked = site.api.switch_server("one", &request, &key).await;
    let asked = asked.unwrap().request.clone().unwrap();
    site.wait("the server to be switched", async || {
        let power = site.api.server_power("one").await.unwrap();
        let seen = power.request.as_ref().unwrap();
        assert_eq!(seen.id, asked.id);
        (seen.status != RequestStatus::Pending).then(|| power.into_value())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_switches_a_server_and_its_own_disk_boots() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    let system = obedient(&node);
    let agents = node.host.boots().len();

    let off = switch(&site, PowerVerb::Off, false).await;
    assert_eq!(off.power, Some(PowerSeen::Off));
    assert_eq!(node.machine.power_state().await, Power::Off);
    let on = switch(&site, PowerVerb::On, false).await;
    assert_eq!(on.power, Some(PowerSeen::On));
    let boots = node.boots();
    for force in [false, true] {
        let restarted = switch(&site, PowerVerb::Restart, force).await;
        let request = restarted.request.unwrap();
        assert_eq!(
            (request.status, request.force),
            (RequestStatus::Done, force)
        );
    }
    assert_eq!(node.boots(), boots + 2);
    assert_eq!(node.host.boots().len(), agents, "it booted the agent");
    assert!(site.offered(&node).await.is_none());
    assert_eq!(site.node(&node).await.provision_state, "active");

    let told: Vec<_> = site.events().await;
    let told: Vec<_> = told
        .iter()
        .filter(|event| event.kind == "server.power")
        .map(|event| event.message.as_str())
        .collect();
    assert_eq!(told.len(), 8, "{told:#?}");
    says(told[0], &["power off is asked for by `admin`"]);
    says(told[1], &["server `one` is off"]);
    system.abort();
}

/// A machine that was enrolled as a PC BIOS, and boots the agent as UEFI as its operator decided:
/// what is written then is for UEFI.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_the_disk_as_the_agent_was_started() {
    let site = Site::start().await;
    let node = site.machine().await;
    node.machine.set_boot_mode(BootMode::Legacy).await.unwrap();
    let request = NodeCreate {
        boot_method: Some(BootMethod::UefiHttp),
        ..node.request()
    };
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    site.deploy("one").await;
    switch(&site, PowerVerb::Restart, true).await;
    assert_eq!(node.machine.boot_mode(), BootMode::Uefi);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_does_not_shut_down_runs_on_until_it_is_forced() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    let request = ServerPowerRequest {
        power: PowerVerb::Off,
        force: false,
        shut_down_seconds: Some(600),
    };
    site.api
        .switch_server("one", &request, "soft")
        .await
        .unwrap();
    let refused = problem(site.api.switch_server("one", &request, "again").await);
    says(&refused, &["still being carried out", "force"]);
    assert_eq!(node.machine.power_state().await, Power::On);
    // Force does not wait for the ten minutes.
    let off = switch(&site, PowerVerb::Off, true).await;
    assert_eq!(off.power, Some(PowerSeen::Off));
    assert_eq!(node.machine.power_state().await, Power::Off);
    switch(&site, PowerVerb::On, false).await;

    let refused = switch(&site, PowerVerb::Off, false).await;
    assert_eq!(refused.power, Some(PowerSeen::On));
    let request = refused.request.unwrap();
    assert_eq!(request.status, RequestStatus::Failed);
    says(
        request.message.unwrap(),
        &["did not shut down within 10 s", "force"],
    );
    let mut told = site.events().await.into_iter();
    let told = told.rfind(|event| event.kind == "server.power");
    assert_eq!(told.unwrap().data["cause"]["code"], "shutdown-ignored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_stopped_waits_for_its_tenant() {
    let (site, node) = Site::ready().await;
    node.machine.set_stuck_in_firmware(true);
    site.order("one").await;
    site.wait_for_state(&node, "wait call-back").await;
    let refused = problem(site.api.hold_node(&node.name, "new fans").await);
    says(&refused, &["delete the server first"]);
    site.api.abort_node(&node.name, "wrong rack").await.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be stopped and at rest", |node| {
            node.provision_state == "deploy failed" && node.state.at_rest()
        })
        .await;
    says(
        &shown.state.reason,
        &["stopped by an operator", "wrong rack"],
    );
    assert_eq!(node.machine.power_state().await, Power::Off);
    assert!(site.offered(&node).await.is_none());
    let server = site.api.server("one").await.unwrap();
    assert_eq!(server.status, ServerStatus::Error);
    node.machine.set_stuck_in_firmware(false);
    site.api
        .rebuild_server("one", &anew(None), "key")
        .await
        .unwrap();
    site.wait_for_active("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaning_that_is_stopped_leaves_nothing_for_rent() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    node.machine.set_stuck_in_firmware(true);
    site.api.delete_server("one").await.unwrap();
    site.wait_for_state(&node, "clean wait").await;
    site.api.abort_node(&node.name, "wrong rack").await.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be stopped and at rest", |node| {
            node.provision_state == "clean failed" && node.state.at_rest()
        })
        .await;
    assert_eq!(shown.state.cleanliness, Cleanliness::Dirty);
    let refused = problem(site.api.create_server(&order("two"), "two").await);
    says(&refused, &["No node of flavor metal is free"]);
    node.machine.set_stuck_in_firmware(false);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_node_is_for_nobody_until_it_is_brought_back() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    let refused = problem(site.api.retire_node(&node.name, "sold").await);
    says(&refused, &["delete the server first"]);
    site.release("one", &node).await;
    site.api.retire_node(&node.name, "sold").await.unwrap();
    let shown = site
        .wait_for_node(&node, "it to be retired", |node| {
            node.provision_state == "retired" && node.state.at_rest()
        })
        .await;
    says(&shown.state.reason, &["sold", "node provide"]);
    assert_erased(node.disk());
    assert_eq!(node.machine.power_state().await, Power::Off);
    let refused = problem(site.api.create_server(&order("two"), "two").await);
    says(&refused, &["No node of flavor metal is free", "1 retired"]);
    let boots = node.boots();
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert_eq!(node.boots(), boots + 1, "it was looked at again");
    site.api.retire_node(&node.name, "sold").await.unwrap();
    site.wait_for_state(&node, "retired").await;
    site.wait_for_node(&node, "it to be at rest", |node| node.state.at_rest())
        .await;
    site.api.delete_node(&node.name, false).await.unwrap();
}
