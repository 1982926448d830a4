//! Saying exactly what is short when no node can be had for an order, and what to do about it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::flavor::{FlavorHardware, Mismatch};
use bessemer_core::id::FlavorId;
use bessemer_core::lifecycle::Phase;
use bessemer_core::root_disk::NoRootDisk;
use bessemer_store::{NodeFilter, NodeRecord};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::order::Resolved;
use crate::api::problem::{Kind, Refusal};
use crate::site::Site;

/// Nodes read at once.
const PAGE: u32 = 500;

/// How long a survey is kept for those who wait for it: longer than anybody waits.
const SURVEY_KEPT: Duration = Duration::from_secs(60);

/// Refuses an image that no node of the flavor can hold, whether one is free or not. Sizes in a
/// flavor are rounded, so this lets pass what is close; the real disks decide then.
pub(super) fn may_fit(order: &Resolved, needed: u64) -> Result<(), Refusal> {
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

/// Why none of the free nodes has a root disk for the order: each node with its reason, at least one.
pub(super) fn no_root_disk(
    order: &Resolved,
    needed: u64,
    refused: Vec<(NodeRecord, NoRootDisk)>,
) -> Refusal {
    let mut largest = 0;
    for (node, reason) in refused {
        match reason {
            NoRootDisk::TooSmall { largest: size, .. } => largest = largest.max(size),
            reason => return unclear(order, &node, &reason),
        }
    }
    too_large(order, needed, largest)
}

/// A node that could be had if it were known which of its disks is meant.
fn unclear(order: &Resolved, node: &NodeRecord, reason: &NoRootDisk) -> Refusal {
    let (name, flavor) = (&node.name, &order.flavor.name);
    let whose = match (&node.root_disk_hint, &order.flavor.root_disk_hint) {
        (Some(_), _) => " (the hint is the node's own)".to_owned(),
        (None, Some(_)) => format!(" (the hint is that of flavor {flavor})"),
        (None, None) => String::new(),
    };
    let detail =
        format!("Node {name} is free, but has no root disk for this order: {reason}{whose}.");
    let wrong = "Order with another image or flavor; or have an operator say which disk is meant";
    Refusal::new(Kind::NoMatchingNode, detail)
        .field("flavor")
        .remedy(format!(
            "{wrong}: `bessemer node set {name} --root-disk serial=SERIAL`, with what only one disk \
             of it has. `--root-disk none` takes a node's own hint back; `node hold` and `node \
             unhold` inspect it again, after a disk was changed. Nothing has been changed."
        ))
}

/// Why no node is free for the order: where the nodes of this flavor are, or how the nearest other
/// ones differ.
pub(super) async fn what_is_short(site: &Site, order: &Resolved) -> Result<Refusal, Refusal> {
    let survey = site.surveys.of(site, order).await?;
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

/// Surveys that were made lately. Many orders are refused together when a flavor has run out, and one
/// survey that began after they had found nothing tells all of them what is short.
#[derive(Default)]
pub struct Surveys(Mutex<HashMap<FlavorId, (Instant, Arc<Survey>)>>);

impl Surveys {
    /// A survey for this order, begun after the call; who calls meanwhile waits and shares it.
    async fn of(&self, site: &Site, order: &Resolved) -> Result<Arc<Survey>, Refusal> {
        let asked = Instant::now();
        let mut known = self.0.lock().await;
        let flavor = &order.flavor;
        if let Some((begun, survey)) = known.get(&flavor.id)
            && *begun >= asked
        {
            return Ok(survey.clone());
        }
        let begun = Instant::now();
        let survey = Arc::new(survey(site, &flavor.hardware).await?);
        // Nobody who still waits asked before the oldest one that is kept.
        known.retain(|_, (begun, _)| begun.elapsed() < SURVEY_KEPT);
        known.insert(flavor.id, (begun, survey.clone()));
        Ok(survey)
    }
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
            .nodes_with_inventory(NodeFilter::default(), cursor, PAGE)
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
