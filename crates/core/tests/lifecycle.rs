//! Random histories of one node against a model of a machine: whatever fails, is late or is asked
//! for in between, the rules of the lifecycle hold, and a node that is left alone on working
//! hardware comes to rest.

use bessemer_core::Timestamp;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::{BootId, Generation, ImageId, NodeId, ServerId};
use bessemer_core::lifecycle::{
    Action, AgentSeen, Cleanliness, Deployment, Executor, Goal, HandOver, Intent, Leave, NodeSpec,
    NodeState, Observed, Outcome, Phase, PortControl, PortRole, Step, Timing, kexec_outcome,
    script, step,
};
use bessemer_core::plan::foretell;
use bessemer_core::reason::{Failure, FailureClass};
use jiff::SignedDuration;
use proptest::prelude::*;
use uuid::Uuid;

/// A machine, as far as the rules are about it.
#[derive(Debug, Default)]
struct Machine {
    on: bool,
    role: Option<PortRole>,
    /// The boot that the next power-on loads.
    prepared: Option<BootId>,
    /// Whether the next power-on is from the disk.
    disk_next: bool,
    /// Whether a kernel that is started by `kexec` hangs.
    kexec_hangs: bool,
    agent: Option<BootId>,
    armed: bool,
    os_running: bool,
    /// Whose data is on the disks.
    tenant_data: Option<ServerId>,
}

impl Machine {
    /// Carries `action` out, completely.
    fn perform(&mut self, action: &Action) {
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

    fn leave(&mut self) {
        self.agent = None;
        self.armed = false;
        self.os_running = !self.kexec_hangs;
    }

    /// What has to hold at every moment, whatever happened (on a site with switch control).
    fn check(&self, state: &NodeState) {
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
            assert_eq!(
                self.tenant_data, None,
                "for rent, or out of use, with a former tenant's data"
            );
            assert_eq!(state.cleanliness, Cleanliness::Clean);
            assert_ne!(
                self.role,
                Some(PortRole::Tenant),
                "for rent, in a tenant's network"
            );
        }
        if state.phase == Phase::Available && state.at_rest() {
            assert!(!self.on, "for rent and at rest, but on");
            assert_eq!(
                self.role,
                Some(PortRole::Parked),
                "for rent and at rest, but not parked"
            );
        }
        if state.step == Step::Standby {
            assert_eq!(state.phase, Phase::Available);
            assert_eq!(self.role, Some(PortRole::Standby), "idle, but not isolated");
        }
    }
}

/// One node with its machine and all that has been seen of it.
struct History {
    spec: NodeSpec,
    state: NodeState,
    intent: Option<Intent>,
    seen: Observed,
    machine: Machine,
    /// For which generation and attempt an agent has proven to be alive.
    proven: Option<(Generation, u32)>,
    now: Timestamp,
    /// Servers ordered so far.
    orders: u128,
}

fn handed_over(server: u128, hand_over: HandOver) -> Goal {
    Goal::Deployed(Deployment {
        server: ServerId(Uuid::from_u128(server)),
        image: ImageId(Uuid::from_u128(8)),
        image_bytes: 1 << 30,
        root_disk: None,
        hand_over,
    })
}

fn held() -> Goal {
    Goal::Held {
        reason: "fan is loud".into(),
    }
}

fn retired() -> Goal {
    Goal::Retired {
        reason: "sold".into(),
    }
}

