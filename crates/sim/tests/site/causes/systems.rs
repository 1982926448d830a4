//! Tenants' systems that do not say that they are up.

use std::sync::atomic::Ordering;

use bessemer_core::lifecycle::Timing;

use super::expect_failed;
use crate::harness::{Site, eager};

/// A site on which a system is not waited for for long.
async fn ready() -> (Site, crate::harness::SimNode) {
    let timing = Timing {
        os_boot_deadline: 1,
        os_boot_deadline_kexec: 1,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    node.host.faults.silent_os.store(99, Ordering::SeqCst);
    (site, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_had_nothing_but_its_cloud_init() {
    let (site, node) = ready().await;
    site.order("one").await;
    let explained = expect_failed(&site, &node, "cloud-init-silent").await;
    assert_eq!(explained.standing.phase.name(), "deploying");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_had_our_unit() {
    let (site, node) = ready().await;
    node.host.root_is_writable.store(true, Ordering::SeqCst);
    site.order("one").await;
    expect_failed(&site, &node, "no-phone-home").await;
}
