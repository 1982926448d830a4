//! One node against a model of a machine, with every rule of the lifecycle checked at each turn.

use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::{BootId, Generation, ImageId, NodeId, ServerId};
use bessemer_core::lifecycle::{
    Action, AgentSeen, Cleanliness, Decision, Deployment, Executor, Goal, HandOver, Intent, Leave,
    NodeSpec, NodeState, Observed, Outcome, Phase, PortControl, PortRole, Step, Timing, abandon,
    step,
};
use bessemer_core::plan::foretell;
use bessemer_core::reason::{Failure, FailureClass};
use jiff::SignedDuration;
use uuid::Uuid;

/// A machine, as far as the rules are about it.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) on: bool,
    pub(crate) role: Option<PortRole>,
    /// The boot that the next power-on loads.
    pub(crate) prepared: Option<BootId>,
    /// Whether the next power-on is from the disk.
    pub(crate) disk_next: bool,
    /// Whether a kernel that is started by `kexec` hangs.
    pub(crate) kexec_hangs: bool,
    pub(crate) agent: Option<BootId>,
    pub(crate) armed: bool,
    pub(crate) os_running: bool,
    /// Whose data is on the disks.
    pub(crate) tenant_data: Option<ServerId>,
    /// Whether its ports are not ours to move.
    pub(crate) flat: bool,
}

impl Machine {
    /// Carries `action` out, completely.
    pub(crate) fn perform(&mut self, action: &Action) {
        match action {
            Action::CheckBmc
            | Action::ProveAgent
            | Action::Inspect
            | Action::WriteConfigDrive { .. } => {}
            // The last two are asked for by people, of active servers only.
            Action::PowerOff | Action::ShutDown { .. } | Action::Restart { .. } => {
                self.on = false;
                self.agent = None;
                self.armed = false;
                self.os_running = false;
            }
            Action::PowerOn if !self.on => {
                self.on = true;
                self.agent = self.prepared.take().filter(|_| !self.disk_next);
                self.disk_next = false;
                // Without a prepared boot it starts what is on its disk.
                self.os_running = self.agent.is_none() && self.tenant_data.is_some();
            }
            Action::PowerOn => {}
            Action::PrepareBoot { boot } => {
                self.prepared = Some(*boot);
                self.disk_next = false;
            }
            Action::PrepareDiskBoot => self.disk_next = true,
            Action::ConnectPorts { role } => {
                self.role = Some(*role);
                if self.armed && *role == PortRole::Tenant {
                    self.leave();
                }
            }
            Action::Erase => self.tenant_data = None,
            Action::WriteImage { server, .. } => self.tenant_data = Some(*server),
            Action::LoadKernel => {}
            Action::HandOver { leave } => {
                self.armed = true;
                if *leave == Leave::AtOnce {
                    self.leave();
                }
            }
        }
    }

    pub(crate) fn leave(&mut self) {
        self.agent = None;
        self.armed = false;
        self.os_running = !self.kexec_hangs;
    }

    /// What has to hold at every moment, whatever happened.
    pub(crate) fn check(&self, state: &NodeState) {
        if !self.flat {
            self.check_ports(state);
        }
        let retired = state.phase == Phase::Retired && state.at_rest();
        if state.phase == Phase::Available || retired {
            assert_eq!(
                self.tenant_data, None,
                "for rent, or out of use, with a former tenant's data"
            );
            assert_eq!(state.cleanliness, Cleanliness::Clean);
        }
        if state.phase == Phase::Available && state.at_rest() {
            assert!(!self.on, "for rent and at rest, but on");
        }
        if state.phase == Phase::Failed {
            assert!(
                state.reason.cause.is_some(),
                "failed for no cause: {state:?}"
            );
        }
        if state.step == Step::Standby {
            assert_eq!(state.phase, Phase::Available);
        }
    }

    /// The same of where its ports are, on a site with switch control.
    fn check_ports(&self, state: &NodeState) {
        if self.os_running {
            // Parked is allowed: a machine that cannot be switched off is at least cut off.
            let theirs = [Some(PortRole::Parked), Some(PortRole::Tenant)];
            assert!(
                theirs.contains(&self.role),
                "a tenant's OS runs on our network"
            );
        }
        if self.agent.is_some() {
            assert_ne!(
                self.role,
                Some(PortRole::Tenant),
                "our agent runs in a tenant's network"
            );
        }
        let retired = state.phase == Phase::Retired && state.at_rest();
        if state.phase == Phase::Available || retired {
            assert_ne!(
                self.role,
                Some(PortRole::Tenant),
                "for rent, in a tenant's network"
            );
        }
        if state.phase == Phase::Available && state.at_rest() {
            assert_eq!(
                self.role,
                Some(PortRole::Parked),
                "for rent and at rest, but not parked"
            );
        }
        if state.step == Step::Standby {
            assert_eq!(self.role, Some(PortRole::Standby), "idle, but not isolated");
        }
    }
}

