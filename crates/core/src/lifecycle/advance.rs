//! How one step is judged: waited for, done, tried again, or given up.

use jiff::{SignedDuration, Timestamp};

use super::Decision;
use super::hand_over;
use super::intent::{Action, Executor, Intent, IntentKey, Leave, Outcome, PortRole};
use super::observed::Observed;
use super::script::script;
use super::spec::{Deployment, Goal, NodeSpec, PortControl};
use super::standby;
use super::state::{Cleanliness, NodeState, Phase, Step};
use super::words::{after_stop, at_rest_because, doing, remedy};
use crate::cause::Cause;
use crate::diagnosis::{why_no_agent, why_no_system};
use crate::reason::{Failure, FailureClass, Reason};

/// Makes the next move of a node that serves the current generation.
pub(super) fn advance(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    now: Timestamp,
) -> Decision {
    if standby::is_other_way(spec, state) {
        return enter(spec, seen, state, Phase::Available, now);
    }
    if state.at_rest() {
        return match seen.switched_on && must_be_off(state.phase) {
            true => switch_off_again(spec, state, now),
            false => wait(state, None),
        };
    }
    if state.step == Step::Standby {
        return standby::watch(spec, seen, state, now);
    }
    if let Some(retry_at) = state.retry_at {
        return if now < retry_at {
            wait(state, Some(retry_at))
        } else {
            begin(spec, state, now)
        };
    }
    let again;
    let state = match whole_time_again(spec, seen, state) {
        Some(waits) => {
            again = waits;
            &again
        }
        None => state,
    };
    match judge(spec, seen, state, now) {
        Verdict::Wait(wake_at) => wait(state, wake_at),
        Verdict::Later(until, failure) => later(state, until, &failure),
        Verdict::Begin => begin(spec, state, now),
        Verdict::Done => next_step(spec, seen, state, now),
        Verdict::Failed(failure) => failed(spec, seen, state, failure, now),
    }
}

/// The same with its whole time again, if it waits for somebody who could not be heard meanwhile: our own
/// absence is not held against a machine.
fn whole_time_again(spec: &NodeSpec, seen: &Observed, state: &NodeState) -> Option<NodeState> {
    let heard_since = seen.heard_since.filter(|since| *since > state.step_since)?;
    let others = match action(spec, state) {
        Some(action) => action.executor() == Executor::Agent,
        None => matches!(state.step, Step::AwaitAgent | Step::AwaitOs),
    };
    let whole = SignedDuration::from_secs(i64::from(state.step.profile(spec, state).deadline));
    let deadline = heard_since + whole;
    let is_later = state.deadline.is_some_and(|before| before < deadline);
    (others && is_later).then(|| {
        let mut next = state.clone();
        if next.reason.at == next.deadline {
            next.reason.at = Some(deadline);
        }
        next.deadline = Some(deadline);
        next
    })
}

/// Whether a machine at rest in this phase has no business being on. One that is held may be worked
/// on, and one that is active is its tenant's.
fn must_be_off(phase: Phase) -> bool {
    matches!(phase, Phase::Available | Phase::Failed)
}

/// Makes a machine safe that somebody has switched on behind our back: off, and parked.
fn switch_off_again(spec: &NodeSpec, state: &NodeState, now: Timestamp) -> Decision {
    let mut next = state.clone();
    next.attempt = 1;
    let mut decision = begin_step(spec, next, 0, now);
    // Why a node has failed stays said.
    if state.phase != Phase::Failed {
        decision.next.reason.seen =
            Some("the machine was found switched on, and nothing here has done that".into());
    }
    decision
}