impl History {
    fn new() -> Self {
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

    /// A node that is for rent and idles in the agent.
    fn idling() -> Self {
        let mut history = Self::new();
        history.spec.standby = true;
        history.settle();
        assert_eq!(history.state.step, Step::Standby);
        history
    }

    fn plan(&self) -> bessemer_core::plan::Plan {
        foretell(&self.spec, &self.state, &self.seen, self.now)
    }

    /// The same until the node is at this step.
    fn run_until(&mut self, step: Step) {
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

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// One turn of the conductor, with every rule about decisions checked.
    fn turn(&mut self) {
        let decision = step(&self.spec, &self.seen, &self.state, self.now);
        assert_eq!(
            decision,
            step(&self.spec, &self.seen, &self.state, self.now),
            "not pure"
        );
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
        self.machine.check(&self.state);
    }

    fn check_intent(&self, next: &NodeState, intent: &Intent) {
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
                role: PortRole::Provisioning | PortRole::Standby,
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
    fn intent_ends(&mut self, carried_out: bool, outcome: Outcome) {
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

    fn agent_calls(&mut self) {
        if let Some(boot) = self.machine.agent {
            self.seen.agent = Some(AgentSeen {
                boot,
                last_seen: self.now,
                replace: false,
            });
        }
    }

    /// Everything works at once, until nothing is left to do.
    fn settle(&mut self) {
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
    fn is_settled(&self) -> bool {
        let alive = self.state.step != Step::Standby || self.machine.agent.is_some();
        let wanted = self.state.generation == self.spec.generation;
        let way = self.state.phase != Phase::Available
            || self.state.fallback
            || self.state.standby == self.spec.standby;
        self.state.settled() && wanted && way && alive
    }

    fn wants(&mut self, goal: Goal) {
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

    fn raise(&mut self, goal: Goal) {
        self.spec.goal = goal;
        self.spec.abort = None;
        self.spec.generation = self.spec.generation.next();
    }

    /// Whether a server that is given back is still there: until its node is parked.
    fn is_taking_back(&self) -> bool {
        let releasing = |phase| phase == Phase::Releasing;
        let stale = self.state.generation != self.spec.generation;
        let tenants = matches!(self.state.phase, Phase::Deploying | Phase::Active);
        let late = stale && (tenants || self.state.came_from == Some(Phase::Deploying));
        releasing(self.state.phase) || self.state.came_from.is_some_and(releasing) || late
    }

    fn orders(&mut self) {
        self.orders_as(HandOver::Kexec);
    }

    fn orders_as(&mut self, hand_over: HandOver) {
        self.orders += 1;
        self.wants(handed_over(self.orders, hand_over));
    }

    /// The tenant wants another image: taken only at rest, as the store does it.
    fn rebuilds(&mut self) {
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

    fn aborts(&mut self) {
        self.raise(self.spec.goal.clone());
        self.spec.abort = Some("wrong machine".into());
    }

    /// The tenant's system is restarted, which the API allows while the server is active.
    fn restarts(&mut self) {
        if self.state.phase == Phase::Active {
            self.machine.perform(&Action::Restart {
                shut_down_seconds: 0,
            });
            self.machine.perform(&Action::PowerOn);
            assert_eq!(self.machine.agent, None, "a restart boots the agent");
            self.machine.check(&self.state);
        }
    }

    fn disturb(&mut self, choice: u8) {
        let failure = |class| Outcome::Failed {
            failure: Failure {
                class,
                message: "x".into(),
            },
        };
        match choice % 28 {
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
            _ => self.pass(5),
        }
        self.turn();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_in_every_history(choices in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut history = History::new();
        for choice in choices {
            history.disturb(choice);
        }
        history.settle();
    }
}

#[test]
fn a_node_goes_from_registration_to_a_login_and_back() {
    let mut history = History::new();
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(
        history.state.boots, 1,
        "inspection and cleaning share one boot"
    );

    history.orders();
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.boots, 2);
    assert!(history.machine.os_running && history.machine.tenant_data.is_some());

    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
}

#[test]
fn an_order_on_a_dark_node_costs_one_post() {
    let mut history = History::new();
    history.settle();
    history.orders();
    let plan = history.plan();
    assert_eq!(plan.posts, 1);
    let irreversible: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| step.irreversible)
        .map(|step| step.step)
        .collect();
    assert_eq!(irreversible, [Step::WriteImage]);
    let steps: Vec<_> = plan.steps.iter().map(|step| step.step).collect();
    let deploying = NodeState {
        phase: Phase::Deploying,
        ..history.state.clone()
    };
    assert_eq!(steps, script(&history.spec, &deploying));
    assert!(plan.expected_seconds > 0);
}

#[test]
fn a_wrong_password_stops_at_once_and_says_so() {
    let mut history = History::new();
    history.turn();
    let failure = Failure::operator("BMC refuses user `admin`");
    history.intent_ends(false, Outcome::Failed { failure });
    history.turn();
    assert_eq!(history.state.provision_state(), "enroll");
    assert!(history.state.at_rest());
    let reason = history.state.reason.clone();
    assert!(reason.seen.unwrap().contains("refuses user"));
    assert!(reason.remedy.unwrap().contains("node provide"));
}

#[test]
fn a_machine_that_never_boots_is_given_up_after_three_attempts() {
    let mut history = History::new();
    let mut power_ons = 0;
    for _ in 0..200 {
        if history.state.phase == Phase::Failed {
            break;
        }
        history.turn();
        let boots = matches!(&history.intent, Some(intent) if intent.action == Action::PowerOn);
        power_ons += u32::from(boots);
        history.intent_ends(true, Outcome::Done);
        history.pass(if history.state.step == Step::AwaitAgent {
            1300
        } else {
            1
        });
    }
    assert_eq!(power_ons, 3);
    assert_eq!(history.state.provision_state(), "inspect failed");
    assert!(
        history
            .state
            .reason
            .seen
            .as_ref()
            .unwrap()
            .contains("did not call")
    );
}

#[test]
fn a_failed_deployment_is_made_safe_and_erased_once_released() {
    let mut history = History::new();
    history.settle();
    history.orders();
    while history.state.step != Step::WriteImage {
        history.intent_ends(true, Outcome::Done);
        history.agent_calls();
        history.turn();
        history.pass(1);
    }
    history.intent_ends(
        false,
        Outcome::Failed {
            failure: Failure::permanent("disk broken"),
        },
    );
    history.settle();
    assert_eq!(history.state.provision_state(), "deploy failed");
    assert!(!history.machine.on);
    assert_eq!(history.machine.role, Some(PortRole::Parked));
    assert!(
        history
            .state
            .reason
            .seen
            .as_ref()
            .unwrap()
            .contains("disk broken")
    );

    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.machine.tenant_data, None);
}

#[test]
fn an_idle_node_is_deployed_without_a_post() {
    let mut history = History::idling();
    assert_eq!(history.state.boots, 1, "enrolling costs one POST as before");
    assert!(history.machine.on && history.machine.agent.is_some());
    assert_eq!(history.state.provision_state(), "available");

    history.orders();
    let plan = history.plan();
    assert_eq!(plan.posts, 0);
    assert_eq!(plan.steps[0].step, Step::ProveAgent);
    let posts = history.state.posts;
    history.run_until(Step::AwaitOs);
    let before = history.state.clone();
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!((history.state.posts, history.state.boots), (posts, 1));
    let outcome = kexec_outcome(&history.spec, &before, &history.state);
    assert_eq!(outcome, Some(true), "remembered as a success");

    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.step, Step::Standby);
    assert_eq!(
        history.state.boots, 2,
        "one POST to erase, and the agent stays"
    );
}

#[test]
fn an_order_does_not_rely_on_an_agent_that_is_dead() {
    let mut history = History::idling();
    history.machine.agent = None;
    history.orders();
    let posts = history.state.posts;
    // Nobody has noticed yet, so it begins with what will show it.
    history.turn();
    assert_eq!(history.state.step, Step::ProveAgent);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.posts - posts, 1);
}

#[test]
fn an_agent_known_to_be_silent_is_not_even_asked() {
    let mut history = History::idling();
    history.machine.agent = None;
    history.pass(361);
    history.orders();
    assert_eq!(history.plan().posts, 1);
    history.turn();
    assert_eq!(history.state.step, Step::PowerOff);
}

#[test]
fn a_boot_into_standby_that_is_under_way_serves_the_order() {
    let mut history = History::new();
    history.settle();
    history.spec.standby = true;
    history.run_until(Step::AwaitAgent);
    assert_eq!(history.state.phase, Phase::Available);
    history.orders();
    assert_eq!(history.plan().posts, 0, "it is paid for already");
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.boots, 2);
}

#[test]
fn an_idle_agent_that_does_not_stay_leaves_the_node_for_rent_and_dark() {
    let mut history = History::idling();
    let mut power_ons = 0;
    for _ in 0..300 {
        if history.state.at_rest() {
            break;
        }
        if history.state.step == Step::Standby {
            history.machine.agent = None;
        }
        if history.machine.agent.is_none() && history.state.step == Step::Standby {
            history.pass(360);
        }
        history.turn();
        let boots = matches!(&history.intent, Some(intent) if intent.action == Action::PowerOn);
        power_ons += u32::from(boots);
        history.intent_ends(true, Outcome::Done);
        history.agent_calls();
        history.pass(1);
    }
    assert_eq!(power_ons, 2, "three agents in all");
    assert_eq!(history.state.phase, Phase::Available);
    let reason = history.state.reason.clone();
    assert!(reason.summary.contains("one POST"), "{reason}");
    assert!(reason.seen.unwrap().contains("silent for more than 360 s"));
    assert!(reason.remedy.unwrap().contains("node provide"));

    history.orders();
    assert_eq!(history.plan().posts, 1);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn an_agent_that_stayed_for_long_is_not_held_against_the_next() {
    let mut history = History::idling();
    for _ in 0..10 {
        history.pass(3600);
        history.agent_calls();
        history.turn();
        assert_eq!(history.state.step, Step::Standby);
        history.machine.agent = None;
        history.pass(360);
        history.turn();
        assert_eq!(
            (history.state.step, history.state.attempt),
            (Step::PowerOff, 1)
        );
        history.settle();
        assert_eq!(history.state.step, Step::Standby);
    }
}

#[test]
fn an_idle_agent_is_replaced_when_it_is_its_turn_and_an_ordered_one_never() {
    let mut history = History::idling();
    history.seen.agent.as_mut().unwrap().replace = true;
    let mut ordered = History::idling();
    ordered.seen.agent.as_mut().unwrap().replace = true;

    history.turn();
    assert_eq!(
        (history.state.step, history.state.attempt),
        (Step::PowerOff, 1)
    );
    history.settle();
    assert_eq!(
        (history.state.step, history.state.boots),
        (Step::Standby, 2)
    );

    ordered.orders();
    ordered.turn();
    assert_eq!(ordered.state.step, Step::ProveAgent);
}

#[test]
fn standby_follows_the_wish() {
    let mut history = History::idling();
    history.spec.standby = false;
    history.settle();
    assert!(history.state.at_rest() && !history.machine.on);
    assert_eq!(history.machine.role, Some(PortRole::Parked));
    history.spec.standby = true;
    history.settle();
    assert_eq!(history.state.step, Step::Standby);
}

#[test]
fn a_node_whose_bmc_is_away_when_its_agent_dies_is_not_for_rent() {
    let mut history = History::idling();
    history.machine.agent = None;
    history.pass(361);
    for _ in 0..100 {
        history.turn();
        history.intent_ends(
            false,
            Outcome::Failed {
                failure: Failure::transient("no answer"),
            },
        );
        history.pass(100);
    }
    assert_eq!(history.state.phase, Phase::Failed, "nobody can switch it");
}

#[test]
fn a_power_cycle_starts_the_system_with_one_post_and_the_port_moved_while_off() {
    let mut history = History::idling();
    history.orders_as(HandOver::PowerCycle);
    assert_eq!(history.plan().posts, 1);
    history.run_until(Step::ConnectTenant);
    assert!(!history.machine.on);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert!(history.machine.os_running);
}

#[test]
fn a_kexec_that_never_comes_up_is_followed_by_a_power_cycle() {
    let mut history = History::idling();
    history.machine.kexec_hangs = true;
    history.orders_as(HandOver::TryKexec);
    assert_eq!(history.plan().posts, 0);
    let posts = history.state.posts;
    history.run_until(Step::AwaitOs);
    let until = history.state.deadline.unwrap();
    let waits = until.duration_since(history.state.step_since).as_secs();
    assert_eq!(waits, 600, "its own, shorter deadline");
    history.now = until;
    let before = history.state.clone();
    history.turn();
    let outcome = kexec_outcome(&history.spec, &before, &history.state);
    assert_eq!(outcome, Some(false), "remembered as a failure");
    assert_eq!(
        (history.state.step, history.state.attempt),
        (Step::PowerDown, 1)
    );
    assert!(history.state.reason.summary.contains("kexec"));
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.posts - posts, 1);

    // Where it is told to do without, it starts again as before.
    let mut history = History::idling();
    history.machine.kexec_hangs = true;
    history.orders_as(HandOver::Kexec);
    history.run_until(Step::AwaitOs);
    history.now = history.state.deadline.unwrap();
    history.turn();
    assert_eq!(
        (history.state.step, history.state.attempt),
        (Step::PowerOff, 2)
    );
}

#[test]
fn a_kexec_remembered_to_fail_is_not_tried() {
    let mut history = History::idling();
    history.seen.kexec_failed = true;
    history.orders_as(HandOver::TryKexec);
    let plan = history.plan();
    assert_eq!(plan.posts, 1);
    assert!(plan.steps.iter().all(|each| each.step != Step::LoadKernel));

    // The kernel, and with it what is remembered, may become known only once it is loaded.
    let mut history = History::idling();
    history.orders_as(HandOver::TryKexec);
    history.run_until(Step::LoadKernel);
    history.seen.kexec_failed = true;
    history.intent_ends(true, Outcome::Done);
    history.turn();
    assert_eq!(history.state.step, Step::PowerDown);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn a_kernel_that_cannot_be_loaded_is_started_by_the_firmware() {
    let mut history = History::idling();
    history.orders_as(HandOver::TryKexec);
    history.run_until(Step::LoadKernel);
    history.intent_ends(
        false,
        Outcome::Failed {
            failure: Failure::permanent("there is no kernel on the disk"),
        },
    );
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.attempt, 1);
}

#[test]
fn no_script_has_a_step_twice() {
    let history = History::new();
    for phase in Phase::ALL {
        for (standby, fallback) in [(false, false), (true, false), (false, true)] {
            let state = NodeState {
                phase: *phase,
                standby,
                fallback,
                ..history.state.clone()
            };
            let mut spec = history.spec.clone();
            spec.goal = handed_over(1, HandOver::TryKexec);
            let script = script(&spec, &state);
            for (index, step) in script.iter().enumerate() {
                assert!(
                    !script[..index].contains(step),
                    "{phase:?} has {step:?} twice"
                );
            }
        }
    }
}

/// Goes on until the node is at this step.
fn until(history: &mut History, step: Step) {
    for _ in 0..100 {
        if history.state.step == step {
            return;
        }
        history.intent_ends(true, Outcome::Done);
        history.agent_calls();
        history.turn();
        history.pass(1);
    }
    panic!("never comes to {step:?}: {:?}", history.state);
}

#[test]
fn a_rebuild_writes_another_image_for_the_same_tenant_without_erasing() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.settle();
    let boots = history.state.boots;
    history.rebuilds();
    let plan = history.plan();
    let steps: Vec<_> = plan.steps.iter().map(|step| step.step).collect();
    let deploying = NodeState {
        phase: Phase::Deploying,
        ..history.state.clone()
    };
    assert_eq!(steps, script(&history.spec, &deploying));
    assert_eq!(plan.posts, 1);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.boots, boots + 1);

    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.state.written_for, None);
}

