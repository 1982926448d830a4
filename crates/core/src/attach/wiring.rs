//! How a node is wired: its NICs, where their cables lead, and which of them are bonded.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::WiringError;
use crate::net::MacAddress;
use crate::port_plan::{Cable, Carrier, GroupMode, NodePorts, Port, PortGroup};

/// The most NICs of a node; so many ports an aggregation can have, too.
pub const MOST_NICS: usize = 16;

/// Bytes of a group's name. Operating systems call their bonds as they like.
const LONGEST_NAME: usize = 63;

/// A node's NICs and how they are bonded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeWiring {
    /// The node's name, for people.
    pub node: String,
    /// Its NICs, in any order.
    pub nics: Vec<Nic>,
    /// How they are bonded.
    pub groups: Vec<PortGroup>,
}

/// A NIC: what was declared of it, and what was found at the last inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its address, its cable, its group, and whether it boots.
    pub port: Port,
    /// The physical network that its cable leads to, as it was declared of the port or its switch.
    pub physical_network: Option<String>,
    /// The kernel's name for it.
    pub name: Option<String>,
    /// Whether it had a link.
    pub link: Option<bool>,
    /// Its speed in Mbit/s.
    pub speed_mbps: Option<u32>,
}

/// What an operating system uses a network by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// A NIC.
    Port(MacAddress),
    /// Several.
    Bond(Bond),
}

/// NICs that an operating system is to use as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// At least two; the first one is the one that boots, if one does, and the others are in order
    /// of their addresses.
    pub members: Vec<MacAddress>,
    /// How they are bonded: never [`GroupMode::None`].
    pub mode: GroupMode,
}

impl NodeWiring {
    /// The node as its switches see it.
    pub fn node_ports(&self) -> NodePorts {
        NodePorts {
            node: self.node.clone(),
            ports: self.nics.iter().map(|nic| nic.port.clone()).collect(),
            groups: self.groups.clone(),
        }
    }

    /// The NICs of a group.
    pub fn members<'wiring>(&'wiring self, group: &str) -> impl Iterator<Item = &'wiring Nic> {
        let nics = self.nics.iter();
        nics.filter(move |nic| nic.port.group.as_deref() == Some(group))
    }

    /// The group of `nic`, if it is one whose ports are used as one.
    pub fn bond_of(&self, nic: &Nic) -> Option<&PortGroup> {
        let group = nic.port.group.as_ref()?;
        let mut groups = self.groups.iter();
        groups.find(|each| each.name == *group && each.mode != GroupMode::None)
    }

    /// The link that an operating system is to use for what carries a network; `None` if the node has
    /// no such port or group.
    ///
    /// All NICs of a bond that have a link are in it. If these are not two, all are: a cable that is
    /// put back is then used again.
    pub fn link(&self, carrier: &Carrier) -> Option<Link> {
        let name = match carrier {
            Carrier::Port(mac) => {
                let mut nics = self.nics.iter();
                return nics
                    .find(|nic| nic.port.mac == *mac)
                    .map(|_| Link::Port(*mac));
            }
            Carrier::Group(name) => name,
        };
        let mode = self.groups.iter().find(|group| group.name == *name)?.mode;
        let mut nics: Vec<_> = self.members(name).collect();
        let linked = |nic: &&Nic| nic.link != Some(false);
        if nics.iter().filter(|nic| linked(nic)).count() >= 2 {
            nics.retain(linked);
        }
        nics.sort_by_key(|nic| (Reverse(nic.port.boots), nic.port.mac));
        let members: Vec<_> = nics.into_iter().map(|nic| nic.port.mac).collect();
        match (mode, members.len()) {
            (GroupMode::None, _) | (_, 0 | 1) => members.first().copied().map(Link::Port),
            _ => Some(Link::Bond(Bond { members, mode })),
        }
    }

    /// Checks that a node can be wired so.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), WiringError> {
        self.check_nics()?;
        let mut names = BTreeSet::new();
        for group in &self.groups {
            check_name(&group.name)?;
            if !names.insert(&group.name) {
                return Err(WiringError::GroupTwice(group.name.clone()));
            }
            self.check_group(group)?;
        }
        Ok(())
    }

    fn check_nics(&self) -> Result<(), WiringError> {
        let boots: Vec<_> = self.nics.iter().filter(|nic| nic.port.boots).collect();
        if let [first, second, ..] = boots[..] {
            return Err(WiringError::TwoBoot(first.port.mac, second.port.mac));
        }
        let mut cables: Vec<(&Cable, MacAddress)> = Vec::new();
        for nic in &self.nics {
            let port = &nic.port;
            if let Some(name) = &port.group
                && !self.groups.iter().any(|group| group.name == *name)
            {
                return Err(WiringError::NoGroup(port.mac, name.clone()));
            }
            let Some(cable) = &port.cable else { continue };
            if let Some((_, other)) = cables.iter().find(|(other, _)| *other == cable) {
                return Err(WiringError::CableTwice {
                    switch: cable.switch.clone(),
                    port: cable.port.clone(),
                    first: *other,
                    second: port.mac,
                });
            }
            cables.push((cable, port.mac));
        }
        Ok(())
    }

    fn check_group(&self, group: &PortGroup) -> Result<(), WiringError> {
        let members: Vec<_> = self.members(&group.name).collect();
        let name = || group.name.clone();
        if members.len() < 2 {
            return Err(WiringError::TooFewMembers(name(), members.len()));
        }
        if group.mode == GroupMode::None {
            return Ok(());
        }
        let networks = members.iter().map(|nic| nic.physical_network.as_deref());
        let networks: BTreeSet<_> = networks.flatten().collect();
        if networks.len() > 1 {
            let networks: Vec<_> = networks.into_iter().collect();
            return Err(WiringError::GroupAcrossNetworks {
                group: name(),
                networks: networks.join(" and "),
            });
        }
        if group.mode == GroupMode::Lacp {
            check_aggregation(group, &members)?;
        }
        Ok(())
    }
}

/// A switch can aggregate only ports of its own.
fn check_aggregation(group: &PortGroup, members: &[&Nic]) -> Result<(), WiringError> {
    let cables = members.iter().map(|nic| nic.port.cable.as_ref());
    let switches: BTreeSet<_> = cables
        .map(|cable| cable.map(|cable| cable.switch.as_str()))
        .collect();
    if switches.len() < 2 {
        return Ok(());
    }
    if switches.contains(&None) {
        let without = members.iter().find(|nic| nic.port.cable.is_none());
        return Err(WiringError::MemberWithoutCable {
            group: group.name.clone(),
            // There is one, or `None` would not be among them.
            mac: without.map_or(members[0].port.mac, |nic| nic.port.mac),
        });
    }
    let switches: Vec<_> = switches.into_iter().flatten().collect();
    Err(WiringError::GroupAcrossSwitches {
        group: group.name.clone(),
        switches: switches.join(" and "),
    })
}

/// Orders name what carries a network by group, MAC address or NIC: a group's name is no address.
fn check_name(name: &str) -> Result<(), WiringError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(good);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if fits && begins && name.parse::<MacAddress>().is_err() {
        return Ok(());
    }
    Err(WiringError::BadGroupName(name.chars().take(40).collect()))
}
