//! What this server has seen, for the others on the same database.
//!
//! A machine asks for an address where it stands, its agent calls where it was told to, and its node is
//! moved by whichever server has time. So that any of them can say what is wrong, each writes down what it
//! has seen of a node once that has come to a halt: sealed, many nodes in one commit, and only where there
//! can be other servers. A node that gets on, and one at which nothing happens, cost nothing.

use std::time::Duration;

use bessemer_core::id::NodeId;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Place, Seen};
use crate::evidence;
use crate::keyring::purpose;
use crate::site::Site;

/// From one look at what is new to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Nodes that are written down in one commit.
const MOST_AT_ONCE: usize = 200;

/// What has been seen of a node: here, and by the other servers on the same database.
pub(crate) async fn of(site: &Site, node: NodeId) -> Seen {
    let mut seen = own(site, node);
    if !site.store.has_others() {
        return seen;
    }
    let own = site.sightings.server();
    match site.store.sightings_of_others(node, own, site.now()).await {
        Ok(others) => {
            let purpose = purpose::sightings(node);
            let opened = others
                .iter()
                .filter_map(|sealed| site.keyring.open(&purpose, sealed).ok());
            // What was written by another version, or under a key of before, is not missed for long.
            let read = opened.filter_map(|bytes| serde_json::from_slice(&bytes).ok());
            read.for_each(|other| seen.add(other));
        }
        Err(error) => warn!(%error, "what other servers have seen is not known"),
    }
    seen
}

/// What has been seen of a node here.
fn own(site: &Site, node: NodeId) -> Seen {
    let mut seen = site.sightings.seen(node);
    let exchanges = evidence::exchanges(site, node);
    seen.places.insert(Place::Bmc, exchanges);
    seen
}

/// Writes down what is new, until `stop`.
pub(crate) async fn keep(site: Site, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let new = site.sightings.take_new(MOST_AT_ONCE, Instant::now());
        if !new.is_empty() {
            write(&site, &new).await;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn write(site: &Site, nodes: &[NodeId]) {
    let mut sealed = Vec::with_capacity(nodes.len());
    for node in nodes {
        let text = serde_json::to_vec(&own(site, *node)).ok();
        let text = text.and_then(|text| site.keyring.seal(&purpose::sightings(*node), &text).ok());
        sealed.extend(text.map(|text| (*node, text)));
    }
    let kept = site
        .store
        .keep_sightings(site.sightings.server(), &sealed, site.now());
    if let Err(error) = kept.await {
        warn!(%error, "what was seen of nodes is not known to other servers");
    }
}
