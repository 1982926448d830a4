//! Giving a node up that nothing can be decided about, because deciding panics.
//!
//! That is a fault of ours, which no other try mends, and nothing that a decision might rest on is to be
//! relied on: so a node is switched off and parked, whatever is known of its machine. Only where a system
//! runs for its tenant, or an operator has the machine, is it left alone.

use jiff::Timestamp;

use super::Decision;
use super::advance::{enter, failed_because, give_up, wait};
use super::observed::Observed;
use super::spec::{Goal, NodeSpec};
use super::state::{NodeState, Phase};
use super::words::remedy;
use crate::cause::Cause;
use crate::reason::{Failure, FailureClass, Reason};

/// What becomes of a node about which [`step`](super::step) or its caller has panicked; `message` says
/// so to people.
///
/// Called again and again, it brings every node to rest.
pub fn abandon(spec: &NodeSpec, state: &NodeState, message: &str, now: Timestamp) -> Decision {
    let mut state = state.begun_by(now);
    let is_new = state.generation != spec.generation;
    state.generation = spec.generation;
    let failure = Failure::new(FailureClass::Bug, Cause::InternalError, message);
    match state.phase {
        Phase::Failed if state.at_rest() => {
            // Why it has failed stays said.
            state.reason.next = Some(format!("nothing by itself: {message}"));
            wait(&state, None)
        }
        // What makes it safe is left out where that is what panics.
        Phase::Failed => give_up(spec, &Observed::default(), &state, failure, now),
        Phase::Active | Phase::Held | Phase::Retired if state.at_rest() && !is_new => {
            state.reason = Reason {
                seen: Some(failure.message),
                cause: failure.cause,
                remedy: Some(remedy(state.phase, failure.class).into()),
                ..state.reason
            };
            wait(&state, None)
        }
        _ => fail(spec, &state, failure, now),
    }
}

fn fail(spec: &NodeSpec, state: &NodeState, failure: Failure, now: Timestamp) -> Decision {
    let seen = Observed {
        switched_on: true,
        ..Observed::default()
    };
    let mut decision = enter(spec, &seen, state, Phase::Failed, now);
    decision.next.reason = failed_because(state, failure);
    let is_given_back = !matches!(spec.goal, Goal::Deployed(_))
        && matches!(state.phase, Phase::Deploying | Phase::Active);
    if is_given_back {
        // The server is there until its node has been taken back.
        decision.next.came_from = Some(Phase::Releasing);
    }
    decision
}
