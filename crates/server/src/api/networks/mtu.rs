//! Whether the servers that are on a network can follow a change of its MTU.
//!
//! The ports of a server get what its networks say whenever they are set, and its system when it is
//! written. So a change that they cannot follow would be noticed late: when a switch is put right, or a
//! server is rebuilt, and by somebody else.

use bessemer_store::{NetworkRecord, NodeRecord, ServerRecord};

use crate::api::problem::{Kind, Refusal};
use crate::attachments;
use crate::fabric::{self, Switches, overlay};
use crate::site::Site;

/// Servers that are read at a time.
const PAGE: u32 = 500;

/// Refuses to give `network` another MTU if a server on it could not have its networks then, and can now.
pub(super) async fn check_servers(
    site: &Site,
    network: &NetworkRecord,
    mtu: u16,
) -> Result<(), Refusal> {
    let switches = site.fabric.switches(site).await?;
    let changed = NetworkRecord {
        mtu,
        ..network.clone()
    };
    let mut cursor = None;
    loop {
        let (servers, next) = site.store.servers(None, cursor, PAGE).await?;
        let on_it = |server: &&ServerRecord| {
            let mut attachments = server.attachments.iter();
            attachments.any(|attachment| attachment.network == network.id)
        };
        for server in servers.iter().filter(on_it) {
            let node = site.store.node_by_id(server.node).await?;
            let objection =
                async |network| objection(site, &switches, server, &node, network).await;
            if let Some(told) = objection(&changed).await?
                && objection(network).await?.is_none()
            {
                return Err(refusal(server, &told));
            }
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn refusal(server: &ServerRecord, told: &str) -> Refusal {
    let detail = format!("Server `{}` could not follow: {told}.", server.name);
    let remedy =
        "Choose another MTU, change that of the other network first, or delete the server.";
    Refusal::new(Kind::Conflict, detail)
        .field("mtu")
        .remedy(remedy)
}

/// Why `server`, which is on `node`, cannot have its networks if one of them is as `network` says.
async fn objection(
    site: &Site,
    switches: &Switches,
    server: &ServerRecord,
    node: &NodeRecord,
    network: &NetworkRecord,
) -> Result<Option<String>, Refusal> {
    let placed = attachments::of_server_with(&site.store, switches, server, node, Some(network));
    let placed = match placed.await {
        Ok(placed) => placed,
        Err(attachments::Error::Store(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let plans: Vec<_> = placed.into_iter().map(|each| each.plan).collect();
    if let Err(error) = fabric::check(node, &plans, switches) {
        return Ok(Some(error.to_string()));
    }
    let local = site.store.local_vlans(server.id).await?;
    let mut local = local.iter().filter(|each| each.network == network.id);
    Ok(local.find_map(|each| overlay::objection(switches, &each.switch, network)))
}
