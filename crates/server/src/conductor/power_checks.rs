//! Looking at the power state of every machine, in turn: what is found on although it must be off is
//! switched off, and a management controller that does not answer is noticed before it is needed.
//!
//! A round goes through all nodes in the order of their ids and is spread evenly over
//! `bmc.power_check` seconds, so a node's turn is always at about the same place in it. Nodes are read
//! a few at a time, from few columns; a look is one request over a connection that is kept; and
//! nothing is written unless something has changed. Nodes are not claimed: what a look finds counts
//! only if nobody has worked on the node meanwhile ([`bessemer_store::Store::power_seen`]).
//!
//! Servers on one database share the nodes by rendezvous hashing: each node is looked at by the
//! server for which the hash of both is highest, so that when one comes or goes only its nodes change
//! hands, and with them the connections to their management controllers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_bmc::PowerState as Seen;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::PowerState;
use bessemer_core::reason::Failure;
use bessemer_store::PowerWatch;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Conductor;
use super::intents::failure;
use crate::site::Site;

/// The parts in which the nodes of a round are read from the database.
const PARTS: u64 = 60;

/// Looks that are under way at the same time.
const PARALLEL: usize = 256;

/// The longest that a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks in a row without an answer after which a management controller counts as silent.
const SILENT_AFTER: u32 = 3;

