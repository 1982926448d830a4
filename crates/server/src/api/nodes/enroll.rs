//! Checking a machine that is to be registered, before anything of it is stored.

use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::PortControl;
use bessemer_store::NewNode;
use bessemer_wire::api::{NodeCreate, NodePort, NodePortCreate};
use uuid::Uuid;

use super::access;
use crate::api::problem::Refusal;
use crate::api::values;
use crate::config::Switch;
use crate::site::Site;

/// The most NICs of a node.
const MAX_PORTS: usize = 16;

/// The node as it is to be stored, with its password sealed.
pub(super) fn check(site: &Site, request: NodeCreate) -> Result<NewNode, Refusal> {
    let id = NodeId(Uuid::now_v7());
    values::dns_label("name", &request.name)?;
    let ports = request.ports.into_iter().enumerate();
    let ports: Vec<_> = ports
        .map(|(index, port)| check_port(site, index, port))
        .collect::<Result<_, _>>()?;
    check_ports(&ports)?;
    if let Some(hint) = &request.root_disk_hint {
        values::root_disk_hint(hint)?;
    }
    Ok(NewNode {
        id,
        name: request.name,
        bmc: access::check(site, id, request.bmc)?,
        port_control: port_control(site, &ports)?,
        standby: request.standby,
        boot_method: request.boot_method,
        root_disk_hint: request.root_disk_hint,
        ports,
    })
}

fn check_port(site: &Site, index: usize, port: NodePortCreate) -> Result<NodePort, Refusal> {
    let field = |name: &str| format!("ports[{index}].{name}");
    match (&port.switch, &port.switch_port) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(Refusal::invalid(
                field("switch"),
                "`switch_port` is given without `switch`.",
            ));
        }
        (Some(_), None) => {
            return Err(Refusal::invalid(
                field("switch_port"),
                "`switch` is given without `switch_port`.",
            ));
        }
        (Some(switch), Some(switch_port)) => {
            if site.config.switch(switch).is_none() {
                return Err(Refusal::unknown(
                    field("switch"),
                    format!(
                        "The configuration has no switch {}.",
                        values::quoted(switch)
                    ),
                )
                .remedy(known_switches(site)));
            }
            values::text(&field("switch_port"), switch_port, 64)?;
        }
    }
    Ok(NodePort {
        mac: port.mac,
        switch: port.switch,
        switch_port: port.switch_port,
    })
}

fn known_switches(site: &Site) -> String {
    let names: Vec<_> = site
        .config
        .switch
        .iter()
        .map(|switch| switch.name.as_str())
        .collect();
    if names.is_empty() {
        return "This site controls no switches: leave `switch` and `switch_port` out.".into();
    }
    format!("It has: {}.", names.join(", "))
}

fn check_ports(ports: &[NodePort]) -> Result<(), Refusal> {
    if !(1..=MAX_PORTS).contains(&ports.len()) {
        return Err(Refusal::invalid(
            "ports",
            format!(
                "A node has 1 to {MAX_PORTS} ports; these are {}.",
                ports.len()
            ),
        )
        .remedy("Give the NIC that boots the agent first."));
    }
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| other.mac == port.mac) {
            return Err(Refusal::invalid(
                format!("ports[{index}].mac"),
                format!("{} is given twice.", port.mac),
            ));
        }
        let cable = |port: &NodePort| port.switch.clone().zip(port.switch_port.clone());
        if cable(port).is_some()
            && ports[..index]
                .iter()
                .any(|other| cable(other) == cable(port))
        {
            return Err(Refusal::invalid(
                format!("ports[{index}].switch_port"),
                "Two ports cannot be cabled to one switch port.",
            ));
        }
    }
    Ok(())
}

/// Where switches are ours, a node whose boot NIC is not on one would meet the agent and the
/// tenant on the same network unnoticed (invariant 5).
fn port_control(site: &Site, ports: &[NodePort]) -> Result<PortControl, Refusal> {
    if site.config.switch.is_empty() {
        return Ok(PortControl::Flat);
    }
    if ports.first().is_some_and(|port| port.switch.is_none()) {
        return Err(Refusal::invalid(
            "ports[0].switch",
            "This site controls its switches: it must be known where the boot NIC is cabled to.",
        )
        .remedy(known_switches(site)));
    }
    let switch = ports.first().and_then(|port| port.switch.as_deref());
    let ours = switch.and_then(|name| site.config.switch(name));
    Ok(match ours.is_some_and(Switch::is_ours) {
        true => PortControl::Switched,
        false => PortControl::Flat,
    })
}
