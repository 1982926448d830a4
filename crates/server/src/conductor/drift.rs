//! Looking whether switch ports still carry what they were brought to carry: in turn, and when there
//! is reason to think that they do not.
//!
//! Reading is done beside the turns of nodes. What differs is put back in a turn of the node, under
//! its claim: by then it may have gone on, and its ports with it.

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Action, Intent, NodeState, Phase, PortControl, PortRole, Step};
use bessemer_core::port_plan::{Difference, PortState};
use bessemer_core::reason::{Failure, Reason};
use bessemer_store::{Claim, Error as StoreError, NewEvent, NodeRecord};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Conductor;
use crate::fabric::Drift;

/// Nodes whose ports are read at the same time.
const BATCH: u32 = 32;

/// The longest pause between two looks at whose turn it is.
const PAUSE: Duration = Duration::from_secs(30);

/// Reads ports in turn until `stop` is cancelled: each node's every `port_check` seconds.
pub(super) async fn watch(conductor: Arc<Conductor>, stop: CancellationToken) {
    let every = conductor.site.config.port_check;
    if every == 0 {
        return;
    }
    let pause = (Duration::from_secs(u64::from(every)) / 10).min(PAUSE);
    let age = Duration::from_secs(u64::from(every));
    loop {
        let now = conductor.site.now();
        let due = conductor.site.store.ports_to_read(now - age, BATCH, now);
        let nodes = due.await.unwrap_or_else(|error| {
            warn!(%error, "cannot tell whose ports are to be read");
            Vec::new()
        });
        join_all(nodes.iter().map(|node| read(&conductor, *node))).await;
        if nodes.len() < BATCH as usize {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

/// Reads the ports of one node, and has it look again in a turn of its own if they differ.
async fn read(conductor: &Conductor, node: NodeId) {
    let site = &conductor.site;
    let Ok(node) = site.store.node_by_id(node).await else {
        return;
    };
    let Some(role) = node.port_role else {
        return;
    };
    let deadline = Instant::now() + limit(conductor);
    let drifts = match site.fabric.drifts(&node, role, site, deadline).await {
        Ok(drifts) => drifts,
        Err(failure) => {
            info!(
                node = node.name,
                "its ports cannot be read: {}", failure.message
            );
            return;
        }
    };
    if drifts.is_empty() {
        return;
    }
    match site.store.suspect_ports(node.id, site.now()).await {
        Ok(()) => site.bell.ring(),
        Err(error) => warn!(%error, "cannot note that ports have drifted"),
    }
}

fn limit(conductor: &Conductor) -> Duration {
    Duration::from_secs(u64::from(conductor.site.config.timing.bmc_deadline))
}

/// Looks at the ports of a claimed node that are under suspicion, and puts them back. Not while they
/// are about to be changed anyway.
pub(super) async fn look(
    conductor: &Conductor,
    claim: Claim,
    node: &NodeRecord,
    intent: Option<&Intent>,
) -> Result<(), StoreError> {
    let changes = intent.is_some_and(|intent| moves_ports(node, intent).is_some());
    let Some(role) = node.port_role.filter(|_| node.ports_suspect && !changes) else {
        return Ok(());
    };
    let site = &conductor.site;
    let deadline = Instant::now() + limit(conductor);
    let drifts = match site.fabric.drifts(node, role, site, deadline).await {
        Ok(drifts) => drifts,
        // It is read again in its turn.
        Err(failure) => {
            warn!("ports under suspicion cannot be read: {}", failure.message);
            Vec::new()
        }
    };
    let (mut events, mut reasons) = (Vec::new(), Vec::new());
    for drift in &drifts {
        site.metrics.port_drifts.inc();
        let after = site.fabric.put_back(drift, site, deadline).await;
        let (event, reason) = told(node, role, drift, after);
        warn!("{}", event.message);
        events.push(event);
        reasons.push(reason);
    }
    let now = site.now();
    let state = &node.state;
    site.store
        .ports_looked_at(claim, state, reasons, &events, now)
        .await
}

/// What a drift was, and what became of it: as an event, and for the node's history.
fn told(
    node: &NodeRecord,
    role: PortRole,
    drift: &Drift,
    after: Result<Vec<PortState>, Failure>,
) -> (NewEvent, Reason) {
    let (outcome, after) = match after {
        Ok(after) => ("put back and read back".to_owned(), after),
        Err(failure) => (
            format!("they could not be put back: {}", failure.message),
            Vec::new(),
        ),
    };
    let each = |words: fn(&Difference) -> String| {
        let words: Vec<_> = drift.differences.iter().map(words).collect();
        words.join("; ")
    };
    let reason = Reason::new("switch ports were not as they should be")
        .expected_seen(
            each(|each| format!("{}: {} {}", each.port, each.what, each.wanted)),
            each(|each| format!("{}: {} {}", each.port, each.what, each.seen)),
        )
        .next(outcome.clone(), None);
    let event = NewEvent {
        kind: "node.ports_drifted",
        node: Some(node.id),
        server: node.server,
        project: None,
        message: format!("{}: switch {}; {outcome}", node.name, drift.told()),
        data: json!({
            "role": role,
            "switch": drift.switch(),
            "differences": drift.differences,
            "before": drift.before,
            "after": after,
        }),
    };
    (event, reason)
}

/// The role that an intent brings the ports of `node` into. On a flat site none move, and nothing is
/// kept of where they should be.
pub(super) fn moves_ports(node: &NodeRecord, intent: &Intent) -> Option<PortRole> {
    match intent.action {
        Action::ConnectPorts { role } if node.spec.port_control == PortControl::Switched => {
            Some(role)
        }
        _ => None,
    }
}

/// Whether a machine that should have been heard was not: its ports may be why.
pub(super) fn is_suspicious(before: &NodeState, next: &NodeState) -> bool {
    let waited = matches!(
        before.step,
        Step::AwaitAgent | Step::AwaitOs | Step::ProveAgent | Step::WriteImage | Step::Erase
    );
    waited && (next.attempt > before.attempt || next.phase == Phase::Failed)
}
