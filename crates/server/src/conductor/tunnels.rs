//! Tunnels between switches: brought about before a server's ports are in its VXLAN networks, taken
//! away when its ports are parked, and looked at in turn.
//!
//! What a switch is to have follows from the servers that are on it when its tunnels are claimed
//! (`store/src/overlay.rs`). So nothing is lost when a conductor dies between two steps: what is wanted
//! is still not done then, and the next one finds it due.

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::reason::Failure;
use bessemer_fabric::TunnelsApplied;
use bessemer_store::{NewEvent, NodeRecord, TunnelWork, TunnelsWanted};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Conductor, POLL};
use crate::failure::store_failure;
use crate::sightings::Place;

/// How long a claim on a switch's tunnels lasts: longer than [`LIMIT`].
const LEASE: Duration = Duration::from_secs(30);

/// The longest that a switch may take for its tunnels.
const LIMIT: Duration = Duration::from_secs(20);

/// Switches whose tunnels are changed at the same time.
const BATCH: u32 = 32;

/// The pause before it is looked again whether another conductor has done it.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at tunnels that are due until `stop` is cancelled.
pub(super) async fn watch(conductor: Arc<Conductor>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let now = conductor.site.now();
        let due = conductor.site.store.tunnels_due(now, BATCH).await;
        let due = due.unwrap_or_else(|error| {
            if !error.is_outage() {
                error!(%error, "cannot tell which tunnels are due");
            }
            Vec::new()
        });
        let deadline = Instant::now() + LIMIT;
        let all = due.iter().map(async |switch| {
            if let Err(failure) = bring(&conductor, switch, deadline).await {
                warn!(switch, "tunnels cannot be set: {}", failure.message);
            }
        });
        join_all(all).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(POLL) => {}
        }
    }
}

/// Sees to it that the tunnels of the node's server are there, on every switch that its VXLAN networks
/// are on.
pub(super) async fn bring_for(
    conductor: &Conductor,
    node: &NodeRecord,
    deadline: Instant,
) -> Result<(), Failure> {
    let Some(server) = node.server else {
        return Ok(());
    };
    let site = &conductor.site;
    let wanted = site.store.tunnels_of_server(server).await;
    let wanted = wanted.map_err(store_failure)?;
    let missing = wanted.iter().filter(|each| each.done < each.wanted);
    let each = missing.map(async |switch| {
        let brought = bring_until(conductor, switch, deadline).await;
        let told = match &brought {
            Ok(()) => format!("tunnels of {}: set, read back", switch.switch),
            Err(failure) => format!("tunnels of {}: {}", switch.switch, failure.message),
        };
        let trouble = brought.as_ref().err().and_then(|failure| failure.cause);
        site.sightings.note(node.id, Place::Switch, trouble, told);
        brought
    });
    join_all(each).await.into_iter().collect()
}

/// Brings the tunnels of a switch about, or waits until another conductor has.
async fn bring_until(
    conductor: &Conductor,
    switch: &TunnelsWanted,
    deadline: Instant,
) -> Result<(), Failure> {
    let limit = deadline.min(Instant::now() + LIMIT);
    loop {
        let done = bring(conductor, &switch.switch, limit).await?;
        if done.is_some_and(|done| done >= switch.wanted) {
            return Ok(());
        }
        if Instant::now() + PAUSE >= limit {
            let message = format!(
                "the tunnels of switch {} are being changed by another conductor",
                switch.switch
            );
            return Err(Failure::transient(Cause::SwitchUnreachable, message));
        }
        sleep_until(Instant::now() + PAUSE).await;
    }
}

/// Claims the tunnels of a switch and brings them about; how far they are then. `None` while somebody
/// else has them, or may have.
async fn bring(
    conductor: &Conductor,
    switch: &str,
    deadline: Instant,
) -> Result<Option<i64>, Failure> {
    let Conductor { site, worker, .. } = conductor;
    if site.clock.unsettled().is_some() {
        return Ok(None);
    }
    let (now, lease) = (site.now(), LEASE.as_millis() as i64);
    let claimed = site.store.claim_tunnels(switch, worker, now, lease).await;
    let Some(work) = claimed.map_err(store_failure)? else {
        return Ok(None);
    };
    match site.fabric.set_tunnels(&work, site, deadline).await {
        Ok(applied) => {
            let events: Vec<_> = drifted(&work, &applied).into_iter().collect();
            for event in &events {
                site.metrics.port_drifts.inc();
                warn!("{}", event.message);
            }
            let (next, now) = (next_look(conductor), site.now());
            let noted = site.store.tunnels_set(&work, next, &events, now).await;
            noted.map_err(store_failure)?;
            Ok(Some(work.wanted))
        }
        Err(failure) => {
            let pause = Duration::from_secs(u64::from(site.config.timing.retry_pause.max(1)));
            let given_back = site.store.tunnels_failed(&work, site.now() + pause).await;
            given_back.map_err(store_failure)?;
            Err(failure)
        }
    }
}

/// When the tunnels are looked at again, be there none: a switch may come back with what it has saved
/// when there were some.
fn next_look(conductor: &Conductor) -> Option<Timestamp> {
    let every = u64::from(conductor.site.config.port_check);
    (every > 0).then(|| conductor.site.now() + Duration::from_secs(every))
}

/// What there is to tell if tunnels had to be changed although nothing else was wanted of them.
fn drifted(work: &TunnelWork, applied: &TunnelsApplied) -> Option<NewEvent> {
    if !applied.changed || work.done != work.wanted {
        return None;
    }
    let missing = applied.after.difference(&applied.before);
    let surplus = applied.before.difference(&applied.after);
    let mut told: Vec<_> = missing.map(|each| format!("no {each}")).collect();
    told.extend(surplus.map(|each| format!("a {each} that is nobody's")));
    if told.is_empty() {
        told.push("a tunnel that is in no bridge, or is none any more".to_owned());
    }
    let switch = &work.switch;
    Some(NewEvent {
        kind: "switch.tunnels_drifted",
        node: None,
        server: None,
        project: None,
        message: format!(
            "switch {switch}: {}; put back and read back",
            told.join("; ")
        ),
        data: json!({ "switch": switch, "before": applied.before, "after": applied.after }),
    })
}
