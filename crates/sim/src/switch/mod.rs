//! A switch that is only its state: an OVSDB server (RFC 7047) as Open vSwitch has one, and what its
//! ports carry.
//!
//! Simulated machines are cabled to it ([`crate::agent::Link`]): what a client has stored, and what is
//! in effect, decides whom they reach. What real switches do wrong is in [`SwitchFaults`].

mod database;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bessemer_core::overlay::Tunnel;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::database::{Database, Refusal};
use crate::Error;

/// Bytes of one request. What is asked for here are the rows of a few ports.
const LONGEST_REQUEST: usize = 1 << 20;

/// The faults of a switch. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwitchFaults {
    /// So many further transactions are refused.
    pub refusals: u32,
    /// So many further transactions are carried out, and the connection breaks before the answer.
    pub lost_answers: u32,
    /// Connections are taken and nothing is ever answered.
    pub silent: bool,
    /// Connections are closed as soon as they are made.
    pub hangs_up: bool,
    /// What is stored is not put into effect.
    pub stalled: bool,
}

/// Told of what a port carries when a client has changed it: its name, and its only VLAN.
pub type PortObserver = Box<dyn Fn(&str, Option<u16>) + Send + Sync>;

/// A simulated switch. It stops when dropped.
pub struct SimulatedSwitch {
    address: SocketAddr,
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
}

struct Inner {
    state: Mutex<State>,
    /// The only VLAN of each port, as it is in effect.
    vlans: BTreeMap<String, watch::Sender<Option<u16>>>,
    /// The tunnels, as they are in effect.
    tunnels: watch::Sender<BTreeSet<Tunnel>>,
    observer: OnceLock<PortObserver>,
    changed: Notify,
    /// Connections and requests.
    approaches: AtomicU64,
}

struct State {
    stored: Database,
    /// What it starts with when its power returns.
    saved: Database,
    /// What it was delivered with.
    delivered: Database,
    faults: SwitchFaults,
}

