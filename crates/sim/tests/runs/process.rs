//! One server as a process of its own would be, which can be killed, paused and robbed of its database
//! at any commit.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bessemer_core::lifecycle::Step;
use bessemer_server::config::Config;
use bessemer_server::{Server, StartError, StartOptions};
use bessemer_store::{Commit, GatePoint, StoreOptions, When};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::clock::{self, Clock, Jump};
use crate::faults::SiteFault;
use crate::judge::Judge;

/// The longest, on the real clock, that a server may take to start or to end.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks of what waits on the real clock.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Where a server runs, from its first start on.
pub(crate) struct Slot {
    pub(crate) number: usize,
    pub(crate) config: Mutex<Config>,
    /// How far its time of day is off, in nanoseconds.
    pub(crate) jump: Jump,
    clock: &'static Clock,
    judge: Arc<Judge>,
    running: View,
}

/// The server that runs at a place, if one does.
#[derive(Clone, Default)]
pub(crate) struct View(Arc<Mutex<Option<Running>>>);

struct Running {
    runtime: Runtime,
    server: Arc<Server>,
    control: Arc<Control>,
    /// Whether its database is at work for it.
    _waits: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What happens at the commits of one server.
pub(crate) struct Control {
    clock: &'static Clock,
    plan: Mutex<Planned>,
    dead: AtomicBool,
    died: Notify,
    /// It does not stand still any more.
    wakes: AtomicBool,
}

/// Each with the number of commit points until then.
#[derive(Default)]
struct Planned {
    /// What a node does next by the decision that is being committed.
    decided: Option<Step>,
    death: Option<u32>,
    /// How often it still has nothing to do until it dies.
    death_asleep: Option<u32>,
    pause: Option<Pause>,
    loss: Option<u32>,
    /// Until when, by the site's clock, nothing can be committed, or read from an embedded database.
    away_until: Duration,
    /// Whether the newest of each of these has struck.
    paused: bool,
    lost: bool,
    missed: bool,
}

/// A server is to stand still.
struct Pause {
    place: Place,
    left: u32,
    lasts: Duration,
}

/// Commit points at which a server may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Anywhere,
    /// Where a decision about a node has just been committed: what it holds then is somebody else's when
    /// it goes on, if that is long enough.
    Decision,
    /// The same, if that is what the node does next.
    Beginning(Step),
}

impl Pause {
    /// Counts a commit point; for how long to stand still there.
    fn at(&mut self, point: GatePoint, decided: Option<Step>) -> Option<Duration> {
        let is_decision = point.name == "commit" && point.when == When::After;
        let counts = match self.place {
            Place::Anywhere => true,
            Place::Decision => is_decision,
            Place::Beginning(step) => is_decision && decided == Some(step),
        };
        (counts && is_due(&mut self.left)).then_some(self.lasts)
    }
}

/// Counts a commit point; whether it is the one.
fn is_due(left: &mut u32) -> bool {
    let due = *left == 0;
    *left = left.saturating_sub(1);
    due
}

impl Control {
    fn lets_pass(&self, point: GatePoint) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return false;
        }
        let mut plan = self.plan.lock().unwrap();
        if plan.death.as_mut().is_some_and(is_due) {
            plan.death = None;
            self.dead.store(true, Ordering::SeqCst);
            self.died.notify_one();
            return false;
        }
        let decided = plan.decided;
        let pause = plan.pause.as_mut();
        let pause = pause.and_then(|pause| pause.at(point, decided));
        if pause.is_some() {
            plan.pause = None;
            plan.paused = true;
        }
        drop(plan);
        if let Some(pause) = pause {
            // This is the only thread of the server.
            let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
            clock::stand_still(pause, || is(&self.dead) || is(&self.wakes));
        }
        true
    }

    /// It is about to commit a decision.
    fn decides(&self, commit: &Commit) {
        self.plan.lock().unwrap().decided = Some(commit.next.step);
    }

    /// All that it does waits for something: each of its tasks is at an await.
    fn sleeps(&self) {
        let mut plan = self.plan.lock().unwrap();
        if plan.death_asleep.as_mut().is_some_and(is_due) {
            plan.death_asleep = None;
            self.dead.store(true, Ordering::SeqCst);
            self.died.notify_one();
        }
    }

    fn is_away(&self, point: GatePoint) -> bool {
        let mut plan = self.plan.lock().unwrap();
        if point.when != When::After {
            let away = self.clock.elapsed() < plan.away_until;
            plan.missed |= away;
            return away;
        }
        let lost = plan.loss.as_mut().is_some_and(is_due);
        if lost {
            plan.loss = None;
            plan.lost = true;
        }
        lost
    }
}