/// Starts `phase` for the generation that `state` already carries.
pub(super) fn enter(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    phase: Phase,
    now: Timestamp,
) -> Decision {
    let mut next = state.clone();
    if matches!(phase, Phase::Failed | Phase::Held | Phase::Retired) {
        next.came_from = (state.phase != phase)
            .then_some(state.phase)
            .or(state.came_from);
    } else {
        next.came_from = None;
    }
    match phase {
        // From here on a tenant's data may be on the disks, whatever becomes of the order.
        Phase::Deploying => {
            next.cleanliness = Cleanliness::Dirty;
            next.written_for = deployment(spec).map(|deployment| deployment.server);
        }
        // Being clean is earned anew by every cleaning.
        Phase::Cleaning if next.cleanliness == Cleanliness::Clean => {
            next.cleanliness = Cleanliness::Unknown;
        }
        _ => {}
    }
    next.phase = phase;
    next.since = now;
    next.attempt = 1;
    next.standby = spec.standby && matches!(phase, Phase::Cleaning | Phase::Available);
    next.fallback = false;
    next.fallback = hand_over::tries_kexec(spec, &next) && seen.kexec_failed;
    let first = first_step(spec, seen, state, &next, now);
    begin_step(spec, next, first, now)
}

/// The step that the phase of `next` begins with: an agent that is there already is not booted
/// again, and a node that never got past enrolment or rests already has nothing to switch off.
fn first_step(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    next: &NodeState,
    now: Timestamp,
) -> usize {
    let script = script(spec, next);
    let at = |step| position(script, step);
    let rests_dark = state.at_rest() && state.phase != Phase::Active && !seen.switched_on;
    let dark = state.phase == Phase::Enrolled || rests_dark;
    let idles = standby::idles(spec, seen, state, now);
    match (state.phase, next.phase) {
        (Phase::Inspecting, Phase::Cleaning) if seen.agent.is_some() => at(Step::Erase),
        (_, Phase::Failed | Phase::Held | Phase::Retired) if dark => at(Step::Rest),
        (Phase::Cleaning, Phase::Available) if next.standby && state.standby => at(Step::Standby),
        (Phase::Available, Phase::Available) if next.standby && idles => at(Step::ConnectStandby),
        (Phase::Cleaning, Phase::Available) if !next.standby && !state.standby => at(Step::Rest),
        (Phase::Available, Phase::Available) if !next.standby && dark => at(Step::Rest),
        (Phase::Available, Phase::Deploying) if idles => at(Step::ProveAgent),
        // The agent is on its way: what its boot has cost is not paid twice.
        (Phase::Available, Phase::Deploying) if state.step == Step::AwaitAgent => {
            at(Step::AwaitAgent)
        }
        _ => 0,
    }
}

/// Where `step` stands in `script`: each step occurs at most once in a script.
pub(super) fn position(script: &[Step], step: Step) -> usize {
    script.iter().position(|&each| each == step).unwrap_or(0)
}

enum Verdict {
    Wait(Option<Timestamp>),
    Later(Timestamp, Failure),
    Begin,
    Done,
    Failed(Failure),
}

