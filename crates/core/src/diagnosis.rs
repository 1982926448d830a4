//! What is the likely cause when a node waits for something or has failed: a pure function of where
//! it is and of what has been seen of it.
//!
//! A failure that somebody met carries its [`Cause`] itself. One that consists in nothing happening
//! does not: why an agent does not call is often plain from the traces that its machine has left
//! elsewhere, whether it asked for an address, fetched the boot file, is on at all. This puts those
//! together, in the order in which they happen, and names the first one that is missing.

use jiff::{SignedDuration, Timestamp};

use crate::cause::Cause;
use crate::lifecycle::{NodeState, Phase, Step, Timing};

/// What was seen of a machine's requests for an address, since the step began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpSeen {
    /// Nothing came.
    #[default]
    Nothing,
    /// It asked, and got no answer, for this cause.
    Refused(Cause),
    /// It got an address.
    Answered,
}

/// What was seen of a machine's (or its BMC's) requests for the agent, since the step began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootFileSeen {
    /// Nothing came.
    #[default]
    Nothing,
    /// It was asked for, and could not be given.
    NotGiven,
    /// It was fetched.
    Fetched,
}

/// The traces of a machine that is waited for, since the wait began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Whether its BMC does not answer.
    pub bmc_silent: bool,
    /// Whether the machine is known to be off.
    pub is_off: bool,
    /// Whether it boots from a medium, and so without DHCP.
    pub by_medium: bool,
    /// What it asked for by DHCP.
    pub dhcp: DhcpSeen,
    /// Whether it (or its BMC) fetched the agent.
    pub boot_file: BootFileSeen,
    /// Whether an agent was turned away.
    pub agent_refused: bool,
    /// Whether only cloud-init can say that the system is up.
    pub report_by_cloud_init: bool,
}

/// What is known of a node's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Where the node failed, if it did: the step before it was made safe.
    pub failed_at: Option<Step>,
    /// Why this phase failed the last time, if it is not the first attempt.
    pub last_failure: Option<Cause>,
}

/// Why the agent does not call: the first thing that is missing between power-on and its call.
pub fn why_no_agent(evidence: &Evidence) -> Cause {
    if evidence.agent_refused {
        return Cause::AgentRefused;
    }
    if evidence.is_off {
        return Cause::MachineOff;
    }
    match (evidence.boot_file, evidence.dhcp) {
        (BootFileSeen::Fetched, _) => Cause::BootFileButNoAgent,
        (BootFileSeen::NotGiven, _) => Cause::NoBootFile,
        // A machine that boots from a medium asks for no address; a system on its disk does.
        (_, DhcpSeen::Refused(Cause::WrongBootDevice)) => Cause::WrongBootDevice,
        _ if evidence.by_medium => Cause::MediumNotRead,
        (_, DhcpSeen::Answered) => Cause::DhcpButNoBootFile,
        (_, DhcpSeen::Refused(cause)) => cause,
        (_, DhcpSeen::Nothing) if evidence.bmc_silent => Cause::BmcUnreachable,
        (_, DhcpSeen::Nothing) => Cause::NoDhcpRequest,
    }
}

/// Why the operating system does not say that it is up.
pub fn why_no_system(evidence: &Evidence) -> Cause {
    if evidence.is_off {
        Cause::MachineOff
    } else if evidence.report_by_cloud_init {
        Cause::CloudInitSilent
    } else {
        Cause::NoPhoneHome
    }
}

/// The likely cause of what the node waits for, or of why it failed.
pub fn likely_cause(
    state: &NodeState,
    evidence: &Evidence,
    past: &Past,
    timing: &Timing,
    now: Timestamp,
) -> Cause {
    match state.phase {
        Phase::Held => Cause::Held,
        Phase::Retired => Cause::Retired,
        Phase::Failed => state
            .reason
            .cause
            .unwrap_or_else(|| of_step(past.failed_at.unwrap_or(state.step), evidence)),
        _ if state.settled() => Cause::AtRest,
        _ => of_work(state, evidence, past, timing, now),
    }
}

