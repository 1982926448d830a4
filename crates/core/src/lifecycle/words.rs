//! What is said to people about steps, rest and failures.

use super::state::{NodeState, Phase, Step};
use crate::reason::FailureClass;

/// What a person can do about a failure of this class, in this state.
pub(super) fn remedy(state: &NodeState, class: FailureClass) -> &'static str {
    match (class, state.phase) {
        (FailureClass::Bug, _) => "report this as a bug, with `bessemer node show`",
        (_, Phase::Deploying) => {
            "delete the server (its node is then erased), mend what was seen, order again"
        }
        (_, Phase::Releasing) => {
            "mend what was seen, then `bessemer node provide`: the node is taken back and erased"
        }
        _ => "mend what was seen, then `bessemer node provide`",
    }
}

/// What a step does, for people.
pub(super) fn doing(step: Step) -> &'static str {
    match step {
        Step::CheckBmc => "log in to the BMC and read which machine it manages",
        Step::PowerOff | Step::PowerDown => "switch the machine off",
        Step::ConnectProvisioning => "put the switch ports on the provisioning network",
        Step::PrepareBoot => "prepare one boot of the agent from the network",
        Step::PowerOn => "switch the machine on",
        Step::AwaitAgent => "wait for the agent to call",
        Step::Inspect => "inspect the hardware",
        Step::Erase => "erase the disks",
        Step::WriteImage => "write the image",
        Step::WriteConfigDrive => "write the config drive",
        Step::LoadKernel => "load the kernel of the image",
        Step::HandOver => "arm the agent for the hand-over",
        Step::ConnectTenant => "put the switch ports on the tenant's network",
        Step::AwaitOs => "wait for the operating system to say that it is up",
        Step::Park => "park the switch ports",
        Step::Rest => "nothing",
    }
}

/// Why a node that rests is where it is.
pub(super) fn rest_summary(state: &NodeState) -> &'static str {
    match state.phase {
        Phase::Available => "erased, off and parked: for rent",
        Phase::Active => "the operating system has said that it is up",
        Phase::Held => "held by an operator; `bessemer node provide` brings it back",
        _ => "at rest",
    }
}
