//! What operators want of a node: held, provided, stopped, retired. It is recorded, and the
//! conductor is rung for.

use axum::Json;
use axum::extract::State;
use bessemer_core::lifecycle::{Goal, Phase};
use bessemer_store::NodeRecord;
use bessemer_wire::api::{Node, NodeReason};

use super::view;
use crate::api::extract::{Admin, Answer, Body, Caller, Path};
use crate::api::problem::{Kind, Refusal};
use crate::api::values;
use crate::site::Site;

/// The longest reason, in characters.
const MAX_REASON: usize = 200;

/// Keep a node out of everything.
///
/// What it was doing is dropped; it ends up off and parked, whatever is on its disks. `unhold`
/// brings it back. A node that is somebody's server is not held: its tenant's machine would be
/// switched off under them.
#[utoipa::path(post, path = "/v1/nodes/{node}/hold", tag = "nodes", operation_id = "hold_node",
    params(("node" = String, Path, description = "Name or id")), request_body = NodeReason,
    responses((status = 200, body = Node)))]
pub(super) async fn hold(
    State(site): State<Site>,
    admin: Admin,
    Path(node): Path<String>,
    Body(NodeReason { reason }): Body<NodeReason>,
) -> Answer<Node> {
    values::text("reason", &reason, MAX_REASON)?;
    let node = site.store.node(&node).await?;
    want(&site, &admin.0, node, Goal::Held { reason }).await
}

/// Let a held node back in.
///
/// Whoever held it may have worked on it: it goes through enrolment, inspection and erasing again.
#[utoipa::path(post, path = "/v1/nodes/{node}/unhold", tag = "nodes", operation_id = "unhold_node",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = Node)))]
pub(super) async fn unhold(
    State(site): State<Site>,
    admin: Admin,
    Path(node): Path<String>,
) -> Answer<Node> {
    let node = site.store.node(&node).await?;
    if !matches!(node.spec.goal, Goal::Held { .. }) {
        return Err(
            Refusal::new(Kind::Conflict, format!("Node {} is not held.", node.name))
                .remedy("For a node that failed or was retired, use `provide`."),
        );
    }
    want(&site, &admin.0, node, Goal::Available).await
}

/// Make a held, failed or retired node available again.
///
/// A held or retired node is looked at from the start; a failed one goes on where it failed.
#[utoipa::path(post, path = "/v1/nodes/{node}/provide", tag = "nodes", operation_id = "provide_node",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = Node)))]
pub(super) async fn provide(
    State(site): State<Site>,
    admin: Admin,
    Path(node): Path<String>,
) -> Answer<Node> {
    let node = site.store.node(&node).await?;
    want(&site, &admin.0, node, Goal::Available).await
}

/// Take a node out of use for good.
///
/// It is erased unless it is known to be, switched off and parked, and offered to nobody. Refused
/// while it is somebody's server. `provide` brings it back through enrolment.
#[utoipa::path(post, path = "/v1/nodes/{node}/retire", tag = "nodes", operation_id = "retire_node",
    params(("node" = String, Path, description = "Name or id")), request_body = NodeReason,
    responses((status = 200, body = Node)))]
pub(super) async fn retire(
    State(site): State<Site>,
    admin: Admin,
    Path(node): Path<String>,
    Body(NodeReason { reason }): Body<NodeReason>,
) -> Answer<Node> {
    values::text("reason", &reason, MAX_REASON)?;
    let node = site.store.node(&node).await?;
    want(&site, &admin.0, node, Goal::Retired { reason }).await
}

/// Stop what a node is doing.
///
/// It is switched off and parked, and shown as failed with this reason. A node whose erasing is
/// stopped is not available; a server whose deployment is stopped is in `error`, and its tenant
/// can rebuild or delete it.
#[utoipa::path(post, path = "/v1/nodes/{node}/abort", tag = "nodes", operation_id = "abort_node",
    params(("node" = String, Path, description = "Name or id")), request_body = NodeReason,
    responses((status = 200, body = Node)))]
pub(super) async fn abort(
    State(site): State<Site>,
    admin: Admin,
    Path(node): Path<String>,
    Body(NodeReason { reason }): Body<NodeReason>,
) -> Answer<Node> {
    values::text("reason", &reason, MAX_REASON)?;
    let node = site.store.node(&node).await?;
    let (id, by) = (node.id, admin.0.name());
    site.store.abort(id, &reason, by, site.now()).await?;
    // The agent hears of the new generation, and drops what it is doing.
    site.agents.ring(id);
    rung(&site, &node).await
}

async fn want(site: &Site, caller: &Caller, node: NodeRecord, goal: Goal) -> Answer<Node> {
    // On its way, or there already. A failed node starts again, and so does one that rests dark
    // because its agent did not stay in standby.
    let given_up = node.state.phase == Phase::Failed
        || (node.state.phase == Phase::Available && node.state.fallback);
    if node.spec.goal == goal && !given_up {
        return Ok(Json(view(site, node)));
    }
    let (id, by) = (node.id, caller.name());
    site.store.set_goal(id, goal, by, site.now()).await?;
    rung(site, &node).await
}

async fn rung(site: &Site, node: &NodeRecord) -> Answer<Node> {
    site.bell.ring();
    let node = site.store.node_by_id(node.id).await?;
    Ok(Json(view(site, node)))
}
