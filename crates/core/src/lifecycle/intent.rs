//! What is to be done to a machine: committed before it is carried out, under a deterministic key,
//! and safe to carry out twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::{NodeState, Step};
use crate::id::{BootId, Generation, ImageId, ServerId};
use crate::reason::Failure;

/// Names one intent of a node for good: generation, phase, attempt, step and try. The same state
/// always gives the same key, so an intent that was committed before a crash is found again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct IntentKey(pub String);

impl IntentKey {
    /// The key of `step` in this state.
    pub fn of(state: &NodeState, step: Step) -> Self {
        Self(format!(
            "{}.{}.{}.{}.{}",
            state.generation,
            state.phase.name(),
            state.attempt,
            step.name(),
            state.tries
        ))
    }
}

impl std::fmt::Display for IntentKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Something to be done to a node, once it is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Intent {
    /// Its name. One of the same name may have ended before, if a phase comes by the same step twice.
    pub key: IntentKey,
    /// The spec generation it serves; an agent refuses one older than it has seen.
    pub generation: Generation,
    /// What to do.
    pub action: Action,
}

/// What an intent does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Log in to the BMC and read which machine it manages.
    CheckBmc,
    /// Switch the machine off and see it off.
    PowerOff,
    /// Switch the machine on and see it on.
    PowerOn,
    /// Ask the operating system to shut down, and see the machine off.
    ShutDown {
        /// The longest that it may take, in seconds.
        seconds: u32,
    },
    /// Switch the machine off and on again, to start what is on its disk. After a crash of ours it
    /// may be done twice.
    Restart {
        /// How long the operating system may take to shut down, in seconds. 0: it is not asked.
        shut_down_seconds: u32,
    },
    /// Let this one boot, and no other, load the agent: lease an address for it and tell the BMC
    /// to boot from the network once.
    PrepareBoot {
        /// The boot.
        boot: BootId,
    },
    /// Let the next boot, and only that, be from the disk.
    PrepareDiskBoot,
    /// Put the node's switch ports where they must be and read them back.
    ConnectPorts {
        /// What the ports are to carry.
        role: PortRole,
    },
    /// Agent: answer a question of this moment, on the machine that is meant.
    ProveAgent,
    /// Agent: find out what the machine is made of.
    Inspect,
    /// Agent: erase every disk and read back that it is erased.
    Erase,
    /// Agent: write the image to the root disk.
    WriteImage {
        /// The image.
        image: ImageId,
        /// The server it becomes.
        server: ServerId,
    },
    /// Agent: write the config drive of the server.
    WriteConfigDrive {
        /// The server.
        server: ServerId,
    },
    /// Agent: load the kernel of the written image for `kexec`, without starting it.
    LoadKernel,
    /// Agent: start the loaded kernel once the conductor cannot be reached any more (or at once,
    /// on a site without switch control). Done means that the agent has armed itself.
    HandOver {
        /// What tells the agent to go.
        leave: Leave,
    },
}

/// Whether a machine is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// On.
    On,
    /// Off.
    Off,
}

impl PowerState {
    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::On, Self::Off]
            .into_iter()
            .find(|each| each.name() == name)
    }
}

/// What tells an agent that its machine has left the provisioning network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Leave {
    /// The conductor's address no longer answers at layer 2: the switch port has moved.
    WhenUnreachable,
    /// At once: the site has no switch control, and the port does not move.
    AtOnce,
}

/// Who carries an intent out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// The conductor, through BMC and switch.
    Conductor,
    /// The agent on the machine.
    Agent,
}

impl Action {
    /// Who carries this out.
    pub fn executor(&self) -> Executor {
        match self {
            Self::CheckBmc
            | Self::PowerOff
            | Self::PowerOn
            | Self::ShutDown { .. }
            | Self::Restart { .. }
            | Self::PrepareBoot { .. }
            | Self::PrepareDiskBoot
            | Self::ConnectPorts { .. } => Executor::Conductor,
            Self::ProveAgent
            | Self::Inspect
            | Self::Erase
            | Self::WriteImage { .. }
            | Self::WriteConfigDrive { .. }
            | Self::LoadKernel
            | Self::HandOver { .. } => Executor::Agent,
        }
    }

