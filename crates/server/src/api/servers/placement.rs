//! Finding the nodes that an order can have, or saying exactly what is short.

use std::collections::BTreeMap;

use bessemer_core::Timestamp;
use bessemer_core::flavor::{FlavorHardware, Mismatch, root_disk};
use bessemer_core::hardware::Inventory;
use bessemer_core::id::{ImageId, ServerId};
use bessemer_core::lifecycle::{Deployment, Goal, NodeSpec, Observed, Phase, Step};
use bessemer_core::plan::{Plan, foretell};
use bessemer_store::{NodeFilter, NodeRecord};

use super::order::Resolved;
use crate::api::flavors::MAX_CANDIDATES;
use crate::api::problem::{Kind, Refusal};
use crate::site::Site;

/// What the config drive and the backup of the partition table need beside the image, in bytes.
pub(super) const BESIDE_IMAGE: u64 = 2 << 20;

/// Candidates given to the store. If as many orders arrive at once, the last ones look again.
const ENOUGH: usize = 32;

/// Nodes read at once when it is to be said what is short.
const PAGE: u32 = 500;

/// The free nodes that the order can have, at least one, each with what would happen to it.
pub(super) async fn candidates(
    site: &Site,
    order: &Resolved,
    server: ServerId,
) -> Result<Vec<(NodeRecord, Plan)>, Refusal> {
    let needed = order.image_size.saturating_add(BESIDE_IMAGE);
    may_fit(order, needed)?;
    let mut nodes = site.store.available_nodes(MAX_CANDIDATES).await?;
    nodes.retain(|node| has(node, &order.flavor.hardware));
    if nodes.is_empty() {
        return Err(what_is_short(site, order).await?);
    }
    let largest = nodes
        .iter()
        .filter_map(|node| node.inventory.as_ref())
        .map(largest_disk)
        .max();
    nodes.retain(|node| fits(node, needed));
    if nodes.is_empty() {
        return Err(too_large(order, needed, largest.unwrap_or(0)));
    }
    let now = site.now();
    let mut agents = site.store.agents().await?;
    agents
        .values_mut()
        .for_each(|agent| site.heard.freshen(agent));
    // Those that wait in the agent first: they are the quickest.
    nodes.sort_by_key(|node| node.state.step != Step::Standby || !agents.contains_key(&node.id));
    nodes.truncate(ENOUGH);
    let mut planned = Vec::with_capacity(nodes.len());
    for node in nodes {
        let seen = Observed {
            agent: agents.get(&node.id).copied(),
            kexec_failed: kexec_failed(site, &node, order.image.id).await?,
            ..Observed::default()
        };
        let plan = plan(site, order, server, &node, &seen, now);
        planned.push((node, plan));
    }
    // An agent that has fallen silent costs a POST after all.
    planned.sort_by_key(|(_, plan)| plan.posts);
    Ok(planned)
}

/// Whether `kexec` of what the image starts is known to fail on this node.
pub(super) async fn kexec_failed(
    site: &Site,
    node: &NodeRecord,
    image: ImageId,
) -> Result<bool, bessemer_store::Error> {
    match &node.inventory {
        Some(inventory) => site.store.kexec_failed(inventory, image).await,
        None => Ok(false),
    }
}

fn has(node: &NodeRecord, hardware: &FlavorHardware) -> bool {
    node.inventory
        .as_ref()
        .is_some_and(|found| hardware.mismatches(found).is_empty())
}

fn fits(node: &NodeRecord, needed: u64) -> bool {
    node.inventory
        .as_ref()
        .is_some_and(|found| root_disk(found, needed).is_some())
}

/// Kernel name of the disk that the order would be written to; empty if none fits.
pub(super) fn disk(order: &Resolved, node: &NodeRecord) -> String {
    let needed = order.image_size.saturating_add(BESIDE_IMAGE);
    let inventory = node.inventory.as_ref();
    let disk = inventory.and_then(|inventory| root_disk(inventory, needed));
    disk.map(|disk| disk.name.clone()).unwrap_or_default()
}

fn largest_disk(inventory: &Inventory) -> u64 {
    inventory
        .disks
        .iter()
        .map(|disk| disk.size_bytes)
        .max()
        .unwrap_or(0)
}

/// What would happen to `node`: the lifecycle run against a perfect machine.
fn plan(
    site: &Site,
    order: &Resolved,
    server: ServerId,
    node: &NodeRecord,
    seen: &Observed,
    now: Timestamp,
) -> Plan {
    let deployment = Deployment {
        server,
        image: order.image.id,
        image_bytes: order.image_bytes,
        root_disk: None,
        hand_over: order.flavor.hand_over,
    };
    let spec = NodeSpec {
        generation: node.spec.generation.next(),
        goal: Goal::Deployed(deployment),
        ..site.spec(node)
    };
    foretell(&spec, &node.state, seen, now)
}

