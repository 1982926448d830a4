//! Agents that cannot do what they are told, or are not heard of any more.

use std::sync::atomic::Ordering;

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::Timing;
use bessemer_core::reason::{Failure, FailureClass};
use bessemer_wire::api::{NodeCreate, NodePortCreate};

use super::{expect_failed, expect_told};
use crate::harness::{SimNode, Site, eager, says};

/// A fault of a machine, and the cause that it is.
type Case = (&'static str, fn(&SimNode, &mut NodeCreate));

const CASES: [Case; 5] = [
    // An agent that gives no name, or one that it cannot know, is believed that it failed.
    ("agent-failed", |node, _| {
        let failure = Failure::permanent(Cause::BmcPasswordRefused, "the agent's own words");
        fails_at(node, "inspect", failure);
    }),
    ("internal-error", |node, _| {
        let failure = Failure::new(
            FailureClass::Bug,
            Cause::InternalError,
            "index out of bounds",
        );
        fails_at(node, "inspect", failure);
    }),
    ("nic-missing", |_, request| {
        let absent = "52:54:00:99:99:99".parse().unwrap();
        request.ports.push(NodePortCreate::bare(absent));
    }),
    ("disk-error", |node, _| {
        node.host.faults.fail_erase.store(9, Ordering::SeqCst);
    }),
    ("disk-locked", |node, _| {
        let failure = Failure::operator(Cause::DiskLocked, "it is locked by an ATA password");
        fails_at(node, "erase", failure);
    }),
];

fn fails_at(node: &SimNode, step: &'static str, failure: Failure) {
    *node.host.faults.fails_at.lock().unwrap() = Some((step, failure));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_cannot_do() {
    let site = Site::start().await;
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
        says(
            format!("{:?}", explained.agent.recent),
            &["an agent called"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_image_from_its_disk() {
    let (site, node) = Site::ready().await;
    let unusable = Failure::permanent(Cause::ImageUnusable, "no kernel to start was found");
    fails_at(&node, "write_config_drive", unusable);
    site.order("one").await;
    expect_failed(&site, &node, "image-unusable").await;

    let not_fetched = Failure::transient(Cause::ImageNotFetched, "the answer ends too early");
    fails_at(&node, "write_image", not_fetched);
    site.release("one", &node).await;
    site.order("two").await;
    expect_failed(&site, &node, "image-not-fetched").await;

    *node.host.faults.fails_at.lock().unwrap() = None;
    let serial = node.host.inventory.disks[0].serial.clone();
    site.release("two", &node).await;
    *node.host.faults.pulled_disk.lock().unwrap() = Some(serial.clone());
    site.order("three").await;
    let explained = expect_failed(&site, &node, "disk-missing").await;
    says(&explained.standing.reason, &[&serial]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_do_not_say() {
    let timing = Timing {
        agent_silence: 3,
        write_deadline: 6,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    let second = site.available().await;
    node.host.faults.vanish_in_write.store(1, Ordering::SeqCst);
    second.host.faults.hold_in_write.send_replace(true);
    site.order("one").await;
    site.order("two").await;
    expect_told(&site, "agent-silent").await;
    expect_told(&site, "agent-slow").await;
}