    /// The power state that this leaves the machine in once it is carried out; `None` if it does not
    /// touch that.
    pub fn leaves_power(&self) -> Option<PowerState> {
        match self {
            Self::PowerOn | Self::Restart { .. } => Some(PowerState::On),
            Self::PowerOff | Self::ShutDown { .. } => Some(PowerState::Off),
            _ => None,
        }
    }

    /// Whether carrying this out takes the medium out from which the machine has booted the agent: no later
    /// boot, and no tenant, may find it there.
    pub fn ejects_medium(&self) -> bool {
        let tenant = PortRole::Tenant;
        matches!(self, Self::PowerOff) || *self == Self::ConnectPorts { role: tenant }
    }
}

/// What a node's switch ports carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortRole {
    /// A VLAN that exists nowhere. The default for anything unknown.
    Parked,
    /// Where an idle agent reaches the conductor, and neither another machine nor a tenant.
    Standby,
    /// The network on which the agent meets the conductor.
    Provisioning,
    /// The same, for an agent that erases what a tenant has left.
    Cleaning,
    /// Where an agent mends a tenant's server.
    Rescue,
    /// The networks of the tenant's server.
    Tenant,
}

impl PortRole {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[
        Self::Parked,
        Self::Standby,
        Self::Provisioning,
        Self::Cleaning,
        Self::Rescue,
        Self::Tenant,
    ];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Standby => "standby",
            Self::Provisioning => "provisioning",
            Self::Cleaning => "cleaning",
            Self::Rescue => "rescue",
            Self::Tenant => "tenant",
        }
    }
}

/// How far an intent has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Committed, not known to be carried out.
    Pending,
    /// Carried out and verified.
    Done,
    /// Tried, and failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Not tried, because its management controller is left alone for a while; then it is. Does not
    /// count as a try.
    Deferred {
        /// When it is tried.
        until: Timestamp,
        /// Why not now.
        failure: Failure,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Actions are stored in the database: their names are a promise (invariant 7).
    #[test]
    fn stored_names_are_pinned() {
        let pinned = [
            (Action::CheckBmc, r#"{"action":"check_bmc"}"#),
            (Action::PowerOff, r#"{"action":"power_off"}"#),
            (Action::PowerOn, r#"{"action":"power_on"}"#),
            (
                Action::ShutDown { seconds: 120 },
                r#"{"action":"shut_down","seconds":120}"#,
            ),
            (
                Action::Restart {
                    shut_down_seconds: 0,
                },
                r#"{"action":"restart","shut_down_seconds":0}"#,
            ),
            (Action::PrepareDiskBoot, r#"{"action":"prepare_disk_boot"}"#),
            (
                Action::ConnectPorts {
                    role: PortRole::Standby,
                },
                r#"{"action":"connect_ports","role":"standby"}"#,
            ),
            (Action::ProveAgent, r#"{"action":"prove_agent"}"#),
            (Action::Inspect, r#"{"action":"inspect"}"#),
            (Action::Erase, r#"{"action":"erase"}"#),
            (Action::LoadKernel, r#"{"action":"load_kernel"}"#),
            (
                Action::ConnectPorts {
                    role: PortRole::Parked,
                },
                r#"{"action":"connect_ports","role":"parked"}"#,
            ),
            (
                Action::HandOver {
                    leave: Leave::WhenUnreachable,
                },
                r#"{"action":"hand_over","leave":"when_unreachable"}"#,
            ),
        ];
        for role in PortRole::ALL {
            let text = format!("\"{}\"", role.name());
            assert_eq!(serde_json::to_string(role).unwrap(), text);
            assert_eq!(serde_json::from_str::<PortRole>(&text).unwrap(), *role);
        }
        let names: Vec<_> = PortRole::ALL.iter().map(|role| role.name()).collect();
        assert_eq!(
            names.join(" "),
            "parked standby provisioning cleaning rescue tenant"
        );
        for (power, name) in [(PowerState::On, "on"), (PowerState::Off, "off")] {
            assert_eq!(power.name(), name);
            assert_eq!(PowerState::named(name), Some(power));
            let text = format!("\"{name}\"");
            assert_eq!(serde_json::to_string(&power).unwrap(), text);
            assert_eq!(serde_json::from_str::<PowerState>(&text).unwrap(), power);
        }
        for (action, text) in pinned {
            assert_eq!(serde_json::to_string(&action).unwrap(), text);
            assert_eq!(serde_json::from_str::<Action>(text).unwrap(), action);
        }
    }
}
