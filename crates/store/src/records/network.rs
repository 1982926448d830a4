//! Networks, subnets, addresses, and the places of servers on them.

use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, NodeId, ProjectId, ServerId, SubnetId};
use bessemer_core::network::{IdRange, NetworkKind, NetworkScope};
use bessemer_core::port_plan::AttachmentMode;
use bessemer_core::subnet::{AddressPool, IpSubnet, Route, SubnetPlan};

/// A network to be made.
#[derive(Clone, Debug)]
pub struct NewNetwork {
    /// Its id.
    pub id: NetworkId,
    /// Unique among its project's; or, if it is nobody's own, among those that are nobody's own.
    pub name: String,
    /// What it is on the switches.
    pub kind: NetworkKind,
    /// Who may use it.
    pub scope: NetworkScope,
    /// Whose it is; set if and only if its scope is private.
    pub project: Option<ProjectId>,
    /// Its VLAN id or VNI, by its kind.
    pub number: NumberFrom,
    /// Maximum transmission unit in bytes.
    pub mtu: u16,
    /// The physical network that it is part of, if that is declared.
    pub physical_network: Option<String>,
    /// Its first subnets.
    pub subnets: Vec<NewSubnet>,
    /// The most private networks that its project may have, with it; no limit if absent.
    pub limit: Option<u32>,
}

/// Where a network's VLAN id or VNI comes from.
#[derive(Clone, Debug)]
pub enum NumberFrom {
    /// An operator chose it.
    Given(u32),
    /// The lowest that no network has.
    Pool {
        /// The pool, for people, such as ``pool `fabric.vlan_pool` (100-1999)``.
        name: String,
        /// Its numbers, in rising order.
        ranges: Vec<IdRange>,
    },
}

/// A subnet to be made, checked.
#[derive(Clone, Debug)]
pub struct NewSubnet {
    /// Its id.
    pub id: SubnetId,
    /// All that is said about it.
    pub plan: SubnetPlan,
}

/// A network as it is stored.
#[derive(Clone, Debug)]
pub struct NetworkRecord {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What it is on the switches.
    pub kind: NetworkKind,
    /// Who may use it.
    pub scope: NetworkScope,
    /// Whose it is, if it is private.
    pub project: Option<ProjectId>,
    /// Its VLAN id, if it is a VLAN.
    pub vlan: Option<u16>,
    /// Its VXLAN network identifier, if it is a VXLAN segment.
    pub vni: Option<u32>,
    /// Maximum transmission unit in bytes.
    pub mtu: u16,
    /// The physical network that it is part of, if that is declared.
    pub physical_network: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Servers that are on it.
    pub servers: u64,
    /// Its subnets, in the order in which they were made.
    pub subnets: Vec<SubnetRecord>,
}

/// What is changed of a network; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct NetworkChanges {
    /// Its name.
    pub name: Option<String>,
    /// Who may use it: public or shared. A private one stays private.
    pub scope: Option<NetworkScope>,
    /// Maximum transmission unit in bytes; for servers that are deployed from now on.
    pub mtu: Option<u16>,
    /// The physical network that it is part of; `Some(None)` if that is not declared any more.
    pub physical_network: Option<Option<String>>,
}

/// A subnet as it is stored.
#[derive(Clone, Debug)]
pub struct SubnetRecord {
    /// Its id.
    pub id: SubnetId,
    /// Its network.
    pub network: NetworkId,
    /// Its network's name.
    pub network_name: String,
    /// All that is said about it.
    pub plan: SubnetPlan,
    /// When it was made.
    pub created_at: Timestamp,
    /// Addresses that servers have.
    pub allocated: u64,
    /// Addresses that are reserved, and no server's.
    pub reserved: u64,
    /// Addresses of its pools that are neither.
    pub free: u64,
}

/// What is changed of a subnet; what is absent stays. For servers that are deployed from now on.
#[derive(Clone, Debug, Default)]
pub struct SubnetChanges {
    /// Default gateway; `Some(None)` for none.
    pub gateway: Option<Option<IpAddr>>,
    /// Name servers.
    pub dns: Option<Vec<IpAddr>>,
    /// More routes.
    pub routes: Option<Vec<Route>>,
    /// Addresses that are given to servers.
    pub pools: Option<Vec<AddressPool>>,
}

/// Which networks a list holds.
#[derive(Clone, Debug, Default)]
pub struct NetworkFilter {
    /// Only what this project may use: its own, public and shared ones.
    pub visible_to: Option<ProjectId>,
    /// Only of this kind.
    pub kind: Option<NetworkKind>,
    /// Only of this scope.
    pub scope: Option<NetworkScope>,
    /// Only this project's own.
    pub project: Option<ProjectId>,
}