/// Of a node that moves: nothing, unless something has failed before or takes too long.
fn of_work(
    state: &NodeState,
    evidence: &Evidence,
    past: &Past,
    timing: &Timing,
    now: Timestamp,
) -> Cause {
    let again = state.attempt > 1 || state.tries > 1;
    let before = state.reason.cause.or(past.last_failure.filter(|_| again));
    let late = |usual| again || is_late(state, usual, now);
    match state.step {
        Step::AwaitAgent if late(timing.expected_agent_boot) || is_plain(evidence) => {
            why_no_agent(evidence)
        }
        Step::AwaitOs if late(timing.expected_os_boot) || evidence.is_off => {
            why_no_system(evidence)
        }
        _ => before.unwrap_or(Cause::InProgress),
    }
}

/// Whether something is wrong that waiting will not mend.
fn is_plain(evidence: &Evidence) -> bool {
    evidence.is_off
        || evidence.agent_refused
        || evidence.boot_file == BootFileSeen::NotGiven
        || matches!(evidence.dhcp, DhcpSeen::Refused(_))
}

/// Of a node that failed under a version of this program that did not write down why.
fn of_step(step: Step, evidence: &Evidence) -> Cause {
    // It has been switched off since, by us.
    let evidence = Evidence {
        is_off: false,
        ..*evidence
    };
    match step {
        Step::AwaitAgent => why_no_agent(&evidence),
        Step::AwaitOs => why_no_system(&evidence),
        Step::ConnectProvisioning | Step::ConnectTenant | Step::ConnectStandby | Step::Park => {
            Cause::SwitchRefuses
        }
        Step::CheckBmc
        | Step::PowerOff
        | Step::PowerDown
        | Step::PowerOn
        | Step::PrepareBoot
        | Step::PrepareDiskBoot
        | Step::StartFromDisk => match evidence.bmc_silent {
            true => Cause::BmcUnreachable,
            false => Cause::BmcRefuses,
        },
        _ => Cause::AgentFailed,
    }
}

