//! What is the likely cause when a node waits for something or has failed: a pure function of where
//! it is and of what has been seen of it.
//!
//! The reason in a node's state says what did not happen. Why it did not is often plain from the
//! traces that the machine has left elsewhere: whether it asked for an address, fetched the boot
//! file, answered as a BMC. This puts those together, in the order in which they happen, and names
//! the first one that is missing. It decides nothing: [`crate::lifecycle::step`] does.

use jiff::{SignedDuration, Timestamp};

use crate::lifecycle::{NodeState, Phase, Step, Timing};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $summary:literal, $remedy:literal;)*) => {
        /// Likely causes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause {
            $($(#[$doc])* $variant,)*
        }

        impl Cause {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that programs know it by: it never changes.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is, in one sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// What a person can do.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

causes! {
    /// Nothing is wrong, and nothing is going on.
    AtRest = "at_rest", "nothing is going on with the node", "nothing needs to be done";
    /// It works, for no longer than usual.
    Working = "working", "it is working; nothing is known to be wrong", "wait";
    /// An operator holds it.
    Held = "held", "an operator holds the node",
        "`bessemer node unhold` brings it back";
    /// An operator has retired it.
    Retired = "retired", "an operator has retired the node",
        "`bessemer node provide` brings it back";
    /// An operator has stopped it.
    Stopped = "stopped", "an operator has stopped what the node was doing",
        "`bessemer node provide` goes on with it; a server is rebuilt or deleted by its tenant";
    /// No answer from the BMC.
    BmcSilent = "bmc_silent", "the BMC does not answer",
        "check its power, cable, address and port, and that this server may reach it";
    /// The BMC does not let us in.
    BmcRefuses = "bmc_refuses", "the BMC refuses our account",
        "check user name, password and role on the BMC";
    /// The BMC's certificate is not the one that is trusted.
    BmcDistrusted = "bmc_distrusted", "the BMC shows a certificate that is not trusted",
        "compare its fingerprint with the one on the BMC's own page: pin it by `bessemer node set \
         --bmc-fingerprint`, or find out who answers in the BMC's place";
    /// The BMC answers, and what was asked for does not happen.
    BmcDisobeys = "bmc_disobeys", "the BMC answers, but does not do what it is asked",
        "look at the last requests and at the machine; restart the BMC";
    /// A switch does not follow.
    SwitchDisobeys = "switch_disobeys", "a switch port is not where it should be",
        "check that the switch is reachable and that the port of the node exists on it";
    /// The machine is off.
    MachineOff = "machine_off", "the machine is off although it was switched on",
        "look at its console and power supply: it may have failed its self-test";
    /// No DHCP from the machine.
    NoDhcp = "no_dhcp", "the machine does not ask for an address",
        "check link, VLAN, the MAC address of its first port and network boot in its firmware; it \
         may also still be in its self-test";
    /// DHCP from the machine, refused.
    DhcpRefused = "dhcp_refused", "the machine asks for an address in a way that is not answered",
        "the last boot request says why: usually its firmware boots in another way than expected";
    /// No boot file fetched.
    BootFileNotFetched = "boot_file_not_fetched",
        "the machine was told where the agent is, but did not fetch it",
        "check that the boot ports reach this server from there, and look at the machine's console";
    /// The medium was inserted, and nobody read it.
    MediumNotRead = "medium_not_read", "the BMC did not read the boot medium",
        "check that the BMC reaches `[boot_media]` of this server, and look at the machine's console";
    /// The agent's kernel was fetched, and nobody called.
    AgentAbsent = "agent_absent", "the agent was loaded, but does not call",
        "look at the machine's console: Secure Boot, a missing network driver, or no way to the \
         agent port of this server";
    /// An agent called and was turned away.
    AgentRefused = "agent_refused", "an agent called and was turned away",
        "the last agent message says why: an old boot that still runs, or another machine";
    /// The agent does not finish.
    AgentStuck = "agent_stuck", "the agent did not do what it was told, or has fallen silent",
        "the agent's last message and the machine's console say why";
    /// The tenant's OS does not call home.
    OsSilent = "os_silent", "the operating system does not say that it is up",
        "look at the machine's console; check the image and the way from the tenant's network to \
         `[phone_home]`";
    /// The tenant's OS does not call home, and had nothing but cloud-init to do it with.
    CloudInitSilent = "cloud_init_silent",
        "the operating system does not say that it is up, and only its cloud-init could have",
        "the agent's messages say why it could not give the image a unit for that; check that the \
         image has cloud-init that reads a config drive, and look at the machine's console";
}

/// How a BMC behaved in the latest exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BmcSeen {
    /// Nothing is known.
    #[default]
    Unknown,
    /// It answers.
    Answers,
    /// It answers that we may not.
    Refuses,
    /// Its certificate is not trusted, so it was asked nothing.
    Distrusted,
    /// It does not answer.
    Silent,
}

/// What was seen of the machine's requests for an address, since the step began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpSeen {
    /// Nothing came.
    #[default]
    Nothing,
    /// It asked, and got no answer.
    Refused,
    /// It got an address.
    Answered,
}

/// What has been seen of a node beside its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Where the node failed, if it did: the phase and step before it was made safe.
    pub failed_at: Option<(Phase, Step)>,
    /// Whether an operator has stopped it.
    pub stopped: bool,
    /// How the BMC behaved.
    pub bmc: BmcSeen,
    /// Whether the machine is known to be off.
    pub is_off: bool,
    /// Whether the machine boots from a medium, and so without DHCP.
    pub by_medium: bool,
    /// What it asked for by DHCP.
    pub dhcp: DhcpSeen,
    /// Whether a boot file or medium was fetched.
    pub boot_file: bool,
    /// Whether an agent was turned away.
    pub agent_refused: bool,
    /// Whether only cloud-init can say that the system is up.
    pub report_by_cloud_init: bool,
}

