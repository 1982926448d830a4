//! Checking a description: every mistake that would cost a tenant their first boot.

use std::collections::HashSet;
use std::net::IpAddr;

use super::error::{NetworkingError, Problem};
use super::interface::{fixed, port_name};
use super::model::{
    Addressing, Attachment, Bond, FixedAddress, Gateway, IpPrefix, Link, NodeNetworking, Tag,
};
use crate::net::MacAddress;

/// Characters that the kernel allows in the name of an interface (`IFNAMSIZ`, less its end).
const LONGEST_NAME: usize = 15;
/// The same for one that `.4094` is added to.
const LONGEST_PARENT_NAME: usize = 10;

/// A description in which nothing contradicts anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedNetworking(NodeNetworking);

impl CheckedNetworking {
    /// The description.
    pub fn get(&self) -> &NodeNetworking {
        &self.0
    }
}

impl NodeNetworking {
    /// The description as one that can be written down, or the first mistake in it.
    pub fn check(self) -> Result<CheckedNetworking, NetworkingError> {
        check_ports(&self)?;
        check_bonds(&self)?;
        check_attachments(&self)?;
        check_addresses(&self)?;
        check_routes(&self)?;
        check_names(&self)?;
        Ok(CheckedNetworking(self))
    }
}

type Checked = Result<(), NetworkingError>;

fn wrong(field: impl Into<String>, problem: Problem) -> NetworkingError {
    NetworkingError {
        field: field.into(),
        problem,
    }
}

fn check_mtu(field: &str, mtu: u16) -> Checked {
    match mtu {
        576..=9216 => Ok(()),
        _ => Err(wrong(format!("{field}.mtu"), Problem::Mtu(mtu))),
    }
}

fn check_ports(networking: &NodeNetworking) -> Checked {
    let mut macs = HashSet::new();
    let mut names = HashSet::new();
    for (index, port) in networking.ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        if !macs.insert(port.mac) {
            return Err(wrong(format!("{field}.mac"), Problem::MacTwice(port.mac)));
        }
        let carries_vlans = networking.attachments.iter().any(|attachment| {
            attachment.link == Link::Port(port.mac) && attachment.tag != Tag::Native
        });
        let longest = if carries_vlans {
            LONGEST_PARENT_NAME
        } else {
            LONGEST_NAME
        };
        let name = port_name(networking, port.mac);
        if !is_interface_name(&name, longest) {
            let problem = Problem::InterfaceName(name, longest);
            return Err(wrong(format!("{field}.name"), problem));
        }
        if !names.insert(name.clone()) {
            return Err(wrong(format!("{field}.name"), Problem::NameTwice(name)));
        }
        check_mtu(&field, port.mtu)?;
    }
    Ok(())
}

/// Names that mean something else are none: the loopback interface, the kernel's sets of settings,
/// and what bonds are called.
fn is_interface_name(name: &str, longest: usize) -> bool {
    let mut bytes = name.bytes();
    let number = name.strip_prefix("bond").unwrap_or("x");
    (1..=longest).contains(&name.len())
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        && !["lo", "all", "default"].contains(&name)
        && number.bytes().any(|byte| !byte.is_ascii_digit())
}

fn check_bonds(networking: &NodeNetworking) -> Checked {
    let mut members = HashSet::new();
    for (index, bond) in networking.bonds.iter().enumerate() {
        let field = format!("bonds[{index}]");
        check_mtu(&field, bond.mtu)?;
        check_members(networking, (&field, bond), &mut members)?;
        if bond.members.len() < 2 {
            let problem = Problem::TooFewMembers(bond.members.len());
            return Err(wrong(format!("{field}.members"), problem));
        }
    }
    Ok(())
}

fn check_members(
    networking: &NodeNetworking,
    (field, bond): (&str, &Bond),
    members: &mut HashSet<MacAddress>,
) -> Checked {
    for (index, mac) in bond.members.iter().enumerate() {
        let field = format!("{field}.members[{index}]");
        let port = networking.ports.iter().position(|port| port.mac == *mac);
        let Some(port) = port else {
            return Err(wrong(field, Problem::UnknownPort(*mac)));
        };
        if !members.insert(*mac) {
            return Err(wrong(field, Problem::MemberTwice(*mac)));
        }
        let (own, bond) = (networking.ports[port].mtu, bond.mtu);
        if own != bond {
            let problem = Problem::MemberMtu { port: own, bond };
            return Err(wrong(format!("ports[{port}].mtu"), problem));
        }
    }
    Ok(())
}

