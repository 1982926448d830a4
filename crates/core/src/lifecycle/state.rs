//! Where a node is: its phase, the step within it, and what it waits for until when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{BootId, Generation, NodeId, ServerId};
use crate::reason::Reason;

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// Every one of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is stored and shown.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// The phases of a node's life.
    Phase {
        /// Registered; its BMC is being checked.
        Enrolled = "enrolled",
        /// The agent finds out what the machine is made of.
        Inspecting = "inspecting",
        /// The agent erases every disk.
        Cleaning = "cleaning",
        /// Erased, and off and parked or idling in the agent: can be rented.
        Available = "available",
        /// Becoming somebody's server.
        Deploying = "deploying",
        /// Somebody's server; its OS said that it is up.
        Active = "active",
        /// Being taken back: off, off the tenant's networks. Erasing comes next.
        Releasing = "releasing",
        /// Something did not work out; the reason says what. Off and parked.
        Failed = "failed",
        /// An operator keeps it out of everything. Off and parked.
        Held = "held",
        /// Out of use for good: erased, off and parked.
        Retired = "retired",
    }
}

named! {
    /// The steps that phases are made of.
    Step {
        /// Log in to the BMC and read which machine it manages.
        CheckBmc = "check_bmc",
        /// Switch off and see it off.
        PowerOff = "power_off",
        /// Put the switch ports on the provisioning network.
        ConnectProvisioning = "connect_provisioning",
        /// Lease an address to one boot of the agent; boot from the network once.
        PrepareBoot = "prepare_boot",
        /// Switch on and see it on.
        PowerOn = "power_on",
        /// Wait for the agent of this boot to call.
        AwaitAgent = "await_agent",
        /// Let the agent prove that it is alive, and on this machine, before it is relied on.
        ProveAgent = "prove_agent",
        /// Let the agent find out what the machine is made of.
        Inspect = "inspect",
        /// Let the agent erase every disk.
        Erase = "erase",
        /// Let the agent write the image.
        WriteImage = "write_image",
        /// Let the agent write the config drive.
        WriteConfigDrive = "write_config_drive",
        /// Let the agent load the kernel of the image.
        LoadKernel = "load_kernel",
        /// Arm the agent to start that kernel when its network is gone.
        HandOver = "hand_over",
        /// Put the switch ports on the tenant's networks.
        ConnectTenant = "connect_tenant",
        /// Tell the BMC to boot from the disk once.
        PrepareDiskBoot = "prepare_disk_boot",
        /// Switch on to start the tenant's OS from its disk, and see it on.
        StartFromDisk = "start_from_disk",
        /// Wait for the tenant's OS to say that it is up.
        AwaitOs = "await_os",
        /// Switch off once the agent has done its work, and see it off.
        PowerDown = "power_down",
        /// Put the switch ports where an agent reaches the conductor and nobody else.
        ConnectStandby = "connect_standby",
        /// Wait in the agent for an order.
        Standby = "standby",
        /// Put the switch ports on the VLAN that exists nowhere.
        Park = "park",
        /// Nothing to do.
        Rest = "rest",
    }
}

/// Whose data is on the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cleanliness {
    /// Nobody knows: treated as dirty.
    Unknown,
    /// Erased by us, read back, and nothing written since.
    Clean,
    /// Written to for a tenant since it was last erased.
    Dirty,
}

/// Where a node is. Only the conductor changes it (invariant 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeState {
    /// The phase.
    pub phase: Phase,
    /// The step within the phase.
    pub step: Step,
    /// The generation of the spec that this phase serves.
    pub generation: Generation,
    /// How many times this phase has been started for this generation, from 1.
    pub attempt: u32,
    /// How many times this step has been tried in this attempt, from 1.
    pub tries: u32,
    /// Agent boots so far: the number of the latest [`BootId`].
    pub boots: u64,
    /// Firmware POSTs asked for so far: agent boots, and starts from the disk.
    #[serde(default)]
    pub posts: u64,
    /// Whether this phase ends, or stays, in the agent rather than powered off.
    #[serde(default)]
    pub standby: bool,
    /// Whether this phase has given its first way up for its second: a power cycle for `kexec`
    /// while deploying, powered off for idling in the agent while available.
    #[serde(default)]
    pub fallback: bool,
    /// When this phase began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When this step began.
    #[schema(value_type = String, format = DateTime)]
    pub step_since: Timestamp,
    /// When the present wait is given up. Every wait has one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// When the step is tried again after it failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<Timestamp>,
    /// Whose data is on the disks.
    pub cleanliness: Cleanliness,
    /// The server whose data may be on the disks, since they were erased last. While they are
    /// dirty, they are written for no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_for: Option<ServerId>,
    /// Where it came from, while failed or held.
    pub came_from: Option<Phase>,
    /// Why it is here and what comes next.
    pub reason: Reason,
}

impl NodeState {
    /// The same with no step that begins after `now`: a clock that was ahead has been set back since.
    /// The step begins now then, and what it waits for moves with it, or it would wait for as long as
    /// the clock was wrong.
    #[must_use]
    pub fn begun_by(&self, now: Timestamp) -> Self {
        let mut state = self.clone();
        let ahead = self.step_since.duration_since(now);
        if ahead.is_positive() {
            let earlier = |at: Timestamp| at.checked_sub(ahead).unwrap_or(now);
            state.step_since = now;
            state.since = state.since.min(now);
            state.deadline = state.deadline.map(earlier);
            state.retry_at = state.retry_at.map(earlier);
            state.reason.at = state.reason.at.map(earlier);
        }
        state
    }

