//! Nodes: registering, showing and switching them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::boot_method::{BootAbilities, BootMethod};
use bessemer_core::hardware::{DiskIdentity, Inventory, MachineIdentity};
use bessemer_core::id::{Generation, NodeId, ServerId};
use bessemer_core::lifecycle::{NodeState, Standby};
use bessemer_core::net::MacAddress;
use bessemer_core::root_disk::RootDiskHint;

pub use bessemer_core::lifecycle::PowerState;

use super::ports::{NodePort, PortGroup, PortGroupCreate};
use super::verbs::PowerSeen;
use crate::agent::Progress;

/// A request to register a machine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeCreate {
    /// Unique name; a DNS label: 1 to 63 letters, digits and dashes.
    pub name: String,
    /// Its management controller.
    pub bmc: BmcCreate,
    /// Its NICs: at least one. The first one boots the agent, unless another one says that it does.
    pub ports: Vec<NodePortCreate>,
    /// Which of them are bonded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_groups: Vec<PortGroupCreate>,
    /// The rack that it is in, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// How it is to boot the agent; if absent, chosen from what its management controller says
    /// that it can be made to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_method: Option<BootMethod>,
    /// Whether it waits for orders in the agent; as its flavor says unless given.
    #[serde(default)]
    pub standby: Standby,
    /// Which of its disks is the root disk; as its flavor says, or else by the rule (the smallest one
    /// that the image fits on, solid state before spinning), unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk_hint: Option<RootDiskHint>,
}

/// A change of a node (RFC 7396): what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeUpdate {
    /// The rack that it is in, by name or id; `null` for none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub rack: Option<Option<String>>,
    /// How it is to boot the agent from its next boot on; `null` chooses from what its management
    /// controller says that it can be made to do.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<BootMethod>)]
    pub boot_method: Option<Option<BootMethod>>,
    /// Whether it waits for orders in the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
    /// Which of its disks is the root disk, from the next order on; `null` leaves that to its flavor
    /// or the rule.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<RootDiskHint>)]
    pub root_disk_hint: Option<Option<RootDiskHint>>,
    /// How its management controller is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcUpdate>,
}

/// A change of how a management controller is reached; what is absent stays as it is.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcUpdate {
    /// Its URL. Needs the password again, which is not sent anywhere new unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Account name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password. Stored encrypted; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub password: Option<String>,
    /// How its certificate is judged. `insecure` needs the password again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<BmcTrust>,
    /// Its key K_g for IPMI; `null` for one without.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, write_only)]
    pub ipmi_key: Option<Option<IpmiKey>>,
}

impl std::fmt::Debug for BmcUpdate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BmcUpdate")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The key K_g of a management controller (IPMI 2.0, section 13.33): 2 to 40 hexadecimal digits, as
/// `ipmitool -y` takes them. Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct IpmiKey(pub String);

impl std::fmt::Debug for IpmiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IpmiKey(…)")
    }
}

/// A field that is there, `null` or not; absent ones take their default.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// How to reach a machine's management controller.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcCreate {
    /// Such as `https://10.0.0.7`; unique. `http://` needs `trust: insecure`.
    pub url: String,
    /// Account name.
    pub username: String,
    /// Password. Stored encrypted; never shown again.
    #[schema(write_only)]
    pub password: String,
    /// How its certificate is judged.
    #[serde(default)]
    pub trust: BmcTrust,
    /// Its key K_g for IPMI, if one is set there. Stored encrypted; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub ipmi_key: Option<IpmiKey>,
}

impl std::fmt::Debug for BmcCreate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BmcCreate")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// How a management controller's certificate is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BmcTrust {
    /// By the authorities that this host trusts.
    #[default]
    System,
    /// By the SHA-256 fingerprint of the certificate, in hexadecimal.
    Pinned(String),
    /// Not at all: whoever answers at the address gets the password.
    Insecure,
}

