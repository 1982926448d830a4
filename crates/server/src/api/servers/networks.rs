//! The networks of an order: the project must be allowed to use them, and they must go together.

use std::net::IpAddr;

use bessemer_core::net::MacAddress;
use bessemer_store::{NetworkRecord, NewAttachment};
use bessemer_wire::api::NetworkRequest;

use crate::api::addresses::{check_address, check_pool};
use crate::api::extract::Caller;
use crate::api::problem::Refusal;
use crate::api::{reference, values};
use crate::attachments::Wanted;
use crate::site::Site;

/// The most networks of a server.
const MAX_NETWORKS: usize = 8;

/// A network of an order, and the server's place on it.
pub(super) struct Ordered {
    pub(super) network: NetworkRecord,
    pub(super) attachment: NewAttachment,
}

impl Ordered {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            network: &self.network,
            port: self.attachment.port.as_deref(),
            mode: self.attachment.mode,
        }
    }
}

/// Finds the networks, and checks that a server can be on all of them. Whether a node can is another
/// question.
pub(super) async fn resolve(
    site: &Site,
    caller: &Caller,
    requests: &[NetworkRequest],
) -> Result<Vec<Ordered>, Refusal> {
    if !(1..=MAX_NETWORKS).contains(&requests.len()) {
        let detail = format!("A server is on 1 to {MAX_NETWORKS} networks.");
        return Err(Refusal::invalid("networks", detail));
    }
    let mut ordered: Vec<Ordered> = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        let field = format!("networks[{index}]");
        // What the project may use, whoever orders for it.
        let viewer = Some(caller.project());
        let found = site.store.network_uncounted(viewer, &request.network);
        let network = reference(&format!("{field}.network"), found.await)?;
        check_apart(&field, &ordered, &network)?;
        check_addresses(site, caller, &field, &network, &request.addresses).await?;
        let attachment = NewAttachment {
            network: network.id,
            port: port(&field, request.port.as_deref())?,
            mode: request.mode,
            addresses: request.addresses.clone(),
        };
        ordered.push(Ordered {
            network,
            attachment,
        });
    }
    Ok(ordered)
}

/// What is to carry the network: a MAC address in its one spelling, or a name.
fn port(field: &str, port: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(port) = port else {
        return Ok(None);
    };
    if let Ok(mac) = port.parse::<MacAddress>() {
        return Ok(Some(mac.to_string()));
    }
    values::name(&format!("{field}.port"), port).map_err(|refusal| {
        refusal.remedy("Give a port's MAC address, or the name of a port or port group.")
    })?;
    Ok(Some(port.to_owned()))
}

/// Refuses a network that is there already, or whose addresses another one has, too: the server
/// could not tell whom to send a packet to.
fn check_apart(field: &str, others: &[Ordered], network: &NetworkRecord) -> Result<(), Refusal> {
    let field = format!("{field}.network");
    for Ordered { network: other, .. } in others {
        if other.id == network.id {
            let detail = format!("Network {} is named twice.", network.name);
            return Err(Refusal::invalid(field, detail).remedy("Name each network once."));
        }
        let meets = network.subnets.iter().find_map(|own| {
            let mut theirs = other.subnets.iter().map(|subnet| subnet.plan.cidr);
            let met = theirs.find(|cidr| cidr.overlaps(own.plan.cidr));
            met.map(|cidr| (own.plan.cidr, cidr))
        });
        if let Some((own, theirs)) = meets {
            let detail = format!(
                "Its subnet {own} overlaps {theirs} of network {}: a server on both could not tell \
                 them apart.",
                other.name
            );
            return Err(Refusal::invalid(field, detail)
                .remedy("Order on one of the two, or give your own network other addresses."));
        }
    }
    Ok(())
}

async fn check_addresses(
    site: &Site,
    caller: &Caller,
    field: &str,
    network: &NetworkRecord,
    addresses: &[IpAddr],
) -> Result<(), Refusal> {
    for (index, &address) in addresses.iter().enumerate() {
        let field = format!("{field}.addresses[{index}]");
        check_address(network, &field, address)?;
        let mut subnets = network.subnets.iter().map(|subnet| subnet.plan.cidr);
        let same = subnets.find(|cidr| cidr.contains(address));
        let twice = same.is_some_and(|cidr| {
            let before = &addresses[..index];
            before.iter().any(|other| cidr.contains(*other))
        });
        if twice {
            let detail = "It is a second address in one subnet.";
            return Err(Refusal::invalid(field, detail)
                .remedy("Reserve it, and move it to the server when that is active."));
        }
        let project = Some(caller.project());
        match site.store.address(project, network.id, address).await {
            // Reserved for it, in a pool or not.
            Ok(_) => {}
            Err(bessemer_store::Error::NotFound { .. }) => {
                check_pool(caller, network, &field, address)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
