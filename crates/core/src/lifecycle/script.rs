//! What each phase consists of: its steps in order, and what is known about each step beforehand.

use super::hand_over::{by_power_cycle, tries_kexec};
use super::spec::{Goal, NodeSpec};
use super::state::{NodeState, Phase, Step};

use Step::{
    AwaitAgent, AwaitOs, CheckBmc, ConnectProvisioning, ConnectStandby, ConnectTenant, Erase,
    HandOver, Inspect, LoadKernel, Park, PowerDown, PowerOff, PowerOn, PrepareBoot,
    PrepareDiskBoot, ProveAgent, Rest, StartFromDisk, WriteConfigDrive, WriteImage,
};

/// The steps of the phase that `state` is in, in order. A phase whose only step is `rest` stays
/// until the spec changes.
///
/// Two phases have two ways to go, and which one is the node's is in its state, so that a wish
/// that changes under way does not leave it between them.
pub fn script(spec: &NodeSpec, state: &NodeState) -> &'static [Step] {
    match state.phase {
        Phase::Enrolled => &[CheckBmc],
        Phase::Inspecting => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            Inspect,
        ],
        Phase::Cleaning if state.standby => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            Erase,
            // The agent stays, where it is alone with us.
            ConnectStandby,
        ],
        Phase::Cleaning => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            Erase,
            // The agent has done its work; its machine goes dark before it is offered.
            PowerDown,
            Park,
        ],
        // Begun at its end by a node that comes from cleaning; from the top only if its agent was
        // lost, is to be replaced, or was not wanted until now.
        Phase::Available if state.standby => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            ConnectStandby,
            Step::Standby,
        ],
        Phase::Available => &[PowerOff, Park, Rest],
        // Begun at `prove_agent` by a node whose agent idles: no POST.
        Phase::Deploying if by_power_cycle(spec, state) => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            ProveAgent,
            WriteImage,
            WriteConfigDrive,
            // Off while the port moves: neither our agent in the tenant's network, nor the
            // tenant's system in ours, however the machine is switched on next.
            PowerDown,
            ConnectTenant,
            PrepareDiskBoot,
            StartFromDisk,
            AwaitOs,
        ],
        Phase::Deploying => &[
            PowerOff,
            ConnectProvisioning,
            PrepareBoot,
            PowerOn,
            AwaitAgent,
            ProveAgent,
            WriteImage,
            WriteConfigDrive,
            LoadKernel,
            HandOver,
            ConnectTenant,
            AwaitOs,
        ],
        // Off before the port moves: a tenant's OS never sees another network than its own.
        Phase::Releasing => &[PowerOff, Park],
        Phase::Failed | Phase::Held | Phase::Retired => &[PowerOff, Park, Rest],
        Phase::Active => &[Rest],
    }
}

impl Phase {
    /// How often the whole script is started before the phase is given up.
    pub fn attempts(self) -> u32 {
        match self {
            Self::Inspecting | Self::Cleaning | Self::Available | Self::Deploying => 3,
            _ => 1,
        }
    }

    /// Where a node goes when the script is through.
    pub(super) fn after(self, spec: &NodeSpec) -> Phase {
        match self {
            Self::Enrolled => Self::Inspecting,
            Self::Inspecting | Self::Releasing => Self::Cleaning,
            Self::Cleaning | Self::Available if matches!(spec.goal, Goal::Deployed(_)) => {
                Self::Deploying
            }
            Self::Cleaning if matches!(spec.goal, Goal::Retired { .. }) => Self::Retired,
            Self::Cleaning => Self::Available,
            Self::Deploying => Self::Active,
            resting => resting,
        }
    }
}

/// What is known about a step beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepProfile {
    /// The longest it may take, in seconds.
    pub deadline: u32,
    /// What it usually takes, in seconds.
    pub expected: u32,
    /// How often it is tried by itself before the attempt is given up.
    pub tries: u32,
    /// Whether a failure that may pass starts the phase's next attempt from the top.
    pub restarts: bool,
    /// Firmware POSTs that it costs.
    pub posts: u32,
    /// Whether it destroys what is on the disks.
    pub irreversible: bool,
}

impl Step {
    /// What is known about this step, on the node's hardware and in this state's phase.
    pub fn profile(self, spec: &NodeSpec, state: &NodeState) -> StepProfile {
        let timing = &spec.timing;
        let base = StepProfile {
            deadline: timing.bmc_deadline,
            expected: 1,
            tries: 4,
            restarts: false,
            posts: 0,
            irreversible: false,
        };
        let agent = |deadline, expected| StepProfile {
            deadline,
            expected,
            tries: 1,
            restarts: true,
            ..base
        };
        match self {
            CheckBmc | ConnectProvisioning | ConnectStandby | Park | PrepareBoot
            | PrepareDiskBoot => base,
            // The image is written: a switch that is away for as long as the agent waits for its
            // port to move only delays the hand-over.
            ConnectTenant => StepProfile { tries: 8, ..base },
            Rest => StepProfile {
                deadline: 0,
                expected: 0,
                ..base
            },
            Step::Standby => agent(timing.standby_silence, 0),
            PowerOff | PowerDown => StepProfile {
                expected: 3,
                ..base
            },
            PowerOn | StartFromDisk => StepProfile {
                expected: 2,
                posts: 1,
                ..base
            },
            AwaitAgent => agent(timing.agent_boot_deadline, timing.expected_agent_boot),
            ProveAgent => agent(timing.prove_deadline, 1),
            Inspect => agent(timing.inspect_deadline, 3),
            Erase => StepProfile {
                irreversible: true,
                ..agent(timing.erase_deadline, 5)
            },
            WriteImage => StepProfile {
                irreversible: true,
                ..agent(timing.write_deadline, expected_write_seconds(spec))
            },
            WriteConfigDrive | LoadKernel => agent(timing.inspect_deadline, 2),
            HandOver => agent(timing.inspect_deadline, 1),
            AwaitOs if tries_kexec(spec, state) => {
                agent(timing.os_boot_deadline_kexec, timing.expected_os_boot)
            }
            AwaitOs if by_power_cycle(spec, state) => {
                // Firmware takes its time before the system does.
                let expected = timing
                    .expected_agent_boot
                    .saturating_add(timing.expected_os_boot);
                agent(timing.os_boot_deadline, expected)
            }
            AwaitOs => agent(timing.os_boot_deadline, timing.expected_os_boot),
        }
    }
}

fn expected_write_seconds(spec: &NodeSpec) -> u32 {
    let Goal::Deployed(deployment) = &spec.goal else {
        return 0;
    };
    let seconds = deployment
        .image_bytes
        .div_ceil(spec.timing.expected_write_rate.max(1));
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
