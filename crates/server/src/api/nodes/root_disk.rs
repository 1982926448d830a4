//! Which disk of a node carries the operating system, told before anything is ordered.

use std::sync::Arc;

use bessemer_core::hardware::{Disk, DiskIdentity, Inventory};
use bessemer_core::lifecycle::Goal;
use bessemer_core::root_disk::{NoRootDisk, RootDiskHint, choose};
use bessemer_store::{Error, NodeText};
use bessemer_wire::api::{RootDisk, RootDiskDecision};

use crate::site::Site;

/// What decides about it.
pub(super) struct Decisive {
    inventory: Option<Arc<Inventory>>,
    /// The disk that its server was ordered for.
    ordered: Option<DiskIdentity>,
    hint: Option<RootDiskHint>,
}

impl Decisive {
    pub(super) fn of(node: &NodeText<'_>) -> Result<Self, Error> {
        let goal = match node.server {
            Some(_) => node.read_goal()?,
            None => Goal::Available,
        };
        Ok(Self {
            inventory: node.read_inventory()?,
            ordered: match goal {
                Goal::Deployed(deployment) => deployment.root_disk,
                _ => None,
            },
            hint: node.read_root_disk_hint()?,
        })
    }
}

/// The disk that a server is on; or where an order would go: by the node's hint, or else for each
/// flavor with a hint that has its hardware, and by the rule for those without. Empty before it is
/// inspected.
pub(super) async fn of(site: &Site, node: Decisive) -> Result<Vec<RootDisk>, Error> {
    let Some(inventory) = &node.inventory else {
        return Ok(Vec::new());
    };
    if let Some(disk) = node.ordered {
        return Ok(vec![RootDisk {
            decided_by: RootDiskDecision::Order,
            flavor: None,
            disk: Some(disk),
            problem: None,
        }]);
    }
    if let Some(hint) = &node.hint {
        return Ok(vec![by_hint(inventory, hint, None)]);
    }
    let mut flavors = site.store.flavors().await?;
    flavors.retain(|flavor| flavor.hardware.mismatches(inventory).is_empty());
    let hinted = flavors.iter().filter_map(|flavor| {
        let hint = flavor.root_disk_hint.as_ref()?;
        Some(by_hint(inventory, hint, Some(flavor.name.clone())))
    });
    let mut found: Vec<_> = hinted.collect();
    // Also if it has no flavor at all yet.
    if found.len() == flavors.len() && !found.is_empty() {
        return Ok(found);
    }
    let chosen = choose(inventory, None, 0);
    found.push(told(RootDiskDecision::Rule, None, chosen));
    Ok(found)
}

fn by_hint(inventory: &Inventory, hint: &RootDiskHint, flavor: Option<String>) -> RootDisk {
    let decided_by = match flavor {
        Some(_) => RootDiskDecision::Flavor,
        None => RootDiskDecision::Node,
    };
    told(decided_by, flavor, choose(inventory, Some(hint), 0))
}

fn told(
    decided_by: RootDiskDecision,
    flavor: Option<String>,
    chosen: Result<&Disk, NoRootDisk>,
) -> RootDisk {
    let (disk, problem) = match chosen {
        Ok(disk) => (Some(disk.identity()), None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    RootDisk {
        decided_by,
        flavor,
        disk,
        problem,
    }
}
