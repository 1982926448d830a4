//! What a port plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::net::MacAddress;

/// A node as its switches see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// The node's name, for the descriptions of its switch ports.
    pub node: String,
    /// Its NICs.
    pub ports: Vec<Port>,
    /// How they are bonded.
    pub groups: Vec<PortGroup>,
}

/// A NIC of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its address; unique.
    pub mac: MacAddress,
    /// Where its cable leads, if to a switch that we know.
    pub cable: Option<Cable>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// Whether the agent boots from it: only such a port ever carries one of our own networks.
    pub boots: bool,
}

/// The far end of a cable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cable {
    /// The switch.
    pub switch: String,
    /// Its port, by its own name for it.
    pub port: String,
}

/// NICs of a node that its operating system uses as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortGroup {
    /// Its name; unique within the node.
    pub name: String,
    /// How they are bonded.
    pub mode: GroupMode,
}

/// How the ports of a group are bonded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupMode {
    /// By LACP (IEEE 802.1AX), which the switch speaks, too. All ports must be on one switch.
    #[default]
    Lacp,
    /// One carries traffic, another takes over: the switch knows nothing of it.
    ActiveBackup,
    /// Not bonded: a name for several ports that are used singly.
    None,
}

impl GroupMode {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Lacp, Self::ActiveBackup, Self::None];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lacp => "lacp",
            Self::ActiveBackup => "active_backup",
            Self::None => "none",
        }
    }
}

/// A network that a server is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name, for people.
    pub network: String,
    /// What carries it.
    pub carrier: Carrier,
    /// Its VLAN on the carrier's switch, 1 to 4094.
    pub vlan: u16,
    /// Whether its frames are tagged.
    pub mode: AttachmentMode,
    /// Bytes of the longest IP packet in it.
    pub mtu: u16,
    /// The physical network that it is part of, if that is declared.
    pub segment: Option<String>,
}

/// What carries an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// A NIC that is in no LACP group.
    Port(MacAddress),
    /// All ports of a group.
    Group(String),
}

impl fmt::Display for Carrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(mac) => write!(formatter, "port {mac}"),
            Self::Group(name) => write!(formatter, "group `{name}`"),
        }
    }
}

/// Whether an attachment's frames are tagged (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentMode {
    /// Untagged; one at most on each carrier.
    #[default]
    Native,
    /// Tagged with the VLAN.
    Tagged,
}

impl AttachmentMode {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Native, Self::Tagged];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tagged => "tagged",
        }
    }
}

/// The switches of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteModel {
    /// Those that we know, by name.
    pub switches: BTreeMap<String, SwitchModel>,
}

impl SiteModel {
    /// Every VLAN that is the operator's own on any switch. A tenant's network is kept from all of
    /// them everywhere: trunks between switches carry them from one to the other.
    pub fn own_vlans(&self) -> BTreeSet<u16> {
        let each = self.switches.values().map(|switch| switch.vlans);
        each.flat_map(SiteVlans::all).collect()
    }
}

/// A switch, as far as plans are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchModel {
    /// The operator's own VLANs on it.
    pub vlans: SiteVlans,
    /// Bytes of the longest IP packet that it forwards, if that is known.
    pub largest_mtu: Option<u16>,
    /// Broadcast, multicast and unknown frames that a machine may send, each second.
    pub storm_limit: Option<u32>,
}

/// The VLANs of a switch that are the operator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteVlans {
    /// The VLAN that exists nowhere.
    pub parked: u16,
    /// Where agents meet the conductor.
    pub provisioning: Option<u16>,
    /// Where idle agents do, if elsewhere.
    pub standby: Option<u16>,
    /// Where agents that rescue a server do, if elsewhere.
    pub rescue: Option<u16>,
}

impl SiteVlans {
    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        [
            Some(self.parked),
            self.provisioning,
            self.standby,
            self.rescue,
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are stored and sent: their names are a promise (invariant 7).
    #[test]
    fn stored_names_are_pinned() {
        let names: Vec<_> = GroupMode::ALL.iter().map(|each| each.name()).collect();
        assert_eq!(names.join(" "), "lacp active_backup none");
        for each in GroupMode::ALL {
            let text = format!("\"{}\"", each.name());
            assert_eq!(serde_json::to_string(each).unwrap(), text);
            assert_eq!(serde_json::from_str::<GroupMode>(&text).unwrap(), *each);
        }
        let names: Vec<_> = AttachmentMode::ALL.iter().map(|each| each.name()).collect();
        assert_eq!(names.join(" "), "native tagged");
        for each in AttachmentMode::ALL {
            let text = format!("\"{}\"", each.name());
            assert_eq!(serde_json::to_string(each).unwrap(), text);
            assert_eq!(
                serde_json::from_str::<AttachmentMode>(&text).unwrap(),
                *each
            );
        }
        for (carrier, text) in [
            (
                Carrier::Port("52:54:00:00:00:01".parse().unwrap()),
                r#"{"port":"52:54:00:00:00:01"}"#,
            ),
            (Carrier::Group("bond0".into()), r#"{"group":"bond0"}"#),
        ] {
            assert_eq!(serde_json::to_string(&carrier).unwrap(), text);
            assert_eq!(serde_json::from_str::<Carrier>(text).unwrap(), carrier);
        }
    }
}