/// Refuses an image that no node of the flavor can hold, whether one is free or not. Sizes in a
/// flavor are rounded, so this lets pass what is close; the real disks decide then.
fn may_fit(order: &Resolved, needed: u64) -> Result<(), Refusal> {
    let disks = &order.flavor.hardware.disks;
    let nominal = disks
        .iter()
        .map(|disk| disk.size_gib.saturating_mul(1 << 30))
        .max()
        .unwrap_or(0);
    if needed > nominal.saturating_add(nominal / 50) {
        return Err(too_large(order, needed, nominal));
    }
    Ok(())
}

fn too_large(order: &Resolved, needed: u64, largest: u64) -> Refusal {
    Refusal::new(
        Kind::ImageTooLarge,
        format!(
            "Image {} needs a disk of {needed} bytes ({}); the largest one of flavor {} has \
             {largest} ({}).",
            order.image.name,
            gibibytes(needed),
            order.flavor.name,
            gibibytes(largest)
        ),
    )
    .field("image")
    .remedy("Order a flavor with a larger disk, or a smaller image. Nothing has been changed.")
}

pub(super) fn gibibytes(bytes: u64) -> String {
    // One digit after the point is all that is shown.
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Why no node is free for the order: where the nodes of this flavor are, or how the nearest other
/// ones differ.
async fn what_is_short(site: &Site, order: &Resolved) -> Result<Refusal, Refusal> {
    let survey = survey(site, &order.flavor.hardware).await?;
    let flavor = &order.flavor.name;
    let refuse = |detail: String| Refusal::new(Kind::NoMatchingNode, detail).field("flavor");
    if survey.matching > 0 {
        let detail = format!(
            "No node of flavor {flavor} is free: {} {} this hardware ({}).",
            survey.matching,
            if survey.matching == 1 {
                "node has"
            } else {
                "nodes have"
            },
            survey.places()
        );
        return Ok(refuse(detail).remedy("Wait until one is available, or order another flavor."));
    }
    let unknown = match survey.unknown {
        0 => String::new(),
        count => format!(" {count} not inspected yet."),
    };
    let nearest = match &survey.nearest {
        Some((name, mismatches)) => {
            format!(" The nearest one, {name}, differs: {}.", told(mismatches))
        }
        None => String::new(),
    };
    let detail = format!("No node has the hardware of flavor {flavor}.{nearest}{unknown}");
    Ok(refuse(detail).remedy("Order another flavor, or have an operator correct this one."))
}

/// What there is.
#[derive(Default)]
struct Survey {
    /// Nodes with the flavor's hardware.
    matching: u64,
    /// Where those are.
    phases: BTreeMap<&'static str, u64>,
    /// Nodes that have not been inspected.
    unknown: u64,
    /// The other node that differs in the fewest things.
    nearest: Option<(String, Vec<Mismatch>)>,
}

impl Survey {
    fn add(&mut self, node: NodeRecord, hardware: &FlavorHardware) {
        let Some(inventory) = &node.inventory else {
            self.unknown += 1;
            return;
        };
        let mismatches = hardware.mismatches(inventory);
        if mismatches.is_empty() {
            self.matching += 1;
            let rented = node.server.is_some() && node.state.phase == Phase::Available;
            let place = if rented {
                "ordered"
            } else {
                node.state.phase.name()
            };
            *self.phases.entry(place).or_default() += 1;
            return;
        }
        let best = self
            .nearest
            .as_ref()
            .map_or(usize::MAX, |(_, best)| best.len());
        if mismatches.len() < best {
            self.nearest = Some((node.name, mismatches));
        }
    }

    fn places(&self) -> String {
        let places: Vec<_> = self
            .phases
            .iter()
            .map(|(place, count)| format!("{count} {place}"))
            .collect();
        places.join(", ")
    }
}

async fn survey(site: &Site, hardware: &FlavorHardware) -> Result<Survey, Refusal> {
    let mut survey = Survey::default();
    let mut cursor = None;
    loop {
        let (nodes, next) = site
            .store
            .nodes(NodeFilter::default(), cursor, PAGE)
            .await?;
        for node in nodes {
            survey.add(node, hardware);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(survey),
        }
    }
}

fn told(mismatches: &[Mismatch]) -> String {
    let each = |mismatch: &Mismatch| {
        format!(
            "{} is {}, wanted {}",
            mismatch.what, mismatch.found, mismatch.wanted
        )
    };
    mismatches.iter().map(each).collect::<Vec<_>>().join("; ")
}
