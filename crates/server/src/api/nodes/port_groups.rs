//! The port groups of a node: which of its NICs an operating system uses as one. Operators only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::attach::WiringError;
use bessemer_core::port_plan::{self, GroupMode};
use bessemer_store::NodeRecord;
use bessemer_wire::api::{NodePort, Page, PortGroup, PortGroupCreate, PortGroupUpdate};

use super::enroll::put_into;
use super::ports;
use crate::api::extract::{Admin, Answer, Body, Path};
use crate::api::problem::{Kind, Refusal};
use crate::api::{answer_with, page, values};
use crate::site::Site;

/// List the port groups of a node.
#[utoipa::path(get, path = "/v1/nodes/{node}/port-groups", tag = "nodes",
    operation_id = "list_port_groups",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = Page<PortGroup>)))]
pub(super) async fn list(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Answer<Page<PortGroup>> {
    let node = site.store.node(&node).await?;
    Ok(Json(page::whole(views(&node.ports, &node.port_groups))))
}

/// Bond ports of a node.
///
/// Only while the node has no server and rests. With LACP the switch forms a link aggregation of the
/// ports at once, whatever the node is doing; all of them must be on one switch.
#[utoipa::path(post, path = "/v1/nodes/{node}/port-groups", tag = "nodes",
    operation_id = "create_port_group",
    params(("node" = String, Path, description = "Name or id")),
    request_body = PortGroupCreate, responses((status = 201, body = PortGroup)))]
pub(super) async fn create(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(node): Path<String>,
    Body(request): Body<PortGroupCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let node = site.store.node(&node).await?;
    let mut groups = node.port_groups.clone();
    if groups.iter().any(|group| group.name == request.name) {
        let name = values::quoted(&request.name);
        let detail = format!("Node {} has a port group {name} already.", node.name);
        return Err(Refusal::new(Kind::Conflict, detail).field("name"));
    }
    let mut all = node.ports.clone();
    put_into(&mut all, &request.name, &request.members, "members")?;
    groups.push(port_plan::PortGroup {
        name: request.name.clone(),
        mode: request.mode,
    });
    let what = format!("port group {} is made", told(&request.name, request.mode));
    ports::store(&site, &node, (all, groups), &what, caller.name(), field).await?;
    let node = site.store.node_by_id(node.id).await?;
    let location = format!("/v1/nodes/{}/port-groups/{}", node.id, request.name);
    let group = view(&node, &request.name)?;
    Ok(answer_with(StatusCode::CREATED, &location, group))
}

/// Show a port group of a node.
#[utoipa::path(get, path = "/v1/nodes/{node}/port-groups/{group}", tag = "nodes",
    operation_id = "show_port_group",
    params(("node" = String, Path, description = "Name or id"),
        ("group" = String, Path, description = "Name")),
    responses((status = 200, body = PortGroup)))]
pub(super) async fn show(
    State(site): State<Site>,
    _: Admin,
    Path((node, group)): Path<(String, String)>,
) -> Answer<PortGroup> {
    let node = site.store.node(&node).await?;
    Ok(Json(view(&node, &group)?))
}

/// Change a port group of a node.
///
/// Only while the node has no server and rests. Its switch ports follow at once.
#[utoipa::path(patch, path = "/v1/nodes/{node}/port-groups/{group}", tag = "nodes",
    operation_id = "update_port_group",
    params(("node" = String, Path, description = "Name or id"),
        ("group" = String, Path, description = "Name")),
    request_body = PortGroupUpdate, responses((status = 200, body = PortGroup)))]
pub(super) async fn update(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path((node, name)): Path<(String, String)>,
    Body(request): Body<PortGroupUpdate>,
) -> Answer<PortGroup> {
    let node = site.store.node(&node).await?;
    let before = view(&node, &name)?;
    let mut all = node.ports.clone();
    if let Some(members) = &request.members {
        leave(&mut all, &name);
        put_into(&mut all, &name, members, "members")?;
    }
    let mode = request.mode.unwrap_or(before.mode);
    let mut groups = node.port_groups.clone();
    for group in groups.iter_mut().filter(|group| group.name == name) {
        group.mode = mode;
    }
    let what = format!("port group {} is changed", told(&name, mode));
    ports::store(&site, &node, (all, groups), &what, caller.name(), field).await?;
    let node = site.store.node_by_id(node.id).await?;
    Ok(Json(view(&node, &name)?))
}

/// Delete a port group of a node: its ports are used singly from then on.
///
/// Only while the node has no server and rests.
#[utoipa::path(delete, path = "/v1/nodes/{node}/port-groups/{group}", tag = "nodes",
    operation_id = "delete_port_group",
    params(("node" = String, Path, description = "Name or id"),
        ("group" = String, Path, description = "Name")),
    responses((status = 204)))]
pub(super) async fn delete(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path((node, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let node = site.store.node(&node).await?;
    let group = view(&node, &name)?;
    let mut all = node.ports.clone();
    leave(&mut all, &name);
    let mut groups = node.port_groups.clone();
    groups.retain(|each| each.name != name);
    let what = format!("port group {} is deleted", told(&name, group.mode));
    ports::store(&site, &node, (all, groups), &what, caller.name(), field).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(name: &str, mode: GroupMode) -> String {
    format!("{name} ({})", mode.name())
}

fn leave(ports: &mut [NodePort], group: &str) {
    let members = ports.iter_mut();
    for port in members.filter(|port| port.group.as_deref() == Some(group)) {
        port.group = None;
    }
}

/// The field of a request that says what is wrong.
fn field(error: &WiringError) -> &'static str {
    match error {
        WiringError::BadGroupName(_) | WiringError::GroupTwice(_) => "name",
        _ => "members",
    }
}

/// The port groups of a node as the API shows them.
pub(super) fn views(ports: &[NodePort], groups: &[port_plan::PortGroup]) -> Vec<PortGroup> {
    let groups = groups.iter().map(|group| PortGroup {
        name: group.name.clone(),
        mode: group.mode,
        members: {
            let members = ports
                .iter()
                .filter(|port| port.group.as_ref() == Some(&group.name));
            members.map(|port| port.mac).collect()
        },
    });
    groups.collect()
}

fn view(node: &NodeRecord, name: &str) -> Result<PortGroup, Refusal> {
    let mut groups = views(&node.ports, &node.port_groups).into_iter();
    groups.find(|group| group.name == name).ok_or_else(|| {
        let name = values::quoted(name);
        let detail = format!("Node {} has no port group {name}.", node.name);
        Refusal::new(Kind::NotFound, detail)
    })
}