fn check_attachments(networking: &NodeNetworking) -> Checked {
    let mut networks = HashSet::new();
    let mut places = HashSet::new();
    for (index, attachment) in networking.attachments.iter().enumerate() {
        let field = format!("attachments[{index}]");
        if !networks.insert(&attachment.network) {
            let problem = Problem::NetworkTwice(attachment.network.clone());
            return Err(wrong(format!("{field}.network"), problem));
        }
        let link_mtu = check_link(networking, &field, attachment.link)?;
        let place = format!("{field}.tag");
        let (vlan, mtu) = match attachment.tag {
            Tag::Native => (None, link_mtu),
            Tag::Vlan { id, mtu } => {
                check_vlan(&place, (id, mtu), link_mtu)?;
                (Some(id), mtu)
            }
        };
        if !places.insert((attachment.link, vlan)) {
            let problem = vlan.map_or(Problem::NativeTwice, Problem::VlanTwice);
            return Err(wrong(place, problem));
        }
        check_addressing(&field, attachment, mtu)?;
    }
    Ok(())
}

/// The MTU of a link that networks can be attached to.
fn check_link(
    networking: &NodeNetworking,
    field: &str,
    link: Link,
) -> Result<u16, NetworkingError> {
    let wrong = |problem| wrong(format!("{field}.link"), problem);
    match link {
        Link::Bond(number) => {
            let bond = networking.bonds.get(number);
            bond.map(|bond| bond.mtu)
                .ok_or_else(|| wrong(Problem::UnknownBond(number)))
        }
        Link::Port(mac) => {
            if networking
                .bonds
                .iter()
                .any(|bond| bond.members.contains(&mac))
            {
                return Err(wrong(Problem::IsMember(mac)));
            }
            let port = networking.ports.iter().find(|port| port.mac == mac);
            port.map(|port| port.mtu)
                .ok_or_else(|| wrong(Problem::UnknownPort(mac)))
        }
    }
}

fn check_vlan(field: &str, (id, mtu): (u16, u16), link: u16) -> Checked {
    if !(1..=4094).contains(&id) {
        return Err(wrong(format!("{field}.id"), Problem::VlanId(id)));
    }
    check_mtu(field, mtu)?;
    if mtu > link {
        let problem = Problem::VlanMtu { vlan: mtu, link };
        return Err(wrong(format!("{field}.mtu"), problem));
    }
    Ok(())
}

