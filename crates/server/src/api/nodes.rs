//! Nodes: registering, showing and deleting them, and what is wanted of them. Operators only.
//!
//! Nothing here changes where a node *is* (invariant 2): it is recorded what is *wanted*, and the
//! conductor is rung for.

mod access;
mod bmc;
mod enroll;
mod explain;
mod port_groups;
mod ports;
mod power;
mod root_disk;
mod wishes;
mod written;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bessemer_core::lifecycle::Phase;
use bessemer_store::{HistoryEntry, NodeChanges, NodeFilter, NodeRecord, NodeText};
use bessemer_wire::api::{Bmc, Node, NodeCreate, NodeHistoryEntry, NodeUpdate, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::root_disk::Decisive;
use self::written::{Listing, Shown};
use super::answer_with;
use super::extract::{Admin, Answer, Body, Path, Query};
use super::page;
use super::places::rack_of;
use super::problem::Refusal;
use super::values;
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(history))
        .routes(routes!(explain::explain))
        .routes(routes!(bmc::read))
        .routes(routes!(ports::list))
        .routes(routes!(ports::update))
        .routes(routes!(port_groups::list, port_groups::create))
        .routes(routes!(
            port_groups::show,
            port_groups::update,
            port_groups::delete
        ))
        .routes(routes!(wishes::hold))
        .routes(routes!(wishes::unhold))
        .routes(routes!(wishes::provide))
        .routes(routes!(wishes::abort))
        .routes(routes!(wishes::retire))
        .routes(routes!(power::switch))
}

/// Which nodes are listed, and how much of each.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NodeQuery {
    /// Only nodes in this phase.
    phase: Option<Phase>,
    /// Only nodes in this rack, by name or id.
    rack: Option<String>,
    /// Whether `inventory` is filled in: false unless given. It is most of a node's bytes.
    #[serde(default)]
    detail: bool,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// How many nodes at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// How much of a history is shown.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// How many states at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Whether a node is deleted that could still be used.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Whether also a node is deleted that is available or being enrolled.
    #[serde(default)]
    force: bool,
}

/// List nodes, in order of registration.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", operation_id = "list_nodes",
    params(NodeQuery), responses((status = 200, body = Page<Node>)))]
async fn list(
    State(site): State<Site>,
    _: Admin,
    Query(query): Query<NodeQuery>,
) -> Result<Response, Refusal> {
    let limit = page::limit(query.limit)?;
    let filter = NodeFilter {
        phase: query.phase,
        rack: rack_of(&site, query.rack.as_deref()).await?,
    };
    let mut page = Listing::new(site.progress.all());
    let cursor = query.cursor.as_deref();
    let add = |node: NodeText<'_>| page.add(node);
    let nodes = site
        .store
        .each_node(filter, query.detail, cursor, limit, add);
    let next = nodes.await?;
    Ok(page.answer(next.as_deref())?)
}

/// Register a machine.
///
/// The conductor then checks its management controller, inspects and cleans it, and makes it
/// `available`. Watch `state.reason`.
#[utoipa::path(post, path = "/v1/nodes", tag = "nodes", operation_id = "create_node",
    request_body = NodeCreate,
    responses((status = 201, body = Node)))]
async fn create(
    State(site): State<Site>,
    _: Admin,
    Body(request): Body<NodeCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let node = enroll::check(&site, request).await?;
    let node = site.store.create_node(node, site.now()).await?;
    site.bell.ring();
    let location = format!("/v1/nodes/{}", node.id);
    Ok(answer_with(
        StatusCode::CREATED,
        &location,
        view(&site, node),
    ))
}

/// Show a node.
#[utoipa::path(get, path = "/v1/nodes/{node}", tag = "nodes", operation_id = "show_node",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = Node)))]
async fn show(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Response, Refusal> {
    shown(&site, &node).await
}

/// Change a node.
///
/// What is absent stays as it is. A new boot method counts from the node's next boot on, a root disk
/// hint from its next order on (a server stays on the disk that it is on); an available node goes
/// into standby, or out of it, at once. A changed account of its management controller counts from
/// the next request to that; a new URL, or trust `insecure`, needs the password again.
#[utoipa::path(patch, path = "/v1/nodes/{node}", tag = "nodes", operation_id = "update_node",
    params(("node" = String, Path, description = "Name or id")),
    request_body = NodeUpdate,
    responses((status = 200, body = Node)))]
