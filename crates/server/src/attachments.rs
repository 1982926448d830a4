//! What carries each network of a server on its node, and in which VLAN.
//!
//! Decided anew whenever it is needed, from what was asked for and how the node is wired
//! ([`bessemer_core::attach`]): for an order, to see whether a node will do; for its switch ports; and
//! for what its system is told. All three come from the same answer.

use std::collections::{BTreeSet, HashMap};

use bessemer_core::attach::{AttachError, Link, NodeWiring, Wish, attach};
use bessemer_core::id::{NetworkId, ServerId};
use bessemer_core::network::NetworkKind;
use bessemer_core::port_plan::{Attachment, AttachmentMode, Cable, Carrier};
use bessemer_store::{AttachmentRecord, NetworkRecord, NodeRecord, ServerRecord, Store};

use crate::fabric::Switches;
use crate::wiring;

/// A network that a server is to be on.
pub(crate) struct Wanted<'a> {
    /// The network.
    pub(crate) network: &'a NetworkRecord,
    /// The port group, or the port (by MAC address or name), that was asked for.
    pub(crate) port: Option<&'a str>,
    /// How it was asked for there.
    pub(crate) mode: Option<AttachmentMode>,
}

/// A server's place on a network.
pub(crate) struct Placed {
    /// The network.
    pub(crate) network: NetworkRecord,
    /// Its addresses there.
    pub(crate) record: AttachmentRecord,
    /// What carries it.
    pub(crate) plan: Attachment,
    /// The same as its system sees it; `None` if the node has no such port any more.
    pub(crate) link: Option<Link>,
}

/// The VLANs of VXLAN networks on switches; or why there is none.
#[derive(Default)]
pub(crate) struct LocalVlans(HashMap<(NetworkId, String), Result<u16, String>>);

impl LocalVlans {
    /// Notes the VLAN of a network on a switch, or why it can have none there.
    pub(crate) fn set(&mut self, network: NetworkId, switch: &str, vlan: Result<u16, String>) {
        self.0.insert((network, switch.to_owned()), vlan);
    }

    /// Those of a server.
    async fn of(store: &Store, server: ServerId) -> Result<Self, Error> {
        let mut vlans = Self::default();
        for each in store.local_vlans(server).await? {
            vlans.set(each.network, &each.switch, Ok(each.vlan));
        }
        Ok(vlans)
    }
}

/// Why a network cannot be carried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network has no VLAN.
    #[error("network `{0}` has no VLAN")]
    NoVlan(String),
    /// A VXLAN network has none on this switch.
    #[error(
        "network `{network}` has no VLAN on switch `{switch}`: the node's cables are not those of the \
         order any more; delete the server and order it again"
    )]
    NoLocalVlan {
        /// The network.
        network: String,
        /// The switch.
        switch: String,
    },
    /// A VXLAN network can have none on the switch.
    #[error("{0}")]
    NotOnSwitch(String),
    /// It is not known which switch would give a VXLAN network its VLAN.
    #[error(
        "network `{network}` is a VXLAN network, and not every cable of {carrier} is known to lead to a \
         switch: say where it leads, or ask for another port"
    )]
    NotCabled {
        /// The network.
        network: String,
        /// What would carry it.
        carrier: Carrier,
    },
    /// A VXLAN network has another VLAN on each switch, and a bond only one.
    #[error(
        "network `{network}` is a VXLAN network, and {carrier} is on switches {switches}: it can only be \
         on ports of one"
    )]
    SeveralSwitches {
        /// The network.
        network: String,
        /// What would carry it.
        carrier: Carrier,
        /// The switches' names.
        switches: String,
    },
    /// Nothing on the node can carry it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bessemer_store::Error),
}

