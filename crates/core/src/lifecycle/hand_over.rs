//! How the tenant's operating system is started: by `kexec`, by a power cycle, or by the second if
//! the first does not work.
//!
//! `kexec` saves the firmware's minutes, and does not work with every driver on every machine. So
//! that is found out once for each model and kernel, not with every order: [`kexec_outcome`] says
//! what is to be remembered, and [`Observed::kexec_failed`] brings it back.

use jiff::Timestamp;

use super::Decision;
use super::advance::{begin_step, position};
use super::observed::Observed;
use super::script::script;
use super::spec::{Goal, HandOver, NodeSpec};
use super::state::{NodeState, Phase, Step};
use super::words::doing;

/// Why `kexec` is not tried where it is known to fail.
pub(super) const REMEMBERED: &str =
    "kexec of this kernel failed on this model of machine the last time it was tried";

/// What the spec says about the hand-over, if there is a server.
fn wanted(spec: &NodeSpec) -> Option<HandOver> {
    match &spec.goal {
        Goal::Deployed(deployment) => Some(deployment.hand_over),
        _ => None,
    }
}

/// Whether the tenant's OS is started from its disk rather than by `kexec`.
pub(super) fn by_power_cycle(spec: &NodeSpec, state: &NodeState) -> bool {
    match wanted(spec) {
        Some(HandOver::PowerCycle) => true,
        Some(HandOver::TryKexec) => state.fallback,
        Some(HandOver::Kexec) | None => false,
    }
}

/// Whether `kexec` is under way, and a power cycle stands in if it does not work.
pub(super) fn tries_kexec(spec: &NodeSpec, state: &NodeState) -> bool {
    state.phase == Phase::Deploying && wanted(spec) == Some(HandOver::TryKexec) && !state.fallback
}

/// Whether `kexec`, which is about to be done, has turned out to be known not to work: which kernel
/// it is may become known only once it is loaded.
pub(super) fn is_hopeless(spec: &NodeSpec, seen: &Observed, state: &NodeState) -> bool {
    state.step == Step::LoadKernel && tries_kexec(spec, state) && seen.kexec_failed
}

/// Whether the failure of this step is one of `kexec`, and a power cycle may stand in.
pub(super) fn may_fall_back(spec: &NodeSpec, state: &NodeState) -> bool {
    let is_kexec = matches!(
        state.step,
        Step::LoadKernel | Step::HandOver | Step::AwaitOs
    );
    is_kexec && tries_kexec(spec, state)
}

/// The image is on the disk: what `kexec` did not start is started by the firmware.
pub(super) fn power_cycle_instead(
    spec: &NodeSpec,
    state: &NodeState,
    why: &str,
    now: Timestamp,
) -> Decision {
    let mut next = state.clone();
    next.fallback = true;
    let index = position(script(spec, &next), Step::PowerDown);
    let mut decision = begin_step(spec, next, index, now);
    decision.next.reason.summary = format!(
        "power-cycling instead of kexec: {}",
        doing(decision.next.step)
    );
    decision.next.reason.seen = Some(why.to_owned());
    decision
}

/// What a move from `before` to `next` says about `kexec` on this machine: that it worked, that it
/// did not, or nothing.
pub fn kexec_outcome(spec: &NodeSpec, before: &NodeState, next: &NodeState) -> Option<bool> {
    let awaited = before.phase == Phase::Deploying
        && before.step == Step::AwaitOs
        && before.generation == next.generation
        && !by_power_cycle(spec, before);
    if !awaited {
        return None;
    }
    match (next.phase, next.step) {
        (Phase::Active, _) => Some(true),
        (Phase::Deploying, Step::AwaitOs) => None,
        _ => Some(false),
    }
}
