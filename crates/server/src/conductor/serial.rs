//! The second way by which an operating system says that it is up: a marker on the machine's serial
//! console, for sites whose tenant networks do not reach us.
//!
//! While a node awaits its operating system, one task holds its console open (Serial over LAN by the
//! BMC), looks for the marker, and keeps the tail of what it reads for people. A console that is
//! lost, because the BMC restarts or a person takes it, is opened again, with growing pauses, until
//! the node does not wait any more; then it is given back. Nothing depends on it: a machine without
//! a console is up when it says so by HTTP.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_bmc::SerialConsole;
use bessemer_core::id::{Generation, NodeId, ServerId};
use bessemer_core::instance::serial_marker;
use bessemer_core::lifecycle::{NodeState, Phase, Step};
use bessemer_core::reason::FailureClass;
use bessemer_store::{NodeFilter, NodeRecord};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

use super::marker::Listener;
use crate::bmcs::is_ipmi;
use crate::site::Site;

/// How long opening a console may take.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Pause before a console is opened again; doubled each time, up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A console that was held this long counts as working again.
const WORKED: Duration = Duration::from_secs(60);

/// How long after its deadline a node is listened to at most, if nobody says that it is over.
const GRACE: Duration = Duration::from_secs(60);

/// How long giving consoles back may take when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The consoles that are being listened to.
pub(super) struct SerialConsoles {
    site: Site,
    stop: CancellationToken,
    tasks: TaskTracker,
    listening: Mutex<HashMap<NodeId, Listening>>,
}

/// Whether asking for a console makes sense. A BMC with Redfish says whether it carries one over
/// IPMI; where it does not, nobody may be listening there, or somebody else. One that was not asked,
/// or has no Redfish to say it with, is tried.
fn may_have_console(node: &NodeRecord) -> bool {
    let said = node.boot_abilities.and_then(|each| each.serial_over_lan);
    is_ipmi(&node.bmc.url) || said != Some(false)
}

/// For which deployment, and how to end it.
struct Listening {
    server: ServerId,
    generation: Generation,
    attempt: u32,
    stop: CancellationToken,
}

impl SerialConsoles {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            listening: Mutex::default(),
        }
    }

    /// Takes up again what a server before this one was listening to.
    pub(super) async fn resume(&self) {
        let mut cursor = None;
        loop {
            let deploying = NodeFilter {
                phase: Some(Phase::Deploying),
                ..NodeFilter::default()
            };
            let page = self.site.store.nodes(deploying, cursor, 100);
            let (nodes, next) = match page.await {
                Ok(page) => page,
                Err(error) => {
                    warn!(%error, "serial consoles of waiting nodes are not listened to");
                    return;
                }
            };
            for node in &nodes {
                self.follow(node, &node.state);
            }
            cursor = next;
            if cursor.is_none() {
                return;
            }
        }
    }

    /// Listens to a node that has come to await its operating system, and no longer to one that
    /// does not.
    pub(super) fn follow(&self, node: &NodeRecord, state: &NodeState) {
        let mut all = self.lock();
        let waits = state.step == Step::AwaitOs && may_have_console(node);
        let Some(server) = node.server.filter(|_| waits && !self.stop.is_cancelled()) else {
            if let Some(listening) = all.remove(&node.id) {
                listening.stop.cancel();
            }
            return;
        };
        let deployment = (server, state.generation, state.attempt);
        if let Some(listening) = all.get(&node.id) {
            if (listening.server, listening.generation, listening.attempt) == deployment {
                return;
            }
            listening.stop.cancel();
        }
        let stop = self.stop.child_token();
        let watch = Watch {
            site: self.site.clone(),
            node: node.clone(),
            server,
            generation: state.generation,
        };
        let span = info_span!("serial", node = %node.id);
        let limit = self.limit(state);
        self.tasks
            .spawn(watch.keep(stop.clone(), limit).instrument(span));
        let listening = Listening {
            server,
            generation: state.generation,
            attempt: state.attempt,
            stop,
        };
        all.insert(node.id, listening);
    }

    /// Until when a node is listened to.
    fn limit(&self, state: &NodeState) -> Instant {
        let left = state.deadline.map_or(Duration::ZERO, |deadline| {
            super::until(self.site.now(), deadline)
        });
        Instant::now() + left + GRACE
    }

    /// Gives all consoles back.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(DRAIN, self.tasks.wait()).await.is_err() {
            debug!("serial consoles were still open; they time out");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Listening>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node that awaits its operating system.
