//! What a new generation of the spec means for a node where it is now.
//!
//! There is no undo stack: cancelling, releasing and ordering again all raise the generation, and
//! the way on is planned from what is true now.

use jiff::Timestamp;

use super::Decision;
use super::advance::{enter, stopped, wait};
use super::observed::Observed;
use super::spec::{Goal, NodeSpec};
use super::state::{Cleanliness, NodeState, Phase};

/// The first move for a generation that the state does not serve yet.
pub(super) fn replan(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    now: Timestamp,
) -> Decision {
    let mut state = state.clone();
    state.generation = spec.generation;
    let phase = match &spec.abort {
        Some(why) if can_be_aborted(state.phase) => return stopped(spec, seen, &state, why, now),
        // It came too late: what was to be stopped is over.
        Some(_) if state.settled() => return stay(state, now),
        Some(_) => state.phase,
        None => target(spec, &state),
    };
    enter(spec, seen, &state, phase, now)
}

fn stay(state: NodeState, now: Timestamp) -> Decision {
    // An idle agent goes on being watched.
    let wake_at = (!state.at_rest()).then_some(now);
    wait(&state, wake_at)
}

/// Whether there is something to stop in this phase. The others are at rest, or are on their way
/// to where they are safe.
fn can_be_aborted(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Enrolled | Phase::Inspecting | Phase::Cleaning | Phase::Deploying
    )
}

/// The phase that serves the goal from where the node is.
fn target(spec: &NodeSpec, state: &NodeState) -> Phase {
    let clean = state.cleanliness == Cleanliness::Clean;
    match (&spec.goal, state.phase) {
        (Goal::Held { .. }, _) => Phase::Held,
        (Goal::Retired { .. }, Phase::Available | Phase::Retired) if clean => Phase::Retired,

        (Goal::Deployed(_), Phase::Available | Phase::Deploying) if clean => Phase::Deploying,
        // The same server again: what is on the disks is its tenant's own, so nothing has to be
        // erased for them.
        (Goal::Deployed(deployment), Phase::Deploying | Phase::Active | Phase::Failed)
            if state.written_for == Some(deployment.server) =>
        {
            Phase::Deploying
        }

        (_, Phase::Deploying | Phase::Active) => Phase::Releasing,
        (Goal::Available, Phase::Available) if clean => Phase::Available,

        (_, Phase::Enrolled) => Phase::Enrolled,
        (_, Phase::Inspecting) => Phase::Inspecting,
        (_, Phase::Cleaning) => Phase::Cleaning,
        (_, Phase::Releasing | Phase::Available) => Phase::Releasing,
        (_, Phase::Failed) => after_failure(state.came_from),
        // Whoever held it may have worked on it: look at everything again.
        (_, Phase::Held | Phase::Retired) => Phase::Enrolled,
    }
}

/// Where a failed node starts again.
fn after_failure(came_from: Option<Phase>) -> Phase {
    match came_from {
        Some(phase @ (Phase::Enrolled | Phase::Inspecting | Phase::Cleaning)) => phase,
        Some(_) => Phase::Releasing,
        None => Phase::Enrolled,
    }
}
