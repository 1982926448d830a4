//! Faults of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bessemer_core::lifecycle::Phase;
use bessemer_sim::machine::{Machine, PowerState};
use bessemer_store::{Gate, When};

use super::expect_failed;
use crate::harness::trap::panics_at;
use crate::harness::{SimNode, Site, eager, says};

/// Panics at every decision of one node while `broken`, but not when the node is given up for it: these
/// take turns. Counts the panics.
fn undecided(broken: &Arc<AtomicBool>, panics: &Arc<AtomicU32>) -> Gate {
    let (breaks, counted) = (broken.clone(), panics.clone());
    let abandons = AtomicBool::new(false);
    Arc::new(move |point| {
        let decides = (point.name, point.when) == ("commit", When::Before);
        if decides && breaks.load(Ordering::SeqCst) && !abandons.fetch_not(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("planted");
        }
        true
    })
}

/// The node has failed, and people are told to report a bug.
async fn expect_bug(site: &Site, node: &SimNode) {
    let explained = expect_failed(site, node, "internal-error").await;
    says(
        &explained.standing.reason,
        &["panicked", "report this as a bug"],
    );
}

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
    expect_bug(&site, &node).await;
    assert_eq!(
        panics.load(Ordering::SeqCst),
        1,
        "trying again does not help"
    );

    broken.store(false, Ordering::SeqCst);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

/// The same where it is decided what to do with the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_panics_while_it_decides_about_a_node() {
    let (broken, panics) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let site = Site::start_with(eager(), Some(undecided(&broken, &panics))).await;
    let node = site.machine().await;
    site.api.create_node(&node.request()).await.unwrap();
    expect_bug(&site, &node).await;
    assert_eq!(panics.load(Ordering::SeqCst), 1, "it is not tried again");
    let metrics = site.api.metrics().await.unwrap();
    assert!(metrics.contains("\nbessemer_panics_total 1\n"), "{metrics}");

    broken.store(false, Ordering::SeqCst);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

/// Whatever else panics on the way to where it is safe, it comes to rest, and nobody gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_panics_at_every_decision_about_an_order() {
    let (broken, panics) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let gate = undecided(&broken, &panics);
    let (site, node) = Site::ready_with(eager(), Some(gate)).await;
    let boots = node.boots();
    broken.store(true, Ordering::SeqCst);
    site.order("web1").await;
    expect_failed(&site, &node, "internal-error").await;
    assert_eq!(
        panics.load(Ordering::SeqCst),
        2,
        "to begin, and to be off: its ports are nobody's to move"
    );
    assert_eq!(node.boots(), boots, "nothing was begun");
    assert!(node.machine.power_state().await == PowerState::Off);
    let shown = site.node(&node).await;
    assert_eq!(shown.state.phase, Phase::Failed);
    assert!(shown.server.is_some(), "it is its order's still");

    broken.store(false, Ordering::SeqCst);
    site.api.delete_server("web1").await.unwrap();
    site.wait_for_state(&node, "available").await;
}

/// What moves all nodes goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_panics_is_started_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let gate = panics_at("claim_due", &broken);
    let site = Site::start_with(eager(), Some(gate)).await;
    let node = site.machine().await;
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_down("the conductor").await;
    site.api
        .health()
        .await
        .expect("the server answers all the same");
    broken.store(false, Ordering::SeqCst);
    site.wait_for_state(&node, "available").await;
    assert!(site.server().site.supervisor.down().is_empty());
}