#[test]
fn a_server_whose_deployment_failed_can_be_rebuilt() {
    let mut history = History::new();
    history.settle();
    history.orders();
    until(&mut history, Step::WriteImage);
    let failure = Failure::permanent("the image is not bootable");
    history.intent_ends(false, Outcome::Failed { failure });
    history.settle();
    assert_eq!(history.state.provision_state(), "deploy failed");
    let remedy = history.state.reason.remedy.clone().unwrap();
    assert!(remedy.contains("rebuild"), "{remedy}");
    history.rebuilds();
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn a_node_of_unknown_past_is_erased_before_it_is_written_for_a_server() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.settle();
    // As stored by a version that did not write down for whom it wrote.
    history.state.written_for = None;
    history.rebuilds();
    let plan = history.plan();
    let phases: Vec<_> = plan.steps.iter().map(|step| step.phase).collect();
    assert_eq!(phases.first(), Some(&Phase::Releasing));
    assert!(phases.contains(&Phase::Cleaning));
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn an_aborted_erase_never_ends_up_for_rent() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.settle();
    history.wants(Goal::Available);
    until(&mut history, Step::Erase);
    history.aborts();
    history.settle();
    assert_eq!(history.state.provision_state(), "clean failed");
    assert_eq!(history.state.cleanliness, Cleanliness::Dirty);
    assert!(!history.machine.on);
    let reason = history.state.reason.to_string();
    for words in ["stopped by an operator", "wrong machine", "node provide"] {
        assert!(reason.contains(words), "{reason}");
    }
    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.machine.tenant_data, None);
}

