//! Random histories of one node against a model of a machine: whatever fails, is late or is asked
//! for in between, the rules of the lifecycle hold, and a node that is left alone on working
//! hardware comes to rest.

use bessemer_core::Timestamp;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::{BootId, Generation, ImageId, NodeId, ServerId};
use bessemer_core::lifecycle::{
    Action, AgentSeen, Cleanliness, Deployment, Goal, Intent, Leave, NodeSpec, NodeState, Observed,
    Outcome, Phase, PortControl, PortRole, Step, Timing, step,
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
            Action::CheckBmc | Action::Inspect | Action::WriteConfigDrive { .. } => {}
            // The last two are asked for by people, of active servers only.
            Action::PowerOff | Action::ShutDown { .. } | Action::Restart { .. } => {
                self.on = false;
                self.agent = None;
                self.armed = false;
                self.os_running = false;
            }
            Action::PowerOn if !self.on => {
                self.on = true;
                self.agent = self.prepared.take();
                // Without a prepared boot it starts what is on its disk.
                self.os_running = self.agent.is_none() && self.tenant_data.is_some();
            }
            Action::PowerOn => {}
            Action::PrepareBoot { boot } => self.prepared = Some(*boot),
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
        self.os_running = true;
    }

    /// What has to hold at every moment, whatever happened (on a site with switch control).
    fn check(&self, state: &NodeState) {
        if self.os_running {
            // Parked is allowed: a machine that cannot be switched off is at least cut off.
            let ours = self.role.is_none() || self.role == Some(PortRole::Provisioning);
            assert!(!ours, "a tenant's OS runs on our network");
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
            assert!(!self.on, "for rent, but on");
            assert_eq!(
                self.role,
                Some(PortRole::Parked),
                "for rent, but not parked"
            );
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
    now: Timestamp,
    /// Servers ordered so far.
    orders: u128,
}

fn deployed(server: u128) -> Goal {
    Goal::Deployed(Deployment {
        server: ServerId(Uuid::from_u128(server)),
        image: ImageId(Uuid::from_u128(8)),
        image_bytes: 1 << 30,
        root_disk: None,
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
                timing: Timing::default(),
                abort: None,
            },
            state: NodeState::enrolled(Generation(1), now),
            intent: None,
            seen: Observed::default(),
            machine: Machine::default(),
            now,
            orders: 0,
        }
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
            next.tries <= next.step.profile(&self.spec).tries,
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
            }
            Action::ConnectPorts {
                role: PortRole::Tenant,
            } => {
                assert!(self.machine.armed || self.machine.agent.is_none());
            }
            Action::ConnectPorts {
                role: PortRole::Provisioning,
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
        let Some(intent) = self.intent.take() else {
            return;
        };
        if carried_out {
            self.machine.perform(&intent.action);
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
            if self.state.at_rest() && self.state.generation == self.spec.generation {
                return;
            }
            if let Some(retry_at) = self.state.retry_at {
                self.now = self.now.max(retry_at);
            } else {
                self.pass(1);
            }
        }
        panic!("never comes to rest: {:?}", self.state);
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
        self.orders += 1;
        self.wants(deployed(self.orders));
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
        match choice % 20 {
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
    let plan = foretell(&history.spec, &history.state, history.now);
    assert_eq!(plan.posts, 1);
    let irreversible: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| step.irreversible)
        .map(|step| step.step)
        .collect();
    assert_eq!(irreversible, [Step::WriteImage]);
    let steps: Vec<_> = plan.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, Phase::Deploying.script());
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
fn no_script_has_a_step_twice() {
    for phase in Phase::ALL {
        let script = phase.script();
        for (index, step) in script.iter().enumerate() {
            assert!(
                !script[..index].contains(step),
                "{phase:?} has {step:?} twice"
            );
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
    let plan = foretell(&history.spec, &history.state, history.now);
    let steps: Vec<_> = plan.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, Phase::Deploying.script());
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
    let plan = foretell(&history.spec, &history.state, history.now);
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
