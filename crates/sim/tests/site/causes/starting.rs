//! Machines that do not get as far as their agent.

use std::net::{IpAddr, Ipv4Addr};

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Timing;
use bessemer_server::config::BootMedia;
use bessemer_sim::agent::Protocol;
use bessemer_sim::redfish::Faults;
use bessemer_wire::agent::Hello;

use super::{expect_failed, expect_waiting};
use crate::boot_files::firmware;
use crate::harness::firmware::make_ramdisk;
use crate::harness::{SimNode, Site, eager, says};

/// Machines that are given an address.
const ADDRESSES: u8 = 6;

/// A site that counts an agent as late at once, and has only so many addresses to boot with.
async fn hurried() -> Site {
    let timing = Timing {
        expected_agent_boot: 0,
        ..eager()
    };
    Site::start_as(timing, None, |config| {
        config.boot_media = Some(BootMedia {
            listen: (config.api.listen.ip(), 0).into(),
            url: None,
        });
        let provisioning = config.provisioning.as_mut().unwrap();
        provisioning.pool_last = Ipv4Addr::new(127, 0, 1, ADDRESSES);
    })
    .await
}

/// A node whose machine never gets out of its firmware, and which is waited for.
async fn stuck(site: &Site) -> SimNode {
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "inspect wait").await;
    node
}

/// Fetches the boot file as this node's firmware would; the HTTP status of the answer.
async fn fetch(site: &Site, node: &SimNode) -> u16 {
    let boot = site.boot_of(node).await.boot;
    let server = site.server();
    let leased = server.site.store.boot(boot).await.unwrap().unwrap().address;
    let secret = server.site.keyring.boot_url_secret(boot);
    let files = server.boot_address.unwrap();
    let url = format!("http://{files}/boot/{boot}/{secret}/agent.efi");
    let answer = firmware(IpAddr::V4(leased)).get(&url).send().await;
    answer.unwrap().status().as_u16()
}

/// Calls as the agent of this node, with a token that is none.
async fn call_with_a_wrong_token(site: &Site, node: &SimNode) {
    let boot = site.boot_of(node).await;
    let hello = Hello {
        boot: boot.boot,
        token: "0".repeat(64),
        session: "a".repeat(64),
        identity: node.host.identity(),
        mac: node.host.mac,
        version: "played".into(),
    };
    let answer = Protocol::new(&boot).unwrap().hello(&hello).await;
    assert_eq!(answer.unwrap().status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_machines_from_their_agents() {
    let site = hurried().await;
    let node = stuck(&site).await;
    expect_waiting(&site, &node, "no-dhcp-request").await;
    node.machine.power_off_from_within();
    expect_waiting(&site, &node, "machine-off").await;

    let node = stuck(&site).await;
    assert_eq!(fetch(&site, &node).await, 503, "there is no RAM disk");
    expect_waiting(&site, &node, "no-boot-file").await;
    make_ramdisk(&site.path("ramdisk")).unwrap();
    assert_eq!(fetch(&site, &node).await, 200);
    expect_waiting(&site, &node, "boot-file-but-no-agent").await;

    let node = stuck(&site).await;
    call_with_a_wrong_token(&site, &node).await;
    expect_waiting(&site, &node, "agent-refused").await;

    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    node.set_faults(Faults {
        leave_media_unread: true,
        ..Faults::default()
    });
    let mut request = node.request();
    request.boot_method = Some(BootMethod::VirtualMedia);
    site.api.create_node(&request).await.unwrap();
    expect_waiting(&site, &node, "medium-not-read").await;

    // What is left of the addresses is taken.
    let mut rest = Vec::new();
    for _ in 4..ADDRESSES {
        rest.push(stuck(&site).await);
    }
    let node = site.machine().await;
    site.api.create_node(&node.request()).await.unwrap();
    let explained = expect_failed(&site, &node, "no-provisioning-address").await;
    says(&explained.standing.reason, &["pool_last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wait_was_in_vain_for_is_said_for_good() {
    let timing = Timing {
        agent_boot_deadline: 1,
        ..eager()
    };
    let mut site = Site::start_with(timing, None).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let explained = expect_failed(&site, &node, "no-dhcp-request").await;
    assert_eq!(explained.standing.step.name(), "await_agent");
    says(&explained.standing.cause.remedy, &["VLAN"]);
    assert!(explained.boot.is_empty());
    // It does not depend on what is remembered only until the server is started again.
    site.stop().await;
    site.start_again(None).await;
    expect_failed(&site, &node, "no-dhcp-request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_server_was_not_told() {
    let site = Site::start().await;
    let node = site.machine().await;
    let mut request = node.request();
    request.boot_method = Some(BootMethod::VirtualMedia);
    site.api.create_node(&request).await.unwrap();
    let explained = expect_failed(&site, &node, "configuration-incomplete").await;
    says(&explained.standing.reason, &["[boot_media]"]);
}