/// The likely cause of what the node waits for, or of why it failed.
pub fn likely_cause(
    state: &NodeState,
    evidence: &Evidence,
    timing: &Timing,
    now: Timestamp,
) -> Cause {
    match state.phase {
        Phase::Held => return Cause::Held,
        Phase::Retired => return Cause::Retired,
        Phase::Failed if evidence.stopped => return Cause::Stopped,
        Phase::Failed => {}
        _ if state.settled() => return Cause::AtRest,
        _ => {}
    }
    let step = match (state.phase, evidence.failed_at) {
        (Phase::Failed, Some((_, step))) => step,
        _ => state.step,
    };
    let again = state.phase == Phase::Failed || state.attempt > 1 || state.tries > 1;
    match step {
        Step::Rest | Step::Standby => Cause::AtRest,
        Step::AwaitAgent => missing_on_the_way(state, evidence, timing, now, again),
        Step::AwaitOs if again || is_late(state, timing.expected_os_boot, now) => {
            match evidence.report_by_cloud_init {
                true => Cause::CloudInitSilent,
                false => Cause::OsSilent,
            }
        }
        _ if !again => Cause::Working,
        Step::CheckBmc
        | Step::PowerOff
        | Step::PowerDown
        | Step::PowerOn
        | Step::PrepareBoot
        | Step::PrepareDiskBoot
        | Step::StartFromDisk => of_bmc(evidence.bmc),
        Step::ConnectProvisioning | Step::ConnectTenant | Step::ConnectStandby | Step::Park => {
            Cause::SwitchDisobeys
        }
        _ => Cause::AgentStuck,
    }
}

fn of_bmc(bmc: BmcSeen) -> Cause {
    match bmc {
        BmcSeen::Silent => Cause::BmcSilent,
        BmcSeen::Refuses => Cause::BmcRefuses,
        BmcSeen::Distrusted => Cause::BmcDistrusted,
        BmcSeen::Answers | BmcSeen::Unknown => Cause::BmcDisobeys,
    }
}

