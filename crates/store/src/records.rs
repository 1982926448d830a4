//! What is stored, as the rest of the server sees it: rows turned into values.
//!
//! Secrets are in here only sealed (see `bessemer-server`'s `secrets`): this crate never sees a
//! plain one.

mod network;
mod overlay;
mod place;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bessemer_core::Timestamp;
use bessemer_core::boot_method::{BootAbilities, BootMethod};
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::{DiskIdentity, Inventory, MachineIdentity};
use bessemer_core::id::{
    BootId, FlavorId, Generation, ImageId, KeyPairId, NodeId, ProjectId, RackId, ServerId, TokenId,
};
use bessemer_core::lifecycle::{
    Action, Goal, HandOver, Intent, NodeSpec, NodeState, Observed, PortControl, PortRole,
    PowerState, Standby,
};
use bessemer_core::net::MacAddress;
use bessemer_core::network_data::NetworkConfiguration;
use bessemer_core::plan::Plan;
use bessemer_core::port_plan::PortGroup;
use bessemer_core::root_disk::RootDiskHint;
use bessemer_wire::api::{BmcTrust, ImageStatus, NodePort, Role};

pub use network::*;
pub use overlay::*;
pub use place::*;

/// A machine to be registered.
#[derive(Clone)]
pub struct NewNode {
    /// Its id.
    pub id: NodeId,
    /// Unique.
    pub name: String,
    /// The rack that it is in.
    pub rack: Option<RackId>,
    /// Its management controller; the URL is unique.
    pub bmc: BmcRecord,
    /// Its NICs; each MAC address is unique over all nodes.
    pub ports: Vec<NodePort>,
    /// The groups that they are in.
    pub port_groups: Vec<PortGroup>,
    /// Whether its ports are ours to move.
    pub port_control: PortControl,
    /// How it is to boot the agent; chosen from what it can do if absent.
    pub boot_method: Option<BootMethod>,
    /// Whether it waits for orders in the agent.
    pub standby: Standby,
    /// Which of its disks is the root disk, if the rule is not to decide.
    pub root_disk_hint: Option<RootDiskHint>,
}

/// How to reach a management controller.
#[derive(Clone)]
pub struct BmcRecord {
    /// Normalised URL.
    pub url: String,
    /// Account name.
    pub username: String,
    /// Sealed password.
    pub password_sealed: Vec<u8>,
    /// Sealed key K_g of its IPMI service, if one is set there.
    pub ipmi_key_sealed: Option<Vec<u8>>,
    /// How its certificate is judged.
    pub trust: BmcTrust,
}

/// A node as it is stored.
#[derive(Clone)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The name of the rack that it is in.
    pub rack: Option<String>,
    /// Its management controller.
    pub bmc: BmcRecord,
    /// Its NICs.
    pub ports: Vec<NodePort>,
    /// The groups that they are in.
    pub port_groups: Vec<PortGroup>,
    /// How often that was changed.
    pub wirings: i64,
    /// What is wanted of it. (`timing` is the default: the server overlays the configured one.
    /// `standby` is false but in [`Work`]: it takes a look at the flavors.)
    pub spec: NodeSpec,
    /// Whether it waits for orders in the agent, as set for this one node.
    pub standby: Standby,
    /// Where it is.
    pub state: NodeState,
    /// Which machine it is.
    pub identity: Option<MachineIdentity>,
    /// What it is made of.
    pub inventory: Option<Arc<Inventory>>,
    /// Whose server it is. Set from the order until the release is through.
    pub server: Option<ServerId>,
    /// How it is to boot the agent, if an operator decided that.
    pub boot_method: Option<BootMethod>,
    /// What its management controller said that it can be made to boot from.
    pub boot_abilities: Option<BootAbilities>,
    /// Which of its disks is the root disk, as an operator has said for this one node.
    pub root_disk_hint: Option<RootDiskHint>,
    /// The role that all its switch ports were last brought into and read back in, while that is
    /// known.
    pub port_role: Option<PortRole>,
    /// Whether there is reason to look whether they still are.
    pub ports_suspect: bool,
    /// Whether its machine is on, as far as is known.
    pub power: Option<PowerState>,
    /// Since when that is known, or is not known any more.
    pub power_since: Option<Timestamp>,
    /// Since when its management controller has not answered.
    pub bmc_silent_since: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl NodeRecord {
    /// The port that the agent boots from: the one that says so, else the first.
    pub fn boot_port(&self) -> Option<&NodePort> {
        let mut ports = self.ports.iter();
        ports.find(|port| port.boots).or_else(|| self.ports.first())
    }
}