impl SimulatedSwitch {
    /// A switch with these ports, all in VLAN `vlan`, whose database is at `listen`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(listen: SocketAddr, ports: &[String], vlan: u16) -> Result<Self, Error> {
        let cannot_listen = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let stored = Database::with_ports(ports, vlan);
        let vlans = ports
            .iter()
            .map(|port| (port.clone(), watch::Sender::new(Some(vlan))));
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                saved: stored.clone(),
                delivered: stored.clone(),
                stored,
                faults: SwitchFaults::default(),
            }),
            vlans: vlans.collect(),
            tunnels: watch::Sender::default(),
            observer: OnceLock::new(),
            changed: Notify::new(),
            approaches: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(inner.clone().serve(listener));
        Ok(Self {
            address,
            inner,
            _tasks: tasks,
        })
    }

    /// Where its database is, as a switch is registered.
    pub fn url(&self) -> String {
        format!("tcp:{}", self.address)
    }

    /// The only VLAN that `port` carries, and every change of it. `None` if there is no such port.
    pub fn vlan(&self, port: &str) -> Option<watch::Receiver<Option<u16>>> {
        self.inner.vlans.get(port).map(watch::Sender::subscribe)
    }

    /// The VXLAN tunnels that are in effect.
    pub fn tunnels(&self) -> BTreeSet<Tunnel> {
        self.inner.tunnels.borrow().clone()
    }

    /// Has `observer` told when a client has moved a port. Only the first one counts.
    pub fn observe(&self, observer: PortObserver) {
        let _ = self.inner.observer.set(observer);
    }

    /// Changes its faults.
    pub fn set_faults(&self, change: impl FnOnce(&mut SwitchFaults)) {
        change(&mut self.inner.lock().faults);
        self.inner.settle(false);
    }

    /// Its faults as they are now.
    pub fn faults(&self) -> SwitchFaults {
        self.inner.lock().faults.clone()
    }

    /// How often somebody has connected to it or asked it something so far.
    pub fn approaches(&self) -> u64 {
        self.inner.approaches.load(Ordering::Relaxed)
    }

    /// What is stored now is what it starts with when its power returns.
    pub fn save(&self) {
        let mut state = self.inner.lock();
        state.saved = state.stored.clone();
    }

    /// It loses its power and comes back with what was saved.
    pub fn forget(&self) {
        {
            let mut state = self.inner.lock();
            state.stored = state.saved.clone();
        }
        self.inner.settle(false);
    }

    /// Somebody has it forget everything: it is as it was delivered.
    pub fn reset(&self) {
        {
            let mut state = self.inner.lock();
            state.stored = state.delivered.clone();
        }
        self.inner.settle(false);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state stays whole whatever happens to a holder of the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    self.approaches.fetch_add(1, Ordering::Relaxed);
                    if !self.lock().faults.hangs_up {
                        connections.spawn(self.clone().converse(stream));
                    }
                },
            }
        }
    }

    /// Answers requests until the peer hangs up or talks nonsense.
    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        let mut received = Vec::new();
        let mut chunk = vec![0; 16 << 10];
        while received.len() < LONGEST_REQUEST {
            match stream.read(&mut chunk).await {
                Ok(length) if length > 0 => received.extend_from_slice(&chunk[..length]),
                _ => return,
            }
            let mut requests = serde_json::Deserializer::from_slice(&received).into_iter();
            let whole: Vec<Value> = requests.by_ref().map_while(Result::ok).collect();
            let used = requests.byte_offset();
            received.drain(..used);
            for request in whole {
                let Some(answer) = self.answer(&request).await else {
                    return;
                };
                if stream
                    .write_all(answer.to_string().as_bytes())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }

    async fn answer(&self, request: &Value) -> Option<Value> {
        self.approaches.fetch_add(1, Ordering::Relaxed);
        if self.lock().faults.silent {
            std::future::pending::<()>().await;
        }
        let result = match request["method"].as_str() {
            Some("transact") => {
                let parameters = request["params"].as_array().cloned().unwrap_or_default();
                let operations = parameters.get(1..).unwrap_or_default();
                let result = self.transact(operations).await;
                if take(&mut self.lock().faults.lost_answers) {
                    return None;
                }
                result
            }
            _ => request["params"].clone(),
        };
        Some(json!({"id": request["id"], "result": result, "error": null}))
    }

    /// The results of a transaction; waits as its `wait` operations ask.
    async fn transact(&self, operations: &[Value]) -> Value {
        if take(&mut self.lock().faults.refusals) {
            return json!([{"error": "permission error", "details": "the switch refuses"}]);
        }
        let started = Instant::now();
        loop {
            let changed = self.changed.notified();
            let limit = match self.attempt(operations) {
                Ok(results) => return results.into(),
                Err(Refusal::Error(error, details)) => {
                    return json!([{"error": error, "details": details}]);
                }
                Err(Refusal::Wait(limit)) => limit,
            };
            let deadline = started + Duration::from_millis(limit);
            if timeout_at(deadline, changed).await.is_err() {
                return json!([{"error": "timed out", "details": "\"wait\" timed out"}]);
            }
        }
    }

    fn attempt(&self, operations: &[Value]) -> Result<Vec<Value>, Refusal> {
        let reads = operations
            .iter()
            .all(|operation| ["select", "wait"].iter().any(|op| operation["op"] == *op));
        let mut state = self.lock();
        let mut copy = state.stored.clone();
        let results = copy.transact(operations)?;
        if !reads {
            state.stored = copy;
            drop(state);
            self.settle(true);
        }
        Ok(results)
    }

    /// Puts into effect what is stored, unless that is what does not work.
    fn settle(&self, by_client: bool) {
        let mut state = self.lock();
        if state.faults.stalled {
            return;
        }
        state.stored.follow();
        let database = state.stored.clone();
        drop(state);
        self.tunnels.send_replace(database.tunnels());
        for (port, vlan) in &self.vlans {
            let wanted = database.access_vlan(port);
            let moved = vlan.send_if_modified(|vlan| std::mem::replace(vlan, wanted) != wanted);
            if let Some(observer) = self.observer.get().filter(|_| moved && by_client) {
                observer(port, wanted);
            }
        }
        self.changed.notify_waiters();
    }
}

/// Uses up one of what is left of a fault.
fn take(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}