/// Looks at machines until `stop` is cancelled.
pub(super) async fn watch(conductor: Arc<Conductor>, stop: CancellationToken) {
    let every = conductor.site.config.bmc.power_check;
    if every == 0 {
        return;
    }
    let checks = Arc::new(Checks {
        conductor,
        silences: Mutex::default(),
        places: Arc::new(Semaphore::new(PARALLEL)),
        running: TaskTracker::new(),
        stop: stop.clone(),
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = checks.rounds(Duration::from_secs(u64::from(every))) => {}
    }
    // Before the sessions at the management controllers are ended.
    checks.running.close();
    checks.running.wait().await;
}

struct Checks {
    conductor: Arc<Conductor>,
    silences: Mutex<Silences>,
    places: Arc<Semaphore>,
    running: TaskTracker,
    stop: CancellationToken,
}

impl Checks {
    async fn rounds(self: &Arc<Self>, every: Duration) {
        loop {
            let began = Instant::now();
            let nodes = self.conductor.site.store.node_count().await;
            let nodes = nodes.unwrap_or_else(|error| {
                warn!(%error, "cannot tell whose power states are to be looked at");
                0
            });
            let parts = nodes.clamp(1, PARTS);
            let most = u32::try_from(nodes.div_ceil(parts)).unwrap_or(u32::MAX);
            let mut after = None;
            for part in 0..parts {
                let pause = every / PARTS as u32;
                let at = |part| began + every.mul_f64(part as f64 / parts as f64);
                let servers = Servers::alive(&self.conductor.site);
                let spread = at(part + 1) - at(part);
                after = self.part(&servers, after, most, spread.min(every)).await;
                sleep_until(at(part + 1).max(Instant::now() + pause / 10)).await;
            }
        }
    }

    /// Looks at the next nodes after `after`, spread over `time`. Gives the last of them.
    async fn part(
        self: &Arc<Self>,
        servers: &Servers,
        after: Option<NodeId>,
        most: u32,
        time: Duration,
    ) -> Option<NodeId> {
        let watches = match self.conductor.site.store.power_watches(after, most).await {
            Ok(watches) => watches,
            Err(error) => {
                warn!(%error, "cannot tell whose power states are to be looked at");
                return after;
            }
        };
        let last = watches.last().map(|watch| watch.node).or(after);
        let began = Instant::now();
        let each = time / u32::try_from(watches.len().max(1)).unwrap_or(u32::MAX);
        for (index, watch) in (0u32..).zip(watches) {
            if !servers.is_ours(watch.node) {
                continue;
            }
            let at = began + place(watch.node, index, each);
            let checks = self.clone();
            self.running.spawn(async move {
                let look = async {
                    sleep_until(at).await;
                    let supervisor = &checks.conductor.site.supervisor;
                    let looking = checks.look(watch);
                    // The next round looks again.
                    supervisor
                        .catch("a look at a machine's power state", looking)
                        .await
                        .ok();
                };
                checks.stop.run_until_cancelled(look).await;
            });
        }
        last
    }

    async fn look(&self, watch: PowerWatch) {
        let Ok(_place) = self.places.acquire().await else {
            return;
        };
        let site = &self.conductor.site;
        site.metrics.power_checks.inc();
        let asked = self.ask(&watch).await;
        let falls_silent = self.silences().note(watch.node, asked.is_ok());
        let now_known = match asked {
            Ok(seen) => seen,
            Err(failure) => return self.unanswered(&watch, &failure, falls_silent).await,
        };
        let news = now_known.is_some() && now_known != watch.power;
        if !news && !watch.silent {
            return;
        }
        match site.store.power_seen(&watch, now_known, site.now()).await {
            Ok(true) => site.bell.ring(),
            // Somebody is working on it: it is seen next time what that has led to.
            Ok(false) => {}
            Err(error) => warn!(node = watch.name, %error, "a power state cannot be written down"),
        }
    }

    /// Whether the machine is on; `None` if its management controller does not say.
    async fn ask(&self, watch: &PowerWatch) -> Result<Option<PowerState>, Failure> {
        let site = &self.conductor.site;
        let bmc = site.bmcs.to_look(watch.node, &watch.bmc)?;
        // Nobody waits for this look: it is not what finds out, before its time, whether a controller
        // that is left alone answers again.
        let requests = bmc.requests();
        let seen = bmc.power(Instant::now() + PATIENCE).await;
        let sent = bmc.requests().saturating_sub(requests);
        site.metrics.bmc_requests.add(sent);
        Ok(match seen.map_err(failure)? {
            Seen::On => Some(PowerState::On),
            Seen::Off => Some(PowerState::Off),
            Seen::PoweringOn | Seen::PoweringOff | Seen::Unknown => None,
        })
    }

    async fn unanswered(&self, watch: &PowerWatch, failure: &Failure, falls_silent: bool) {
        let site = &self.conductor.site;
        site.metrics.power_checks_unanswered.inc();
        if !falls_silent || watch.silent {
            return;
        }
        let why = &failure.message;
        if let Err(error) = site.store.bmc_silent(watch, why, site.now()).await {
            warn!(node = watch.name, %error, "a silent controller cannot be written down");
            self.silences().note_again(watch.node);
        }
    }

    fn silences(&self) -> MutexGuard<'_, Silences> {
        // They stay whole whatever happens to a holder of the lock.
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks in a row without an answer; only of nodes that have not answered the last one.
#[derive(Debug, Default)]
struct Silences(HashMap<NodeId, u32>);

impl Silences {
    /// Takes note of how a look has ended. Whether the controller counts as silent by it: said once in a
    /// silence.
    fn note(&mut self, node: NodeId, answered: bool) -> bool {
        if answered {
            self.0.remove(&node);
            return false;
        }
        let times = self.0.entry(node).or_default();
        *times = times.saturating_add(1);
        *times == SILENT_AFTER
    }

    /// The next look without an answer says again that the controller counts as silent.
    fn note_again(&mut self, node: NodeId) {
        self.0.insert(node, SILENT_AFTER - 1);
    }
}

/// The servers that share the nodes.
struct Servers {
    own: String,
    others: Vec<String>,
}

impl Servers {
    fn alive(site: &Site) -> Self {
        Self {
            own: site.peers.own_id(),
            others: site.peers.others(),
        }
    }

    fn is_ours(&self, node: NodeId) -> bool {
        let own = (mixed(node, self.own.as_bytes()), &self.own);
        let mut others = self.others.iter();
        others.all(|other| (mixed(node, other.as_bytes()), other) < own)
    }
}

/// When the look at the node number `index` of a part begins, from the part's begin on, if each has so much
/// time: somewhere in its own time, and always at the same place in it, so that looks neither come together
/// nor in step.
fn place(node: NodeId, index: u32, each: Duration) -> Duration {
    let within = f64::from(mixed(node, &[]) as u16) / 65_536.0;
    each * index + each.mul_f64(within)
}

/// A number that depends on every bit of `node` and `salt`: FNV-1a, and the last step of SplitMix64.
/// The same in every version, as servers of different ones may share nodes.
fn mixed(node: NodeId, salt: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in node.0.as_bytes().iter().chain(salt) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn servers(own: &str, alive: &[&str]) -> Servers {
        let others = alive.iter().filter(|&&each| each != own);
        Servers {
            own: own.to_owned(),
            others: others.map(|&each| each.to_owned()).collect(),
        }
    }

    #[test]
    fn each_node_is_one_servers_and_few_change_hands() {
        let all = ["one", "two", "three"];
        let nodes: Vec<_> = (0..3000)
            .map(|n| NodeId(Uuid::from_u128(n << 64 | n)))
            .collect();
        let whose = |node, alive: &[&str]| -> Vec<String> {
            let ours = |own: &&str| servers(own, alive).is_ours(node);
            let owners = alive.iter().copied().filter(|own| ours(own));
            owners.map(str::to_owned).collect()
        };
        let mut shares = HashMap::<_, u32>::new();
        for &node in &nodes {
            let before = whose(node, &all);
            assert_eq!(before.len(), 1, "{before:?}");
            *shares.entry(before[0].clone()).or_default() += 1;
            let after = whose(node, &all[..2]);
            assert!(before == after || before == ["three"]);
        }
        for share in shares.values() {
            assert!((800..1200).contains(share), "{shares:?}");
        }
        assert!(nodes.iter().all(|&node| servers("one", &[]).is_ours(node)));
    }

    #[test]
    fn looks_are_spread_over_their_time_and_not_in_step() {
        let each = Duration::from_millis(100);
        let mut within = Vec::new();
        for index in 0..1000 {
            let node = NodeId(Uuid::from_u128(u128::from(index) << 64));
            let at = place(node, index, each);
            let own = each * index..each * (index + 1);
            assert!(own.contains(&at), "{index}: {at:?}");
            assert_eq!(at, place(node, index, each), "the same in every round");
            within.push(at - own.start);
        }
        // A tenth of the time has about a tenth of the looks.
        for tenth in 0..10 {
            let (from, to) = (each / 10 * tenth, each / 10 * (tenth + 1));
            let looks = within.iter().filter(|at| (from..to).contains(*at)).count();
            assert!((50..150).contains(&looks), "{looks} in tenth {tenth}");
        }
    }

    #[test]
    fn only_looks_in_a_row_make_a_controller_silent_and_that_is_said_once() {
        let mut silences = Silences::default();
        let [one, other] = [1, 2].map(|number| NodeId(Uuid::from_u128(number)));
        let said = |silences: &mut Silences, node, answers: &[bool]| -> Vec<bool> {
            let looks = answers.iter();
            looks
                .map(|&answered| silences.note(node, answered))
                .collect()
        };
        let (heard, not) = (true, false);
        // Again and again it answers just before it would count as silent.
        let hardly = said(&mut silences, one, &[not, not, heard].repeat(3));
        assert!(!hardly.contains(&true), "{hardly:?}");
        assert_eq!(
            said(&mut silences, one, &[not; 5]),
            [false, false, true, false, false]
        );
        assert!(!silences.note(other, not), "each has silences of its own");
        // What could not be written down is said again.
        silences.note_again(one);
        assert_eq!(said(&mut silences, one, &[not; 2]), [true, false]);
        silences.note(one, heard);
        assert_eq!(said(&mut silences, one, &[not; 3]), [false, false, true]);
        said(&mut silences, one, &[heard]);
        said(&mut silences, other, &[heard]);
        assert!(silences.0.is_empty(), "what answers takes no room");
    }

    /// Servers of different versions must agree.
    #[test]
    fn the_hash_is_pinned() {
        let node = NodeId(Uuid::from_u128(0x0123_4567_89ab_cdef));
        assert_eq!(mixed(node, b"one"), 0xd4d2_7e14_5ce8_0cfa);
    }
}
