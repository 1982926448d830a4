//! Which disk of a node carries the operating system, told before anything is ordered.

use bessemer_core::hardware::{Disk, Inventory};
use bessemer_core::lifecycle::Goal;
use bessemer_core::root_disk::{NoRootDisk, RootDiskHint, choose};
use bessemer_store::NodeRecord;
use bessemer_wire::api::{RootDisk, RootDiskDecision};

use crate::site::Site;

/// The disk that a server is on; or where an order would go: by the node's hint, or else for each
/// flavor with a hint that has its hardware, and by the rule for those without. Empty before it is
/// inspected.
pub(super) async fn of(
    site: &Site,
    node: &NodeRecord,
) -> Result<Vec<RootDisk>, bessemer_store::Error> {
    let Some(inventory) = &node.inventory else {
        return Ok(Vec::new());
    };
    if let Goal::Deployed(deployment) = &node.spec.goal
        && let Some(disk) = &deployment.root_disk
    {
        return Ok(vec![RootDisk {
            decided_by: RootDiskDecision::Order,
            flavor: None,
            disk: Some(disk.clone()),
            problem: None,
        }]);
    }
    if let Some(hint) = &node.root_disk_hint {
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