/// Whether the step has taken longer than it usually does.
fn is_late(state: &NodeState, usual: u32, now: Timestamp) -> bool {
    now.duration_since(state.step_since) > SignedDuration::from_secs(i64::from(usual))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Generation;
    use crate::reason::Reason;

    fn start() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn state(phase: Phase, step: Step) -> NodeState {
        NodeState {
            phase,
            step,
            attempt: 1,
            ..NodeState::enrolled(Generation(1), start())
        }
    }

    fn cause_after(state: &NodeState, evidence: Evidence, past: Past, seconds: i64) -> Cause {
        let now = start() + SignedDuration::from_secs(seconds);
        likely_cause(state, &evidence, &past, &Timing::default(), now)
    }

    fn cause(state: &NodeState, evidence: Evidence, seconds: i64) -> Cause {
        cause_after(state, evidence, Past::default(), seconds)
    }

    #[test]
    fn what_takes_its_usual_time_is_no_trouble() {
        let waiting = state(Phase::Inspecting, Step::AwaitAgent);
        assert_eq!(cause(&waiting, Evidence::default(), 10), Cause::InProgress);
        let waiting = state(Phase::Deploying, Step::AwaitOs);
        assert_eq!(cause(&waiting, Evidence::default(), 10), Cause::InProgress);
        let writing = state(Phase::Deploying, Step::WriteImage);
        assert_eq!(
            cause(&writing, Evidence::default(), 10_000),
            Cause::InProgress
        );
        let resting = state(Phase::Active, Step::Rest);
        assert_eq!(cause(&resting, Evidence::default(), 10), Cause::AtRest);
        let held = state(Phase::Held, Step::PowerOff);
        assert_eq!(cause(&held, Evidence::default(), 5), Cause::Held);
        let retired = state(Phase::Retired, Step::Rest);
        assert_eq!(cause(&retired, Evidence::default(), 5), Cause::Retired);
    }

    #[test]
    fn the_first_thing_that_is_missing_is_named() {
        let waiting = state(Phase::Inspecting, Step::AwaitAgent);
        let with = |change: fn(&mut Evidence)| {
            let mut evidence = Evidence::default();
            change(&mut evidence);
            evidence
        };
        let refused = DhcpSeen::Refused;
        for (evidence, expected) in [
            (with(|_| ()), Cause::NoDhcpRequest),
            (with(|each| each.bmc_silent = true), Cause::BmcUnreachable),
            (with(|each| each.is_off = true), Cause::MachineOff),
            (
                Evidence {
                    dhcp: refused(Cause::DhcpRefused),
                    ..Evidence::default()
                },
                Cause::DhcpRefused,
            ),
            (
                Evidence {
                    dhcp: refused(Cause::WrongBootDevice),
                    by_medium: true,
                    ..Evidence::default()
                },
                Cause::WrongBootDevice,
            ),
            (
                with(|each| each.dhcp = DhcpSeen::Answered),
                Cause::DhcpButNoBootFile,
            ),
            (with(|each| each.by_medium = true), Cause::MediumNotRead),
            (
                with(|each| each.boot_file = BootFileSeen::NotGiven),
                Cause::NoBootFile,
            ),
            (
                with(|each| each.boot_file = BootFileSeen::Fetched),
                Cause::BootFileButNoAgent,
            ),
            (with(|each| each.agent_refused = true), Cause::AgentRefused),
        ] {
            assert_eq!(cause(&waiting, evidence, 600), expected, "{evidence:?}");
        }
        // Some need no waiting to be seen.
        let off = with(|each| each.is_off = true);
        assert_eq!(cause(&waiting, off, 5), Cause::MachineOff);
        let fetched = with(|each| each.boot_file = BootFileSeen::Fetched);
        assert_eq!(cause(&waiting, fetched, 5), Cause::InProgress);
    }

    #[test]
    fn a_system_that_is_off_cannot_call_home() {
        let waiting = state(Phase::Deploying, Step::AwaitOs);
        let by_cloud_init = Evidence {
            report_by_cloud_init: true,
            ..Evidence::default()
        };
        assert_eq!(cause(&waiting, by_cloud_init, 5000), Cause::CloudInitSilent);
        assert_eq!(
            cause(&waiting, Evidence::default(), 5000),
            Cause::NoPhoneHome
        );
        let off = Evidence {
            is_off: true,
            ..by_cloud_init
        };
        assert_eq!(cause(&waiting, off, 5), Cause::MachineOff);
    }

    #[test]
    fn what_was_met_before_is_said_while_it_is_tried_again() {
        let mut again = state(Phase::Deploying, Step::PowerOn);
        let past = Past {
            last_failure: Some(Cause::AgentSilent),
            ..Past::default()
        };
        let nothing = Evidence::default();
        assert_eq!(cause_after(&again, nothing, past, 1), Cause::InProgress);
        again.attempt = 2;
        assert_eq!(cause_after(&again, nothing, past, 1), Cause::AgentSilent);
        again.reason = Reason::new("did not work").cause(Some(Cause::BmcSlow));
        assert_eq!(cause_after(&again, nothing, past, 1), Cause::BmcSlow);
    }

    #[test]
    fn a_failed_node_says_what_failed_it() {
        let mut failed = state(Phase::Failed, Step::Rest);
        let at = |step| Past {
            failed_at: Some(step),
            ..Past::default()
        };
        // We have switched it off.
        let off = Evidence {
            is_off: true,
            ..Evidence::default()
        };
        for (step, expected) in [
            (Step::PowerOn, Cause::BmcRefuses),
            (Step::ConnectTenant, Cause::SwitchRefuses),
            (Step::AwaitAgent, Cause::NoDhcpRequest),
            (Step::WriteImage, Cause::AgentFailed),
            (Step::AwaitOs, Cause::NoPhoneHome),
        ] {
            assert_eq!(cause_after(&failed, off, at(step), 5), expected, "{step:?}");
        }
        failed.reason.cause = Some(Cause::DiskError);
        let past = at(Step::WriteImage);
        assert_eq!(cause_after(&failed, off, past, 5), Cause::DiskError);
    }
}
