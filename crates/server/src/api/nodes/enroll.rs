//! Checking a machine that is to be registered, before anything of it is stored.

use bessemer_core::attach::{MOST_NICS, WiringError};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::PortControl;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::PortGroup;
use bessemer_store::NewNode;
use bessemer_wire::api::{NodeCreate, NodePort, NodePortCreate, PortGroupCreate};
use uuid::Uuid;

use super::access;
use crate::api::places::rack_of;
use crate::api::problem::{Refusal, sentence};
use crate::api::values;
use crate::fabric::Switches;
use crate::site::Site;
use crate::wiring;

/// The node as it is to be stored, with its password sealed.
pub(super) async fn check(site: &Site, request: NodeCreate) -> Result<NewNode, Refusal> {
    let id = NodeId(Uuid::now_v7());
    values::dns_label("name", &request.name)?;
    let switches = site.fabric.switches(site).await?;
    let ports = request.ports.into_iter().enumerate();
    let mut ports: Vec<_> = ports
        .map(|(index, port)| check_port(&switches, index, port))
        .collect::<Result<_, _>>()?;
    check_ports(&ports)?;
    let port_groups = check_groups(&request.name, &mut ports, &request.port_groups, &switches)?;
    let boots = ports.iter().any(|port| port.boots);
    // Said once, so that nothing hangs on their order.
    if let Some(first) = ports.first_mut().filter(|_| !boots) {
        first.boots = true;
    }
    if let Some(hint) = &request.root_disk_hint {
        values::root_disk_hint(hint)?;
    }
    Ok(NewNode {
        id,
        name: request.name,
        rack: rack_of(site, request.rack.as_deref()).await?,
        bmc: access::check(site, id, request.bmc)?,
        port_control: port_control(&switches, &ports)?,
        standby: request.standby,
        boot_method: request.boot_method,
        root_disk_hint: request.root_disk_hint,
        ports,
        port_groups,
    })
}

/// Puts `ports` into the groups that were asked for.
fn check_groups(
    node: &str,
    ports: &mut [NodePort],
    groups: &[PortGroupCreate],
    switches: &Switches,
) -> Result<Vec<PortGroup>, Refusal> {
    for (index, group) in groups.iter().enumerate() {
        let field = format!("port_groups[{index}].members");
        put_into(ports, &group.name, &group.members, &field)?;
    }
    let groups = groups.iter().map(|group| PortGroup {
        name: group.name.clone(),
        mode: group.mode,
    });
    let groups: Vec<_> = groups.collect();
    let wiring = wiring::declared(node, (ports, &groups), None, switches);
    wiring.check().map_err(|error| match error {
        WiringError::TwoBoot(..) => wrong_wiring("ports", &error),
        _ => wrong_wiring("port_groups", &error),
    })?;
    Ok(groups)
}

/// Says of the ports with these addresses that they are in `group`.
pub(super) fn put_into(
    ports: &mut [NodePort],
    group: &str,
    members: &[MacAddress],
    field: &str,
) -> Result<(), Refusal> {
    for (index, mac) in members.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(port) = ports.iter_mut().find(|port| port.mac == *mac) else {
            return Err(Refusal::unknown(
                field,
                format!("The node has no port {mac}."),
            ));
        };
        match &port.group {
            None => port.group = Some(group.to_owned()),
            Some(other) if other == group => {
                return Err(Refusal::invalid(field, format!("{mac} is named twice.")));
            }
            Some(other) => {
                let detail = format!(
                    "Port {mac} is in port group {} already.",
                    values::quoted(other)
                );
                return Err(Refusal::invalid(field, detail).remedy("Take it out there first."));
            }
        }
    }
    Ok(())
}

/// A way in which a node cannot be wired, said by `field`.
pub(super) fn wrong_wiring(field: &str, error: &WiringError) -> Refusal {
    Refusal::invalid(field, sentence(error))
}

fn check_port(
    switches: &Switches,
    index: usize,
    port: NodePortCreate,
) -> Result<NodePort, Refusal> {
    let within = format!("ports[{index}].");
    check_cable(
        switches,
        &within,
        port.switch.as_deref(),
        port.switch_port.as_deref(),
    )?;
    if let Some(physical_network) = &port.physical_network {
        values::name(&format!("{within}physical_network"), physical_network)?;
    }
    Ok(NodePort {
        mac: port.mac,
        switch: port.switch,
        switch_port: port.switch_port,
        physical_network: port.physical_network,
        group: None,
        boots: port.boots,
    })
}

/// Checks where a cable is said to lead. The fields' names begin with `within`.
pub(super) fn check_cable(
    switches: &Switches,
    within: &str,
    switch: Option<&str>,
    switch_port: Option<&str>,
) -> Result<(), Refusal> {
    let field = |name: &str| format!("{within}{name}");
    match (switch, switch_port) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Refusal::invalid(
            field("switch"),
            "`switch_port` is given without `switch`.",
        )),
        (Some(_), None) => Err(Refusal::invalid(
            field("switch_port"),
            "`switch` is given without `switch_port`.",
        )),
        (Some(switch), Some(switch_port)) => {
            if switches.record(switch).is_none() {
                let detail = format!("There is no switch {}.", values::quoted(switch));
                return Err(
                    Refusal::unknown(field("switch"), detail).remedy(known_switches(switches))
                );
            }
            values::text(&field("switch_port"), switch_port, 64)
        }
    }
}

fn known_switches(switches: &Switches) -> String {
    let names: Vec<_> = switches.names().collect();
    if names.is_empty() {
        return "There are no switches: make it first (`bessemer switch create`), or leave `switch` \
                and `switch_port` out on a flat site."
            .into();
    }
    format!("There are: {}.", names.join(", "))
}

fn check_ports(ports: &[NodePort]) -> Result<(), Refusal> {
    if !(1..=MOST_NICS).contains(&ports.len()) {
        return Err(Refusal::invalid(
            "ports",
            format!(
                "A node has 1 to {MOST_NICS} ports; these are {}.",
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
pub(super) fn port_control(
    switches: &Switches,
    ports: &[NodePort],
) -> Result<PortControl, Refusal> {
    if switches.names().next().is_none() {
        return Ok(PortControl::Flat);
    }
    let boots = ports.iter().position(|port| port.boots).unwrap_or(0);
    if ports.get(boots).is_some_and(|port| port.switch.is_none()) {
        return Err(Refusal::invalid(
            format!("ports[{boots}].switch"),
            "This site has switches: it must be known where the boot NIC is cabled to.",
        )
        .remedy(known_switches(switches)));
    }
    let switch = ports.get(boots).and_then(|port| port.switch.as_deref());
    let switch = switch.and_then(|name| switches.record(name));
    Ok(match switch.is_some_and(|switch| switch.driver.is_ours()) {
        true => PortControl::Switched,
        false => PortControl::Flat,
    })
}
