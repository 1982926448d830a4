//! How a stored node is wired: what was declared of its ports, and what was found of its NICs.

use bessemer_core::attach::{Nic, NodeWiring};
use bessemer_core::hardware::Inventory;
use bessemer_core::port_plan::{Cable, Port, PortGroup};
use bessemer_store::NodeRecord;
use bessemer_wire::api::NodePort;

/// The wiring of `node`.
pub(crate) fn of(node: &NodeRecord) -> NodeWiring {
    let (ports, groups) = (&node.ports, &node.port_groups);
    declared(&node.name, ports, groups, node.inventory.as_ref())
}

/// The wiring of the node with this name, these ports and groups, and what was found of it. If none
/// of the ports says that it boots, the first one does.
pub(crate) fn declared(
    node: &str,
    ports: &[NodePort],
    groups: &[PortGroup],
    inventory: Option<&Inventory>,
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
            physical_network: port.physical_network.clone(),
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