/// A NIC of a new node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePortCreate {
    /// Its MAC address; unique.
    pub mac: MacAddress,
    /// The switch it is cabled to, by its name; absent on a site without switch control.
    #[serde(default)]
    pub switch: Option<String>,
    /// The switch's port, by the switch's own name for it.
    #[serde(default)]
    pub switch_port: Option<String>,
    /// The physical network that its cable leads to, by the operator's name for it: networks that are
    /// part of one are put on ports that lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Whether the agent boots from it: one port's can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boots: bool,
}

impl NodePortCreate {
    /// A NIC of which nothing else is known.
    pub fn bare(mac: MacAddress) -> Self {
        Self {
            mac,
            switch: None,
            switch_port: None,
            physical_network: None,
            boots: false,
        }
    }
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The name of the rack that it is in.
    #[serde(default)]
    pub rack: Option<String>,
    /// Where it is, in the words that the field knows: `available`, `wait call-back`, ….
    pub provision_state: String,
    /// Where it is, exactly, and why.
    pub state: NodeState,
    /// The newest generation of its spec.
    pub generation: Generation,
    /// Whether its machine is switched on.
    #[serde(default)]
    pub power: NodePower,
    /// What its agent is doing, while there is one at work.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Its management controller.
    pub bmc: Bmc,
    /// Its NICs.
    pub ports: Vec<NodePort>,
    /// Which of them are bonded.
    #[serde(default)]
    pub port_groups: Vec<PortGroup>,
    /// Whether it waits for orders in the agent, as set for this one node.
    #[serde(default)]
    pub standby: Standby,
    /// Which machine it is, once its management controller has told.
    #[serde(default)]
    pub identity: Option<MachineIdentity>,
    /// What it is made of, once inspected.
    #[serde(default)]
    pub inventory: Option<Inventory>,
    /// Whose server it is.
    #[serde(default)]
    pub server: Option<ServerId>,
    /// How it is to boot the agent, if an operator decided that.
    #[serde(default)]
    pub boot_method: Option<BootMethod>,
    /// What it can be made to boot from, once its management controller has told.
    #[serde(default)]
    pub boot_abilities: Option<BootAbilities>,
    /// Which of its disks is the root disk, as an operator has said for this one node.
    #[serde(default)]
    pub root_disk_hint: Option<RootDiskHint>,
    /// The disk that its operating system is on, or that the next one would go to; where flavors
    /// differ in that, one entry each. Filled in when one node is shown, once it is inspected.
    #[serde(default)]
    pub root_disk: Vec<RootDisk>,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// The disk of a node that carries the operating system, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootDisk {
    /// What decides.
    pub decided_by: RootDiskDecision,
    /// The flavor whose hint decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// The disk; absent if it cannot be told.
    #[serde(default)]
    pub disk: Option<DiskIdentity>,
    /// Why it cannot be told: no order that needs it gets this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What decides which disk is the root disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RootDiskDecision {
    /// It was fixed with the order: a server is on it.
    Order,
    /// The node's hint.
    Node,
    /// The hint of a flavor that the node's hardware matches.
    Flavor,
    /// The smallest disk that the image fits on, solid state before spinning.
    Rule,
}

/// A state that a node was in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeHistoryEntry {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The state.
    pub state: NodeState,
}

/// A management controller, without its password.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Bmc {
    /// Where it is.
    pub url: String,
    /// Account name.
    pub username: String,
    /// How its certificate is judged.
    pub trust: BmcTrust,
    /// Whether a key K_g for IPMI is stored.
    #[serde(default)]
    pub has_ipmi_key: bool,
    /// Since when it has not answered looks at the power state, if it has not several times in a row.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unreachable_since: Option<Timestamp>,
}

/// A request to switch a resting node on or off, or what its power is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    /// What it is to be.
    pub power: PowerState,
}

/// Whether a node's machine is switched on, as was seen last: when something of ours switched it, or
/// by a look at it every `bmc.power_check` seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePower {
    /// `on`, `off`, or `unknown`: not seen yet, left unclear by something that went wrong, or not to
    /// be seen because the management controller does not answer.
    pub state: PowerSeen,
    /// Since when that is known.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}
