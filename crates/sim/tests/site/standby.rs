//! Nodes that wait for orders in the agent, and the two ways to start a tenant's system.

use std::sync::atomic::Ordering;

use bessemer_core::lifecycle::{HandOver, Phase, Standby, Step, Timing};
use bessemer_wire::api::{FlavorCreate, Node, NodeUpdate};

use crate::harness::disk::{assert_erased, assert_has_image};
use crate::harness::{SimNode, Site, eager, order};

/// The most requests to the BMC that one order may cost.
const MAX_BMC_REQUESTS: u64 = 12;

async fn idling_with(timing: Timing) -> (Site, SimNode) {
    let (site, node) = Site::ready_with(timing, None).await;
    set_standby(&site, &node, Standby::Always).await;
    site.wait_for_node(&node, "its agent to idle", idles).await;
    (site, node)
}

async fn set_standby(site: &Site, node: &SimNode, standby: Standby) {
    let change = NodeUpdate {
        standby: Some(standby),
        ..NodeUpdate::default()
    };
    site.api.update_node(&node.name, &change).await.unwrap();
}

fn idles(node: &Node) -> bool {
    node.state.step == Step::Standby && node.provision_state == "available"
}

fn is_dark(node: &Node) -> bool {
    node.state.phase == Phase::Available && node.state.at_rest()
}

/// A flavor beside `metal`.
async fn offer(site: &Site, node: &SimNode, name: &str, standby: bool, hand_over: HandOver) {
    let flavor = FlavorCreate {
        name: name.into(),
        hardware: None,
        from_node: Some(node.name.clone()),
        standby,
        hand_over,
        root_disk_hint: None,
    };
    site.api.create_flavor(&flavor).await.unwrap();
}

