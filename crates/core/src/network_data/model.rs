//! The description itself: plain data, in the field's words, without any opinion on files.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::net::MacAddress;

/// All that a node's operating system has to know about its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNetworking {
    /// The physical NICs that take part. One that is neither a bond's member nor attached to a
    /// network is not mentioned anywhere: waiting for its carrier would hold up the boot.
    pub ports: Vec<Port>,
    /// Ports that are used as one link: `bond0`, `bond1`, … in this order.
    pub bonds: Vec<Bond>,
    /// Which network is on which link.
    pub attachments: Vec<Attachment>,
    /// Name servers of the whole system, in order of preference. Few resolvers ask more than three
    /// (`resolv.conf(5)`).
    pub name_servers: Vec<IpAddr>,
    /// Domains in which short names are looked up, in this order.
    pub search_domains: Vec<String>,
}

/// A physical NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The address by which it is known.
    pub mac: MacAddress,
    /// The name that its interface is given, if it matters: 1 to 15 lowercase letters, digits, `-`
    /// and `_`, the first one a letter; 10 if it carries VLANs.
    pub name: Option<String>,
    /// Largest packet, in bytes: 576 to 9216. A bond's member has its bond's.
    pub mtu: u16,
}

/// Several ports used as one link (Linux bonding).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// The ports, at least two. The bond has the first one's MAC address, whichever of them is up.
    pub members: Vec<MacAddress>,
    /// How they are used.
    pub mode: BondMode,
    /// Largest packet, in bytes: 576 to 9216.
    pub mtu: u16,
}

/// How the members of a bond are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondMode {
    /// All at once, by agreement with the switch (IEEE 802.1AX, formerly 802.3ad). Packets are
    /// spread over the members by IP address and transport port.
    Lacp {
        /// How often the partners show that they are alive.
        rate: LacpRate,
    },
    /// One at a time; the switch need not know.
    ActiveBackup,
}

impl Default for BondMode {
    fn default() -> Self {
        Self::Lacp {
            rate: LacpRate::Fast,
        }
    }
}

/// How often LACP partners show that they are alive; one that was silent for three intervals is
/// left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LacpRate {
    /// Every second: a dead link is noticed within three.
    #[default]
    Fast,
    /// Every thirty seconds.
    Slow,
}

/// A network on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name or id, for people who read the document. No network is attached twice.
    pub network: String,
    /// Where it is.
    pub link: Link,
    /// Whether its frames are tagged there.
    pub tag: Tag,
    /// How addresses are come by there, at least one. A network without any subnet is nothing
    /// that could be configured at first boot, and is left out of the description.
    pub addressing: Vec<Addressing>,
}

/// What a network can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The port with this MAC address.
    Port(MacAddress),
    /// The bond with this place in [`NodeNetworking::bonds`], from 0.
    Bond(usize),
}

/// Whether a network's frames are tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// They are not; the link's MTU is the network's. One network of a link can be native.
    Native,
    /// They are, as IEEE 802.1Q says.
    Vlan {
        /// The VLAN, 1 to 4094.
        id: u16,
        /// Largest packet, in bytes: not larger than the link's.
        mtu: u16,
    },
}

/// One way of coming by addresses. On one network, a family's addresses are either fixed or come by
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// An address known beforehand.
    Fixed(FixedAddress),
    /// DHCP (RFC 2131).
    Dhcpv4,
    /// DHCPv6 (RFC 8415), with routes from router advertisements.
    Dhcpv6,
    /// IPv6 stateless address autoconfiguration, SLAAC (RFC 4862).
    Slaac,
}

/// An address known beforehand, and what its subnet is for. One network can have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAddress {
    /// The address, with the prefix of its subnet.
    pub address: IpPrefix,
    /// The way to everywhere else: one per family in the whole description.
    pub gateway: Option<Gateway>,
    /// Ways to some other networks.
    pub routes: Vec<Route>,
}

/// A default gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// It is reached on the link although it is outside of the subnet. An IPv6 link-local address
    /// is anyway.
    pub on_link: bool,
}

/// A route to a network that is not the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to, host bits zero.
    pub destination: IpPrefix,
    /// By way of: an address of the subnet, or an IPv6 link-local one.
    pub gateway: IpAddr,
}

/// An address with the length of its network part in bits, in CIDR notation (RFC 4632, RFC 4291).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

/// Text or numbers that are not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address with its prefix length: write it as 192.0.2.10/24 or 2001:db8::a/64"
)]
pub struct ParsePrefixError(String);

impl IpPrefix {
    /// `address` with `length` bits of network part: 0 to 32, or 0 to 128 for IPv6.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, ParsePrefixError> {
        let prefix = Self { address, length };
        if length > prefix.bits() {
            return Err(ParsePrefixError(prefix.to_string()));
        }
        Ok(prefix)
    }

    /// The address, host bits and all.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the network part.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Bits of an address of this family.
    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether `address` has the same network part, and family.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && self.network_bits(address) == self.network_bits(self.address)
    }

    /// The part of an address that its host has to itself.
    pub(super) fn host_bits(self) -> u128 {
        as_number(self.address) & !self.mask()
    }

    /// Whether this is the last address of an IPv4 network that has a broadcast address.
    pub(super) fn is_broadcast(self) -> bool {
        self.address.is_ipv4()
            && self.length < 31
            && self.host_bits() == !self.mask() & u128::from(u32::MAX)
    }

    fn network_bits(self, address: IpAddr) -> u128 {
        as_number(address) & self.mask()
    }

    /// Ones where the network part is; above an IPv4 address there is nothing to be masked.
    fn mask(self) -> u128 {
        let host = u32::from(self.bits() - self.length);
        u128::MAX.checked_shl(host).unwrap_or(0)
    }
}

fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl FromStr for IpPrefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let wrong = || ParsePrefixError(text.chars().take(60).collect());
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Self::new(address, length.parse().map_err(|_| wrong())?)
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for IpPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
