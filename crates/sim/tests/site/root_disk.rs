//! Which disk the operating system goes to: hinted, shown before the order, written and nothing else.

use bessemer_core::hardware::DiskIdentity;
use bessemer_sim::agent::zeros;
use bessemer_wire::api::{Node, NodeUpdate, RootDiskDecision};

use crate::harness::disk::{assert_erased, assert_has_image};
use crate::harness::{SimNode, Site, eager, order, problem, says};

/// A site whose one machine has two drives that differ in nothing but their serial numbers.
async fn two_drives() -> (Site, SimNode) {
    let site = Site::start_with(eager(), None).await;
    let node = site.machine_with_two_drives().await;
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    (site, node)
}

async fn hint(site: &Site, node: &SimNode, text: &str) -> Node {
    let change = NodeUpdate {
        root_disk_hint: Some(Some(text.parse().unwrap())),
        ..NodeUpdate::default()
    };
    let node = site.api.update_node(&node.name, &change).await;
    node.unwrap().into_value()
}

/// What is shown of the only choice there is.
fn shown(node: &Node) -> (RootDiskDecision, Option<&DiskIdentity>) {
    assert_eq!(node.root_disk.len(), 1, "{:?}", node.root_disk);
    (
        node.root_disk[0].decided_by,
        node.root_disk[0].disk.as_ref(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_that_a_hint_names_is_shown_written_and_kept() {
    let (site, node) = two_drives().await;
    let disks: Vec<_> = node
        .host
        .inventory
        .disks
        .iter()
        .map(|disk| disk.identity())
        .collect();
    let before = site.node(&node).await;
    assert_eq!(shown(&before), (RootDiskDecision::Rule, Some(&disks[0])));

    let changed = hint(&site, &node, &format!("serial={}", disks[1].serial)).await;
    assert_eq!(shown(&changed), (RootDiskDecision::Node, Some(&disks[1])));
    assert_eq!(
        changed.generation, before.generation,
        "nothing starts by it"
    );
    let plan = site.api.plan_server(&order("one")).await.unwrap();
    assert_eq!(plan.disk, disks[1]);
    site.deploy("one").await;
    assert_has_image(&node.host.disks[1]);
    assert_erased(&node.host.disks[0]);

    // The order has fixed it: what is said now is for the next one.
    let changed = hint(&site, &node, &format!("serial={}", disks[0].serial)).await;
    assert_eq!(shown(&changed), (RootDiskDecision::Order, Some(&disks[1])));
    let rebuild = bessemer_wire::api::ServerRebuild::default();
    let plan = site.api.plan_rebuild("one", &rebuild).await.unwrap();
    assert_eq!(plan.disk, disks[1]);
    site.api
        .rebuild_server("one", &rebuild, "key")
        .await
        .unwrap();
    site.wait_for_active("one").await;
    assert_erased(&node.host.disks[0]);

    site.release("one", &node).await;
    for disk in &node.host.disks {
        assert_erased(disk);
    }
    site.deploy("two").await;
    assert_has_image(&node.host.disks[0]);
    assert_erased(&node.host.disks[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_gone_since_inspection_is_not_replaced_by_another() {
    let (site, node) = two_drives().await;
    let serial = node.host.inventory.disks[1].serial.clone();
    hint(&site, &node, &format!("serial={serial}")).await;
    *node.host.faults.pulled_disk.lock().unwrap() = Some(serial.clone());
    site.order("one").await;
    let failed = site.wait_for_state(&node, "deploy failed").await;
    says(&failed.state.reason, &["there is no disk nvme1n1", &serial]);
    for disk in &node.host.disks {
        assert_eq!(
            zeros::first_nonzero(disk).unwrap(),
            None,
            "nothing is written"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_no_disk_answers_to_keeps_its_node_out_of_orders() {
    let (site, node) = two_drives().await;
    let changed = hint(&site, &node, "serial=GONE").await;
    assert_eq!(shown(&changed), (RootDiskDecision::Node, None));
    let problem_shown = changed.root_disk[0].problem.as_ref().unwrap();
    says(problem_shown, &["`serial=GONE`", "SIMNVME00001B"]);
    assert_eq!(site.api.flavor("metal").await.unwrap().available, 0);
    let refused = problem(site.api.create_server(&order("one"), "key").await);
    assert_eq!(refused.kind, "urn:bessemer:problem:no-matching-node");
    says(
        &refused,
        &[
            "node1",
            "`serial=GONE`",
            "SIMNVME00001B",
            "node set node1 --root-disk",
        ],
    );
    let nothing = NodeUpdate {
        root_disk_hint: Some(None),
        ..NodeUpdate::default()
    };
    site.api.update_node(&node.name, &nothing).await.unwrap();
    site.deploy("one").await;
    assert_has_image(node.disk());
}