#[test]
fn an_aborted_deployment_waits_for_its_tenant() {
    let mut history = History::new();
    history.settle();
    history.orders();
    until(&mut history, Step::WriteImage);
    history.aborts();
    history.settle();
    assert_eq!(history.state.provision_state(), "deploy failed");
    assert!(!history.machine.on);
    assert_eq!(history.machine.role, Some(PortRole::Parked));
    history.rebuilds();
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn what_rests_is_not_moved_by_an_abort_that_comes_too_late() {
    let mut history = History::new();
    history.settle();
    history.aborts();
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);

    history.orders();
    history.settle();
    let boots = history.state.boots;
    history.aborts();
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert!(history.machine.os_running);
    assert_eq!(history.state.boots, boots, "the server was written anew");
}

#[test]
fn a_retired_node_is_erased_first_and_comes_back_through_enrolment() {
    let mut history = History::new();
    until(&mut history, Step::Inspect);
    history.wants(retired());
    history.settle();
    assert_eq!(history.state.provision_state(), "retired");
    assert_eq!(history.state.cleanliness, Cleanliness::Clean);
    assert!(history.state.reason.summary.contains("sold"));
    let boots = history.state.boots;
    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.state.boots, boots + 1, "it was looked at again");

    // What is clean already needs no agent.
    history.wants(retired());
    history.settle();
    assert_eq!(history.state.provision_state(), "retired");
    assert_eq!(history.state.boots, boots + 1);
}

#[test]
fn a_held_node_says_why() {
    let mut history = History::new();
    history.settle();
    history.wants(held());
    history.settle();
    assert_eq!(history.state.provision_state(), "held");
    let reason = history.state.reason.to_string();
    assert!(reason.contains("fan is loud"), "{reason}");
}