fn bmc_requests(site: &Site) -> u64 {
    site.server().site.metrics.bmc_requests.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_an_idle_node_costs_no_post_and_the_agent_comes_back_after_it() {
    let (site, node) = idling_with(eager()).await;
    let (boots, commands) = (node.boots(), node.host.carried_out().len());
    let requests = bmc_requests(&site);
    let plan = site.api.plan_server(&order("one")).await.unwrap();
    assert_eq!(plan.plan.posts, 0);
    let server = site.deploy("one").await;
    assert_eq!((server.plan.posts, server.posts), (0, 0));
    assert_eq!(node.boots(), boots, "the firmware ran");
    assert!(bmc_requests(&site) - requests <= MAX_BMC_REQUESTS);
    let steps = node.steps_since(commands).into_iter().map(|(_, step)| step);
    assert_eq!(
        steps.collect::<Vec<_>>(),
        [
            "prove_agent",
            "write_image",
            "write_config_drive",
            "load_kernel",
            "hand_over"
        ]
    );
    assert_has_image(node.disk());
    assert!(
        site.offered(&node).await.is_none(),
        "an active node is let boot our agent"
    );

    site.release("one", &node).await;
    site.wait_for_node(&node, "its agent to idle again", idles)
        .await;
    assert_erased(node.disk());
    assert_eq!(node.boots() - boots, 1, "one POST to erase");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_a_dark_node_costs_few_requests_to_its_bmc() {
    let (site, node) = Site::ready().await;
    let requests = bmc_requests(&site);
    site.deploy("one").await;
    let requests = bmc_requests(&site) - requests;
    assert!(requests <= MAX_BMC_REQUESTS, "{requests} requests");
    assert_eq!(node.boots(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_agent_that_has_died_costs_the_order_one_post_and_nothing_else() {
    let timing = Timing {
        prove_deadline: 2,
        ..eager()
    };
    let (site, node) = idling_with(timing).await;
    let boots = node.boots();
    node.host.faults.crash_agent.notify_waiters();
    let server = site.deploy("one").await;
    assert_eq!(server.posts, 1);
    assert_eq!(node.boots() - boots, 1);
    assert_has_image(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_flavor_idle_while_it_is_offered_unless_told_otherwise() {
    let (site, node) = Site::ready().await;
    let other = site.available().await;
    set_standby(&site, &other, Standby::Never).await;
    offer(&site, &node, "quick", true, HandOver::default()).await;
    site.wait_for_node(&node, "its agent to idle", idles).await;
    assert!(is_dark(&site.node(&other).await));
    // The one that idles is the better one for any order that both could take.
    let server = site.deploy("one").await;
    assert_eq!((server.node, server.posts), (site.node(&node).await.id, 0));
    site.release("one", &node).await;

    site.api.delete_flavor("quick").await.unwrap();
    site.wait_for_node(&node, "the node to be dark", is_dark)
        .await;
    assert!(site.offered(&node).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_idle_through_a_death_of_the_server() {
    let (mut site, node) = idling_with(eager()).await;
    let boots = node.boots();
    site.kill().await;
    site.start_again(None).await;
    assert!(idles(&site.node(&node).await));
    let server = site.deploy("one").await;
    assert_eq!((server.posts, node.boots()), (0, boots));
}

/// The files of a RAM disk, as far as it is about telling one from another.
fn ramdisk(site: &Site, content: &str) {
    let folder = site.path("ramdisk");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["vmlinuz", "initramfs.zst"] {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_agents_are_replaced_when_the_ram_disk_is_renewed() {
    let site = Site::start().await;
    ramdisk(&site, "first");
    let node = site.available().await;
    set_standby(&site, &node, Standby::Always).await;
    site.wait_for_node(&node, "its agent to idle", idles).await;
    let boots = node.boots();
    ramdisk(&site, "the second one");
    site.wait_for_node(&node, "its agent to be replaced", |seen| {
        node.boots() == boots + 1 && idles(seen)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_agents_are_replaced_when_the_certificate_is_renewed() {
    let mut site = Site::start().await;
    ramdisk(&site, "the only one");
    let node = site.available().await;
    set_standby(&site, &node, Standby::Always).await;
    site.wait_for_node(&node, "its agent to idle", idles).await;
    let boots = node.boots();
    site.stop().await;
    for name in ["agent-certificate.pem", "agent-key.pem"] {
        std::fs::remove_file(site.data().join(name)).unwrap();
    }
    site.start_again(None).await;
    site.wait_for_node(&node, "its agent to be replaced", |seen| {
        node.boots() == boots + 1 && idles(seen)
    })
    .await;
    site.offer(&node).await;
    assert_eq!(site.deploy("one").await.posts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cycle_starts_the_system_from_its_disk() {
    let (site, node) = idling_with(eager()).await;
    offer(&site, &node, "cycled", false, HandOver::PowerCycle).await;
    let (boots, requests) = (node.boots(), bmc_requests(&site));
    let mut request = order("one");
    request.flavor = "cycled".into();
    let placed = site.api.create_server(&request, "one").await.unwrap();
    assert_eq!(placed.plan.posts, 1);
    let server = site.wait_for_active("one").await;
    assert_eq!((server.posts, node.boots() - boots), (1, 1));
    let requests = bmc_requests(&site) - requests;
    assert!(requests <= MAX_BMC_REQUESTS, "{requests} requests");
    assert_has_image(node.disk());
    assert!(site.offered(&node).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kexec_that_never_comes_up_is_power_cycled_remembered_and_not_tried_again() {
    let timing = Timing {
        os_boot_deadline_kexec: 2,
        ..eager()
    };
    let (site, node) = idling_with(timing).await;
    node.host.faults.kexec_hangs.store(1, Ordering::SeqCst);
    let server = site.deploy("one").await;
    assert_eq!((server.plan.posts, server.posts), (0, 1));
    let known = site.api.kexec_outcomes().await.unwrap();
    let [known] = &known[..] else {
        panic!("{} outcomes", known.len());
    };
    assert_eq!(
        (
            &*known.kernel,
            known.worked,
            known.failed,
            known.last_worked
        ),
        ("6.1.0-simulated", 0, 1, false)
    );
    assert!(known.model.contains("Simulated Server"), "{}", known.model);
    site.release("one", &node).await;

    let commands = node.host.carried_out().len();
    let server = site.deploy("two").await;
    assert_eq!(
        (server.plan.posts, server.posts),
        (1, 1),
        "it is known by now"
    );
    let steps = node.steps_since(commands);
    assert!(
        steps.iter().all(|(_, step)| step != "load_kernel"),
        "{steps:?}"
    );
    site.release("two", &node).await;

    let (model, kernel) = (&known.model, &known.kernel);
    site.api.forget_kexec(model, kernel).await.unwrap();
    let forgotten = site.api.forget_kexec(model, kernel).await;
    assert!(forgotten.unwrap_err().is_not_found());
    let server = site.deploy("three").await;
    assert_eq!((server.plan.posts, server.posts), (0, 0), "tried again");
    assert!(site.api.kexec_outcomes().await.unwrap()[0].last_worked);
}