/// The first thing that is missing between power-on and the agent's call.
fn missing_on_the_way(
    state: &NodeState,
    evidence: &Evidence,
    timing: &Timing,
    now: Timestamp,
    again: bool,
) -> Cause {
    let late = again || is_late(state, timing.expected_agent_boot, now);
    // A machine that failed has been switched off by us.
    if evidence.is_off && state.phase != Phase::Failed {
        return Cause::MachineOff;
    }
    if evidence.agent_refused {
        return Cause::AgentRefused;
    }
    if evidence.dhcp == DhcpSeen::Refused && !evidence.by_medium {
        return Cause::DhcpRefused;
    }
    match (evidence.by_medium, evidence.dhcp, evidence.boot_file) {
        _ if !late => Cause::Working,
        (_, _, true) => Cause::AgentAbsent,
        (true, _, false) => Cause::MediumNotRead,
        (false, DhcpSeen::Answered, false) => Cause::BootFileNotFetched,
        (false, _, false) => Cause::NoDhcp,
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

    fn cause(state: &NodeState, evidence: Evidence, after: i64) -> Cause {
        let now = start() + SignedDuration::from_secs(after);
        likely_cause(state, &evidence, &Timing::default(), now)
    }

    /// Programs know causes by their names.
    #[test]
    fn names_are_pinned() {
        let names: Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(
            names.join(" "),
            "at_rest working held retired stopped bmc_silent bmc_refuses bmc_distrusted \
             bmc_disobeys switch_disobeys machine_off no_dhcp dhcp_refused boot_file_not_fetched \
             medium_not_read agent_absent agent_refused agent_stuck os_silent cloud_init_silent"
        );
    }

    #[test]
    fn what_takes_its_usual_time_is_no_trouble() {
        let waiting = state(Phase::Inspecting, Step::AwaitAgent);
        assert_eq!(cause(&waiting, Evidence::default(), 10), Cause::Working);
        let waiting = state(Phase::Deploying, Step::AwaitOs);
        assert_eq!(cause(&waiting, Evidence::default(), 10), Cause::Working);
        let writing = state(Phase::Deploying, Step::WriteImage);
        assert_eq!(cause(&writing, Evidence::default(), 10_000), Cause::Working);
        let resting = state(Phase::Active, Step::Rest);
        assert_eq!(cause(&resting, Evidence::default(), 10), Cause::AtRest);
    }

    #[test]
    fn the_first_thing_that_is_missing_is_named() {
        let waiting = state(Phase::Inspecting, Step::AwaitAgent);
        let with = |change: fn(&mut Evidence)| {
            let mut evidence = Evidence::default();
            change(&mut evidence);
            evidence
        };
        for (evidence, expected) in [
            (with(|_| ()), Cause::NoDhcp),
            (with(|each| each.is_off = true), Cause::MachineOff),
            (
                with(|each| each.dhcp = DhcpSeen::Refused),
                Cause::DhcpRefused,
            ),
            (
                with(|each| each.dhcp = DhcpSeen::Answered),
                Cause::BootFileNotFetched,
            ),
            (with(|each| each.by_medium = true), Cause::MediumNotRead),
            (with(|each| each.boot_file = true), Cause::AgentAbsent),
            (with(|each| each.agent_refused = true), Cause::AgentRefused),
        ] {
            assert_eq!(cause(&waiting, evidence, 600), expected, "{evidence:?}");
        }
        // Some need no waiting to be seen.
        let refused = with(|each| each.dhcp = DhcpSeen::Refused);
        assert_eq!(cause(&waiting, refused, 5), Cause::DhcpRefused);
    }

    #[test]
    fn a_failed_node_is_judged_by_where_it_failed() {
        let failed = state(Phase::Failed, Step::Rest);
        let at = |step, bmc| Evidence {
            failed_at: Some((Phase::Deploying, step)),
            // We have switched it off.
            is_off: true,
            bmc,
            ..Evidence::default()
        };
        for (step, bmc, expected) in [
            (Step::PowerOn, BmcSeen::Silent, Cause::BmcSilent),
            (Step::CheckBmc, BmcSeen::Refuses, Cause::BmcRefuses),
            (Step::PowerOff, BmcSeen::Distrusted, Cause::BmcDistrusted),
            (Step::PrepareBoot, BmcSeen::Answers, Cause::BmcDisobeys),
            (Step::ConnectTenant, BmcSeen::Answers, Cause::SwitchDisobeys),
            (Step::AwaitAgent, BmcSeen::Answers, Cause::NoDhcp),
            (Step::WriteImage, BmcSeen::Answers, Cause::AgentStuck),
            (Step::AwaitOs, BmcSeen::Answers, Cause::OsSilent),
        ] {
            assert_eq!(cause(&failed, at(step, bmc), 5), expected, "{step:?}");
        }
        let by_cloud_init = Evidence {
            report_by_cloud_init: true,
            ..at(Step::AwaitOs, BmcSeen::Answers)
        };
        assert_eq!(cause(&failed, by_cloud_init, 5), Cause::CloudInitSilent);
        let stopped = Evidence {
            stopped: true,
            ..at(Step::WriteImage, BmcSeen::Answers)
        };
        assert_eq!(cause(&failed, stopped, 5), Cause::Stopped);
    }

    #[test]
    fn held_and_retired_are_no_trouble() {
        let held = state(Phase::Held, Step::PowerOff);
        assert_eq!(cause(&held, Evidence::default(), 5), Cause::Held);
        let retired = state(Phase::Retired, Step::Rest);
        assert_eq!(cause(&retired, Evidence::default(), 5), Cause::Retired);
    }
}