fn check_addressing(field: &str, attachment: &Attachment, mtu: u16) -> Checked {
    let all = &attachment.addressing;
    let field = format!("{field}.addressing");
    if all.is_empty() {
        return Err(wrong(field, Problem::NoAddressing));
    }
    let is_fixed = |ipv6: bool| fixed(all).any(|fixed| fixed.address.address().is_ipv6() == ipv6);
    let has = |addressing| all.contains(addressing);
    let ipv6 = is_fixed(true) || has(&Addressing::Slaac) || has(&Addressing::Dhcpv6);
    if ipv6 && mtu < 1280 {
        return Err(wrong(field, Problem::MtuForIpv6(mtu)));
    }
    if has(&Addressing::Slaac) && has(&Addressing::Dhcpv6) {
        return Err(wrong(field, Problem::SlaacAndDhcpv6));
    }
    for (index, addressing) in all.iter().enumerate() {
        let wrong = |problem| Err(wrong(format!("{field}[{index}]"), problem));
        match addressing {
            Addressing::Fixed(_) => {}
            automatic if all[..index].contains(automatic) => return wrong(Problem::AutomaticTwice),
            Addressing::Dhcpv4 if is_fixed(false) => {
                return wrong(Problem::FixedAndAutomatic("IPv4"));
            }
            Addressing::Dhcpv6 | Addressing::Slaac if is_fixed(true) => {
                return wrong(Problem::FixedAndAutomatic("IPv6"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every fixed address, with its field.
fn all_fixed(networking: &NodeNetworking) -> impl Iterator<Item = (String, &FixedAddress)> {
    let attachments = networking.attachments.iter().enumerate();
    attachments.flat_map(|(attachment, Attachment { addressing, .. })| {
        let addressing = addressing.iter().enumerate();
        addressing.filter_map(move |(index, addressing)| match addressing {
            Addressing::Fixed(fixed) => {
                let field = format!("attachments[{attachment}].addressing[{index}]");
                Some((field, fixed))
            }
            _ => None,
        })
    })
}

fn check_addresses(networking: &NodeNetworking) -> Checked {
    let mut seen = HashSet::new();
    let mut gateways = HashSet::new();
    for (field, fixed) in all_fixed(networking) {
        let own = fixed.address;
        if !is_host(own) {
            return Err(wrong(format!("{field}.address"), Problem::NotAHost(own)));
        }
        if !seen.insert(own.address()) {
            let problem = Problem::AddressTwice(own.address());
            return Err(wrong(format!("{field}.address"), problem));
        }
        let Some(gateway) = fixed.gateway else {
            continue;
        };
        let field = format!("{field}.gateway");
        check_gateway(&field, own, gateway)?;
        if !gateways.insert(gateway.address.is_ipv6()) {
            return Err(wrong(field, Problem::GatewayTwice(family(gateway.address))));
        }
    }
    Ok(())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether a host of a network can have the address: not the network's own, not the broadcast
/// address (RFC 3021 leaves both to networks of 31 bits, RFC 6164 to those of 127).
fn is_host(own: IpPrefix) -> bool {
    let whole = if own.address().is_ipv4() { 31 } else { 127 };
    let first = own.host_bits() == 0 && own.length() < whole;
    own.length() > 0
        && is_unicast(own.address())
        && !own.address().is_loopback()
        && !first
        && !own.is_broadcast()
}

fn is_unicast(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::from([255; 4])
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn check_gateway(field: &str, own: IpPrefix, gateway: Gateway) -> Checked {
    let address = gateway.address;
    check_next_hop(field, own, address)?;
    if !own.contains(address) && !is_link_local(address) && !gateway.on_link {
        let problem = Problem::GatewayOutOfReach(address, own);
        return Err(wrong(field, problem));
    }
    Ok(())
}

/// What holds for a gateway wherever it is.
fn check_next_hop(field: &str, own: IpPrefix, address: IpAddr) -> Checked {
    if address.is_ipv4() != own.address().is_ipv4() {
        return Err(wrong(field, Problem::Family(address, own)));
    }
    if address == own.address() {
        return Err(wrong(field, Problem::GatewayIsOwn(address)));
    }
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let hop = IpPrefix::new(
        address,
        if own.contains(address) {
            own.length()
        } else {
            bits
        },
    );
    match hop {
        Ok(hop) if !is_host(hop) => Err(wrong(field, Problem::NotAHost(hop))),
        _ => Ok(()),
    }
}

fn check_routes(networking: &NodeNetworking) -> Checked {
    let mut destinations = HashSet::new();
    for (field, fixed) in all_fixed(networking) {
        for (index, route) in fixed.routes.iter().enumerate() {
            let field = format!("{field}.routes[{index}]");
            let (to, own) = (route.destination, fixed.address);
            let wrong_destination = |problem| wrong(format!("{field}.destination"), problem);
            if to.address().is_ipv4() != own.address().is_ipv4() {
                return Err(wrong_destination(Problem::Family(to.address(), own)));
            }
            if to.host_bits() != 0 {
                return Err(wrong_destination(Problem::HostBits(to)));
            }
            if to.length() == 0 {
                return Err(wrong_destination(Problem::DefaultRoute(to)));
            }
            if !destinations.insert(to) {
                return Err(wrong_destination(Problem::RouteTwice(to)));
            }
            let field = format!("{field}.gateway");
            check_next_hop(&field, own, route.gateway)?;
            if !own.contains(route.gateway) && !is_link_local(route.gateway) {
                return Err(wrong(field, Problem::NextHopOutOfReach(route.gateway, own)));
            }
        }
    }
    Ok(())
}

fn check_names(networking: &NodeNetworking) -> Checked {
    let mut seen = HashSet::new();
    for (index, server) in networking.name_servers.iter().enumerate() {
        let field = format!("name_servers[{index}]");
        if !is_unicast(*server) {
            return Err(wrong(field, Problem::NameServer(*server)));
        }
        if !seen.insert(server) {
            return Err(wrong(field, Problem::AddressTwice(*server)));
        }
    }
    let mut seen = HashSet::new();
    for (index, domain) in networking.search_domains.iter().enumerate() {
        let field = format!("search_domains[{index}]");
        if !is_domain(domain) {
            return Err(wrong(field, Problem::Domain(domain.clone())));
        }
        if !seen.insert(domain.to_ascii_lowercase()) {
            return Err(wrong(field, Problem::DomainTwice(domain.clone())));
        }
    }
    Ok(())
}

/// RFC 1123, section 2.1, with the underscores that some people use.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label)
}