/// How a node's ports are wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWiring {
    /// Its NICs: those that it has, in the same order.
    pub ports: Vec<NodePort>,
    /// The groups that they are in.
    pub port_groups: Vec<PortGroup>,
    /// Whether its ports are ours to move.
    pub port_control: PortControl,
}

/// What is changed of a node; what is absent stays.
#[derive(Clone, Default)]
pub struct NodeChanges {
    /// The rack that it is in; `Some(None)` for none.
    pub rack: Option<Option<RackId>>,
    /// How it is to boot the agent; `Some(None)` chooses by what it can do.
    pub boot_method: Option<Option<BootMethod>>,
    /// Whether it waits for orders in the agent.
    pub standby: Option<Standby>,
    /// How its management controller is reached.
    pub bmc: Option<BmcRecord>,
    /// Which of its disks is the root disk, from the next order on; `Some(None)` leaves that to its
    /// flavor or the rule.
    pub root_disk_hint: Option<Option<RootDiskHint>>,
}

/// Which nodes a list holds.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// Only those in this phase.
    pub phase: Option<bessemer_core::lifecycle::Phase>,
    /// Only those in this rack.
    pub rack: Option<RackId>,
}

/// The right to move one node until the lease ends, proven by the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// Grows with every claim; a commit with an older one changes nothing.
    pub fence: i64,
}

/// All that a reconcile needs to know about a claimed node, read in one transaction.
#[derive(Clone)]
pub struct Work {
    /// The node.
    pub node: NodeRecord,
    /// What has been seen of it.
    pub seen: Observed,
    /// The open intent that the conductor is to carry out, if any (an agent's is not in here).
    pub intent: Option<Intent>,
    /// The news counter when this was read: it rises with whatever is written of all this by others than
    /// the commits of the claim. A commit compares it, so that no news is slept over.
    pub news: i64,
}

/// What one reconcile changes.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The state that the decision started from.
    pub before: NodeState,
    /// The state to store.
    pub next: NodeState,
    /// The intent to open; every older open one of the node is superseded by any commit that
    /// opens one or changes generation, phase, attempt, step or tries.
    pub intent: Option<Intent>,
    /// When the node is due again; at once if there was news since [`Work::news`].
    pub wake_at: Option<Timestamp>,
    /// See [`Work::news`].
    pub news: i64,
    /// Whether a `kexec` has just been seen to work, or not to.
    pub kexec: Option<bool>,
    /// What to tell the world, in the same transaction.
    pub events: Vec<NewEvent>,
}

/// An event to be appended.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// See [`bessemer_wire::event::Event`].
    pub kind: &'static str,
    /// The node it is about.
    pub node: Option<NodeId>,
    /// The server it is about.
    pub server: Option<ServerId>,
    /// Whose it is.
    pub project: Option<ProjectId>,
    /// One sentence for a person.
    pub message: String,
    /// Details.
    pub data: serde_json::Value,
}

/// One line of a node's history.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HistoryEntry {
    /// When it got there.
    pub at: Timestamp,
    /// The state it got to.
    pub state: NodeState,
}

/// A boot of the agent that is to be allowed.
#[derive(Clone, Debug)]
pub struct NewBoot {
    /// Which boot.
    pub boot: BootId,
    /// Of which node, by the right of whom.
    pub claim: Claim,
    /// The node's boot NIC.
    pub mac: MacAddress,
    /// How it is to happen.
    pub method: BootMethod,
    /// Digest of the RAM disk that it is given, if there is one.
    pub ramdisk: Option<String>,
}

/// One boot of the agent that is, or was, allowed.
#[derive(Clone, Debug)]
pub struct BootRecord {
    /// Which boot.
    pub boot: BootId,
    /// Of which node.
    pub node: NodeId,
    /// The node's boot NIC.
    pub mac: MacAddress,
    /// The provisioning address leased to it.
    pub address: Ipv4Addr,
    /// Whether its one-time token has been used.
    pub used: bool,
    /// How it is to happen.
    pub method: BootMethod,
    /// Whether the management controller may hold its medium.
    pub media_inserted: bool,
    /// The DHCP relay through which its firmware asked.
    pub relay: Option<RelayRecord>,
}

