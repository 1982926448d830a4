//! The two ways in which the means to say that it is up come into a system: a unit in its root file
//! system, and its cloud-init.

use std::sync::atomic::Ordering;

use crate::harness::disk::{ConfigDrive, assert_erased};
use crate::harness::{Site, says};

/// What the event of a deployment says of it.
async fn told(site: &Site) -> Vec<String> {
    let events = site.events().await;
    let told = events
        .into_iter()
        .filter(|event| event.kind == "server.report");
    told.map(|event| event.message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_with_a_unit_of_ours_reports_without_its_cloud_init() {
    let (site, node) = Site::ready().await;
    node.host.root_is_writable.store(true, Ordering::SeqCst);
    site.deploy("one").await;
    let drive = ConfigDrive::read(node.disk());
    assert_eq!(drive.meta_data["hostname"], "one");
    assert_eq!(drive.vendor_data, None, "cloud-init has nothing to report");
    says(
        told(&site).await.concat(),
        &["server `one` will say that it is up by a unit on nvme0n1p1"],
    );
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let recent = explained.into_value().agent.recent;
    says(format!("{recent:?}"), &["by a unit on nvme0n1p1"]);
    site.release("one", &node).await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_without_one_is_left_to_its_cloud_init_and_that_is_told() {
    let (site, node) = Site::ready().await;
    site.deploy("one").await;
    let drive = ConfigDrive::read(node.disk());
    let vendor_data = drive.vendor_data.unwrap();
    says(&vendor_data["cloud-init"], &["#!/bin/sh", "/phone-home/"]);
    says(
        told(&site).await.concat(),
        &["by its cloud-init only", "no root file system"],
    );
}
