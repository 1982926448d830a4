//! The ports of a node: where their cables lead, and which one boots. Operators only.

use axum::Json;
use axum::extract::State;
use bessemer_core::attach::WiringError;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::PortGroup;
use bessemer_store::{NewWiring, NodeRecord};
use bessemer_wire::api::{NodePort, NodePortDetails, NodePortUpdate, Page};

use super::enroll;
use crate::api::extract::{Admin, Answer, Body, Path};
use crate::api::page;
use crate::api::problem::{Kind, Refusal, sentence};
use crate::api::values;
use crate::site::Site;
use crate::wiring;

/// List the ports of a node, with what was found of them at the last inspection.
#[utoipa::path(get, path = "/v1/nodes/{node}/ports", tag = "nodes", operation_id = "list_node_ports",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = Page<NodePortDetails>)))]
pub(super) async fn list(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Answer<Page<NodePortDetails>> {
    let node = site.store.node(&node).await?;
    let ports = node.ports.iter().map(|port| details(&node, port));
    Ok(Json(page::whole(ports.collect())))
}

/// Change a port of a node: where its cable leads, or that it boots the agent.
///
/// Only while the node has no server and rests. Its switch ports follow at once.
#[utoipa::path(patch, path = "/v1/nodes/{node}/ports/{mac}", tag = "nodes",
    operation_id = "update_node_port",
    params(("node" = String, Path, description = "Name or id"),
        ("mac" = String, Path, description = "MAC address")),
    request_body = NodePortUpdate, responses((status = 200, body = NodePortDetails)))]
pub(super) async fn update(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path((node, mac)): Path<(String, String)>,
    Body(request): Body<NodePortUpdate>,
) -> Answer<NodePortDetails> {
    let node = site.store.node(&node).await?;
    let (ports, index) = changed(&node, &mac, request)?;
    let port = &ports[index];
    let (switch, switch_port) = (port.switch.as_deref(), port.switch_port.as_deref());
    let switches = site.fabric.switches(&site).await?;
    enroll::check_cable(&switches, "", switch, switch_port)?;
    if let Some(physical_network) = &port.physical_network {
        values::name("physical_network", physical_network)?;
    }
    let what = format!("port {} is wired anew: {}", port.mac, told(port));
    let groups = node.port_groups.clone();
    let field = |error: &WiringError| match error {
        WiringError::GroupAcrossNetworks { .. } => "physical_network",
        WiringError::CableTwice { .. } => "switch_port",
        _ => "switch",
    };
    store(&site, &node, (ports, groups), &what, caller.name(), field).await?;
    let node = site.store.node_by_id(node.id).await?;
    Ok(Json(details(&node, &node.ports[index])))
}

/// The node's ports after the change, and which of them it was.
fn changed(
    node: &NodeRecord,
    mac: &str,
    request: NodePortUpdate,
) -> Result<(Vec<NodePort>, usize), Refusal> {
    let wanted = mac.parse::<MacAddress>();
    let wanted = wanted.map_err(|error| Refusal::new(Kind::InvalidParameter, sentence(&error)))?;
    let index = node.ports.iter().position(|port| port.mac == wanted);
    let index = index.ok_or_else(|| {
        let detail = format!("Node {} has no port {wanted}.", node.name);
        Refusal::new(Kind::NotFound, detail)
            .remedy(format!("GET /v1/nodes/{}/ports lists them.", node.name))
    })?;
    let mut ports = node.ports.clone();
    if request.boots == Some(false) {
        return Err(
            Refusal::invalid("boots", "One port of a node has to boot its agent.")
                .remedy("Say of another port that it boots."),
        );
    }
    if request.boots == Some(true) {
        for port in &mut ports {
            port.boots = false;
        }
    }
    let port = &mut ports[index];
    port.boots |= request.boots == Some(true);
    for (field, wanted) in [
        (&mut port.switch, request.switch),
        (&mut port.switch_port, request.switch_port),
        (&mut port.physical_network, request.physical_network),
    ] {
        if let Some(wanted) = wanted {
            *field = wanted;
        }
    }
    Ok((ports, index))
}

fn told(port: &NodePort) -> String {
    let mut words = vec![match (&port.switch, &port.switch_port) {
        (Some(switch), Some(switch_port)) => format!("cabled to {switch} {switch_port}"),
        _ => "cabled to no known switch".to_owned(),
    }];
    if let Some(physical_network) = &port.physical_network {
        words.push(format!("physical network {physical_network}"));
    }
    if port.boots {
        words.push("boots".to_owned());
    }
    words.join(", ")
}

/// Checks and stores how the ports of `node` are wired from now on, and has the conductor bring its
/// switch ports there. `field` says which field of the request is at fault.
pub(super) async fn store(
    site: &Site,
    node: &NodeRecord,
    (ports, port_groups): (Vec<NodePort>, Vec<PortGroup>),
    what: &str,
    by: &str,
    field: impl FnOnce(&WiringError) -> &'static str,
) -> Result<(), Refusal> {
    let switches = site.fabric.switches(site).await?;
    let declared = wiring::declared(&node.name, (&ports, &port_groups), None, &switches);
    if let Err(error) = declared.check() {
        return Err(enroll::wrong_wiring(field(&error), &error));
    }
    let wiring = NewWiring {
        port_control: enroll::port_control(&switches, &ports)
            .map_err(|refusal| refusal.field("switch"))?,
        ports,
        port_groups,
    };
    let now = site.now();
    let wired = site.store.wire_node(node, &wiring, what, by, now).await;
    wired.map_err(of_one_port)?;
    site.bell.ring();
    Ok(())
}

/// The field as the request of one port has it: `switch_port` rather than `ports[1].switch_port`.
fn of_one_port(error: bessemer_store::Error) -> Refusal {
    match error {
        bessemer_store::Error::Conflict {
            field: Some(field),
            message,
        } => {
            let name = field.rsplit('.').next().unwrap_or(&field);
            Refusal::new(Kind::Conflict, sentence(&message)).field(name)
        }
        error => error.into(),
    }
}

fn details(node: &NodeRecord, port: &NodePort) -> NodePortDetails {
    let mut nics = node.inventory.iter().flat_map(|inventory| &inventory.nics);
    let nic = nics.find(|nic| nic.mac == port.mac);
    let boots = node.boot_port().is_some_and(|boots| boots.mac == port.mac);
    NodePortDetails {
        port: NodePort {
            boots,
            ..port.clone()
        },
        name: nic.map(|nic| nic.name.clone()),
        link: nic.map(|nic| nic.link),
        speed_mbps: nic.and_then(|nic| nic.speed_mbps),
        lldp: nic.and_then(|nic| nic.lldp.clone()),
    }
}
