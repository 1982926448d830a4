//! Random histories, and what a node does when all goes well or one thing fails.

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{
    Action, Goal, HandOver, NodeState, Outcome, Phase, PortRole, Step, script, step,
};
use bessemer_core::reason::Failure;
use proptest::prelude::*;

use crate::model::{History, handed_over};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_in_every_history(
        flat: bool,
        choices in prop::collection::vec(any::<u8>(), 1..200)
    ) {
        let mut history = if flat { History::flat() } else { History::new() };
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
fn ports_that_are_not_ours_take_no_steps() {
    for standby in [false, true] {
        let mut history = History::flat();
        history.spec.standby = standby;
        history.settle();
        history.orders();
        // Its medium is ejected there.
        history.run_until(Step::ConnectTenant);
        history.settle();
        assert_eq!(history.state.phase, Phase::Active);
        history.wants(Goal::Available);
        history.settle();
        assert_eq!(history.state.phase, Phase::Available);
        assert_eq!(history.machine.role, Some(PortRole::Tenant));
    }
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
    let failure = Failure::operator(Cause::BmcPasswordRefused, "BMC refuses user `admin`");
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
            failure: Failure::permanent(Cause::DiskError, "disk broken"),
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
fn what_is_waited_for_is_looked_at_when_it_is_late_or_has_happened_already() {
    let mut history = History::new();
    history.run_until(Step::PowerOn);
    history.intent_ends(true, Outcome::Done);
    let decide = |history: &History| {
        let decision = step(&history.spec, &history.seen, &history.state, history.now);
        assert_eq!(decision.next.step, Step::AwaitAgent);
        decision
    };
    let alone = decide(&history);
    assert_eq!(alone.wake_at, alone.next.deadline, "whoever calls wakes it");
    history.agent_calls();
    let with_agent = decide(&history);
    assert_eq!(
        with_agent.wake_at,
        Some(history.now),
        "it has called before"
    );
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
