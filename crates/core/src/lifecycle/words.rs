//! What is said to people about steps, rest and failures.

use super::spec::{Goal, NodeSpec};
use super::state::{NodeState, Phase, Step};
use crate::reason::{FailureClass, Reason};

/// What a person can do about a failure of this class, in this phase.
pub fn remedy(phase: Phase, class: FailureClass) -> &'static str {
    match (class, phase) {
        (FailureClass::Bug, _) => "report this as a bug, with `bessemer node show`",
        (_, Phase::Deploying) => {
            "mend what was seen and rebuild the server, or delete the server (its node is then erased)"
        }
        (_, Phase::Releasing) => {
            "mend what was seen, then `bessemer node provide`: the node is taken back and erased"
        }
        _ => "mend what was seen, then `bessemer node provide`",
    }
}

/// What a person can do about a node that an operator has stopped in this phase.
pub fn after_stop(phase: Phase) -> &'static str {
    match phase {
        Phase::Deploying => "rebuild the server, or delete the server (its node is then erased)",
        _ => "`bessemer node provide` goes on with it",
    }
}

/// What a step does, for people.
pub fn doing(step: Step) -> &'static str {
    match step {
        Step::CheckBmc => "log in to the BMC and read which machine it manages",
        Step::PowerOff | Step::PowerDown => "switch the machine off",
        Step::ConnectProvisioning => "put the switch ports on the provisioning network",
        Step::PrepareBoot => "prepare one boot of the agent from the network",
        Step::PowerOn => "switch the machine on",
        Step::AwaitAgent => "wait for the agent to call",
        Step::ProveAgent => "let the agent prove that it is alive",
        Step::Inspect => "inspect the hardware",
        Step::Erase => "erase the disks",
        Step::WriteImage => "write the image",
        Step::WriteConfigDrive => "write the config drive",
        Step::LoadKernel => "load the kernel of the image",
        Step::HandOver => "arm the agent for the hand-over",
        Step::ConnectTenant => "put the switch ports on the tenant's network",
        Step::PrepareDiskBoot => "tell the BMC to boot from the disk",
        Step::StartFromDisk => "switch the machine on to start it from its disk",
        Step::AwaitOs => "wait for the operating system to say that it is up",
        Step::ConnectStandby => "put the switch ports where an idle agent reaches us only",
        Step::Standby => "wait in the agent for an order",
        Step::Park => "park the switch ports",
        Step::Rest => "nothing",
    }
}

/// Why a node that has settled is where it is. After a second way, with what became of the first.
pub(super) fn at_rest_because(spec: &NodeSpec, state: &NodeState) -> Reason {
    match (state.phase, &spec.goal) {
        (Phase::Available, _) => available_because(state),
        (Phase::Active, _) => Reason::new("the operating system has said that it is up"),
        (Phase::Held, Goal::Held { reason }) if !reason.is_empty() => {
            Reason::new(format!("held by an operator: {reason}"))
                .remedy("`bessemer node unhold` brings it back, through enrolment")
        }
        (Phase::Held, _) => Reason::new("held by an operator")
            .remedy("`bessemer node unhold` brings it back, through enrolment"),
        (Phase::Retired, Goal::Retired { reason }) => {
            Reason::new(format!("erased, off, parked and out of use: {reason}")).remedy(
                "`bessemer node provide` brings it back, through enrolment; `bessemer node \
                 delete` forgets it",
            )
        }
        _ => Reason::new("at rest"),
    }
}

fn available_because(state: &NodeState) -> Reason {
    if state.standby {
        return Reason::new("erased, idling in the agent: for rent, at no POST");
    }
    if !state.fallback {
        return Reason::new("erased, off and parked: for rent");
    }
    Reason {
        seen: state.reason.seen.clone(),
        ..Reason::new(
            "erased, off and parked: for rent, at one POST; its agent did not stay in standby",
        )
        .remedy("mend what was seen, then `bessemer node provide`: it is tried again")
    }
}
