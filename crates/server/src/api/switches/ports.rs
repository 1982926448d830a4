//! The ports of a switch that nodes are cabled to: what they must carry, and what they do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_core::Timestamp;
use bessemer_core::port_plan::{PortPlan, PortState};
use bessemer_core::reason::Failure;
use bessemer_store::{NodeRecord, SwitchRecord};
use bessemer_wire::api::{NodePort, Page, SwitchPort};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::api::extract::{Admin, Answer, Path, Query};
use crate::api::page;
use crate::api::problem::{Kind, Refusal, sentence};
use crate::site::Site;

/// How long a switch may take to tell what its ports carry while somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the switch is asked.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PortsQuery {
    /// Whether the switch is asked what its ports carry now; what was read last is told otherwise.
    #[serde(default)]
    read: bool,
}

/// List the ports of a switch that nodes are cabled to.
///
/// With what they must carry, what they were last seen to carry, and how these differ.
#[utoipa::path(get, path = "/v1/switches/{switch}/ports", tag = "places",
    operation_id = "list_switch_ports",
    params(("switch" = String, Path, description = "Name or id"), PortsQuery),
    responses((status = 200, body = Page<SwitchPort>)))]
pub(super) async fn list(
    State(site): State<Site>,
    _: Admin,
    Path(switch): Path<String>,
    Query(query): Query<PortsQuery>,
) -> Answer<Page<SwitchPort>> {
    let switch = site.store.switch(&switch).await?;
    let nodes = site.store.nodes_on_switch(&switch).await?;
    if query.read {
        read(&site, &switch, &nodes).await?;
    }
    let states = site.store.switch_ports(&switch).await?;
    let states: BTreeMap<_, _> = states
        .into_iter()
        .map(|(state, at)| (state.port.clone(), (state, at)))
        .collect();
    let mut items = Vec::new();
    for node in &nodes {
        let plans = wanted(&site, &switch, node).await;
        for (port, nic) in cabled(&switch, node) {
            let plan = plans.iter().find(|plan| plan.ports().contains(port));
            items.push(view(node, (port, nic), plan, states.get(port)));
        }
    }
    items.sort_by(|one, other| one.port.cmp(&other.port));
    Ok(Json(page::whole(items)))
}

/// The ports of `switch` that `node` is cabled to, with the NICs at the other end.
fn cabled<'a>(
    switch: &'a SwitchRecord,
    node: &'a NodeRecord,
) -> impl Iterator<Item = (&'a String, &'a NodePort)> {
    let ports = node.ports.iter();
    let ports = ports.filter(|port| port.switch.as_ref() == Some(&switch.name));
    ports.filter_map(|nic| Some((nic.switch_port.as_ref()?, nic)))
}

/// Asks the switch what these ports carry, and writes it down.
async fn read(site: &Site, switch: &SwitchRecord, nodes: &[NodeRecord]) -> Result<(), Refusal> {
    let ports = nodes.iter().flat_map(|node| cabled(switch, node));
    let ports: BTreeSet<_> = ports.map(|(port, _)| port.clone()).collect();
    let ports: Vec<_> = ports.into_iter().collect();
    let deadline = Instant::now() + PATIENCE;
    let read = site.fabric.read(&switch.name, &ports, site, deadline).await;
    read.map_err(|failure: Failure| {
        Refusal::new(Kind::SwitchFailed, sentence(&failure.message))
            .remedy("Ask without `read` for what was seen last.")
    })
}

/// What the ports of `node` on this switch must carry, as far as that is known.
async fn wanted(site: &Site, switch: &SwitchRecord, node: &NodeRecord) -> Vec<PortPlan> {
    let Some(role) = node.port_role else {
        return Vec::new();
    };
    let plans = site.fabric.wanted(node, role, site).await;
    let plans = plans.unwrap_or_default().into_iter();
    let ours = plans.filter(|plan| plan.switch == switch.name);
    ours.flat_map(|plan| plan.ports).collect()
}

fn view(
    node: &NodeRecord,
    (port, nic): (&String, &NodePort),
    plan: Option<&PortPlan>,
    state: Option<&(PortState, Timestamp)>,
) -> SwitchPort {
    let differences = match (plan, state) {
        (Some(plan), Some((state, _))) => plan.differences(std::slice::from_ref(state)),
        _ => Vec::new(),
    };
    // Of an aggregation, the other members are told of on their own lines.
    let differences = differences.iter().filter(|each| each.port == *port);
    SwitchPort {
        port: port.clone(),
        node: node.id,
        node_name: node.name.clone(),
        mac: nic.mac,
        role: node.port_role,
        wanted: plan.map(ToString::to_string),
        state: state.map(|(state, _)| state.clone()),
        read_at: state.map(|(_, at)| *at),
        differences: differences.map(ToString::to_string).collect(),
    }
}
