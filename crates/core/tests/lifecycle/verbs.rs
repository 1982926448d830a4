//! What people want of nodes beside orders: rebuilding, stopping, retiring, holding.

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{
    Cleanliness, Goal, NodeState, Outcome, Phase, PortRole, Step, script,
};
use bessemer_core::reason::Failure;
use jiff::SignedDuration;

use crate::model::{History, held, retired};

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
    let failure = Failure::permanent(Cause::ImageUnusable, "the image is not bootable");
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

#[test]
fn what_must_be_off_and_was_switched_on_is_switched_off_again() {
    let mut history = History::new();
    history.settle();
    let (boots, rested) = (history.state.boots, history.state.reason.clone());
    history.is_switched_on();
    history.turn();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.state.step, Step::PowerOff);
    let seen = history.state.reason.seen.clone().unwrap();
    assert!(seen.contains("switched on"), "{seen}");
    history.settle();
    assert!(!history.machine.on && history.state.at_rest());
    assert_eq!(
        (history.state.boots, &history.state.reason),
        (boots, &rested)
    );

    // An order that comes at the same moment is served by a machine that starts from off.
    history.is_switched_on();
    history.orders();
    history.turn();
    assert_eq!(history.state.step, Step::PowerOff);
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
}

#[test]
fn a_failed_machine_that_was_switched_on_keeps_the_reason_of_its_failure() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.run_until(Step::WriteImage);
    history.aborts();
    history.settle();
    assert_eq!(history.state.phase, Phase::Failed);
    let reason = history.state.reason.clone();
    history.is_switched_on();
    assert!(history.machine.on);
    history.settle();
    assert_eq!(history.state.phase, Phase::Failed);
    assert!(!history.machine.on);
    assert_eq!(history.state.reason, reason);
}

#[test]
fn what_is_held_may_be_switched_on() {
    let mut history = History::new();
    history.settle();
    history.wants(held());
    history.settle();
    history.is_switched_on();
    history.turn();
    assert!(history.machine.on && history.state.at_rest());
}

#[test]
fn what_waits_for_a_controller_that_is_left_alone_loses_no_try() {
    let mut history = History::new();
    history.turn();
    for _ in 0..20 {
        let until = history.now + SignedDuration::from_secs(300);
        let why = "BMC x has not answered since noon";
        let failure = Failure::transient(Cause::BmcUnreachable, why);
        history.is_deferred(Outcome::Deferred { until, failure });
        history.turn();
        assert_eq!(
            (history.state.step, history.state.tries),
            (Step::CheckBmc, 1)
        );
        let reason = history.state.reason.clone();
        assert!(reason.seen.unwrap().contains("has not answered"));
        assert_eq!(
            (reason.at, history.state.retry_at),
            (Some(until), Some(until))
        );
        // Looking earlier changes nothing.
        history.pass(10);
        history.turn();
        assert_eq!(history.intent, None);
        history.pass(290);
        history.turn();
        assert!(history.intent.is_some(), "it is asked again");
    }
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
}
