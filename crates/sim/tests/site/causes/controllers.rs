//! Controllers that cannot be reached, refuse, lie, or lack something.

use std::time::Duration;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Timing;
use bessemer_server::config::BootMedia;
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::{BmcUpdate, NodeCreate, NodeUpdate};

use super::{expect_failed, explain};
use crate::harness::node::PASSWORD;
use crate::harness::{SimNode, Site, eager, says};

/// Seconds that a step of the controller may take. Each is tried four times.
const DEADLINE: u32 = 2;

/// A fault of a controller, or of what is said about it, and the cause that it is.
type Case = (&'static str, fn(&SimNode, &mut NodeCreate));

const CASES: [Case; 13] = [
    ("bmc-unreachable", |node, _| {
        node.set_faults(Faults {
            refuse_connections: true,
            ..Faults::default()
        });
    }),
    ("bmc-slow", |node, _| {
        node.set_faults(Faults {
            answer_delay: Duration::from_secs(60),
            ..Faults::default()
        });
    }),
    ("bmc-password-refused", |_, request| {
        request.bmc.password = "wrong".into();
    }),
    ("bmc-account-too-weak", |node, _| {
        node.set_faults(Faults {
            forbid_changes: true,
            ..Faults::default()
        });
    }),
    ("bmc-settings-wrong", |node, _| {
        node.set_faults(Faults {
            lists_two_systems: true,
            ..Faults::default()
        });
    }),
    ("bmc-refuses", |node, _| {
        node.set_faults(Faults {
            unavailable_answers: u32::MAX,
            ..Faults::default()
        });
    }),
    ("bmc-answers-nonsense", |node, _| hide(node, &["Systems"])),
    ("machine-nameless", |node, _| {
        hide(node, &["SerialNumber", "UUID"]);
    }),
    ("no-way-to-boot", |node, _| {
        hide(node, &["UefiHttp", "Pxe", "Cd"]);
    }),
    ("bmc-lacks-feature", |node, request| {
        request.boot_method = Some(BootMethod::VirtualMedia);
        hide(node, &["VirtualMedia"]);
    }),
    ("power-command-ignored", |node, _| {
        node.set_faults(Faults {
            ignore_power_commands: true,
            ..Faults::default()
        });
    }),
    ("boot-override-ignored", |node, _| {
        node.set_faults(Faults {
            ignore_boot_override: true,
            ..Faults::default()
        });
    }),
    ("medium-ignored", |node, request| {
        request.boot_method = Some(BootMethod::VirtualMedia);
        node.set_faults(Faults {
            ignore_media_commands: true,
            ..Faults::default()
        });
    }),
];

fn hide(node: &SimNode, hidden: &[&'static str]) {
    node.set_faults(Faults {
        hidden: hidden.to_vec(),
        ..Faults::default()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_controllers() {
    let timing = Timing {
        bmc_deadline: DEADLINE,
        ..eager()
    };
    let site = Site::start_as(timing, None, |config| {
        config.boot_media = Some(BootMedia {
            listen: (config.api.listen.ip(), 0).into(),
            url: None,
        });
    })
    .await;
    let mut nodes = Vec::new();
    for (code, plant) in CASES {
        let node = site.machine().await;
        let mut request = node.request();
        plant(&node, &mut request);
        site.api.create_node(&request).await.unwrap();
        nodes.push((code, node));
    }
    for (code, node) in &nodes {
        let explained = expect_failed(&site, node, code).await;
        // What it answered last is there to be read.
        let last = explained.bmc.last().expect("a request to the controller");
        assert!(!last.what.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_not_the_one_it_was() {
    let site = Site::start().await;
    // Another certificate than the one that was pinned.
    let mut distrusted = site.machine_with_tls().await;
    let request = distrusted.request();
    distrusted.renew_certificate(&site).await;
    site.api.create_node(&request).await.unwrap();
    expect_failed(&site, &distrusted, "bmc-not-trusted").await;

    // Its address is given to another machine's controller.
    let (node, other) = (site.machine().await, site.machine().await);
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "inspect wait").await;
    site.api.abort_node(&node.name, "moved").await.unwrap();
    expect_failed(&site, &node, "stopped").await;
    let bmc = BmcUpdate {
        url: Some(other.request().bmc.url),
        password: Some(PASSWORD.into()),
        ..BmcUpdate::default()
    };
    let update = NodeUpdate {
        bmc: Some(bmc),
        ..NodeUpdate::default()
    };
    site.api.update_node(&node.name, &update).await.unwrap();
    site.api.provide_node(&node.name).await.unwrap();
    site.wait("the other machine to be noticed", async || {
        (explain(&site, &node).await.standing.cause.code == "wrong-machine").then_some(())
    })
    .await;
    let explained = expect_failed(&site, &node, "wrong-machine").await;
    says(&explained.standing.reason, &["SIM00002", "SIM00003"]);
}