async fn update(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
    Body(request): Body<NodeUpdate>,
) -> Result<Response, Refusal> {
    if let Some(Some(hint)) = &request.root_disk_hint {
        values::root_disk_hint(hint)?;
    }
    let node = site.store.node(&node).await?;
    let changes = NodeChanges {
        rack: match &request.rack {
            Some(rack) => Some(rack_of(&site, rack.as_deref()).await?),
            None => None,
        },
        boot_method: request.boot_method,
        standby: request.standby,
        bmc: match request.bmc {
            Some(update) => Some(access::change(&site, &node, update)?),
            None => None,
        },
        root_disk_hint: request.root_disk_hint,
    };
    site.store.change_node(node.id, changes, site.now()).await?;
    site.bell.ring();
    shown(&site, &node.id.to_string()).await
}

/// Forget a node.
///
/// It must be nobody's server, and retired, held or failed. With `force`, it may also be available
/// or not got past enrolment. The machine itself is left as it is.
#[utoipa::path(delete, path = "/v1/nodes/{node}", tag = "nodes", operation_id = "delete_node",
    params(("node" = String, Path, description = "Name or id"), DeleteQuery),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Refusal> {
    let node = site.store.node(&node).await?;
    let now = site.now();
    site.store.delete_node(node.id, query.force, now).await?;
    site.progress.set(node.id, None);
    site.sightings.forget(node.id);
    site.bmcs.forget(node.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Show the latest states that a node has been in, oldest first.
#[utoipa::path(get, path = "/v1/nodes/{node}/history", tag = "nodes", operation_id = "node_history",
    params(("node" = String, Path, description = "Name or id"), HistoryQuery),
    responses((status = 200, body = Page<NodeHistoryEntry>)))]
async fn history(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Answer<Page<NodeHistoryEntry>> {
    let limit = page::limit(query.limit)?;
    let node = site.store.node(&node).await?;
    let entries = site.store.history(node.id, limit).await?;
    let entry = |entry: HistoryEntry| NodeHistoryEntry {
        at: entry.at,
        state: entry.state,
    };
    Ok(Json(page::whole(
        entries.into_iter().rev().map(entry).collect(),
    )))
}

/// The node of this name or id, with where its operating system goes: that takes a look at the flavors.
async fn shown(site: &Site, name_or_id: &str) -> Result<Response, Refusal> {
    let read = site.store.node_text(name_or_id, |node| {
        Ok((Shown::of(&node, &site.progress)?, Decisive::of(&node)?))
    });
    let (node, decisive) = read.await?;
    let root_disk = root_disk::of(site, decisive).await?;
    Ok(node.answer(&root_disk)?)
}

/// A node that has just been registered, as the API shows it.
fn view(site: &Site, node: NodeRecord) -> Node {
    Node {
        port_groups: port_groups::views(&node.ports, &node.port_groups),
        progress: site.progress.get(node.id),
        power: power::known(node.power, node.power_since, node.bmc_silent_since),
        id: node.id,
        name: node.name,
        rack: node.rack,
        provision_state: node.state.provision_state().to_owned(),
        state: node.state,
        generation: node.spec.generation,
        bmc: Bmc {
            url: node.bmc.url,
            username: node.bmc.username,
            trust: node.bmc.trust,
            has_ipmi_key: node.bmc.ipmi_key_sealed.is_some(),
            unreachable_since: node.bmc_silent_since,
        },
        ports: node.ports,
        standby: node.standby,
        identity: node.identity,
        inventory: node.inventory.map(Arc::unwrap_or_clone),
        server: node.server,
        boot_method: node.boot_method,
        boot_abilities: node.boot_abilities,
        root_disk_hint: node.root_disk_hint,
        root_disk: Vec::new(),
        created_at: node.created_at,
    }
}
