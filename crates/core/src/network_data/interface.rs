//! The description as a list of interfaces with their names: what all the renderers agree on.

use std::net::IpAddr;

use super::check::CheckedNetworking;
use super::model::{Addressing, Attachment, Bond, FixedAddress, Link, NodeNetworking, Port, Tag};
use crate::net::MacAddress;

/// An interface that is configured.
pub(super) struct Interface<'a> {
    pub(super) name: String,
    pub(super) kind: Kind<'a>,
    /// The address that it has when everything is up.
    pub(super) mac: MacAddress,
    pub(super) mtu: u16,
    /// The network on it, if there is one.
    pub(super) attachment: Option<&'a Attachment>,
    /// Names of the VLANs on it.
    pub(super) vlans: Vec<String>,
}

pub(super) enum Kind<'a> {
    /// A NIC, with the name of the bond that it is a member of.
    Port {
        port: &'a Port,
        bond: Option<String>,
    },
    /// A bond, with the names of its members.
    Bond {
        bond: &'a Bond,
        members: Vec<String>,
    },
    /// A VLAN of the interface with this name.
    Vlan { parent: String, id: u16 },
}

impl<'a> Interface<'a> {
    /// How addresses are come by on it.
    pub(super) fn addressing(&self) -> &'a [Addressing] {
        self.attachment
            .map_or(&[], |attachment| &attachment.addressing)
    }

    /// Its fixed addresses, IPv4 first: some tools hang what is not about addresses at all on the
    /// first one, and expect it to be IPv4.
    pub(super) fn fixed(&self) -> Vec<&'a FixedAddress> {
        let mut fixed: Vec<_> = fixed(self.addressing()).collect();
        fixed.sort_by_key(|fixed| fixed.address.address().is_ipv6());
        fixed
    }

    /// Whether this way of coming by addresses is used on it.
    pub(super) fn has(&self, addressing: &Addressing) -> bool {
        self.addressing().contains(addressing)
    }

    /// Whether router advertisements are wanted: where IPv6 comes by itself, and nowhere else. A
    /// network that was ordered with fixed addresses is not to be changed by whoever sends one.
    pub(super) fn accepts_router_advertisements(&self) -> bool {
        self.has(&Addressing::Slaac) || self.has(&Addressing::Dhcpv6)
    }
}

pub(super) fn fixed(addressing: &[Addressing]) -> impl Iterator<Item = &FixedAddress> {
    addressing.iter().filter_map(|addressing| match addressing {
        Addressing::Fixed(fixed) => Some(fixed),
        _ => None,
    })
}

pub(super) fn bond_name(number: usize) -> String {
    format!("bond{number}")
}

/// The name of a NIC that cannot be left to the operating system.
pub(super) fn port_name(networking: &NodeNetworking, mac: MacAddress) -> String {
    let place = networking.ports.iter().position(|port| port.mac == mac);
    let place = place.unwrap_or_default();
    let given = networking
        .ports
        .get(place)
        .and_then(|port| port.name.clone());
    given.unwrap_or_else(|| format!("nic{place}"))
}

pub(super) fn link_name(networking: &NodeNetworking, link: Link) -> String {
    match link {
        Link::Port(mac) => port_name(networking, mac),
        Link::Bond(number) => bond_name(number),
    }
}

/// Every interface, each after those that it stands on. NICs that nothing uses are left out.
pub(super) fn interfaces(networking: &CheckedNetworking) -> Vec<Interface<'_>> {
    let networking = networking.get();
    let ports = networking.ports.iter().filter_map(|port| {
        let bond = networking
            .bonds
            .iter()
            .position(|bond| bond.members.contains(&port.mac));
        let kind = Kind::Port {
            port,
            bond: bond.map(bond_name),
        };
        let interface = on_link(networking, Link::Port(port.mac), (kind, port.mac, port.mtu));
        let used = bond.is_some() || interface.attachment.is_some() || !interface.vlans.is_empty();
        used.then_some(interface)
    });
    let bonds = networking.bonds.iter().enumerate().map(|(number, bond)| {
        let members = bond.members.iter();
        let members = members.map(|member| port_name(networking, *member));
        let kind = Kind::Bond {
            bond,
            members: members.collect(),
        };
        on_link(
            networking,
            Link::Bond(number),
            (kind, bond.members[0], bond.mtu),
        )
    });
    let vlans = networking.attachments.iter();
    let vlans = vlans.filter_map(|attachment| vlan(networking, attachment));
    ports.chain(bonds).chain(vlans).collect()
}

fn on_link<'a>(
    networking: &'a NodeNetworking,
    link: Link,
    (kind, mac, mtu): (Kind<'a>, MacAddress, u16),
) -> Interface<'a> {
    let name = link_name(networking, link);
    let on_it = || {
        networking
            .attachments
            .iter()
            .filter(|attachment| attachment.link == link)
    };
    let vlans = on_it().filter_map(|attachment| match attachment.tag {
        Tag::Native => None,
        Tag::Vlan { id, .. } => Some(format!("{name}.{id}")),
    });
    Interface {
        vlans: vlans.collect(),
        attachment: on_it().find(|attachment| attachment.tag == Tag::Native),
        name,
        kind,
        mac,
        mtu,
    }
}

fn vlan<'a>(networking: &'a NodeNetworking, attachment: &'a Attachment) -> Option<Interface<'a>> {
    let Tag::Vlan { id, mtu } = attachment.tag else {
        return None;
    };
    let parent = link_name(networking, attachment.link);
    let mac = match attachment.link {
        Link::Port(mac) => mac,
        Link::Bond(number) => networking.bonds[number].members[0],
    };
    Some(Interface {
        name: format!("{parent}.{id}"),
        kind: Kind::Vlan { parent, id },
        mac,
        mtu,
        attachment: Some(attachment),
        vlans: Vec::new(),
    })
}

/// The name servers as text.
pub(super) fn name_servers(networking: &NodeNetworking) -> Vec<String> {
    networking
        .name_servers
        .iter()
        .map(IpAddr::to_string)
        .collect()
}
