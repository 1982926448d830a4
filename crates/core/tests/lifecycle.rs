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
    /// Whether a tenant's data is on the disks.
    tenant_data: bool,
}

impl Machine {
    /// Carries `action` out, completely.
    fn perform(&mut self, action: &Action) {
        match action {
            Action::CheckBmc | Action::Inspect | Action::WriteConfigDrive { .. } => {}
            Action::PowerOff => {
                self.on = false;
                self.agent = None;
                self.armed = false;
                self.os_running = false;
            }
            Action::PowerOn if !self.on => {
                self.on = true;
                self.agent = self.prepared.take();
                // Without a prepared boot it starts what is on its disk.
                self.os_running = self.agent.is_none() && self.tenant_data;
            }
            Action::PowerOn => {}
            Action::PrepareBoot { boot } => self.prepared = Some(*boot),
            Action::ConnectPorts { role } => {
                self.role = Some(*role);
                if self.armed && *role == PortRole::Tenant {
                    self.leave();
                }
            }
            Action::Erase => self.tenant_data = false,
            Action::WriteImage { .. } => self.tenant_data = true,
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
        if state.phase == Phase::Available {
            assert!(!self.tenant_data, "for rent with a former tenant's data");
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
}

fn deployed() -> Goal {
    Goal::Deployed(Deployment {
        server: ServerId(Uuid::from_u128(9)),
        image: ImageId(Uuid::from_u128(8)),
        image_bytes: 1 << 30,
    })
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
            },
            state: NodeState::enrolled(Generation(1), now),
            intent: None,
            seen: Observed::default(),
            machine: Machine::default(),
            now,
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
            self.seen.agent = None;
        }
        self.state = decision.next;
        self.machine.check(&self.state);
    }

    fn check_intent(&self, next: &NodeState, intent: &Intent) {
        match &intent.action {
            Action::Erase => assert_eq!(next.phase, Phase::Cleaning),
            Action::WriteImage { .. } => {
                assert_eq!(next.phase, Phase::Deploying);
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
        } else if matches!(intent.action, Action::WriteImage { .. }) {
            // Half a write is a tenant's data, too.
            self.machine.tenant_data = true;
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
            Goal::Held => !matches!(self.spec.goal, Goal::Deployed(_)),
            Goal::Available => true,
        };
        if allowed {
            self.spec.goal = goal;
            self.spec.generation = self.spec.generation.next();
        }
    }

    fn disturb(&mut self, choice: u8) {
        let failure = |class| Outcome::Failed {
            failure: Failure {
                class,
                message: "x".into(),
            },
        };
        match choice % 16 {
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
            11 => self.wants(deployed()),
            12 => self.wants(Goal::Available),
            13 => self.wants(Goal::Held),
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

    history.wants(deployed());
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.boots, 2);
    assert!(history.machine.os_running && history.machine.tenant_data);

    history.wants(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
}

#[test]
fn an_order_on_a_dark_node_costs_one_post() {
    let mut history = History::new();
    history.settle();
    history.wants(deployed());
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
    history.wants(deployed());
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
    assert!(!history.machine.tenant_data);
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
