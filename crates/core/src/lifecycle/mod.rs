//! How a node moves: one pure function decides, one small loop elsewhere acts.
//!
//! [`step`] takes what is wanted ([`NodeSpec`]), what has been seen ([`Observed`]), where the node
//! is ([`NodeState`]) and the time, and gives the next state, the intents to carry out and when to
//! look again. It never does anything itself, so the conductor, the plan preview ([`crate::plan`])
//! and the tests all run this very function.
//!
//! How it is laid out:
//! - `spec`, `state`, `intent`, `observed`: the data;
//! - `script`: what the phases consist of, one list of steps each: **start reading there**;
//! - `advance`: how one step is judged: waited for, done, tried again, given up;
//! - `abandon`: what becomes of a node that nothing can be decided about;
//! - `hand_over`: by `kexec`, by a power cycle, or by the second if the first does not work;
//! - `standby`: waiting in the agent for an order, and what ends that;
//! - `words`: what people are told about it;
//! - `replan`: what a new generation of the spec means where the node is now.
//!
//! To add a phase: a variant of [`Phase`], its script, and its line in `replan`. To add a step: a
//! variant of [`Step`], its line in [`Step::profile`] and, if it does something, in `advance`'s
//! `action`.
//!
//! Rules that hold in every reachable state (property-tested in `tests/lifecycle/`):
//! - at most one intent of a node is open at a time;
//! - every wait has a deadline and a number of tries;
//! - a node is `available` only if it is `Clean`;
//! - nothing is erased or written except in `cleaning` and `deploying`;
//! - ports go to `tenant` only after the agent is armed or the machine is off, to `provisioning`
//!   only after power-off;
//! - an image is written only by an agent that has just proven to be alive.

mod abandon;
mod advance;
mod hand_over;
mod intent;
mod observed;
mod replan;
mod script;
mod spec;
mod standby;
mod state;
mod words;

pub use abandon::abandon;
pub use hand_over::kexec_outcome;
pub use intent::{Action, Executor, Intent, IntentKey, Leave, Outcome, PortRole, PowerState};
pub use observed::{AgentSeen, Observed};
pub use script::{StepProfile, script};
pub use spec::{Deployment, Goal, HandOver, NodeSpec, PortControl, Standby, Timing};
pub use state::{Cleanliness, NodeState, Phase, Place, Step};
pub use words::{after_stop, doing, remedy};

use jiff::Timestamp;

/// What to do about a node now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The state to commit.
    pub next: NodeState,
    /// The intent to commit with it. Committing it supersedes every older open one of the node.
    pub intent: Option<Intent>,
    /// When to look at the node again, if nothing happens before. `None`: only on news.
    pub wake_at: Option<Timestamp>,
}

/// Decides the next move of a node. Pure: same inputs, same decision.
///
/// Each call makes at most one move; a decision whose `wake_at` is `now` asks to be called again
/// at once.
pub fn step(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> Decision {
    let set_right;
    let state = if state.step_since > now {
        set_right = state.begun_by(now);
        &set_right
    } else {
        state
    };
    if state.generation != spec.generation || (state.phase == Phase::Enrolled && state.attempt == 0)
    {
        return replan::replan(spec, seen, state, now);
    }
    advance::advance(spec, seen, state, now)
}
