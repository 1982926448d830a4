//! Waiting in the agent for an order: what makes a node wait so, and what ends it.
//!
//! An idle agent saves its order a POST, and costs nothing if it is lost: the node is booted into a
//! new one a few times and then rests powered off, for rent all the same. Nothing here ever makes
//! a node unavailable.

use jiff::{SignedDuration, Timestamp};

use super::Decision;
use super::advance::{begin_step, wait};
use super::observed::{AgentSeen, Observed};
use super::spec::NodeSpec;
use super::state::{NodeState, Phase, Step};
use crate::cause::Cause;
use crate::reason::Reason;

/// An agent that has idled for so long does not count as one that does not stay, in seconds.
const STAYED: i64 = 3600;

/// Whether an available node has settled in another way than is wanted of it.
pub(super) fn is_other_way(spec: &NodeSpec, state: &NodeState) -> bool {
    state.phase == Phase::Available
        && state.settled()
        && state.standby != spec.standby
        // It has been tried, and did not work.
        && !(spec.standby && state.fallback)
}

/// Whether the node waits for an order in an agent that has been heard of lately.
pub(super) fn idles(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> bool {
    state.phase == Phase::Available
        && matches!(state.step, Step::ConnectStandby | Step::Standby)
        && agent(spec, seen, state).is_some_and(|agent| now < lost_at(spec, seen, agent))
}

/// Watches an idle agent.
pub(super) fn watch(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    now: Timestamp,
) -> Decision {
    let heard = agent(spec, seen, state);
    match heard {
        Some(agent) if agent.replace => {
            boot_again(spec, state, 1, None, "its RAM disk is renewed", now)
        }
        Some(agent) if now < lost_at(spec, seen, agent) => {
            let mut decision = wait(state, Some(lost_at(spec, seen, agent)));
            decision.next.deadline = decision.wake_at;
            decision
        }
        _ => lost(spec, state, now),
    }
}

/// The idle agent is gone: the node is booted again, unless that has not helped before.
fn lost(spec: &NodeSpec, state: &NodeState, now: Timestamp) -> Decision {
    let message = format!(
        "the idle agent has been silent for more than {} s",
        spec.timing.standby_silence
    );
    let stayed = now.duration_since(state.step_since).as_secs() >= STAYED;
    let attempt = if stayed { 1 } else { state.attempt + 1 };
    if attempt > state.phase.attempts() {
        return give_up(spec, state, message, now);
    }
    let cause = Some(Cause::AgentSilent);
    boot_again(spec, state, attempt, cause, &message, now)
}

fn boot_again(
    spec: &NodeSpec,
    state: &NodeState,
    attempt: u32,
    cause: Option<Cause>,
    why: &str,
    now: Timestamp,
) -> Decision {
    let mut next = state.clone();
    next.attempt = attempt;
    let mut decision = begin_step(spec, next, 0, now);
    decision.next.reason = Reason::new("booting the agent again, to idle")
        .cause(cause)
        .seen(why);
    decision
}

/// The node does not stay in the agent: it rests powered off, for rent as before, and says why.
pub(super) fn give_up(
    spec: &NodeSpec,
    state: &NodeState,
    message: String,
    now: Timestamp,
) -> Decision {
    let mut next = state.clone();
    next.standby = false;
    next.fallback = true;
    next.attempt = 1;
    let mut decision = begin_step(spec, next, 0, now);
    decision.next.reason.seen = Some(message);
    decision
}

/// The agent of the node's present boot, if it has called.
fn agent(spec: &NodeSpec, seen: &Observed, state: &NodeState) -> Option<AgentSeen> {
    seen.agent
        .filter(|agent| agent.boot == state.boot(spec.node))
}

fn lost_at(spec: &NodeSpec, seen: &Observed, agent: AgentSeen) -> Timestamp {
    let heard = seen.heard_since.max(Some(agent.last_seen));
    heard.unwrap_or(agent.last_seen)
        + SignedDuration::from_secs(i64::from(spec.timing.standby_silence))
}
