//! What is wanted of a node. The API writes it; only the conductor acts on it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::hardware::{DiskIdentity, Inventory, MachineIdentity};
use crate::id::{Generation, ImageId, NodeId, ServerId};

/// What is wanted of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Which node.
    pub node: NodeId,
    /// Raised by every change of the goal.
    pub generation: Generation,
    /// What it is to be.
    pub goal: Goal,
    /// The machine it must be, once its BMC has told.
    pub identity: Option<MachineIdentity>,
    /// Whether its switch ports are ours to move.
    pub port_control: PortControl,
    /// Whether it waits for an order in the agent (0 POSTs) rather than powered off (1 POST).
    pub standby: bool,
    /// How long things may and usually do take on this hardware.
    pub timing: Timing,
    /// Why an operator has what this node is doing stopped, if this generation is for that. A node
    /// that works then fails, with this as its reason; one at rest is not moved by it.
    pub abort: Option<String>,
}

/// What a node is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum Goal {
    /// For rent: inspected, erased, and off or idling in the agent.
    Available,
    /// This server.
    Deployed(Deployment),
    /// Kept out of everything, until it is wanted available again.
    Held {
        /// Why, in an operator's words. Empty on nodes held before reasons were asked for.
        #[serde(default)]
        reason: String,
    },
    /// Taken out of use for good: erased, off, parked.
    Retired {
        /// Why, in an operator's words.
        reason: String,
    },
}

/// The server that a node is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Which server.
    pub server: ServerId,
    /// Which image.
    pub image: ImageId,
    /// Bytes of the image that are not zero: how much there is to write.
    pub image_bytes: u64,
    /// The disk that it goes to, chosen with the order; a rebuild stays on it, whatever size its
    /// image is. Absent from orders of before it was written down: the image's size decides then.
    #[serde(
        default,
        deserialize_with = "disk_or_its_name",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<DiskIdentity>)]
    pub root_disk: Option<DiskIdentity>,
    /// How its operating system is started.
    #[serde(default)]
    pub hand_over: HandOver,
}

/// Reads a disk's identity, or the kernel name that rebuilds used to store.
fn disk_or_its_name<'de, D>(deserializer: D) -> Result<Option<DiskIdentity>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Identity(DiskIdentity),
        Name(String),
    }
    let stored = Option::<Stored>::deserialize(deserializer)?;
    Ok(stored.map(|stored| match stored {
        Stored::Identity(identity) => identity,
        Stored::Name(name) => DiskIdentity {
            name,
            serial: String::new(),
            size_bytes: 0,
            wwn: None,
        },
    }))
}

/// How a tenant's operating system is started once it is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandOver {
    /// The agent starts its kernel: no POST. If it does not come up, the deployment starts again.
    Kexec,
    /// The machine is switched off and on again from its disk: one POST.
    PowerCycle,
    /// By `kexec`; by a power cycle if that is known not to work, or does not in time.
    #[default]
    TryKexec,
}

impl HandOver {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Kexec, Self::PowerCycle, Self::TryKexec];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kexec => "kexec",
            Self::PowerCycle => "power_cycle",
            Self::TryKexec => "try_kexec",
        }
    }
}

/// Whether a node waits for orders in the agent, as an operator has set it for this one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standby {
    /// Always.
    Always,
    /// Never.
    Never,
    /// If its hardware is that of a flavor whose nodes do.
    #[default]
    ByFlavor,
}

impl Standby {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Always, Self::Never, Self::ByFlavor];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::ByFlavor => "by_flavor",
        }
    }
}

/// Whether a site's switch ports are ours to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortControl {
    /// A driver applies port plans and reads them back.
    Switched,
    /// Nothing moves: one network for everything. Tenant and conductor share it.
    Flat,
}

/// How long things may take, and usually do, on a node's hardware. All in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// The longest a request to BMC or switch may take until its effect is verified.
    pub bmc_deadline: u32,
    /// The longest from power-on to the agent's call.
    pub agent_boot_deadline: u32,
    /// An agent at work that is silent for longer is taken for gone.
    pub agent_silence: u32,
    /// An idle agent that is silent for longer is taken for gone. At least 300: idle agents call
    /// only every few minutes.
    pub standby_silence: u32,
    /// The longest that an agent may take to prove that it is alive before an order relies on it.
    pub prove_deadline: u32,
    /// The longest that inspection may take; also config drive, kernel and arming.
    pub inspect_deadline: u32,
    /// The longest that erasing every disk may take, beside the time to write the largest one once
    /// (80 MiB/s spinning, 200 MiB/s otherwise).
    pub erase_deadline: u32,
    /// The longest that writing an image may take.
    pub write_deadline: u32,
    /// The longest from hand-over to the OS saying that it is up.
    pub os_boot_deadline: u32,
    /// The same after a `kexec` for which a power cycle stands in if it does not work.
    pub os_boot_deadline_kexec: u32,
    /// The pause before the first retry; it doubles each time, up to a minute.
    pub retry_pause: u32,
    /// Usual time from power-on to the agent's call; for plans, and for what is called late.
    pub expected_agent_boot: u32,
    /// Usual time from hand-over to the OS saying that it is up; for plans, and for what is
    /// called late.
    pub expected_os_boot: u32,
    /// Usual rate of writing an image, in bytes per second; for plans only.
    pub expected_write_rate: u64,
}

