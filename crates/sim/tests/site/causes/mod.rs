//! The catalogue of causes (`docs/causes.md`): each one brought about by a fault, and named for it by
//! `node explain`, by the node's reason and by the event of its failure.
//!
//! What has to be waited for happens to many machines of one site at once.

mod agents;
mod bugs;
mod controllers;
mod databases;
mod people;
mod real_agents;
mod starting;
mod switches;
mod systems;

use bessemer_core::cause::Cause;
use bessemer_wire::api::NodeExplanation;

use crate::harness::node::PASSWORD;
use crate::harness::{SimNode, Site};

/// What is said of a node. No secret is among it.
pub(crate) async fn explain(site: &Site, node: &SimNode) -> NodeExplanation {
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let json = explained.json();
    assert!(!json.contains(PASSWORD), "{json}");
    explained.into_value()
}

/// Waits until `code` is given as the cause of what a node waits for.
async fn expect_waiting(site: &Site, node: &SimNode, code: &str) {
    let what = format!("{} to wait because of {code}", node.name);
    site.wait(&what, async || {
        (explain(site, node).await.standing.cause.code == code).then_some(())
    })
    .await;
}

/// Waits until a node has failed, and looks at the cause that is given: everywhere the same.
pub(crate) async fn expect_failed(site: &Site, node: &SimNode, code: &str) -> NodeExplanation {
    let failed = site
        .wait_for_node(node, "it to fail and rest", |node| {
            node.state.came_from.is_some() && node.state.at_rest()
        })
        .await;
    let explained = explain(site, node).await;
    assert_eq!(
        explained.standing.cause.code, code,
        "{:?}",
        failed.state.reason
    );
    let cause = Cause::named(code).expect("a cause of the catalogue");
    assert_eq!(failed.state.reason.cause, Some(cause));
    let told = site.events().await.into_iter();
    let mut told =
        told.filter(|event| event.kind == "node.failed" && event.node == Some(failed.id));
    let event = told.next_back().expect("an event of the failure");
    assert_eq!(event.data["cause"]["code"], code);
    assert_eq!(event.data["cause"]["remedy"], cause.remedy());
    assert!(event.message.contains(code), "{}", event.message);
    explained
}

/// Waits until an event says that something failed a node because of this, whatever came of it.
async fn expect_told(site: &Site, code: &str) {
    site.wait(&format!("{code} to be told"), async || {
        let events = site.events().await;
        let told = |event: &bessemer_wire::event::Event| event.data["cause"]["code"] == code;
        events.iter().any(told).then_some(())
    })
    .await;
}
