//! Agents that idle, and the two ways of starting the tenant's system.

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{
    Action, Goal, HandOver, Outcome, Phase, PortRole, Step, kexec_outcome,
};
use bessemer_core::reason::Failure;

use crate::model::History;

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
                failure: Failure::transient(Cause::BmcUnreachable, "no answer"),
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
            failure: Failure::permanent(Cause::ImageUnusable, "there is no kernel on the disk"),
        },
    );
    history.settle();
    assert_eq!(history.state.phase, Phase::Active);
    assert_eq!(history.state.attempt, 1);
}
