//! Our own absence, or that of our database, is not held against a machine: whoever could not be heard
//! has their whole time again, once.

use bessemer_core::lifecycle::{Phase, Step};

use crate::model::History;

/// A node that waits at `step` for somebody, with a wait that ends at its deadline.
fn waiting(step: Step) -> History {
    let mut history = History::new();
    if step == Step::AwaitOs {
        history.settle();
        history.orders();
    }
    history.run_until(step);
    if step == Step::AwaitAgent {
        // It is on its way.
        history.seen.agent = None;
    }
    history
}

/// We are away from now until some time after the deadline.
fn away(history: &mut History) {
    let deadline = history.state.deadline.unwrap();
    history.now = deadline + jiff::SignedDuration::from_secs(500);
    history.seen.heard_since = Some(history.now);
}

#[test]
fn what_is_waited_for_has_its_whole_time_again() {
    for step in [Step::AwaitAgent, Step::AwaitOs, Step::Erase] {
        let mut history = waiting(step);
        let before = history.state.clone();
        let whole = step.profile(&history.spec, &before).deadline;
        away(&mut history);
        history.turn();
        assert_eq!((history.state.step, history.state.attempt), (step, 1));
        let deadline = history.now + jiff::SignedDuration::from_secs(whole.into());
        assert_eq!(history.state.deadline, Some(deadline), "{step:?}");
        assert_eq!(history.state.reason.at, Some(deadline), "and says so");
        // It does not move any more, however often it is looked at.
        history.pass(10);
        history.turn();
        assert_eq!(history.state.deadline, Some(deadline));
    }
}

#[test]
fn an_agent_that_calls_after_our_absence_goes_on_where_it_was() {
    let mut history = waiting(Step::AwaitAgent);
    away(&mut history);
    history.turn();
    let posts = history.state.posts;
    history.settle();
    assert_eq!(history.state.phase, Phase::Available);
    assert_eq!(history.state.posts, posts, "nobody paid for it");
}

#[test]
fn who_does_not_come_after_our_absence_either_is_given_up() {
    let mut history = waiting(Step::AwaitAgent);
    history.machine.agent = None;
    away(&mut history);
    history.turn();
    history.now = history.state.deadline.unwrap();
    history.turn();
    assert_eq!(
        (history.state.step, history.state.attempt),
        (Step::PowerOff, 2)
    );
}

#[test]
fn the_silence_of_an_agent_counts_from_our_return() {
    let mut history = waiting(Step::Erase);
    away(&mut history);
    let silence = i64::from(history.spec.timing.agent_silence);
    history.pass(silence - 1);
    history.turn();
    assert_eq!(
        (history.state.step, history.state.attempt),
        (Step::Erase, 1)
    );
    history.pass(1);
    history.turn();
    assert_eq!(history.state.attempt, 2);

    let mut history = History::idling();
    history.pass(i64::from(history.spec.timing.standby_silence) + 500);
    history.seen.heard_since = Some(history.now);
    history.turn();
    assert_eq!(history.state.step, Step::Standby);
}

/// What we do ourselves has not been held up by our absence: nobody was there to do it.
#[test]
fn an_absence_before_a_step_changes_nothing() {
    let mut history = History::new();
    history.seen.heard_since = Some(history.now);
    history.pass(1);
    history.run_until(Step::AwaitAgent);
    history.seen.agent = None;
    let before = history.state.deadline;
    history.turn();
    assert_eq!(history.state.deadline, before);
}
