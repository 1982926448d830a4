//! Nodes that nothing can be decided about, because the server panics.

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{Goal, Outcome, Phase, PortRole, Step};

use crate::model::{History, held};

/// A panic at each turn, until the node rests.
fn panics_to_rest(history: &mut History) {
    for _ in 0..4 {
        if history.state.at_rest() {
            return;
        }
        history.panics();
        history.intent_ends(true, Outcome::Done);
    }
    panic!("tried for ever: {:?}", history.state);
}

#[test]
fn wherever_it_happens_the_node_fails_once_and_is_made_safe() {
    for step in [Step::CheckBmc, Step::Inspect, Step::Erase, Step::PowerDown] {
        let mut history = History::new();
        history.run_until(step);
        let phase = history.state.phase;
        history.panics();
        let state = history.state.clone();
        assert_eq!((state.phase, state.came_from), (Phase::Failed, Some(phase)));
        assert_eq!(state.reason.cause, Some(Cause::InternalError));
        assert!(
            state
                .reason
                .remedy
                .unwrap()
                .contains("report this as a bug")
        );
        history.settle();
        assert!(!history.machine.on, "{step:?}");
        history.wants(Goal::Available);
        history.settle();
        assert_eq!(history.state.phase, Phase::Available, "{step:?}");
    }
}

#[test]
fn one_that_panics_at_every_turn_is_at_rest_soon_and_for_rent_to_nobody() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.run_until(Step::WriteImage);
    panics_to_rest(&mut history);
    assert_eq!(history.state.provision_state(), "deploy failed");
    assert_eq!(history.state.reason.cause, Some(Cause::InternalError));
    let rests = history.state.clone();
    history.panics();
    assert!(history.state.at_rest() && history.state.reason.cause == rests.reason.cause);
}

#[test]
fn an_idle_node_is_not_for_rent_any_more() {
    for mut history in [History::idling(), {
        let mut dark = History::new();
        dark.settle();
        dark
    }] {
        history.panics();
        assert_eq!(history.state.phase, Phase::Failed);
        history.settle();
        assert_eq!(history.machine.role, Some(PortRole::Parked));
        assert!(!history.machine.on);
    }
}

#[test]
fn a_tenants_system_goes_on_until_something_else_is_wanted() {
    let mut history = History::new();
    history.settle();
    history.orders();
    history.settle();
    history.panics();
    assert_eq!(history.state.phase, Phase::Active);
    assert!(history.machine.os_running);
    let reason = &history.state.reason;
    assert_eq!(reason.cause, Some(Cause::InternalError));
    assert_eq!(reason.seen.as_deref(), Some("panicked"));

    history.raise(Goal::Available);
    history.panics();
    assert_eq!(history.state.phase, Phase::Failed);
    assert!(history.is_taking_back(), "nobody holds it with its server");
    history.settle();
    assert!(!history.machine.on);
    history.raise(Goal::Available);
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
}

#[test]
fn what_an_operator_has_is_left_alone() {
    let mut history = History::new();
    history.settle();
    history.wants(held());
    history.settle();
    history.panics();
    assert_eq!(history.state.phase, Phase::Held);
    assert!(history.state.at_rest());
    assert_eq!(history.state.reason.cause, Some(Cause::InternalError));
}
