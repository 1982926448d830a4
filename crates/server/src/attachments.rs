//! Which port of its node carries each network of a server, and how.
//!
//! Decided anew whenever it is needed, from what was asked for and what the node has: for an order,
//! to see whether a node will do; for its switch ports; and for what its system is told. All three
//! come from the same answer.

use bessemer_core::net::MacAddress;
use bessemer_core::network::NetworkKind;
use bessemer_core::port_plan::{Attachment, AttachmentMode, Carrier};
use bessemer_store::{AttachmentRecord, NetworkRecord, NodeRecord, ServerRecord, Store};
use bessemer_wire::api::NodePort;

/// A network that a server is to be on.
pub(crate) struct Wanted<'a> {
    /// The network.
    pub(crate) network: &'a NetworkRecord,
    /// The port that was asked for, by MAC address.
    pub(crate) port: Option<&'a str>,
    /// How it was asked for on that port.
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
}

/// Why a network cannot be carried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network has no VLAN on this switch.
    #[error("network `{0}` has no VLAN")]
    NoVlan(String),
    /// The port that was asked for is not there.
    #[error("network `{network}`: node `{node}` has no port `{port}`, but {ports}")]
    NoPort {
        /// The network.
        network: String,
        /// The port that was asked for.
        port: String,
        /// The node.
        node: String,
        /// The ports that it has.
        ports: String,
    },
    /// Two networks without tags on one port.
    #[error("networks `{first}` and `{second}` are both native on port {port}: tag one of them")]
    TwoNative {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The port.
        port: MacAddress,
    },
    /// A tagged network with larger packets than the native one of the same port.
    #[error(
        "network `{tagged}` has an MTU of {larger} bytes, and `{native}`, which is native on the \
         same port, of {smaller}: tag both, or put them on two ports"
    )]
    Mtu {
        /// The tagged network.
        tagged: String,
        /// Its MTU.
        larger: u16,
        /// The native network.
        native: String,
        /// Its MTU.
        smaller: u16,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bessemer_store::Error),
}

/// Finds what carries each of these networks on the node with these ports, the one that it boots from
/// first.
///
/// A network goes to the port that was asked for, else to the one that the node boots from. On each
/// port, the first network of which nothing else is said is native, and the others are tagged.
///
/// # Errors
/// The first network that cannot be carried, and why.
pub(crate) fn place(
    wanted: &[Wanted<'_>],
    node: &str,
    ports: &[NodePort],
) -> Result<Vec<Attachment>, Error> {
    let mut placed: Vec<Attachment> = Vec::with_capacity(wanted.len());
    for each in wanted {
        let mac = port_of(each, node, ports)?;
        let carrier = Carrier::Port(mac);
        let native_is_taken = placed
            .iter()
            .any(|other| other.carrier == carrier && other.mode == AttachmentMode::Native)
            || wanted.iter().any(|other| {
                other.mode == Some(AttachmentMode::Native)
                    && port_of(other, node, ports).is_ok_and(|port| port == mac)
            });
        let usual = if native_is_taken {
            AttachmentMode::Tagged
        } else {
            AttachmentMode::Native
        };
        let network = each.network;
        placed.push(Attachment {
            network: network.name.clone(),
            carrier,
            vlan: vlan(network)?,
            mode: each.mode.unwrap_or(usual),
            mtu: network.mtu,
            segment: None,
        });
    }
    check_ports(&placed)?;
    Ok(placed)
}

fn port_of(wanted: &Wanted<'_>, node: &str, ports: &[NodePort]) -> Result<MacAddress, Error> {
    let asked = wanted.port.map(|port| (port, port.parse::<MacAddress>()));
    let found = match &asked {
        None => ports.first(),
        Some((_, Ok(mac))) => ports.iter().find(|port| port.mac == *mac),
        Some((_, Err(_))) => None,
    };
    found.map(|port| port.mac).ok_or_else(|| Error::NoPort {
        network: wanted.network.name.clone(),
        port: asked.map_or(String::new(), |(port, _)| port.to_owned()),
        node: node.to_owned(),
        ports: told(ports),
    })
}

fn told(ports: &[NodePort]) -> String {
    let all: Vec<_> = ports.iter().map(|port| port.mac.to_string()).collect();
    if all.is_empty() {
        "none at all".to_owned()
    } else {
        all.join(", ")
    }
}

fn vlan(network: &NetworkRecord) -> Result<u16, Error> {
    let vlan = network.vlan.filter(|_| network.kind == NetworkKind::Vlan);
    vlan.ok_or_else(|| Error::NoVlan(network.name.clone()))
}

/// Checks what the networks of one port have to agree on: an untagged network has the port's own
/// MTU, which must do for the tagged ones as well.
fn check_ports(placed: &[Attachment]) -> Result<(), Error> {
    let native = |each: &&Attachment| each.mode == AttachmentMode::Native;
    for (index, one) in placed.iter().enumerate().filter(|(_, each)| native(each)) {
        let others = placed.iter().enumerate();
        let others = others.filter(|(other, each)| *other != index && each.carrier == one.carrier);
        for (_, other) in others {
            if let (AttachmentMode::Native, Carrier::Port(port)) = (other.mode, &one.carrier) {
                return Err(Error::TwoNative {
                    first: one.network.clone(),
                    second: other.network.clone(),
                    port: *port,
                });
            }
            if other.mtu > one.mtu {
                return Err(Error::Mtu {
                    tagged: other.network.clone(),
                    larger: other.mtu,
                    native: one.network.clone(),
                    smaller: one.mtu,
                });
            }
        }
    }
    Ok(())
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
    let plans = place(&wanted, &node.name, &node.ports)?;
    let attachments = server.attachments.iter().cloned();
    let placed = networks.into_iter().zip(attachments).zip(plans);
    Ok(placed
        .map(|((network, record), plan)| Placed {
            network,
            record,
            plan,
        })
        .collect())
}

#[cfg(test)]
mod tests;
