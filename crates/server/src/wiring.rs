//! How a stored node is wired: what was declared of its ports, and what was found of its NICs.

use bessemer_core::attach::{Nic, NodeWiring};
use bessemer_core::hardware::Inventory;
use bessemer_core::port_plan::{Cable, Port, PortGroup};
use bessemer_store::NodeRecord;
use bessemer_wire::api::NodePort;

use crate::fabric::Switches;

/// The wiring of `node`.
pub(crate) fn of(node: &NodeRecord, switches: &Switches) -> NodeWiring {
    let (ports, groups) = (&node.ports, &node.port_groups);
    declared(
        &node.name,
        (ports, groups),
        node.inventory.as_deref(),
        switches,
    )
}

/// The wiring of the node with this name, these ports and groups, and what was found of it. If none
/// of the ports says that it boots, the first one does. A port of which no physical network is declared
/// is on that of its switch.
pub(crate) fn declared(
    node: &str,
    (ports, groups): (&[NodePort], &[PortGroup]),
    inventory: Option<&Inventory>,
    switches: &Switches,
) -> NodeWiring {
    let said = ports.iter().any(|port| port.boots);
    let nics = ports.iter().enumerate().map(|(index, port)| {
        let mut found = inventory.iter().flat_map(|inventory| &inventory.nics);
        let found = found.find(|nic| nic.mac == port.mac);
        let cable = port.switch.clone().zip(port.switch_port.clone());
        Nic {
            port: Port {
                mac: port.mac,
                cable: cable.map(|(switch, port)| Cable { switch, port }),
                group: port.group.clone(),
                boots: port.boots || (!said && index == 0),
            },
            physical_network: physical_network(port, switches),
            name: found.map(|nic| nic.name.clone()),
            link: found.map(|nic| nic.link),
            speed_mbps: found.and_then(|nic| nic.speed_mbps),
        }
    });
    NodeWiring {
        node: node.to_owned(),
        nics: nics.collect(),
        groups: groups.to_vec(),
    }
}

/// The physical network that a port is on, as declared of it or of its switch.
pub(crate) fn physical_network(port: &NodePort, switches: &Switches) -> Option<String> {
    let switch = port.switch.as_ref().and_then(|name| switches.record(name));
    let of_switch = switch.and_then(|switch| switch.settings.physical_network.as_ref());
    port.physical_network.as_ref().or(of_switch).cloned()
}
