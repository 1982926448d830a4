//! What tenants order, and what it is ordered from: servers, flavors, keys. Networks have a
//! file of their own.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::DiskIdentity;
use bessemer_core::id::{
    FlavorId, ImageId, KeyPairId, NetworkId, NodeId, ProjectId, ServerId, SubnetId,
};
use bessemer_core::lifecycle::HandOver;
use bessemer_core::plan::Plan;
use bessemer_core::port_plan::AttachmentMode;
use bessemer_core::reason::Reason;
use bessemer_core::root_disk::RootDiskHint;

use crate::agent::Progress;

/// A request for a new flavor: its hardware, or a node that has it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlavorCreate {
    /// Unique name, 1 to 63 characters.
    pub name: String,
    /// What a machine must be made of.
    #[serde(default)]
    pub hardware: Option<FlavorHardware>,
    /// Instead of `hardware`: the name or id of an inspected node; the flavor is what it has.
    #[serde(default)]
    pub from_node: Option<String>,
    /// Whether available nodes with this hardware wait for orders in the agent (no POST from order
    /// to login) rather than powered off.
    #[serde(default)]
    pub standby: bool,
    /// How the operating systems of its servers are started: `try_kexec` unless given.
    #[serde(default)]
    pub hand_over: HandOver,
    /// Which disk of its nodes is the root disk, unless they have a hint of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk_hint: Option<RootDiskHint>,
}

/// A flavor.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Flavor {
    /// Its id.
    pub id: FlavorId,
    /// Its name.
    pub name: String,
    /// What a machine must be made of.
    pub hardware: FlavorHardware,
    /// Whether available nodes with this hardware wait for orders in the agent.
    #[serde(default)]
    pub standby: bool,
    /// How the operating systems of its servers are started.
    #[serde(default)]
    pub hand_over: HandOver,
    /// Which disk of its nodes is the root disk, unless they have a hint of their own.
    #[serde(default)]
    pub root_disk_hint: Option<RootDiskHint>,
    /// How many nodes of it are available now.
    pub available: u32,
}

/// What became of `kexec` of one kernel on one model of machine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KexecOutcome {
    /// Maker and product, as SMBIOS tells.
    pub model: String,
    /// Release of the kernel.
    pub kernel: String,
    /// How often the system came up.
    pub worked: u64,
    /// How often it did not.
    pub failed: u64,
    /// Whether it did the last time. If not, `try_kexec` means a power cycle at once.
    pub last_worked: bool,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

/// A request to add an SSH public key to the project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPairCreate {
    /// Name, unique within the project, 1 to 63 characters.
    pub name: String,
    /// One line as in `~/.ssh/id_ed25519.pub`. A private key is refused.
    pub public_key: String,
}

/// An SSH public key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyPair {
    /// Its id.
    pub id: KeyPairId,
    /// Its name.
    pub name: String,
    /// The key.
    pub public_key: String,
}

/// An order. Flavor, image, network and keys are named by name or id.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerCreate {
    /// Name, unique within the project; becomes the host name, so a DNS label.
    pub name: String,
    /// What to rent.
    pub flavor: String,
    /// What to run on it.
    pub image: String,
    /// The networks that it is to be on, each one once; it is reached on the first one.
    pub networks: Vec<NetworkRequest>,
    /// Keys that open it: at least one, as there is no other way in.
    pub keys: Vec<String>,
    /// User data for cloud-init, up to 64 KiB. Stored encrypted; never shown again.
    #[serde(default)]
    #[schema(write_only)]
    pub user_data: Option<String>,
}

/// A place on a network that a server is to have.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequest {
    /// The network, by name or id.
    pub network: String,
    /// The server's own addresses there: free ones, or ones that its project has reserved, at most
    /// one of each subnet. Of every other subnet it is given the next free one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// What it must be on: the name of a port group, or a port's MAC address or name. Unless given,
    /// chosen by the network's physical network, then by link; a bond goes before a single port, and
    /// the port that boots before others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// How it must be there. Unless given, the first network of a single port is native (without a
    /// VLAN tag), and all others, and all networks of a bond, are tagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AttachmentMode>,
}

impl std::fmt::Debug for ServerCreate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ServerCreate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What an order would do, without doing it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerPlan {
    /// A node that it would take at this moment.
    pub node: NodeId,
    /// That node's name, for operators.
    pub node_name: String,
    /// The disk that would be written.
    pub disk: DiskIdentity,
    /// What would happen to it.
    pub plan: Plan,
}

/// How a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// On its way.
    Building,
    /// Its operating system has said that it is up.
    Active,
    /// Being given back.
    Deleting,
    /// Did not work; the reason says why. Rebuild or delete it.
    Error,
}

/// A server's place on a network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerNetwork {
    /// The network.
    pub network: NetworkId,
    /// The port group, or the port, that was asked for.
    #[serde(default)]
    pub port: Option<String>,
    /// How it was asked for on that port.
    #[serde(default)]
    pub mode: Option<AttachmentMode>,
    /// The server's addresses there, IPv4 before IPv6.
    pub addresses: Vec<ServerAddress>,
}

/// An address of a server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerAddress {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: SubnetId,
}

/// A server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub project: ProjectId,
    /// How it is doing.
    pub status: ServerStatus,
    /// Why it is so, and what comes next.
    pub reason: Reason,
    /// What is being done for it, while something is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Its flavor.
    pub flavor: FlavorId,
    /// Its image.
    pub image: ImageId,
    /// The address that it is reached at: on the first of its networks, IPv4 if it has one there.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The networks that it is on, in the order in which they were asked for.
    pub networks: Vec<ServerNetwork>,
    /// The account to log in to, as the image says.
    #[serde(default)]
    pub default_user: Option<String>,
    /// The node it is on.
    pub node: NodeId,
    /// What was foretold when it was ordered.
    pub plan: Plan,
    /// Firmware POSTs that its deployment has cost so far.
    pub posts: u32,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last asked to be rebuilt, if it was. Plan and POSTs are those of the rebuild.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rebuilt_at: Option<Timestamp>,
    /// When it became active, after the order or the last rebuild.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub active_at: Option<Timestamp>,
}
