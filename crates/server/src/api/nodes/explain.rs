//! Explaining a node: what it waits for, what was seen of it lately, and the likely cause.

use axum::Json;
use axum::extract::State;
use bessemer_core::cause::Cause;
use bessemer_wire::api::{AgentExplained, NodeExplanation};

use crate::api::extract::{Admin, Answer, Path};
use crate::api::standing;
use crate::sightings::Place;
use crate::site::Site;

/// Explain what a node is doing, what it waits for, and what is likely wrong.
///
/// What was seen lately is kept in memory: after a restart of the server there is less of it. What other
/// servers on the same database have seen is there some seconds after it has happened.
#[utoipa::path(get, path = "/v1/nodes/{node}/explain", tag = "nodes", operation_id = "explain_node",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = NodeExplanation)))]
pub(super) async fn explain(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Answer<NodeExplanation> {
    let node = site.store.node(&node).await?;
    let reason = node.state.reason.clone();
    let (standing, seen) = standing::of(&site, &node, reason, Cause::remedy).await?;
    Ok(Json(NodeExplanation {
        node: node.id,
        name: node.name,
        provision_state: node.state.provision_state().to_owned(),
        standing,
        bmc: seen.at(Place::Bmc).to_vec(),
        boot: seen.at_all(&[Place::Dhcp, Place::Tftp, Place::BootFile]),
        agent: AgentExplained {
            last: seen.agent.clone(),
            recent: seen.at_all(&[Place::Agent, Place::AgentWork, Place::Report]),
        },
        switch: seen.at(Place::Switch).to_vec(),
        console: seen.console.map_or_else(Vec::new, |console| console.lines),
    }))
}
