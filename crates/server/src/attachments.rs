//! What carries each network of a server on its node, and in which VLAN.
//!
//! Decided anew whenever it is needed, from what was asked for and how the node is wired
//! ([`bessemer_core::attach`]): for an order, to see whether a node will do; for its switch ports; and
//! for what its system is told. All three come from the same answer.

use bessemer_core::attach::{AttachError, Link, NodeWiring, Wish, attach};
use bessemer_core::network::NetworkKind;
use bessemer_core::port_plan::{Attachment, AttachmentMode};
use bessemer_store::{AttachmentRecord, NetworkRecord, NodeRecord, ServerRecord, Store};

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

/// Why a network cannot be carried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network has no VLAN on this switch.
    #[error("network `{0}` has no VLAN")]
    NoVlan(String),
    /// Nothing on the node can carry it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bessemer_store::Error),
}

/// Finds what carries each of these networks on the node that is wired so.
///
/// # Errors
/// The first network that cannot be carried, and why.
pub(crate) fn place(wanted: &[Wanted<'_>], wiring: &NodeWiring) -> Result<Vec<Attachment>, Error> {
    let wishes: Vec<_> = wanted.iter().map(wish).collect();
    let places = attach(&wishes, wiring)?;
    let placed = wanted.iter().zip(places).map(|(wanted, place)| {
        let network = wanted.network;
        Ok(Attachment {
            network: network.name.clone(),
            carrier: place.carrier,
            vlan: vlan(network)?,
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

fn vlan(network: &NetworkRecord) -> Result<u16, Error> {
    let vlan = network.vlan.filter(|_| network.kind == NetworkKind::Vlan);
    vlan.ok_or_else(|| Error::NoVlan(network.name.clone()))
}

/// What carries the networks of `server`, which is on `node`.
///
/// # Errors
/// If the store fails, or something has changed since the order, so that a network cannot be carried
/// any more.
pub(crate) async fn of_server(
    store: &Store,
    server: &ServerRecord,
    node: &NodeRecord,
) -> Result<Vec<Placed>, Error> {
    let mut networks = Vec::with_capacity(server.attachments.len());
    for attachment in &server.attachments {
        let id = attachment.network.to_string();
        networks.push(store.network(None, &id).await?);
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
    let wiring = wiring::of(node);
    let plans = place(&wanted, &wiring)?;
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
