//! Which free nodes have the ports that an order's networks need.

use std::collections::HashMap;

use bessemer_core::id::NodeId;
use bessemer_store::{NewLocalNetwork, NodeRecord};

use super::networks::Ordered;
use super::order::Resolved;
use crate::api::problem::{Kind, Refusal};
use crate::fabric::{self, overlay};
use crate::site::Site;
use crate::{attachments, wiring};

/// Nodes whose reasons are told when none can carry an order's networks.
const REASONS_TOLD: usize = 3;

/// Keeps the nodes whose ports can carry the order's networks, and tells what each would take of its
/// switches for VXLAN networks; if there is none, says why not, node by node.
pub(super) async fn keep_carriers(
    site: &Site,
    order: &Resolved,
    nodes: &mut Vec<NodeRecord>,
) -> Result<HashMap<NodeId, Vec<NewLocalNetwork>>, Refusal> {
    let switches = site.fabric.switches(site).await?;
    let wanted: Vec<_> = order.networks.iter().map(Ordered::wanted).collect();
    let networks: Vec<_> = order.networks.iter().map(|each| &each.network).collect();
    let local = overlay::foresee(site, &switches, &networks, nodes).await?;
    let (mut taken, mut reasons) = (HashMap::new(), Vec::new());
    nodes.retain(|node| {
        let wiring = wiring::of(node, &switches);
        let placed = attachments::place(&wanted, &wiring, &local);
        let placed = placed.map_err(|error| error.to_string());
        let carried = placed.and_then(|placed| {
            let checked = fabric::check(node, &placed, &switches);
            checked.map_err(|error| error.to_string())?;
            Ok(overlay::local_networks(
                &wanted, &placed, &wiring, &switches,
            ))
        });
        match carried {
            Ok(networks) => {
                taken.insert(node.id, networks);
                true
            }
            Err(reason) => {
                reasons.push((node.name.clone(), reason));
                false
            }
        }
    });
    if !nodes.is_empty() {
        return Ok(taken);
    }
    let told = reasons.iter().take(REASONS_TOLD);
    let told: Vec<_> = told
        .map(|(node, reason)| format!("{node}: {reason}"))
        .collect();
    let more = match reasons.len().saturating_sub(REASONS_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(Refusal::new(
        Kind::NetworksNotCarried,
        format!(
            "No free node of flavor {} can carry these networks: {}{more}.",
            order.flavor.name,
            told.join("; ")
        ),
    )
    .field("networks")
    .remedy("Order other ports or modes, or fewer networks; operators connect ports to switches, and say \
             which physical network they lead to (`bessemer node port set`)."))
}
