//! Nodes that boot the agent from a CD image which their BMC fetches: no DHCP, no TFTP.

use bessemer_core::boot_method::BootMethod;
use bessemer_server::config::BootMedia;
use bessemer_sim::machine::{Machine, PowerState as Power};
use bessemer_sim::redfish::Faults;

use crate::harness::disk::{assert_erased, assert_has_image, soil};
use crate::harness::firmware::make_ramdisk;
use crate::harness::{SimNode, Site, eager, order, says};

/// The most requests to the BMC that one order may cost.
const MAX_BMC_REQUESTS: u64 = 12;

/// A site with one node for rent that boots from virtual media only.
async fn ready_by_media() -> (Site, SimNode) {
    let mut timing = eager();
    timing.bmc_deadline = 5;
    let address = std::net::Ipv4Addr::LOCALHOST;
    let site = Site::start_as(timing, None, |config| {
        config.boot_media = Some(BootMedia {
            listen: (address, 0).into(),
            url: None,
        });
    })
    .await;
    make_ramdisk(&site.path("ramdisk")).unwrap();
    let node = site.machine().await;
    let mut request = node.request();
    request.boot_method = Some(BootMethod::VirtualMedia);
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    (site, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lives_its_whole_life_by_virtual_media() {
    let (site, node) = ready_by_media().await;
    let drive = node.machine.drive();
    assert_eq!(node.machine.power_state().await, Power::Off);
    assert!(drive.medium().is_none(), "left behind by the enrolment");
    soil(node.disk());
    for name in ["one", "two"] {
        let (boots, requests) = (node.boots(), node.bmc_requests());
        let server = site.deploy(name).await;
        let requests = node.bmc_requests() - requests;
        assert!(requests <= MAX_BMC_REQUESTS, "{requests} requests");
        assert_eq!((server.posts, node.boots() - boots), (1, 1));
        assert_has_image(node.disk());
        assert!(drive.medium().is_none(), "a tenant finds our medium");
        let explained = site.api.explain_node(&node.name).await.unwrap();
        let seen: Vec<_> = explained.boot.iter().map(|each| &each.what).collect();
        says(format!("{seen:?}"), &["fetches the boot medium"]);
        site.release(name, &node).await;
        assert_erased(node.disk());
        assert!(drive.medium().is_none(), "left behind by the cleaning");
    }
    let told = node.host.boots();
    let tokens: std::collections::HashSet<_> = told.iter().map(|boot| &boot.token).collect();
    assert_eq!(tokens.len(), 5, "every boot has a medium of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_that_is_not_inserted_is_noticed_before_power_on() {
    let (site, node) = ready_by_media().await;
    let boots = node.boots();
    node.set_faults(Faults {
        ignore_media_commands: true,
        ..Faults::default()
    });
    site.api.create_server(&order("one"), "key").await.unwrap();
    let failed = site
        .wait_for_node(&node, "it to be given up", |node| {
            node.provision_state == "deploy failed" && node.state.at_rest()
        })
        .await;
    let reason = serde_json::to_string(&failed.state.reason).unwrap();
    says(reason, &["virtual media", "agent.iso", "was asked for"]);
    assert_eq!(node.boots(), boots, "it was started all the same");
    node.set_faults(Faults::default());
    site.release("one", &node).await;
    assert_erased(node.disk());
}