struct Watch {
    site: Site,
    node: NodeRecord,
    server: ServerId,
    generation: Generation,
}

/// How listening to one opened console ended.
enum Ended {
    /// The marker was read, or nobody wants to know any more.
    Over,
    Lost,
}

impl Watch {
    /// Listens until it is over, whatever happens.
    async fn keep(self, stop: CancellationToken, limit: Instant) {
        let supervisor = &self.site.supervisor;
        let start = || self.run(&stop, limit);
        supervisor
            .keep_until(&stop, "listening to a console", start)
            .await;
    }

    async fn run(&self, stop: &CancellationToken, limit: Instant) {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() && Instant::now() < limit {
            let opened = Instant::now();
            if let Some(console) = self.open(stop).await {
                if let Ended::Over = self.listen(console, stop, limit).await {
                    return;
                }
            } else if stop.is_cancelled() {
                return;
            }
            if opened.elapsed() > WORKED {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The node's console; `None` if it cannot be had now. Cancels `stop` if it never can.
    async fn open(&self, stop: &CancellationToken) -> Option<SerialConsole> {
        let bmc = match self.site.bmcs.of(&self.node) {
            Ok(bmc) => bmc,
            Err(failure) => {
                debug!("{}", failure.message);
                stop.cancel();
                return None;
            }
        };
        let opening = bmc.open_console(Instant::now() + OPEN_LIMIT);
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => return None,
        };
        match opened {
            Ok(console) => {
                info!("listening to the serial console");
                Some(console)
            }
            // None there, or the account is not good for it: asking again would lock accounts.
            Err(error) if error.class() == FailureClass::Operator => {
                info!("not listening to the serial console: {error}");
                stop.cancel();
                None
            }
            Err(error) => {
                debug!("serial console not opened, trying again: {error}");
                None
            }
        }
    }

    async fn listen(
        &self,
        mut console: SerialConsole,
        stop: &CancellationToken,
        limit: Instant,
    ) -> Ended {
        let token = self
            .site
            .keyring
            .serial_marker_token(self.server, self.generation);
        let mut listener = Listener::new(serial_marker(&token));
        let ended = loop {
            let read = tokio::select! {
                read = console.read() => read,
                () = stop.cancelled() => break Ended::Over,
                () = tokio::time::sleep_until(limit) => break Ended::Over,
            };
            match read {
                Ok(Some(bytes)) => {
                    let heard = listener.hear(&bytes);
                    let sightings = &self.site.sightings;
                    sightings.console(self.node.id, self.server, &heard.plain);
                    if heard.marker && self.is_up().await {
                        break Ended::Over;
                    }
                }
                Ok(None) => break Ended::Lost,
                Err(error) => {
                    debug!("{error}");
                    break Ended::Lost;
                }
            }
        };
        console.close().await;
        ended
    }

    /// Records that the operating system is up; `false` if that did not work out.
    async fn is_up(&self) -> bool {
        let now = self.site.now();
        match self
            .site
            .store
            .os_up(self.server, self.generation, now)
            .await
        {
            Ok(recorded) => {
                if recorded {
                    info!(server = %self.server, "the operating system is up (serial console)");
                    self.site.bell.ring();
                }
                true
            }
            Err(error) => {
                warn!(%error, "the marker on the serial console could not be recorded");
                false
            }
        }
    }
}
