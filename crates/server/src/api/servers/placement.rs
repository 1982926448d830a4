//! Finding the nodes that an order can have, each with the disk that it would be written to.

use bessemer_core::Timestamp;
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::{DiskIdentity, Inventory};
use bessemer_core::id::{ImageId, ServerId};
use bessemer_core::lifecycle::{Deployment, Goal, NodeSpec, Observed, Step};
use bessemer_core::plan::{Plan, foretell};
use bessemer_core::root_disk::{self, NoRootDisk};
use bessemer_store::{NewLocalNetwork, NodeRecord};

use super::carriers::keep_carriers;
use super::order::Resolved;
use super::shortage::{may_fit, no_root_disk};
use crate::api::flavors::MAX_CANDIDATES;
use crate::api::problem::Refusal;
use crate::site::Site;

/// What the config drive and the backup of the partition table need beside the image, in bytes.
pub(super) const BESIDE_IMAGE: u64 = 2 << 20;

/// Candidates given to the store: more than one, since others may take the first ones meanwhile.
pub(super) const ENOUGH: u32 = 4;

/// Free nodes that are read at first: enough where they are all alike.
const FIRST_PAGE: u32 = 4;

/// Free nodes that are read at once when those before did not do.
const LAST_PAGE: u32 = 256;

/// A free node that the order can have.
pub(super) struct Candidate {
    pub(super) node: NodeRecord,
    /// The disk that the order would be written to.
    pub(super) root_disk: DiskIdentity,
    /// What would happen to it.
    pub(super) plan: Plan,
    /// The order's VXLAN networks on its switches.
    pub(super) local_networks: Vec<NewLocalNetwork>,
}

/// Free nodes that the order can have, the quickest first; none if no free node is of its flavor, or else
/// why none of them can be had. The first `from` are only looked at if no other will do: orders that
/// arrive together begin at different ones.
pub(super) async fn candidates(
    site: &Site,
    order: &Resolved,
    server: ServerId,
    from: u32,
) -> Result<Vec<Candidate>, Refusal> {
    let needed = order.image_size.saturating_add(BESIDE_IMAGE);
    may_fit(order, needed)?;
    let mut good = some_suitable(site, order, from, needed).await?;
    if good.is_empty() {
        let mut all = site.store.available_nodes(MAX_CANDIDATES).await?;
        all.retain(|node| has(node, &order.flavor.hardware));
        if all.is_empty() {
            return Ok(Vec::new());
        }
        good = suitable(site, order, all, needed).await?;
        good.truncate(ENOUGH as usize);
    }
    let mut planned = Vec::with_capacity(good.len());
    for suitable in good {
        planned.push(foreseen(site, order, server, suitable).await?);
    }
    // Those whose agent waits come first; one that has fallen silent costs a POST after all.
    planned.sort_by_key(|candidate| candidate.plan.posts);
    Ok(planned)
}

/// Enough free nodes after the first `from` that the order can have, or as many as there are.
async fn some_suitable(
    site: &Site,
    order: &Resolved,
    from: u32,
    needed: u64,
) -> Result<Vec<Suitable>, Refusal> {
    let (mut good, mut skip, mut page) = (Vec::new(), from, FIRST_PAGE);
    loop {
        let mut nodes = site.store.available_nodes_after(skip, page).await?;
        let is_last = nodes.len() < page as usize;
        nodes.retain(|node| has(node, &order.flavor.hardware));
        if !nodes.is_empty() {
            // Why these few will not do is only of interest if no other node will, either.
            let found = suitable(site, order, nodes, needed).await;
            good.extend(found.unwrap_or_default());
        }
        let ready = good.iter().filter(|(node, ..)| is_ready(node)).count();
        if is_last || ready >= ENOUGH as usize {
            good.sort_by_key(|(node, ..)| node.state.step != Step::Standby);
            good.truncate(ENOUGH as usize);
            return Ok(good);
        }
        skip = skip.saturating_add(page);
        page = LAST_PAGE;
    }
}

/// Whether a free node is not on its way into or out of the agent: in between, it is no quicker than any.
fn is_ready(node: &NodeRecord) -> bool {
    node.state.at_rest() || node.state.step == Step::Standby
}

/// What would happen to a node that the order can have.
async fn foreseen(
    site: &Site,
    order: &Resolved,
    server: ServerId,
    (node, root_disk, local_networks): Suitable,
) -> Result<Candidate, Refusal> {
    let mut agent = None;
    if node.state.step == Step::Standby {
        agent = site.store.agent_of(node.id).await?;
    }
    if let Some(agent) = &mut agent {
        site.heard.freshen(agent);
    }
    let seen = Observed {
        agent,
        kexec_failed: kexec_failed(site, &node, order.image.id).await?,
        ..Observed::default()
    };
    let deployment = Deployment {
        server,
        image: order.image.id,
        image_bytes: order.image_bytes,
        root_disk: Some(root_disk.clone()),
        hand_over: order.flavor.hand_over,
    };
    Ok(Candidate {
        plan: plan(site, deployment, &node, &seen, site.now()),
        node,
        root_disk,
        local_networks,
    })
}

/// A free node, its root disk, and the order's VXLAN networks on its switches.
type Suitable = (NodeRecord, DiskIdentity, Vec<NewLocalNetwork>);

/// Those of `nodes`, which are of the order's flavor, that carry its networks and have a disk of which
/// it is known that the image goes there, at least one; or why there is none.
async fn suitable(
    site: &Site,
    order: &Resolved,
    mut nodes: Vec<NodeRecord>,
    needed: u64,
) -> Result<Vec<Suitable>, Refusal> {
    let mut local_networks = keep_carriers(site, order, &mut nodes).await?;
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for node in nodes {
        match root_disk(order, &node, needed) {
            Ok(disk) => {
                let local_networks = local_networks.remove(&node.id).unwrap_or_default();
                good.push((node, disk, local_networks));
            }
            Err(reason) => refused.push((node, reason)),
        }
    }
    if good.is_empty() {
        return Err(no_root_disk(order, needed, refused));
    }
    Ok(good)
}

/// The disk of `node` that the order goes to: by the node's hint, or its flavor's, or the rule.
fn root_disk(order: &Resolved, node: &NodeRecord, needed: u64) -> Result<DiskIdentity, NoRootDisk> {
    let flavors = order.flavor.root_disk_hint.as_ref();
    let hint = node.root_disk_hint.as_ref().or(flavors);
    let none = NoRootDisk::TooSmall { needed, largest: 0 };
    let inventory: &Inventory = node.inventory.as_ref().ok_or(none)?;
    root_disk::choose(inventory, hint, needed).map(|disk| disk.identity())
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

/// What would happen to `node`: the lifecycle run against a perfect machine.
fn plan(
    site: &Site,
    deployment: Deployment,
    node: &NodeRecord,
    seen: &Observed,
    now: Timestamp,
) -> Plan {
    let spec = NodeSpec {
        generation: node.spec.generation.next(),
        goal: Goal::Deployed(deployment),
        ..site.spec(node)
    };
    foretell(&spec, &node.state, seen, now)
}