/// The DHCP relay that passed a boot's requests on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RelayRecord {
    /// Its address on the machine's network (`giaddr`).
    pub address: Ipv4Addr,
    /// What it says of the machine's port (RFC 3046 option 82, as printable text or hexadecimal).
    pub circuit_id: Option<String>,
    /// What it says of itself or the machine (the same).
    pub remote_id: Option<String>,
}

/// What became of an agent's `hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloOutcome {
    /// The session is open (or was already, for the same session secret).
    Accepted,
    /// The token has been used by another session: a replay.
    Replayed,
    /// There is no such boot, or it is not the node's present one.
    Unknown,
}

/// A server as it is stored. Its status follows from its node's state.
#[derive(Clone)]
pub struct ServerRecord {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub project: ProjectId,
    /// Its flavor.
    pub flavor: FlavorId,
    /// Its image.
    pub image: ImageId,
    /// The networks that it is on, in the order in which they were asked for.
    pub attachments: Vec<AttachmentRecord>,
    /// Its node.
    pub node: NodeId,
    /// The keys that open it: name and public key.
    pub keys: Vec<(String, String)>,
    /// Sealed user data.
    pub user_data_sealed: Option<Vec<u8>>,
    /// What was foretold.
    pub plan: Plan,
    /// The node's POST counter when it was ordered.
    pub posts_before: u64,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// When it became active.
    pub active_at: Option<Timestamp>,
    /// When it was last written anew, if it was.
    pub rebuilt_at: Option<Timestamp>,
    /// What its node is to be: `Deployed` until it is being deleted.
    pub goal: Goal,
    /// The newest generation of what its node is to be.
    pub generation: Generation,
    /// Where its node is.
    pub node_state: NodeState,
}

impl ServerRecord {
    /// The address that it is reached at first: of the first network that it was ordered on.
    pub fn address(&self) -> Option<IpAddr> {
        let first = self.attachments.first()?;
        first.addresses.first().map(|(_, address)| *address)
    }
}

/// An order, checked and ready to be placed.
#[derive(Clone)]
pub struct Order {
    /// The new server's id.
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub project: ProjectId,
    /// Its flavor.
    pub flavor: FlavorId,
    /// Its image.
    pub image: ImageId,
    /// Bytes of the image that are to be written.
    pub image_bytes: u64,
    /// How its operating system is started.
    pub hand_over: HandOver,
    /// The networks that it is to be on, each one once.
    pub attachments: Vec<NewAttachment>,
    /// The keys that open it: name and public key.
    pub keys: Vec<(String, String)>,
    /// Sealed user data.
    pub user_data_sealed: Option<Vec<u8>>,
    /// Nodes that match, best first. The first one that is still free is taken.
    pub candidates: Vec<Candidate>,
    /// The caller's `Idempotency-Key` with a digest of the request.
    pub idempotency: Option<(String, String)>,
}

/// A node that an order can have.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which node.
    pub node: NodeId,
    /// How often it had been wired anew when it was looked at ([`NodeRecord::wirings`]): if it has been
    /// since, it may not carry the networks.
    pub wirings: i64,
    /// What is foretold for it.
    pub plan: Plan,
    /// The disk that the operating system goes to.
    pub root_disk: DiskIdentity,
    /// The order's VXLAN networks on the switches that the node is cabled to.
    pub local_networks: Vec<NewLocalNetwork>,
}

/// A server that is to be written anew, checked.
#[derive(Clone)]
pub struct Rebuild {
    /// Which server.
    pub server: ServerId,
    /// Whose request this is, for its key.
    pub project: ProjectId,
    /// The generation that the server was looked at in: if it has moved on, nothing is done.
    pub seen: Generation,
    /// The image.
    pub image: ImageId,
    /// Bytes of the image that are to be written.
    pub image_bytes: u64,
    /// The disk that it stays on.
    pub root_disk: DiskIdentity,
    /// How its operating system is started.
    pub hand_over: HandOver,
    /// The keys that open it from now on: name and public key.
    pub keys: Vec<(String, String)>,
    /// Sealed user data from now on.
    pub user_data_sealed: Option<Vec<u8>>,
    /// What is foretold.
    pub plan: Plan,
    /// The caller's `Idempotency-Key` with a digest of the request.
    pub idempotency: Option<(String, String)>,
}