impl Timing {
    /// These times on a machine: disks, which are erased at the same time, may be written as a
    /// whole, at rates that any good one reaches.
    pub fn on(&self, machine: &Inventory) -> Self {
        const SPINNING: u64 = 80 << 20;
        const SOLID_STATE: u64 = 200 << 20;
        let seconds = machine.disks.iter().map(|disk| {
            let rate = if disk.rotational {
                SPINNING
            } else {
                SOLID_STATE
            };
            disk.size_bytes / rate
        });
        let slowest = u32::try_from(seconds.max().unwrap_or(0)).unwrap_or(u32::MAX);
        Self {
            erase_deadline: self.erase_deadline.saturating_add(slowest),
            ..self.clone()
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            bmc_deadline: 180,
            agent_boot_deadline: 1200,
            agent_silence: 90,
            standby_silence: 360,
            prove_deadline: 20,
            inspect_deadline: 300,
            erase_deadline: 14_400,
            write_deadline: 3600,
            os_boot_deadline: 1800,
            os_boot_deadline_kexec: 600,
            retry_pause: 5,
            expected_agent_boot: 240,
            expected_os_boot: 60,
            expected_write_rate: 500 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Cpu, Disk, FirmwareMode, Transport};

    /// Both are stored and sent: their names are a promise (invariant 7).
    #[test]
    fn stored_names_are_pinned() {
        let names: Vec<_> = HandOver::ALL.iter().map(|each| each.name()).collect();
        assert_eq!(names.join(" "), "kexec power_cycle try_kexec");
        for each in HandOver::ALL {
            let text = format!("\"{}\"", each.name());
            assert_eq!(serde_json::to_string(each).unwrap(), text);
            assert_eq!(serde_json::from_str::<HandOver>(&text).unwrap(), *each);
        }
        let names: Vec<_> = Standby::ALL.iter().map(|each| each.name()).collect();
        assert_eq!(names.join(" "), "always never by_flavor");
        for each in Standby::ALL {
            let text = format!("\"{}\"", each.name());
            assert_eq!(serde_json::to_string(each).unwrap(), text);
            assert_eq!(serde_json::from_str::<Standby>(&text).unwrap(), *each);
        }
    }

    #[test]
    fn an_order_of_an_earlier_version_tries_kexec() {
        let text = r#"{"goal":"deployed","server":"00000000-0000-0000-0000-000000000009",
            "image":"00000000-0000-0000-0000-000000000008","image_bytes":7}"#;
        let Goal::Deployed(deployment) = serde_json::from_str(text).unwrap() else {
            panic!("it is an order");
        };
        assert_eq!(deployment.hand_over, HandOver::TryKexec);
        assert_eq!(deployment.root_disk, None);
    }

    #[test]
    fn a_root_disk_is_stored_by_its_identity_and_was_by_its_name() {
        let deployment = |root_disk: &str| {
            let text = format!(
                r#"{{"server":"00000000-0000-0000-0000-000000000009","image":"00000000-0000-0000-0000-000000000008","image_bytes":7,"root_disk":{root_disk},"hand_over":"kexec"}}"#
            );
            let read: Deployment = serde_json::from_str(&text).unwrap();
            (read, text)
        };
        let disk = Disk {
            serial: "D".into(),
            ..disk(512, false)
        };
        let (read, text) = deployment(r#"{"name":"sda","serial":"D","size_bytes":512,"wwn":null}"#);
        assert_eq!(read.root_disk, Some(disk.identity()));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let (old, _) = deployment(r#""sda""#);
        assert!(old.root_disk.unwrap().is(&disk), "there is only the name");
    }

    fn disk(size_bytes: u64, rotational: bool) -> Disk {
        Disk {
            name: "sda".into(),
            size_bytes,
            model: String::new(),
            serial: String::new(),
            wwn: None,
            rotational,
            transport: Transport::Sata,
        }
    }

    #[test]
    fn the_slowest_disk_may_be_written_once() {
        let mut machine = Inventory {
            identity: MachineIdentity {
                serial: "S".into(),
                uuid: None,
            },
            manufacturer: String::new(),
            product: String::new(),
            firmware_version: String::new(),
            firmware_mode: FirmwareMode::Uefi,
            cpu: Cpu {
                model: String::new(),
                architecture: "x86_64".into(),
                sockets: 1,
                cores: 1,
                threads: 1,
            },
            memory_mib: 1024,
            disks: vec![disk(1 << 40, false), disk(1 << 40, true)],
            nics: vec![],
        };
        let timing = Timing::default();
        let hours = |machine: &Inventory| timing.on(machine).erase_deadline / 3600;
        assert_eq!(hours(&machine), 4 + 3);
        machine.disks.push(disk(u64::MAX, true));
        assert_eq!(timing.on(&machine).erase_deadline, u32::MAX);
        machine.disks.clear();
        assert_eq!(timing.on(&machine), timing);
    }
}