/// The order of a list of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkSort {
    /// By name.
    #[default]
    Name,
    /// By name, the last one first.
    NameDescending,
    /// The oldest first.
    Created,
    /// The newest first.
    CreatedDescending,
}

/// Which subnets a list holds.
#[derive(Clone, Debug, Default)]
pub struct SubnetFilter {
    /// Only of networks that this project may use.
    pub visible_to: Option<ProjectId>,
    /// Only of this network.
    pub network: Option<NetworkId>,
}

/// An address that is not free.
#[derive(Clone, Debug)]
pub struct AddressRecord {
    /// The address.
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: SubnetId,
    /// That subnet.
    pub cidr: IpSubnet,
    /// Its network.
    pub network: NetworkId,
    /// Its network's name.
    pub network_name: String,
    /// Whose it is; nobody's if an operator keeps it from everybody.
    pub project: Option<ProjectId>,
    /// The server that has it, with its name.
    pub server: Option<(ServerId, String)>,
    /// Whether it stays reserved when its server is gone.
    pub reserved: bool,
    /// What it is for, in somebody's words; may be empty.
    pub description: String,
    /// Since when it is as it is.
    pub since: Timestamp,
}

/// An address that somebody wants to have.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The network.
    pub network: NetworkId,
    /// The subnet, unless any one of the network will do, or the address says it.
    pub subnet: Option<SubnetId>,
    /// The address; the next free one of a pool if absent.
    pub address: Option<IpAddr>,
    /// For whom it is; kept from everybody if absent.
    pub project: Option<ProjectId>,
    /// What it is for; may be empty.
    pub description: String,
    /// The most reserved addresses that the project may have, with it; no limit if absent.
    pub limit: Option<u32>,
}

/// Which addresses a list holds.
#[derive(Clone, Debug, Default)]
pub struct AddressFilter {
    /// Only this project's.
    pub project: Option<ProjectId>,
    /// Only of this network.
    pub network: Option<NetworkId>,
    /// Only of this subnet.
    pub subnet: Option<SubnetId>,
    /// Only this server's.
    pub server: Option<ServerId>,
    /// Only those that a server has (`true`), or none (`false`).
    pub allocated: Option<bool>,
}

/// The order of a list of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressSort {
    /// By subnet (the oldest first), then by address.
    #[default]
    Address,
    /// The other way round.
    AddressDescending,
    /// The one that has been as it is for longest first.
    Since,
    /// The one that changed last first.
    SinceDescending,
}

/// A time during which an address was somebody's.
#[derive(Clone, Debug)]
pub struct AddressHistoryEntry {
    /// Rises with every entry.
    pub sequence: i64,
    /// The address.
    pub address: IpAddr,
    /// Its subnet, which may be gone.
    pub subnet: SubnetId,
    /// Its network, which may be gone.
    pub network: NetworkId,
    /// What that network was called.
    pub network_name: String,
    /// Whose it was; nobody's if an operator kept it from everybody.
    pub project: Option<ProjectId>,
    /// The server that had it, which may be gone; none while it was only reserved.
    pub server: Option<ServerId>,
    /// What that server was called.
    pub server_name: Option<String>,
    /// The node that the server was on, which may be gone.
    pub node: Option<NodeId>,
    /// From when on.
    pub since: Timestamp,
    /// Until when; still so if absent.
    pub until: Option<Timestamp>,
}

/// Which entries of the addresses' history a list holds.
#[derive(Clone, Debug, Default)]
pub struct AddressHistoryFilter {
    /// Only this project's.
    pub project: Option<ProjectId>,
    /// Only of this address.
    pub address: Option<IpAddr>,
    /// Only of this network.
    pub network: Option<NetworkId>,
    /// Only of this server.
    pub server: Option<ServerId>,
    /// Only what was so at this moment.
    pub at: Option<Timestamp>,
}

/// A server's place on a network, as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttachment {
    /// The network.
    pub network: NetworkId,
    /// The port group, or the port (by MAC address or name), that it must be on.
    pub port: Option<String>,
    /// How it must be on that port.
    pub mode: Option<AttachmentMode>,
    /// The server's own addresses there, at most one of each subnet; of the other subnets it is
    /// given the next free one.
    pub addresses: Vec<IpAddr>,
}

/// A server's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRecord {
    /// The network.
    pub network: NetworkId,
    /// The port group, or the port (by MAC address or name), that was asked for.
    pub port: Option<String>,
    /// How it was asked for on that port.
    pub mode: Option<AttachmentMode>,
    /// The server's addresses there, with their subnets: IPv4 before IPv6.
    pub addresses: Vec<(SubnetId, IpAddr)>,
}