/// What a tenant asks of the machine of an active server.
#[derive(Clone)]
pub struct ServerRequest {
    /// Which server.
    pub server: ServerId,
    /// Whose it is.
    pub project: ProjectId,
    /// The intent's key: the same request again has the same one.
    pub key: String,
    /// What is to be done: the conductor's to carry out.
    pub action: Action,
    /// Whether an earlier request that is still being carried out is dropped for this one.
    pub overtakes: bool,
    /// What the event says.
    pub message: String,
}

/// What became of an order, or of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is under way.
    New(ServerId),
    /// The same request was placed before under this key.
    Again(ServerId),
}

/// An image as it is stored.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    /// Its id.
    pub id: ImageId,
    /// Unique.
    pub name: String,
    /// How far its import is.
    pub status: ImageStatus,
    /// Why its import failed.
    pub message: Option<String>,
    /// Where it came from: a URL or a path; empty if it is uploaded.
    pub source: String,
    /// Bytes that are to be uploaded, if it is.
    pub upload_size: Option<u64>,
    /// Its checksum at the source, with its kind; empty until it has been read from where it is
    /// listed.
    pub checksum: String,
    /// Where its checksum is listed; without both, beside the source.
    pub checksum_url: Option<String>,
    /// User name and password for its source, sealed.
    pub credentials_sealed: Option<Vec<u8>>,
    /// What it came in, once that is known.
    pub format: Option<String>,
    /// Size of the disk it makes, in bytes.
    pub virtual_size: Option<u64>,
    /// Bytes of it that are not zero.
    pub data_bytes: Option<u64>,
    /// The account to log in to.
    pub default_user: Option<String>,
    /// What configures the network at the first boot.
    pub network_configuration: NetworkConfiguration,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// What an import has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedImage {
    /// Size of the disk it makes, in bytes.
    pub virtual_size: u64,
    /// Bytes of it that are not zero.
    pub data_bytes: u64,
    /// Its checksum, with its kind.
    pub checksum: String,
    /// What it came in.
    pub format: String,
}

/// A flavor as it is stored.
#[derive(Clone, Debug)]
pub struct FlavorRecord {
    /// Its id.
    pub id: FlavorId,
    /// Unique.
    pub name: String,
    /// What a machine must be made of.
    pub hardware: FlavorHardware,
    /// Whether nodes with this hardware wait for orders in the agent.
    pub standby: bool,
    /// How the operating systems of its servers are started.
    pub hand_over: HandOver,
    /// Which disk of its nodes is the root disk, unless they have a hint of their own.
    pub root_disk_hint: Option<RootDiskHint>,
}

/// What became of `kexec` of one kernel on one model of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KexecOutcome {
    /// Maker and product, as SMBIOS tells.
    pub model: String,
    /// Release of the kernel.
    pub kernel: String,
    /// How often the system came up.
    pub worked: u64,
    /// How often it did not.
    pub failed: u64,
    /// Whether it did the last time.
    pub last_worked: bool,
    /// When that was.
    pub last_at: Timestamp,
}

/// What an agent has found out while carrying a command out.
#[derive(Clone, Copy, Debug)]
pub enum Learned<'a> {
    /// Nothing that is kept.
    Nothing,
    /// What the machine is made of.
    Inventory(&'a Inventory),
    /// Release of the kernel that an image starts.
    Kernel(ImageId, &'a str),
}

/// An SSH public key as it is stored.
#[derive(Clone, Debug)]
pub struct KeyPairRecord {
    /// Its id.
    pub id: KeyPairId,
    /// Whose it is.
    pub project: ProjectId,
    /// Unique within the project.
    pub name: String,
    /// The key.
    pub public_key: String,
}

/// A project.
#[derive(Clone, Debug)]
pub struct ProjectRecord {
    /// Its id.
    pub id: ProjectId,
    /// Unique.
    pub name: String,
}

/// A token as it is stored: its secret only as a SHA-256.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project: ProjectId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The generation a change of goal led to.
pub type Raised = Generation;
