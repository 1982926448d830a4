//! The plan that is shown before anything happens: the lifecycle run against a perfect imaginary
//! machine, which carries out every intent at once and calls at the usual time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lifecycle::{
    AgentSeen, IntentKey, NodeSpec, NodeState, Observed, Outcome, Phase, Step, step,
};

/// What is going to happen to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The steps in order.
    pub steps: Vec<PlanStep>,
    /// Firmware POSTs in all: on real servers, minutes each.
    pub posts: u32,
    /// Usual time in all, in seconds.
    pub expected_seconds: u32,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// The phase it belongs to.
    pub phase: Phase,
    /// The step.
    pub step: Step,
    /// Whether it destroys what is on the disks.
    pub irreversible: bool,
    /// Firmware POSTs that it costs.
    pub posts: u32,
    /// What it usually takes, in seconds.
    pub expected_seconds: u32,
}

/// No plan is longer: phases and scripts are finite, so reaching this is a bug in them.
const MAX_STEPS: usize = 100;

/// The plan for a node in `state`, of which `seen` has been seen, whose spec is (or would be)
/// `spec`: up to where it settles.
pub fn foretell(spec: &NodeSpec, state: &NodeState, seen: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        posts: 0,
        expected_seconds: 0,
    };
    let (mut state, mut seen, mut now) = (state.clone(), seen.clone(), now);
    for _ in 0..MAX_STEPS {
        let decision = step(spec, &seen, &state, now);
        state = decision.next;
        if state.settled() {
            break;
        }
        let profile = state.step.profile(spec, &state);
        now += SignedDuration::from_secs(i64::from(profile.expected));
        plan.posts += profile.posts;
        plan.expected_seconds = plan.expected_seconds.saturating_add(profile.expected);
        plan.steps.push(PlanStep {
            phase: state.phase,
            step: state.step,
            irreversible: profile.irreversible,
            posts: profile.posts,
            expected_seconds: profile.expected,
        });
        seen = perfect(spec, &state, &seen, now);
    }
    plan
}

/// What a machine on which everything works has shown after this step.
fn perfect(spec: &NodeSpec, state: &NodeState, seen: &Observed, now: Timestamp) -> Observed {
    let boot = state.boot(spec.node);
    Observed {
        intent: Some((IntentKey::of(state, state.step), Outcome::Done)),
        agent: Some(AgentSeen {
            boot,
            last_seen: now,
            replace: false,
        }),
        os_up: (state.step == Step::AwaitOs).then_some(state.generation),
        switched_on: false,
        kexec_failed: seen.kexec_failed,
        ..Observed::default()
    }
}