fn judge(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> Verdict {
    match state.step {
        Step::AwaitAgent => {
            let expected = state.boot(spec.node);
            match seen.agent.filter(|agent| agent.boot == expected) {
                Some(_) => Verdict::Done,
                None => {
                    let why = || why_no_agent(&seen.evidence);
                    until_deadline(state, now, why, "the agent did not call after power-on")
                }
            }
        }
        Step::AwaitOs => match seen.os_up {
            Some(generation) if generation == state.generation => Verdict::Done,
            _ => {
                let why = || why_no_system(&seen.evidence);
                let message = "the operating system did not say that it is up";
                until_deadline(state, now, why, message)
            }
        },
        _ => judge_intent(spec, seen, state, now),
    }
}

fn judge_intent(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> Verdict {
    let Some(action) = action(spec, state) else {
        return Verdict::Done;
    };
    match seen.outcome(&IntentKey::of(state, state.step)) {
        None => Verdict::Begin,
        Some(Outcome::Done) => Verdict::Done,
        Some(Outcome::Failed { failure }) => Verdict::Failed(failure.clone()),
        Some(Outcome::Deferred { until, failure }) => Verdict::Later(*until, failure.clone()),
        Some(Outcome::Pending) if action.executor() == Executor::Agent => {
            judge_agent(spec, seen, state, now)
        }
        // Whoever claims a node carries its intent out before this is asked.
        Some(Outcome::Pending) => {
            let why = || Cause::InternalError;
            until_deadline(state, now, why, "it was not carried out in time")
        }
    }
}

/// A command is with the agent: is the agent still there?
fn judge_agent(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> Verdict {
    let silence = SignedDuration::from_secs(i64::from(spec.timing.agent_silence));
    let boot = state.boot(spec.node);
    // After a restart of the conductor the agent gets its full time to call again.
    let heard = seen
        .agent
        .filter(|agent| agent.boot == boot)
        .map(|agent| agent.last_seen);
    let heard = heard.max(seen.heard_since).unwrap_or(state.step_since);
    let lost_at = heard.max(state.step_since) + silence;
    if now >= lost_at {
        let seconds = spec.timing.agent_silence;
        let message = format!("the agent has been silent for more than {seconds} s");
        return Verdict::Failed(Failure::transient(Cause::AgentSilent, message));
    }
    let slow = || Cause::AgentSlow;
    match until_deadline(state, now, slow, "the agent did not finish in time") {
        Verdict::Wait(deadline) => Verdict::Wait(deadline.map(|at| at.min(lost_at))),
        verdict => verdict,
    }
}

fn until_deadline(
    state: &NodeState,
    now: Timestamp,
    cause: impl FnOnce() -> Cause,
    message: &str,
) -> Verdict {
    match state.deadline {
        Some(deadline) if now < deadline => Verdict::Wait(Some(deadline)),
        _ => {
            let seconds = now.duration_since(state.step_since).as_secs();
            let message = format!("{message} ({seconds} s)");
            Verdict::Failed(Failure::transient(cause(), message))
        }
    }
}

pub(super) fn wait(state: &NodeState, wake_at: Option<Timestamp>) -> Decision {
    Decision {
        next: state.clone(),
        intent: None,
        wake_at,
    }
}

/// Waits for a management controller that is left alone. What is asked of it then is a try that
/// counts, so that there are no more of these waits than tries.
fn later(state: &NodeState, until: Timestamp, failure: &Failure) -> Decision {
    let mut next = state.clone();
    next.retry_at = Some(until);
    next.deadline = Some(until);
    if next.phase != Phase::Failed {
        next.reason = Reason::new(format!("{} has to wait", doing(state.step)))
            .seen(failure.message.clone())
            .cause(failure.cause)
            .next("the controller is asked again", Some(until))
            .remedy(
                "look at the controller's power and network; `bessemer node bmc` asks it at once",
            );
    }
    wait(&next, Some(until))
}

/// Goes on to the next step of the script, or the next phase.
fn next_step(spec: &NodeSpec, seen: &Observed, state: &NodeState, now: Timestamp) -> Decision {
    let mut next = state.clone();
    if state.step == Step::Erase {
        next.cleanliness = Cleanliness::Clean;
        next.written_for = None;
    }
    if hand_over::is_hopeless(spec, seen, state) {
        return hand_over::power_cycle_instead(spec, state, hand_over::REMEMBERED, now);
    }
    let script = script(spec, state);
    let index = position(script, state.step) + 1;
    if script
        .iter()
        .skip(index)
        .any(|step| !is_needless(spec, *step))
    {
        let mut decision = begin_step(spec, next, index, now);
        if decision.intent.is_none()
            && let Verdict::Wait(wake_at) = judge(spec, seen, &decision.next, now)
        {
            decision.wake_at = wake_at;
        }
        return decision;
    }
    let phase = state.phase.after(spec);
    enter(spec, seen, &next, phase, now)
}

/// Whether a step has nothing to do on this node: ports that are not ours need no moving. Before a tenant's
/// system is started, more is seen to than its ports.
fn is_needless(spec: &NodeSpec, step: Step) -> bool {
    let moves_ports = matches!(
        step,
        Step::ConnectProvisioning | Step::ConnectStandby | Step::Park
    );
    moves_ports && spec.port_control == PortControl::Flat
}

/// Starts the step at `index` of the script, or the first after it that has something to do.
pub(super) fn begin_step(
    spec: &NodeSpec,
    mut next: NodeState,
    index: usize,
    now: Timestamp,
) -> Decision {
    let script = script(spec, &next);
    let needed = |step: &&Step| !is_needless(spec, **step);
    next.step = *script[index..]
        .iter()
        .find(needed)
        .unwrap_or(&script[index]);
    next.tries = 1;
    if next.step == Step::PrepareBoot {
        next.boots += 1;
    }
    next.posts += u64::from(next.step.profile(spec, &next).posts);
    begin(spec, &next, now)
}

/// Starts (or starts again) the current step: a fresh deadline, and its intent.
fn begin(spec: &NodeSpec, state: &NodeState, now: Timestamp) -> Decision {
    let mut next = state.clone();
    next.retry_at = None;
    next.step_since = now;
    if next.at_rest() {
        next.deadline = None;
        if !matches!(next.phase, Phase::Failed) {
            next.reason = at_rest_because(spec, &next);
        }
        return wait(&next, None);
    }
    let profile = next.step.profile(spec, &next);
    let deadline = now + SignedDuration::from_secs(i64::from(profile.deadline));
    next.deadline = Some(deadline);
    if next.step == Step::Standby {
        next.reason = at_rest_because(spec, &next);
    } else if next.phase != Phase::Failed {
        let seen = next.reason.seen.take().filter(|_| next.fallback);
        next.reason = Reason {
            seen,
            ..Reason::new(doing(next.step)).next("given up for this attempt", Some(deadline))
        };
    }
    let action = action(spec, &next);
    let intent = action.map(|action| Intent {
        key: IntentKey::of(&next, next.step),
        generation: next.generation,
        action,
    });
    let to_agent = intent
        .as_ref()
        .is_some_and(|intent| intent.action.executor() == Executor::Agent);
    // What is to be carried out is carried out at once; what is waited for may have happened
    // already (an agent that called before its power-on was seen), so that too is looked for: at once,
    // unless whoever begins knows that it has not.
    let wake_at = if to_agent {
        deadline.min(now + SignedDuration::from_secs(i64::from(spec.timing.agent_silence)))
    } else {
        now
    };
    Decision {
        next,
        intent,
        wake_at: Some(wake_at),
    }
}

/// The server that the node is to become, if any.
fn deployment(spec: &NodeSpec) -> Option<&Deployment> {
    match &spec.goal {
        Goal::Deployed(deployment) => Some(deployment),
        _ => None,
    }
}

/// What the current step does, if it does something rather than wait.
fn action(spec: &NodeSpec, state: &NodeState) -> Option<Action> {
    let deployment = deployment(spec);
    let flat = spec.port_control == PortControl::Flat;
    Some(match state.step {
        Step::CheckBmc => Action::CheckBmc,
        Step::PowerOff | Step::PowerDown => Action::PowerOff,
        Step::PowerOn | Step::StartFromDisk => Action::PowerOn,
        Step::PrepareDiskBoot => Action::PrepareDiskBoot,
        Step::PrepareBoot => Action::PrepareBoot {
            boot: state.boot(spec.node),
        },
        Step::ConnectProvisioning => Action::ConnectPorts {
            role: match state.phase {
                Phase::Cleaning => PortRole::Cleaning,
                _ => PortRole::Provisioning,
            },
        },
        Step::ConnectTenant => Action::ConnectPorts {
            role: PortRole::Tenant,
        },
        Step::ConnectStandby => Action::ConnectPorts {
            role: PortRole::Standby,
        },
        Step::Park => Action::ConnectPorts {
            role: PortRole::Parked,
        },
        Step::ProveAgent => Action::ProveAgent,
        Step::Inspect => Action::Inspect,
        Step::Erase => Action::Erase,
        Step::WriteImage => {
            let deployment = deployment?;
            Action::WriteImage {
                image: deployment.image,
                server: deployment.server,
            }
        }
        Step::WriteConfigDrive => Action::WriteConfigDrive {
            server: deployment?.server,
        },
        Step::LoadKernel => Action::LoadKernel,
        Step::HandOver => Action::HandOver {
            leave: if flat {
                Leave::AtOnce
            } else {
                Leave::WhenUnreachable
            },
        },
        Step::AwaitAgent | Step::AwaitOs | Step::Standby | Step::Rest => return None,
    })
}

/// A step has failed: try it again, start the phase again, or give up.
fn failed(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    failure: Failure,
    now: Timestamp,
) -> Decision {
    let profile = state.step.profile(spec, state);
    if hand_over::may_fall_back(spec, state) {
        return hand_over::power_cycle_instead(spec, state, &failure.message, now);
    }
    // Whatever is wrong with an agent that cannot prove itself, another boot may have a better one.
    let passing = failure.class == FailureClass::Transient || state.step == Step::ProveAgent;
    if passing && !profile.restarts && state.tries < profile.tries {
        return retry_later(spec, state, &failure, now);
    }
    if passing && profile.restarts && state.attempt < state.phase.attempts() {
        let mut next = state.clone();
        next.attempt += 1;
        let mut decision = begin_step(spec, next, 0, now);
        decision.next.reason = Reason::new(format!(
            "starting again (attempt {} of {}): {}",
            decision.next.attempt,
            state.phase.attempts(),
            doing(state.step)
        ))
        .cause(failure.cause)
        .seen(failure.message);
        return decision;
    }
    give_up(spec, seen, state, failure, now)
}

fn retry_later(spec: &NodeSpec, state: &NodeState, failure: &Failure, now: Timestamp) -> Decision {
    let mut next = state.clone();
    let pause = spec
        .timing
        .retry_pause
        .saturating_mul(1 << (state.tries - 1).min(6))
        .min(60);
    let retry_at = now + SignedDuration::from_secs(i64::from(pause));
    next.tries += 1;
    next.retry_at = Some(retry_at);
    next.deadline = Some(retry_at);
    let tries = state.step.profile(spec, state).tries;
    if next.phase != Phase::Failed {
        next.reason = Reason::new(format!("{} did not work", doing(state.step)))
            .cause(failure.cause)
            .seen(failure.message.clone())
            .next(format!("try {} of {tries}", next.tries), Some(retry_at));
    }
    Decision {
        next,
        intent: None,
        wake_at: Some(retry_at),
    }
}

pub(super) fn give_up(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    failure: Failure,
    now: Timestamp,
) -> Decision {
    if state.phase == Phase::Failed {
        // Making it safe did not work either: the first reason stays, this is added to it.
        let mut next = state.clone();
        let index = position(script(spec, state), state.step) + 1;
        next.reason.next = Some(format!(
            "could not {}: {}",
            doing(state.step),
            failure.message
        ));
        return begin_step(spec, next, index, now);
    }
    if state.phase == Phase::Available && state.standby {
        return standby::give_up(spec, state, failure.message, now);
    }
    let mut decision = enter(spec, seen, state, Phase::Failed, now);
    decision.next.reason = failed_because(state, failure);
    decision
}

/// Why a node fails that was in this state.
pub(super) fn failed_because(state: &NodeState, failure: Failure) -> Reason {
    let mut reason = Reason::new(format!(
        "{} failed at `{}` (attempt {} of {})",
        state.phase.name(),
        state.step.name(),
        state.attempt,
        state.phase.attempts()
    ))
    .cause(failure.cause)
    .expected_seen(doing(state.step), failure.message)
    .remedy(remedy(state.phase, failure.class));
    reason.next = Some("nothing by itself".into());
    reason
}

/// An operator has stopped what the node was doing: it is made safe like one that failed.
pub(super) fn stopped(
    spec: &NodeSpec,
    seen: &Observed,
    state: &NodeState,
    why: &str,
    now: Timestamp,
) -> Decision {
    let mut reason = Reason::new(format!(
        "{} was stopped by an operator at `{}`: {why}",
        state.phase.name(),
        state.step.name()
    ))
    .cause(Some(Cause::Stopped))
    .remedy(after_stop(state.phase));
    reason.next = Some("nothing by itself".into());
    let mut decision = enter(spec, seen, state, Phase::Failed, now);
    decision.next.reason = reason;
    decision
}
