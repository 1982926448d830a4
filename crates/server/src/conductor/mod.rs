//! The conductor: the loop that moves nodes. It is the only part that changes a node's lifecycle
//! state.
//!
//! Here is the loop itself: it claims nodes that are due (fenced leases), begins a `turn` with each, keeps
//! the watches beside them, rests, and gives back what it still has when the server stops.
//!
//! `held` is what a turn does for as long as it has its node; `decision` is what is decided then, or in passing;
//! `intents` carries intents out; `power_checks` looks at the power state of every machine in turn; `tell` puts decisions into events for people; `serial` listens to the consoles of nodes whose operating
//! system is starting.

mod boot;
pub(crate) mod decision;
mod drift;
mod held;
mod intents;
mod marker;
mod power;
mod power_checks;
mod serial;
mod tell;
mod tunnels;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_store::Claimed;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info_span, warn};

use self::serial::SerialConsoles;
use crate::site::Site;

/// How long a claim lasts unless renewed. A node whose conductor dies moves again after this.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How many nodes are moved at the same time. Most of the time is spent waiting for BMCs.
const CONCURRENCY: usize = 64;

/// How many nodes are claimed in one commit, at most.
const CLAIMS_AT_ONCE: usize = 8;

/// The longest sleep without looking: news from another process is seen after this at the latest.
const POLL: Duration = Duration::from_secs(1);

/// What is said of a node at which this server has panicked. The panic itself is in the log, by the
/// process's panic hook.
const PANICKED: &str = "this server panicked while it did this: its log has where";

/// How long running turns may take to end when the server stops. What is cut off is resumed.
const DRAIN: Duration = Duration::from_secs(5);

/// Moves nodes.
pub struct Conductor {
    site: Site,
    worker: String,
    consoles: SerialConsoles,
}

impl Conductor {
    /// A conductor of this site; `worker` names this process among several.
    pub fn new(site: Site, worker: String) -> Self {
        Self {
            consoles: SerialConsoles::new(site.clone()),
            site,
            worker,
        }
    }

    /// Moves nodes until `stop` is cancelled, then lets the turns that run come to their end.
    pub async fn run(self, stop: CancellationToken) {
        let conductor = Arc::new(self);
        let supervisor = conductor.site.supervisor.clone();
        let resuming = conductor.consoles.resume();
        // Nothing depends on it.
        supervisor
            .catch("listening to consoles", resuming)
            .await
            .ok();
        let turns = TaskTracker::new();
        let cut_off = CancellationToken::new();
        conductor.keep(&turns, &stop, "the watch over switch ports", drift::watch);
        conductor.keep(&turns, &stop, "the watch over tunnels", tunnels::watch);
        conductor.keep(
            &turns,
            &stop,
            "the watch over power states",
            power_checks::watch,
        );
        let places = Arc::new(Semaphore::new(CONCURRENCY));
        let claiming = supervisor.keep_until(&stop, "the conductor", || {
            conductor.claim_turns(&places, &turns, &stop, &cut_off)
        });
        claiming.await;
        turns.close();
        if tokio::time::timeout(DRAIN, turns.wait()).await.is_err() {
            warn!(
                "turns were still running; their nodes go on at another server, or the next start"
            );
            cut_off.cancel();
            turns.wait().await;
        }
        conductor.leave().await;
        conductor.consoles.stop().await;
        conductor.site.bmcs.close().await;
    }

    /// Keeps one of the watches going beside the turns.
    fn keep<F>(
        self: &Arc<Self>,
        turns: &TaskTracker,
        stop: &CancellationToken,
        name: &'static str,
        watch: fn(Arc<Self>, CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (conductor, stop) = (self.clone(), stop.clone());
        turns.spawn(async move {
            let start = || watch(conductor.clone(), stop.clone());
            let supervisor = &conductor.site.supervisor;
            supervisor.keep_until(&stop, name, start).await;
        });
    }

    /// Claims nodes that are due, and begins a turn with each, until `stop` is cancelled.
    async fn claim_turns(
        self: &Arc<Self>,
        places: &Arc<Semaphore>,
        turns: &TaskTracker,
        stop: &CancellationToken,
        cut_off: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let Ok(first) = places.clone().acquire_owned().await else {
                break;
            };
            let more = || places.clone().try_acquire_owned().ok();
            let free: Vec<_> = std::iter::once(first)
                .chain(std::iter::from_fn(more))
                .take(CLAIMS_AT_ONCE)
                .collect();
            // As a lease does, from before it is known to be there.
            let begun = Instant::now();
            let claims = self.claim(free.len()).await;
            if claims.is_empty() {
                self.rest(stop).await;
            }
            for ((claim, work), place) in claims.into_iter().zip(free) {
                let (conductor, cut_off) = (self.clone(), cut_off.clone());
                let stop = stop.clone();
                let span = info_span!("reconcile", node = %claim.node, fence = claim.fence);
                let turn = async move {
                    cut_off
                        .run_until_cancelled(conductor.turn(claim, work, begun, stop))
                        .await;
                    drop(place);
                };
                turns.spawn(turn.instrument(span));
            }
        }
    }

    /// Gives back what it still has, so that others need not wait for its leases to run out.
    async fn leave(&self) {
        if let Err(error) = self.site.store.give_back_all(&self.worker).await {
            warn!(%error, "nodes are not given back; others have them when their leases run out");
        }
    }

    /// At most `most` nodes that are due, and that nobody has. None for a while after a moment from which
    /// on it is not known whose leases have run out.
    async fn claim(&self, most: usize) -> Vec<Claimed> {
        if let Some(left) = self.site.clock.unsettled() {
            sleep(left.min(POLL)).await;
            return Vec::new();
        }
        let (store, lease) = (&self.site.store, LEASE.as_millis() as i64);
        let claims = store.claim_some_due(&self.worker, self.site.now(), lease, most);
        match claims.await {
            Ok(claims) => claims,
            Err(error) if error.is_outage() => {
                self.site.hearing.note(&error, self.site.now());
                debug!(%error, "cannot claim nodes");
                self.back_in_a_while(POLL).await;
                Vec::new()
            }
            Err(error) => {
                self.site.hearing.note(&error, self.site.now());
                error!(%error, "cannot claim nodes; trying again in a second");
                sleep(POLL).await;
                Vec::new()
            }
        }
    }

    /// Sleeps until a node is due, the bell rings, or a poll is due.
    async fn rest(&self, stop: &CancellationToken) {
        let now = self.site.now();
        let due = self.site.store.next_due(now).await.ok().flatten();
        let pause = due.map_or(POLL, |due| until(now, due).min(POLL));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.site.bell.rung() => {}
            () = sleep_until(Instant::now() + pause) => {}
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