/// One node with its machine and all that has been seen of it.
pub(crate) struct History {
    pub(crate) spec: NodeSpec,
    pub(crate) state: NodeState,
    pub(crate) intent: Option<Intent>,
    pub(crate) seen: Observed,
    pub(crate) machine: Machine,
    /// For which generation and attempt an agent has proven to be alive.
    pub(crate) proven: Option<(Generation, u32)>,
    pub(crate) now: Timestamp,
    /// Servers ordered so far.
    pub(crate) orders: u128,
}

pub(crate) fn handed_over(server: u128, hand_over: HandOver) -> Goal {
    Goal::Deployed(Deployment {
        server: ServerId(Uuid::from_u128(server)),
        image: ImageId(Uuid::from_u128(8)),
        image_bytes: 1 << 30,
        root_disk: None,
        hand_over,
    })
}

pub(crate) fn held() -> Goal {
    Goal::Held {
        reason: "fan is loud".into(),
    }
}

pub(crate) fn retired() -> Goal {
    Goal::Retired {
        reason: "sold".into(),
    }
}

impl History {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        Self {
            spec: NodeSpec {
                node: NodeId(Uuid::from_u128(1)),
                generation: Generation(1),
                goal: Goal::Available,
                identity: Some(MachineIdentity {
                    serial: "S".into(),
                    uuid: None,
                }),
                port_control: PortControl::Switched,
                standby: false,
                timing: Timing::default(),
                abort: None,
            },
            state: NodeState::enrolled(Generation(1), now),
            intent: None,
            seen: Observed::default(),
            machine: Machine::default(),
            proven: None,
            now,
            orders: 0,
        }
    }

    /// A node whose ports are not ours to move.
    pub(crate) fn flat() -> Self {
        let mut history = Self::new();
        history.spec.port_control = PortControl::Flat;
        history.machine.flat = true;
        history
    }

    /// A node that is for rent and idles in the agent.
    pub(crate) fn idling() -> Self {
        let mut history = Self::new();
        history.spec.standby = true;
        history.settle();
        assert_eq!(history.state.step, Step::Standby);
        history
    }

    pub(crate) fn plan(&self) -> bessemer_core::plan::Plan {
        foretell(&self.spec, &self.state, &self.seen, self.now)
    }

    /// The same until the node is at this step.
    pub(crate) fn run_until(&mut self, step: Step) {
        for _ in 0..100 {
            if self.state.step == step {
                return;
            }
            self.intent_ends(true, Outcome::Done);
            self.agent_calls();
            self.turn();
            self.pass(1);
        }
        panic!("never gets to {step:?}: {:?}", self.state);
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// One turn of the conductor, with every rule about decisions checked.
    pub(crate) fn turn(&mut self) {
        let decision = step(&self.spec, &self.seen, &self.state, self.now);
        assert_eq!(
            decision,
            step(&self.spec, &self.seen, &self.state, self.now),
            "not pure"
        );
        self.takes(decision);
    }

    /// One turn in which the conductor panics.
    pub(crate) fn panics(&mut self) {
        let decision = abandon(&self.spec, &self.state, "panicked", self.now);
        assert_eq!(decision.next.generation, self.spec.generation);
        self.takes(decision);
    }

    /// Checks a decision, and takes it as the store does.
    fn takes(&mut self, decision: Decision) {
        let next = &decision.next;
        if !next.at_rest() {
            assert!(
                next.deadline.is_some(),
                "a wait without a deadline: {next:?}"
            );
            assert!(
                decision.wake_at.is_some(),
                "nobody will look again: {next:?}"
            );
        }
        assert!(
            next.attempt <= next.phase.attempts().max(1),
            "endless attempts: {next:?}"
        );
        assert!(
            next.tries <= next.step.profile(&self.spec, next).tries,
            "endless tries: {next:?}"
        );
        if let Some(intent) = &decision.intent {
            self.check_intent(next, intent);
            self.seen.intent = Some((intent.key.clone(), Outcome::Pending));
            self.intent = Some(intent.clone());
        }
        if next.at_rest() {
            // As the store does it: no boot is allowed any more.
            self.seen.agent = None;
            self.machine.prepared = None;
        }
        self.state = decision.next;
        // As the store does it: it has been looked at.
        self.seen.switched_on = false;
        self.machine.check(&self.state);
    }

    pub(crate) fn check_intent(&self, next: &NodeState, intent: &Intent) {
        match &intent.action {
            Action::Erase => assert_eq!(next.phase, Phase::Cleaning),
            Action::WriteImage { server, .. } => {
                assert_eq!(next.phase, Phase::Deploying);
                let foreign = self.machine.tenant_data.filter(|owner| owner != server);
                assert_eq!(foreign, None, "written over another tenant's data");
                assert_eq!(
                    next.cleanliness,
                    Cleanliness::Dirty,
                    "written to, yet not dirty"
                );
                assert_eq!(
                    self.proven,
                    Some((next.generation, next.attempt)),
                    "an order relies on an agent that may be dead"
                );
            }
            Action::ConnectPorts {
                role: PortRole::Tenant,
            } => {
                assert!(self.machine.armed || self.machine.agent.is_none());
            }
            Action::ConnectPorts {
                role: PortRole::Provisioning | PortRole::Cleaning | PortRole::Standby,
            } => {
                assert!(
                    !self.machine.os_running,
                    "a tenant's OS moved to our network"
                );
            }
            _ => {}
        }
    }

    /// The open intent ends: carried out or not, reported or not.
    pub(crate) fn intent_ends(&mut self, carried_out: bool, outcome: Outcome) {
        let by_agent = |intent: &Intent| intent.action.executor() == Executor::Agent;
        if self.machine.agent.is_none() && self.intent.as_ref().is_some_and(by_agent) {
            // Nobody is there to carry it out, or to say that it could not be done.
            return;
        }
        let Some(intent) = self.intent.take() else {
            return;
        };
        if carried_out {
            self.machine.perform(&intent.action);
            if intent.action == Action::ProveAgent && outcome == Outcome::Done {
                self.proven = Some((self.state.generation, self.state.attempt));
            }
        } else if let Action::WriteImage { server, .. } = intent.action {
            // Half a write is a tenant's data, too.
            self.machine.tenant_data = Some(server);
        }
        self.machine.check(&self.state);
        self.seen.intent = Some((intent.key, outcome));
    }

    pub(crate) fn agent_calls(&mut self) {
        if let Some(boot) = self.machine.agent {
            self.seen.agent = Some(AgentSeen {
                boot,
                last_seen: self.now,
                replace: false,
            });
        }
    }

    /// Everything works at once, until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..300 {
            self.intent_ends(true, Outcome::Done);
            self.agent_calls();
            if self.machine.os_running {
                self.seen.os_up = Some(self.state.generation);
            }
            self.turn();
            if self.is_settled() {
                return;
            }
            let nobody = self.machine.agent.is_none() && !self.machine.os_running;
            if let Some(retry_at) = self.state.retry_at {
                self.now = self.now.max(retry_at);
            } else if let Some(deadline) = self.state.deadline.filter(|_| nobody) {
                // Nothing is going to happen before.
                self.now = self.now.max(deadline);
            } else {
                self.pass(1);
            }
        }
        panic!("never comes to rest: {:?}", self.state);
    }

    /// Settled in what is wanted, with an agent that lives if it idles.
    pub(crate) fn is_settled(&self) -> bool {
        let alive = self.state.step != Step::Standby || self.machine.agent.is_some();
        let wanted = self.state.generation == self.spec.generation;
        let way = self.state.phase != Phase::Available
            || self.state.fallback
            || self.state.standby == self.spec.standby;
        self.state.settled() && wanted && way && alive
    }

    pub(crate) fn wants(&mut self, goal: Goal) {
        // Orders are taken only on available nodes, as the store does it.
        let allowed = match goal {
            Goal::Deployed(_) => {
                self.state.phase == Phase::Available && self.spec.goal == Goal::Available
            }
            Goal::Held { .. } | Goal::Retired { .. } => {
                !matches!(self.spec.goal, Goal::Deployed(_)) && !self.is_taking_back()
            }
            Goal::Available => true,
        };
        if allowed {
            self.raise(goal);
        }
    }

    pub(crate) fn raise(&mut self, goal: Goal) {
        self.spec.goal = goal;
        self.spec.abort = None;
        self.spec.generation = self.spec.generation.next();
    }

    /// Whether a server that is given back is still there: until its node is parked.
    pub(crate) fn is_taking_back(&self) -> bool {
        let releasing = |phase| phase == Phase::Releasing;
        let stale = self.state.generation != self.spec.generation;
        let tenants = matches!(self.state.phase, Phase::Deploying | Phase::Active);
        let late = stale && (tenants || self.state.came_from == Some(Phase::Deploying));
        releasing(self.state.phase) || self.state.came_from.is_some_and(releasing) || late
    }

    pub(crate) fn orders(&mut self) {
        self.orders_as(HandOver::Kexec);
    }

    pub(crate) fn orders_as(&mut self, hand_over: HandOver) {
        self.orders += 1;
        self.wants(handed_over(self.orders, hand_over));
    }

    /// The tenant wants another image: taken only at rest, as the store does it.
    pub(crate) fn rebuilds(&mut self) {
        let at_rest = self.state.at_rest() && self.state.generation == self.spec.generation;
        if let Goal::Deployed(deployment) = &self.spec.goal
            && at_rest
        {
            let deployment = Deployment {
                image: ImageId(Uuid::from_u128(7)),
                ..deployment.clone()
            };
            self.raise(Goal::Deployed(deployment));
        }
    }

    pub(crate) fn aborts(&mut self) {
        self.raise(self.spec.goal.clone());
        self.spec.abort = Some("wrong machine".into());
    }

    /// The tenant's system is restarted, which the API allows while the server is active.
    pub(crate) fn restarts(&mut self) {
        if self.state.phase == Phase::Active {
            self.machine.perform(&Action::Restart {
                shut_down_seconds: 0,
            });
            self.machine.perform(&Action::PowerOn);
            assert_eq!(self.machine.agent, None, "a restart boots the agent");
            self.machine.check(&self.state);
        }
    }

    /// The open intent of the conductor is not tried now.
    pub(crate) fn is_deferred(&mut self, deferred: Outcome) {
        let by_agent = |intent: &Intent| intent.action.executor() == Executor::Agent;
        if let Some(intent) = self.intent.take_if(|intent| !by_agent(intent)) {
            self.seen.intent = Some((intent.key, deferred));
        }
    }

    /// Somebody pushes the button of a machine that rests, which is noticed.
    pub(crate) fn is_switched_on(&mut self) {
        let rests = self.state.at_rest() && self.state.phase != Phase::Active;
        // What has been left where it could do harm, nobody can keep from being switched on.
        if rests && self.machine.role == Some(PortRole::Parked) && !self.machine.on {
            self.machine.perform(&Action::PowerOn);
            self.seen.switched_on = true;
        }
    }

    pub(crate) fn disturb(&mut self, choice: u8) {
        let failure = |class| Outcome::Failed {
            failure: Failure::new(class, Cause::AgentFailed, "x"),
        };
        let deferred = Outcome::Deferred {
            until: self.now + SignedDuration::from_secs(300),
            failure: Failure::transient(Cause::BmcUnreachable, "x"),
        };
        match choice % 32 {
            0..=4 => {
                self.intent_ends(true, Outcome::Done);
                self.agent_calls();
            }
            5 => self.intent_ends(true, failure(FailureClass::Transient)),
            6 => self.intent_ends(false, failure(FailureClass::Transient)),
            7 => self.intent_ends(false, failure(FailureClass::Operator)),
            8 => self.agent_calls(),
            9 => self.pass(100),
            10 => self.pass(20_000),
            11 => self.orders(),
            12 => self.wants(Goal::Available),
            13 => self.wants(held()),
            15 => self.wants(retired()),
            16 => self.rebuilds(),
            17 => self.aborts(),
            18 => self.restarts(),
            14 if self.machine.os_running => self.seen.os_up = Some(self.state.generation),
            14 => self.settle(),
            // The agent crashes, or its machine hangs.
            19 | 20 => self.machine.agent = None,
            21 => self.spec.standby = !self.spec.standby,
            22 => {
                if let Some(agent) = &mut self.seen.agent {
                    agent.replace = true;
                }
            }
            23 => self.machine.kexec_hangs = !self.machine.kexec_hangs,
            24 => self.seen.kexec_failed = !self.seen.kexec_failed,
            25 => self.orders_as(HandOver::PowerCycle),
            26 => self.orders_as(HandOver::TryKexec),
            27 => self.is_switched_on(),
            28 => self.is_deferred(deferred),
            29 => self.seen.heard_since = Some(self.now),
            30 => self.panics(),
            _ => self.pass(5),
        }
        self.turn();
    }
}
