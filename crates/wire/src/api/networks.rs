//! Networks, subnets and addresses.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::{NetworkId, NodeId, ProjectId, ServerId, SubnetId};
use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_core::subnet::{AddressPool, IpSubnet, Route};

use super::nodes::present;

/// A request for a new network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Name, 1 to 63 characters: unique among the project's own, and none of those that everybody
    /// may use.
    pub name: String,
    /// What it is on the switches: `vlan` unless given.
    #[serde(default)]
    pub kind: NetworkKind,
    /// Who may use it. Members make `private` ones, operators `public` ones unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<NetworkScope>,
    /// Whose it is, by name, if it is private: the asker's project unless an operator says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its VLAN id, 1 to 4094, unique and none of the site's own; chosen from the site's pool unless
    /// an operator gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Its VXLAN network identifier, 1 to 16777215, if that is its kind; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// Maximum transmission unit in bytes, 1280 to 9216; 1500 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The physical network that it is part of, by the operators' name for it: its servers are put on
    /// ports that lead there. Operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Its first subnets.
    #[serde(default)]
    pub subnets: Vec<SubnetCreate>,
}

/// A change of a network (RFC 7396): what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkUpdate {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who may use it, `public` or `shared`: a private network stays private. Operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<NetworkScope>,
    /// Maximum transmission unit in bytes, for servers that are deployed from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The physical network that it is part of; `null` if that is not declared. Operators only, and
    /// only while no server is on it.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub physical_network: Option<Option<String>>,
}

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What it is on the switches.
    pub kind: NetworkKind,
    /// Who may use it.
    pub scope: NetworkScope,
    /// Whose it is, if it is private.
    #[serde(default)]
    pub project: Option<ProjectId>,
    /// Its VLAN id, if it is a VLAN.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Its VXLAN network identifier, if it is a VXLAN segment.
    #[serde(default)]
    pub vni: Option<u32>,
    /// Maximum transmission unit in bytes.
    pub mtu: u16,
    /// The physical network that it is part of, if that is declared.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// Servers on it, of whichever project.
    pub servers: u64,
    /// Its subnets, in the order in which they were made.
    pub subnets: Vec<Subnet>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A request for a new subnet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubnetCreate {
    /// Its addresses: IPv4 with a prefix of 8 to 30 bits, or IPv6 of 64 to 126. It must overlap none
    /// that a server could be on at the same time.
    pub cidr: IpSubnet,
    /// Default gateway of its servers; of IPv6, also a link-local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<IpAddr>,
    /// Name servers of its servers, at most three.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<IpAddr>,
    /// Routes of its servers besides the default one, at most 32.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Addresses that servers are given, at most 65,536 in each of 16 pools; all but the gateway, as
    /// far as that goes, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<AddressPool>>,
}

/// A change of a subnet (RFC 7396): what is absent stays. For servers that are deployed from now on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubnetUpdate {
    /// Default gateway; `null` for none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Option<IpAddr>>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub dns: Option<Vec<IpAddr>>,
    /// Routes besides the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    /// Addresses that servers are given; those that have others keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<AddressPool>>,
}

/// A subnet of a network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its network.
    pub network: NetworkId,
    /// Its network's name.
    pub network_name: String,
    /// Its addresses.
    pub cidr: IpSubnet,
    /// Default gateway.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<IpAddr>,
    /// Name servers.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<IpAddr>,
    /// Routes besides the default one.
    pub routes: Vec<Route>,
    /// Addresses that servers are given.
    pub pools: Vec<AddressPool>,
    /// How much of it is in use.
    pub usage: SubnetUsage,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// How much of a subnet is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubnetUsage {
    /// Addresses in its pools.
    pub pool: u64,
    /// Of those, the ones that a server can still be given.
    pub free: u64,
    /// Addresses that servers have, in its pools or not.
    pub allocated: u64,
    /// Addresses that are reserved and no server's, in its pools or not.
    pub reserved: u64,
}

/// A request to reserve an address. It stays the project's until it is released.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressReserve {
    /// The network, by name or id.
    pub network: String,
    /// The subnet, by CIDR or id, if the next free address of that one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The address: a free one, or one that a server of the project has; the next free one of a pool
    /// unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Whose it is to be, by name: the asker's project unless an operator says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whether it is to be nobody's: kept from everybody, such as for a router. Operators only.
    #[serde(default)]
    pub nobody: bool,
    /// What it is for, at most 200 characters.
    #[serde(default)]
    pub description: String,
}

/// A request to move a reserved address.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressMove {
    /// The server that is to have it, by name or id: of the same project, and on the address's
    /// network.
    pub server: String,
}

/// An address that is not free.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: SubnetId,
    /// That subnet's addresses.
    pub cidr: IpSubnet,
    /// Its network.
    pub network: NetworkId,
    /// Its network's name.
    pub network_name: String,
    /// Whose it is; nobody's if an operator keeps it from everybody.
    #[serde(default)]
    pub project: Option<ProjectId>,
    /// The server that has it.
    #[serde(default)]
    pub server: Option<ServerId>,
    /// That server's name.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Whether it stays the project's when its server is gone.
    pub reserved: bool,
    /// What it is for, in its owner's words.
    pub description: String,
    /// Since when a server has had it, or none.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// A time during which an address was somebody's.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddressHistoryEntry {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its subnet, which may be gone.
    pub subnet: SubnetId,
    /// Its network, which may be gone.
    pub network: NetworkId,
    /// What that network was called.
    pub network_name: String,
    /// Whose it was.
    #[serde(default)]
    pub project: Option<ProjectId>,
    /// The server that had it, which may be gone; none while it was only reserved.
    #[serde(default)]
    pub server: Option<ServerId>,
    /// What that server was called.
    #[serde(default)]
    pub server_name: Option<String>,
    /// The node that the server was on; shown to operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when; still so if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}
