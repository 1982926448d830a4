//! Faults of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bessemer_store::Gate;

use super::expect_failed;
use crate::harness::{Site, eager, says};

/// A node that we cannot deal with is not tried for ever: it says that this is our fault, and goes on with a
/// version that can.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_panics_while_it_works_on_a_node() {
    let (broken, panics) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let (breaks, counted) = (broken.clone(), panics.clone());
    let gate: Gate = Arc::new(move |point| {
        if point.name == "set_identity" && breaks.load(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("planted");
        }
        true
    });
    let site = Site::start_with(eager(), Some(gate)).await;
    let node = site.machine().await;
    site.api.create_node(&node.request()).await.unwrap();
    let explained = expect_failed(&site, &node, "internal-error").await;
    says(
        &explained.standing.reason,
        &["panicked", "report this as a bug"],
    );
    assert_eq!(
        panics.load(Ordering::SeqCst),
        1,
        "trying again does not help"
    );

    broken.store(false, Ordering::SeqCst);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}