impl View {
    /// The server, while there is one, and where it runs.
    pub(crate) fn server(&self) -> Option<(Arc<Server>, tokio::runtime::Handle)> {
        let running = self.0.lock().unwrap();
        let running = running.as_ref()?;
        Some((running.server.clone(), running.runtime.handle().clone()))
    }
}

impl Slot {
    pub(crate) fn new(
        number: usize,
        config: Config,
        clock: &'static Clock,
        judge: Arc<Judge>,
    ) -> Self {
        Self {
            number,
            config: Mutex::new(config),
            jump: Box::leak(Box::new(AtomicI64::new(0))),
            clock,
            judge,
            running: View::default(),
        }
    }

    /// Starts the server; the first token, at the very first start.
    pub(crate) async fn start(&self) -> Option<String> {
        let (clock, jump) = (self.clock, self.jump);
        let _starting = clock.waits_outside();
        let control = Arc::new(Control {
            clock,
            plan: Mutex::default(),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            wakes: AtomicBool::new(false),
        });
        let sleeper = control.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || clock::live_by(clock, Some(jump)))
            .on_thread_park(move || sleeper.sleeps())
            .enable_all()
            .build()
            .unwrap();
        let (gate, outages, decisions) = (control.clone(), control.clone(), control.clone());
        let (judge, number) = (self.judge.clone(), self.number);
        let store = StoreOptions {
            gate: Some(Arc::new(move |point| gate.lets_pass(point))),
            outages: Some(Arc::new(move |point| outages.is_away(point))),
            witness: Some(Arc::new(move |claim, commit| {
                decisions.decides(commit);
                judge.decided(number, claim, commit);
            })),
            ..StoreOptions::default()
        };
        let config = self.config.lock().unwrap().clone();
        let limit = Instant::now() + LIMIT;
        let server = loop {
            let options = StartOptions {
                store: store.clone(),
            };
            let starting = runtime.spawn(Server::start(config.clone(), options));
            match starting.await.unwrap() {
                Ok(server) => break server,
                // What was killed may not have let go of everything.
                Err(error) if is_taken(&error) && Instant::now() < limit => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => panic!("the server does not start: {error}"),
            }
        };
        let token = server.first_token.clone();
        let server = Arc::new(server);
        self.keep_ports(&server);
        let store = server.site.store.clone();
        let waits: Arc<dyn Fn() -> bool + Send + Sync> =
            Arc::new(move || store.connections_in_use() > 0);
        clock.waits_outside_while(&waits);
        *self.running.0.lock().unwrap() = Some(Running {
            runtime,
            server,
            control,
            _waits: waits,
        });
        token
    }

    /// When it starts again, it is where it was.
    fn keep_ports(&self, server: &Server) {
        let mut config = self.config.lock().unwrap();
        config.api.listen = server.api_address;
        if let (Some(phone_home), Some(address)) =
            (&mut config.phone_home, server.phone_home_address)
        {
            phone_home.listen = address;
        }
        let ports = server.agent_address.zip(server.boot_address);
        if let (Some(provisioning), Some((agents, boot))) = (&mut config.provisioning, ports) {
            (provisioning.agent_port, provisioning.boot_port) = (agents.port(), boot.port());
        }
    }

    /// The server that runs here, for others.
    pub(crate) fn view(&self) -> View {
        self.running.clone()
    }

    fn plan(&self, change: impl FnOnce(&mut Planned)) {
        if let Some(running) = &*self.running.0.lock().unwrap() {
            change(&mut running.control.plan.lock().unwrap());
        }
    }

    /// It dies at the commit point after so many more, or after `limit` at the latest.
    pub(crate) async fn die(&self, points: u32, limit: Duration) {
        self.plan(|plan| plan.death = Some(points));
        self.is_dead_within(limit).await;
    }

    /// It dies when all that it does waits for something for the time after so many more, or after
    /// `limit` at the latest: at awaits, wherever they are.
    pub(crate) async fn die_asleep(&self, times: u32, limit: Duration) {
        self.plan(|plan| plan.death_asleep = Some(times));
        self.is_dead_within(limit).await;
    }

    async fn is_dead_within(&self, limit: Duration) {
        let control = self
            .running
            .0
            .lock()
            .unwrap()
            .as_ref()
            .map(|it| it.control.clone());
        if let Some(control) = control {
            let _ = tokio::time::timeout(limit, control.died.notified()).await;
        }
        self.kill().await;
    }

    /// As `kill -9`. When this returns, nothing of it is left.
    pub(crate) async fn kill(&self) {
        let Some(running) = self.running.0.lock().unwrap().take() else {
            return;
        };
        running.control.dead.store(true, Ordering::SeqCst);
        let _ending = self.clock.waits_outside();
        let ended = tokio::task::spawn_blocking(move || {
            running.runtime.shutdown_timeout(LIMIT);
            drop(running.server);
        });
        ended.await.unwrap();
    }

    /// As SIGTERM.
    pub(crate) async fn stop(&self) {
        let Some(running) = self.running.0.lock().unwrap().take() else {
            return;
        };
        let server = running.server;
        // Somebody may be asking it something at this moment.
        let stopping = running.runtime.spawn(async move {
            if let Ok(server) = Arc::try_unwrap(server) {
                server.stop().await;
            }
        });
        stopping.await.unwrap();
        running.control.dead.store(true, Ordering::SeqCst);
        let _ending = self.clock.waits_outside();
        let ended = tokio::task::spawn_blocking(move || running.runtime.shutdown_timeout(LIMIT));
        ended.await.unwrap();
    }

    /// It stands still at such a commit point, after so many more of them, for this long.
    pub(crate) fn pause(&self, place: Place, left: u32, lasts: Duration) {
        let pause = Pause { place, left, lasts };
        self.plan(|plan| (plan.pause, plan.paused) = (Some(pause), false));
    }

    /// It goes on from where it stands still, and never stands still again.
    pub(crate) fn wake(&self) {
        if let Some(running) = &*self.running.0.lock().unwrap() {
            running.control.wakes.store(true, Ordering::SeqCst);
        }
    }

    /// It cannot commit anything for this long, and read nothing from an embedded database.
    pub(crate) fn lose_database(&self, for_: Duration) {
        let until = self.clock.elapsed() + for_;
        self.plan(|plan| (plan.away_until, plan.missed) = (until, false));
    }

    /// It does not learn of one commit, the one after so many more, that it has worked.
    pub(crate) fn lose_answer(&self, commits: u32) {
        self.plan(|plan| (plan.loss, plan.lost) = (Some(commits), false));
    }

    /// Whether the newest fault of this kind has struck.
    pub(crate) fn is_struck(&self, kind: SiteFault) -> bool {
        let mut struck = false;
        self.plan(|plan| {
            struck = match kind {
                SiteFault::ServerPaused => plan.paused,
                SiteFault::CommitLost => plan.lost,
                _ => plan.missed,
            }
        });
        struck
    }

    /// Nothing more happens to it.
    pub(crate) fn leave_alone(&self) {
        self.plan(|plan| *plan = Planned::default());
        self.jump.store(0, Ordering::SeqCst);
    }
}

fn is_taken(error: &StartError) -> bool {
    match error {
        StartError::InUse { .. } => true,
        StartError::Listen { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        _ => false,
    }
}
