//! What each phase consists of: its steps in order, and what is known about each step beforehand.

use super::spec::{Goal, NodeSpec};
use super::state::{Phase, Step};

use Step::{
    AwaitAgent, AwaitOs, CheckBmc, ConnectProvisioning, ConnectTenant, Erase, HandOver, Inspect,
    LoadKernel, Park, PowerDown, PowerOff, PowerOn, PrepareBoot, Rest, WriteConfigDrive,
    WriteImage,
};

impl Phase {
    /// The steps of this phase, in order. A phase whose only step is `rest` stays until the spec
    /// changes.
    pub fn script(self) -> &'static [Step] {
        match self {
            Self::Enrolled => &[CheckBmc],
            Self::Inspecting => &[
                PowerOff,
                ConnectProvisioning,
                PrepareBoot,
                PowerOn,
                AwaitAgent,
                Inspect,
            ],
            Self::Cleaning => &[
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
            Self::Deploying => &[
                PowerOff,
                ConnectProvisioning,
                PrepareBoot,
                PowerOn,
                AwaitAgent,
                WriteImage,
                WriteConfigDrive,
                LoadKernel,
                HandOver,
                ConnectTenant,
                AwaitOs,
            ],
            // Off before the port moves: a tenant's OS never sees another network than its own.
            Self::Releasing => &[PowerOff, Park],
            Self::Failed | Self::Held | Self::Retired => &[PowerOff, Park, Rest],
            Self::Available | Self::Active => &[Rest],
        }
    }

    /// How often the whole script is started before the phase is given up.
    pub fn attempts(self) -> u32 {
        match self {
            Self::Inspecting | Self::Cleaning | Self::Deploying => 3,
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
    /// What is known about this step on the node's hardware.
    pub fn profile(self, spec: &NodeSpec) -> StepProfile {
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
            CheckBmc | ConnectProvisioning | ConnectTenant | Park | PrepareBoot => base,
            Rest => StepProfile {
                deadline: 0,
                expected: 0,
                ..base
            },
            PowerOff | PowerDown => StepProfile {
                expected: 3,
                ..base
            },
            PowerOn => StepProfile {
                expected: 2,
                posts: 1,
                ..base
            },
            AwaitAgent => agent(timing.agent_boot_deadline, timing.expected_agent_boot),
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
