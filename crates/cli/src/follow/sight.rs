//! What is seen when looking at something that is under way.

use bessemer_core::lifecycle::{NodeState, Phase, Step};
use bessemer_core::plan::Plan;
use bessemer_core::reason::Reason;
use bessemer_wire::agent::Progress;
use bessemer_wire::api::Node;
use jiff::Timestamp;

use crate::words;

/// The outcome of one look.
pub(super) enum Look<T> {
    /// It goes on.
    UnderWay(Sight),
    /// It is done: what came of it, and when, by the server's clock, if that is known.
    Done { value: T, at: Option<Timestamp> },
    /// It has failed for good.
    Failed(Reason),
}

/// What is going on at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// What is being done: "deploying: write image". Another label is another step.
    pub(super) label: String,
    /// Since when, by the server's clock.
    pub(super) since: Option<Timestamp>,
    /// What was known beforehand: "6 of 11, usually 18 s".
    pub(super) foretold: Option<String>,
    /// Why it is so.
    pub(super) reason: Option<String>,
    /// How far it is, where bytes are counted.
    pub(super) progress: Option<Progress>,
    /// Where in the node's life it is.
    pub(super) stage: Option<Stage>,
}

/// A step of a node's life, in one attempt at its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    phase: Phase,
    step: Step,
    attempt: u32,
}

impl Sight {
    /// A sight of which only a label is known.
    pub(super) fn of(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// What a node is doing.
    pub(super) fn of_node(node: &Node, foretold: Option<String>) -> Self {
        Self {
            label: label(&node.state),
            since: Some(node.state.step_since),
            foretold,
            reason: Some(node.state.reason.summary.clone()),
            progress: counted(node.progress.clone()),
            stage: Some(Stage {
                phase: node.state.phase,
                step: node.state.step,
                attempt: node.state.attempt,
            }),
        }
    }

    /// Whether this was carried through, seeing that `next` came after it: not if the same step,
    /// or the whole phase, is tried again.
    pub(super) fn is_done_before(&self, next: &Self) -> bool {
        let Some((this, next)) = self.stage.zip(next.stage) else {
            return true;
        };
        this.phase != next.phase || (this.attempt == next.attempt && this.step != next.step)
    }
}

/// Progress, if it counts anything.
pub(super) fn counted(progress: Option<Progress>) -> Option<Progress> {
    progress.filter(|progress| progress.total > 0 || progress.bytes > 0)
}

/// `deploying: write image`, and which attempt it is after the first.
fn label(state: &NodeState) -> String {
    let mut label = format!("{}: {}", state.phase.name(), words::step(state.step));
    if state.attempt > 1 {
        label.push_str(&format!(", attempt {}", state.attempt));
    }
    if state.tries > 1 {
        label.push_str(&format!(", try {}", state.tries));
    }
    label
}

/// Whether the conductor has taken up the newest wish for this node: until then its state is that
/// of the wish before.
pub(super) fn is_current(node: &Node) -> bool {
    node.state.generation == node.generation
}

/// What a plan says about a step: "6 of 11, usually 18 s".
pub(super) fn foretold(plan: &Plan, phase: Phase, step: Step) -> Option<String> {
    let steps = &plan.steps;
    let index = steps
        .iter()
        .position(|each| (each.phase, each.step) == (phase, step))?;
    let (number, all) = (index + 1, steps.len());
    let usual = words::seconds(steps[index].expected_seconds);
    Some(format!("{number} of {all}, usually {usual}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::plan::PlanStep;

    #[test]
    fn a_plan_says_where_a_step_is_in_it() {
        let step = |step| PlanStep {
            phase: Phase::Cleaning,
            step,
            irreversible: false,
            posts: 0,
            expected_seconds: 90,
        };
        let plan = Plan {
            steps: [Step::PowerOn, Step::Erase].map(step).into(),
            posts: 0,
            expected_seconds: 180,
        };
        let erase = foretold(&plan, Phase::Cleaning, Step::Erase);
        assert_eq!(erase.unwrap(), "2 of 2, usually 1 min 30 s");
        assert_eq!(foretold(&plan, Phase::Deploying, Step::Erase), None);
    }

    #[test]
    fn a_step_that_is_tried_again_was_not_done() {
        let sight = |phase, step, attempt| Sight {
            stage: Some(Stage {
                phase,
                step,
                attempt,
            }),
            ..Sight::default()
        };
        let this = sight(Phase::Deploying, Step::PowerOn, 1);
        assert!(this.is_done_before(&sight(Phase::Deploying, Step::AwaitAgent, 1)));
        assert!(this.is_done_before(&sight(Phase::Releasing, Step::PowerOn, 1)));
        assert!(this.is_done_before(&Sight::of("something else")));
        assert!(!this.is_done_before(&sight(Phase::Deploying, Step::PowerOn, 1)));
        assert!(!this.is_done_before(&sight(Phase::Deploying, Step::PowerOff, 2)));
    }

    #[test]
    fn labels_say_which_attempt_it_is() {
        let mut state = NodeState::enrolled(Default::default(), Timestamp::UNIX_EPOCH);
        (state.attempt, state.tries) = (1, 1);
        assert_eq!(label(&state), "enrolled: check BMC");
        (state.attempt, state.tries) = (2, 3);
        assert_eq!(label(&state), "enrolled: check BMC, attempt 2, try 3");
    }
}
