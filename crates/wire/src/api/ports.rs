//! Ports of nodes, and groups of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::hardware::LldpNeighbor;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::GroupMode;

use super::nodes::present;

/// A NIC of a node, as it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePort {
    /// Its MAC address.
    pub mac: MacAddress,
    /// The switch it is cabled to.
    #[serde(default)]
    pub switch: Option<String>,
    /// The switch's port.
    #[serde(default)]
    pub switch_port: Option<String>,
    /// The physical network that its cable leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// The port group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the agent boots from it. If none of a node's ports says so, the first one does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boots: bool,
}

impl NodePort {
    /// A NIC of which nothing else is known.
    pub fn bare(mac: MacAddress) -> Self {
        Self {
            mac,
            switch: None,
            switch_port: None,
            physical_network: None,
            group: None,
            boots: false,
        }
    }
}

/// A NIC of a node: what was declared of it, and what was found at the last inspection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePortDetails {
    /// What was declared.
    #[serde(flatten)]
    pub port: NodePort,
    /// The kernel's name for it; orders can name it by that.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it had a link.
    #[serde(default)]
    pub link: Option<bool>,
    /// Its speed in Mbit/s.
    #[serde(default)]
    pub speed_mbps: Option<u32>,
    /// What was heard at the other end of its cable (LLDP, IEEE 802.1AB).
    #[serde(default)]
    pub lldp: Option<LldpNeighbor>,
}

/// A change of a port (RFC 7396): what is absent stays. Only while the node has no server and rests.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePortUpdate {
    /// The switch that it is cabled to; `null` for none that is known.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub switch: Option<Option<String>>,
    /// The switch's port.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub switch_port: Option<Option<String>>,
    /// The physical network that its cable leads to; `null` if that is not declared.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub physical_network: Option<Option<String>>,
    /// `true` if the agent boots from it from now on, and from no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots: Option<bool>,
}

/// A request for a port group: ports that an operating system uses as one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortGroupCreate {
    /// Name, unique within the node: 1 to 63 letters, digits, dashes, dots and underscores. Orders can
    /// name it.
    pub name: String,
    /// How its ports are bonded: `lacp` unless given.
    #[serde(default)]
    pub mode: GroupMode,
    /// Its ports, by MAC address: two at least, none of them in another group.
    pub members: Vec<MacAddress>,
}

/// A change of a port group (RFC 7396): what is absent stays. Only while the node has no server and
/// rests.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortGroupUpdate {
    /// How its ports are bonded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<GroupMode>,
    /// Its ports, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MacAddress>>,
}

/// A port group of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortGroup {
    /// Its name.
    pub name: String,
    /// How its ports are bonded.
    pub mode: GroupMode,
    /// Its ports, in the order of the node's.
    pub members: Vec<MacAddress>,
}