    /// The state of a node that has just been registered.
    pub fn enrolled(generation: Generation, now: Timestamp) -> Self {
        Self {
            phase: Phase::Enrolled,
            step: Step::CheckBmc,
            generation,
            attempt: 0,
            tries: 1,
            boots: 0,
            posts: 0,
            standby: false,
            fallback: false,
            since: now,
            step_since: now,
            deadline: None,
            retry_at: None,
            cleanliness: Cleanliness::Unknown,
            written_for: None,
            came_from: None,
            reason: Reason::new("registered"),
        }
    }

    /// The boot whose agent this state talks to.
    pub fn boot(&self, node: NodeId) -> BootId {
        BootId::of(node, self.boots)
    }

    /// Whether what is on the disk may run: a tenant's system, from when the machine is started with
    /// it. Of all other nodes that is not known.
    pub fn runs_its_disk(&self) -> bool {
        match self.phase {
            Phase::Active => true,
            // A system may also start its machine anew before it says that it is up.
            Phase::Deploying => matches!(self.step, Step::StartFromDisk | Step::AwaitOs),
            _ => false,
        }
    }

    /// The provision state that people are shown: Ironic's words, which every tool in the field
    /// knows.
    pub fn provision_state(&self) -> &'static str {
        let place = Place {
            phase: self.phase,
            step: self.step,
            came_from: self.came_from,
        };
        place.provision_state()
    }

    /// Whether nothing is going to happen by itself.
    pub fn at_rest(&self) -> bool {
        self.step == Step::Rest
    }

    /// Whether it has got to where it stays: at rest, or waiting in the agent for an order.
    pub fn settled(&self) -> bool {
        matches!(self.step, Step::Rest | Step::Standby)
    }
}

/// The part of a [`NodeState`] that its provision state is made of; reads as one, too.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Place {
    /// The phase.
    pub phase: Phase,
    /// The step within the phase.
    pub step: Step,
    /// Where it came from, while failed or held.
    pub came_from: Option<Phase>,
}

impl Place {
    /// [`NodeState::provision_state`].
    pub fn provision_state(self) -> &'static str {
        let waits = matches!(self.step, Step::AwaitAgent | Step::AwaitOs);
        match (self.phase, self.came_from) {
            (Phase::Enrolled, _) => "verifying",
            (Phase::Inspecting, _) if waits => "inspect wait",
            (Phase::Inspecting, _) => "inspecting",
            (Phase::Cleaning, _) if waits => "clean wait",
            (Phase::Cleaning, _) => "cleaning",
            (Phase::Available, _) => "available",
            (Phase::Deploying, _) if waits => "wait call-back",
            (Phase::Deploying, _) => "deploying",
            (Phase::Active, _) => "active",
            (Phase::Releasing, _) => "deleting",
            (Phase::Held, _) => "held",
            (Phase::Retired, _) => "retired",
            (Phase::Failed, Some(Phase::Enrolled)) => "enroll",
            (Phase::Failed, Some(Phase::Inspecting)) => "inspect failed",
            (Phase::Failed, Some(Phase::Cleaning)) => "clean failed",
            (Phase::Failed, Some(Phase::Deploying)) => "deploy failed",
            (Phase::Failed, _) => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fast_clock_has_left_begins_now() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let begun = NodeState {
            since: at(9_000),
            step_since: at(10_000),
            deadline: Some(at(10_300)),
            retry_at: Some(at(10_030)),
            ..NodeState::enrolled(Generation::default(), at(9_000))
        };
        let right = begun.begun_by(at(1_000));
        assert_eq!((right.since, right.step_since), (at(1_000), at(1_000)));
        assert_eq!(right.deadline, Some(at(1_300)));
        assert_eq!(right.retry_at, Some(at(1_030)));
        assert_eq!(
            begun.begun_by(at(10_001)),
            begun,
            "nothing is wrong with it"
        );
    }

    #[test]
    fn only_what_was_written_for_a_tenant_and_started_once_runs_from_the_disk() {
        let start = NodeState::enrolled(Generation::default(), Timestamp::UNIX_EPOCH);
        let steps = |phase| {
            let runs = |step: &&Step| {
                let (step, state) = (**step, start.clone());
                NodeState {
                    phase,
                    step,
                    ..state
                }
                .runs_its_disk()
            };
            Step::ALL.iter().filter(runs).count()
        };
        for phase in Phase::ALL {
            let expected = match phase {
                Phase::Active => Step::ALL.len(),
                Phase::Deploying => 2,
                _ => 0,
            };
            assert_eq!(steps(*phase), expected, "{phase:?}");
        }
    }

    /// Phases and steps are stored and sent: their names are a promise (invariant 7).
    #[test]
    fn stored_names_are_pinned() {
        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.name()).collect();
        assert_eq!(
            phases.join(" "),
            "enrolled inspecting cleaning available deploying active releasing failed held retired"
        );
        let steps: Vec<_> = Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(
            steps.join(" "),
            "check_bmc power_off connect_provisioning prepare_boot power_on await_agent \
             prove_agent inspect erase write_image write_config_drive load_kernel hand_over \
             connect_tenant prepare_disk_boot start_from_disk await_os power_down \
             connect_standby standby park rest"
        );
        for phase in Phase::ALL {
            let text = serde_json::to_string(phase).unwrap();
            assert_eq!(text, format!("\"{}\"", phase.name()));
            assert_eq!(serde_json::from_str::<Phase>(&text).unwrap(), *phase);
        }
        for step in Step::ALL {
            let text = serde_json::to_string(step).unwrap();
            assert_eq!(text, format!("\"{}\"", step.name()));
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), *step);
        }
    }
}
