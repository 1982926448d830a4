//! Which free nodes have the ports that an order's networks need.

use bessemer_store::NodeRecord;

use super::networks::Ordered;
use super::order::Resolved;
use crate::api::problem::{Kind, Refusal};
use crate::fabric::{self, Switches};
use crate::{attachments, wiring};

/// Nodes whose reasons are told when none can carry an order's networks.
const REASONS_TOLD: usize = 3;

/// Keeps the nodes whose ports can carry the order's networks; if there is none, says why not, node
/// by node.
pub(super) fn keep_carriers(
    order: &Resolved,
    switches: &Switches,
    nodes: &mut Vec<NodeRecord>,
) -> Result<(), Refusal> {
    let wanted: Vec<_> = order.networks.iter().map(Ordered::wanted).collect();
    let mut reasons = Vec::new();
    nodes.retain(|node| {
        let placed = attachments::place(&wanted, &wiring::of(node));
        let placed = placed.map_err(|error| error.to_string());
        let carried = placed.and_then(|placed| {
            let checked = fabric::check(node, &placed, &switches.model);
            checked.map_err(|error| error.to_string())
        });
        match carried {
            Ok(()) => true,
            Err(reason) => {
                reasons.push((node.name.clone(), reason));
                false
            }
        }
    });
    if !nodes.is_empty() {
        return Ok(());
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