/// Finds what carries each of these networks on the node that is wired so; `local` knows the VLANs of
/// VXLAN networks on its switches.
///
/// # Errors
/// The first network that cannot be carried, and why.
pub(crate) fn place(
    wanted: &[Wanted<'_>],
    wiring: &NodeWiring,
    local: &LocalVlans,
) -> Result<Vec<Attachment>, Error> {
    let wishes: Vec<_> = wanted.iter().map(wish).collect();
    let places = attach(&wishes, wiring)?;
    let placed = wanted.iter().zip(places).map(|(wanted, place)| {
        let network = wanted.network;
        Ok(Attachment {
            network: network.name.clone(),
            vlan: vlan(network, &place.carrier, wiring, local)?,
            carrier: place.carrier,
            mode: place.mode,
            mtu: network.mtu,
            segment: network.physical_network.clone(),
        })
    });
    placed.collect()
}

fn wish(wanted: &Wanted<'_>) -> Wish {
    let network = wanted.network;
    Wish {
        network: network.name.clone(),
        physical_network: network.physical_network.clone(),
        carrier: wanted.port.map(str::to_owned),
        mode: wanted.mode,
        mtu: network.mtu,
    }
}

fn vlan(
    network: &NetworkRecord,
    carrier: &Carrier,
    wiring: &NodeWiring,
    local: &LocalVlans,
) -> Result<u16, Error> {
    let name = || network.name.clone();
    if network.kind == NetworkKind::Vlan {
        return network.vlan.ok_or_else(|| Error::NoVlan(name()));
    }
    let switch = &cable(network, carrier, wiring)?.switch;
    match local.0.get(&(network.id, switch.clone())) {
        Some(vlan) => vlan.clone().map_err(Error::NotOnSwitch),
        None => Err(Error::NoLocalVlan {
            network: name(),
            switch: switch.clone(),
        }),
    }
}

/// The first cable of what carries a VXLAN network. All of them lead to one switch.
pub(crate) fn cable<'wiring>(
    network: &NetworkRecord,
    carrier: &Carrier,
    wiring: &'wiring NodeWiring,
) -> Result<&'wiring Cable, Error> {
    let ports = wiring.nics.iter().map(|nic| &nic.port);
    let ports = ports.filter(|port| match carrier {
        Carrier::Port(mac) => port.mac == *mac,
        Carrier::Group(group) => port.group.as_ref() == Some(group),
    });
    let cables: Option<BTreeSet<&Cable>> = ports.map(|port| port.cable.as_ref()).collect();
    let cables = cables.unwrap_or_default();
    let switches: BTreeSet<_> = cables.iter().map(|cable| cable.switch.as_str()).collect();
    let (name, carrier) = (network.name.clone(), carrier.clone());
    match (cables.first(), switches.len()) {
        (Some(cable), 1) => Ok(cable),
        (Some(_), _) => Err(Error::SeveralSwitches {
            network: name,
            carrier,
            switches: switches.into_iter().collect::<Vec<_>>().join(" and "),
        }),
        (None, _) => Err(Error::NotCabled {
            network: name,
            carrier,
        }),
    }
}

/// What carries the networks of `server`, which is on `node`.
///
/// # Errors
/// If the store fails, or something has changed since the order, so that a network cannot be carried
/// any more.
pub(crate) async fn of_server(
    store: &Store,
    switches: &Switches,
    server: &ServerRecord,
    node: &NodeRecord,
) -> Result<Vec<Placed>, Error> {
    of_server_with(store, switches, server, node, None).await
}

/// The same if one of its networks were as `changed` says.
pub(crate) async fn of_server_with(
    store: &Store,
    switches: &Switches,
    server: &ServerRecord,
    node: &NodeRecord,
    changed: Option<&NetworkRecord>,
) -> Result<Vec<Placed>, Error> {
    let mut networks = Vec::with_capacity(server.attachments.len());
    for attachment in &server.attachments {
        let id = attachment.network;
        networks.push(match changed.filter(|changed| changed.id == id) {
            Some(changed) => changed.clone(),
            None => store.network_uncounted(None, &id.to_string()).await?,
        });
    }
    let attachments = server.attachments.iter();
    let wanted: Vec<_> = attachments
        .zip(&networks)
        .map(|(attachment, network)| Wanted {
            network,
            port: attachment.port.as_deref(),
            mode: attachment.mode,
        })
        .collect();
    let wiring = wiring::of(node, switches);
    let local = LocalVlans::of(store, server.id).await?;
    let plans = place(&wanted, &wiring, &local)?;
    let attachments = server.attachments.iter().cloned();
    let placed = networks.into_iter().zip(attachments).zip(plans);
    Ok(placed
        .map(|((network, record), plan)| Placed {
            network,
            record,
            link: wiring.link(&plan.carrier),
            plan,
        })
        .collect())
}

#[cfg(test)]
mod tests;
