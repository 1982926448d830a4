//! Following a node: until it rests, or until it is forgotten.

use bessemer_client::{Client, Document};
use bessemer_core::lifecycle::Phase;
use bessemer_core::reason::Reason;
use bessemer_wire::api::Node;

use super::sight::{Look, Sight, is_current};
use super::{Subject, follow};
use crate::output::Format;

/// Until it rests in the phase `wanted`, or, if that is `None`, in whichever but a failed one;
/// gives the node as it is then.
pub(crate) async fn until_rest(
    client: &Client,
    node: &Node,
    wanted: Option<Phase>,
    format: Format,
) -> anyhow::Result<Document<Node>> {
    let id = node.id.to_string();
    follow(subject(node), format, async || {
        let node = match client.node(&id).await {
            Err(error) if error.is_not_found() => return Ok(Look::Failed(deleted())),
            node => node?,
        };
        Ok(outcome(&node, wanted).unwrap_or_else(|| Look::Done {
            at: Some(node.state.since),
            value: node,
        }))
    })
    .await
}

/// What to say about a node that is not where it is wanted; `None` if it is.
fn outcome<T>(node: &Node, wanted: Option<Phase>) -> Option<Look<T>> {
    let state = &node.state;
    if !is_current(node) {
        return Some(Look::UnderWay(Sight::of("waiting for the conductor")));
    }
    let stopped = wanted == Some(Phase::Failed);
    if state.phase == Phase::Failed && !stopped {
        return Some(Look::Failed(state.reason.clone()));
    }
    if !state.settled() {
        return Some(Look::UnderWay(Sight::of_node(node, None)));
    }
    // A node that has become available may be somebody's server before we look.
    let rented = wanted == Some(Phase::Available) && state.phase == Phase::Active;
    let arrived = rented || wanted.is_none_or(|wanted| wanted == state.phase);
    if arrived {
        return None;
    }
    let why = format!("it is now {}: {}", state.phase.name(), state.reason.summary);
    Some(Look::Failed(Reason::new(why)))
}

/// Until a node that is being deleted does not exist any more.
pub(crate) async fn until_forgotten(
    client: &Client,
    node: &Node,
    format: Format,
) -> anyhow::Result<()> {
    let id = node.id.to_string();
    follow(subject(node), format, async || {
        match client.node(&id).await {
            Err(error) if error.is_not_found() => Ok(Look::Done {
                value: (),
                at: None,
            }),
            Err(error) => Err(error),
            Ok(node) => Ok(Look::UnderWay(Sight::of_node(&node, None))),
        }
    })
    .await
}

fn subject(node: &Node) -> Subject {
    Subject {
        name: format!("node {}", node.name),
        again: format!("bessemer node show {} --wait", node.name),
    }
}

fn deleted() -> Reason {
    Reason::new("somebody has deleted it meanwhile")
}
