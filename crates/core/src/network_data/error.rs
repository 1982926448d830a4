//! What can be wrong with a description, with the field that it is wrong in.

use std::net::IpAddr;

use super::model::IpPrefix;
use crate::net::MacAddress;

/// A description of which no server could make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct NetworkingError {
    /// The field, as a path into the description: `attachments[1].tag.id`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A second port with this MAC address.
    #[error("{0} is the MAC address of another port already")]
    MacTwice(MacAddress),
    /// A name that the kernel or a configuration file would not take.
    #[error(
        "`{0}` cannot be the name of an interface: write 1 to {1} lowercase letters, digits, `-` and \
         `_`, a letter first"
    )]
    InterfaceName(String, usize),
    /// A second interface with this name.
    #[error("`{0}` is the name of another interface already")]
    NameTwice(String),
    /// An MTU that no Ethernet has.
    #[error("{0} is not from 576 to 9216 bytes")]
    Mtu(u16),
    /// A member whose MTU is not its bond's.
    #[error("{port} is not the {bond} bytes of the bond that it is a member of")]
    MemberMtu {
        /// The member's.
        port: u16,
        /// The bond's.
        bond: u16,
    },
    /// A VLAN whose MTU is larger than its link's.
    #[error("{vlan} is more than the {link} bytes that the link can carry")]
    VlanMtu {
        /// The VLAN's.
        vlan: u16,
        /// The link's.
        link: u16,
    },
    /// IPv6 on a network that is too narrow for it (RFC 8200, section 5).
    #[error("IPv6 needs an MTU of at least 1280 bytes, and this network has {0}")]
    MtuForIpv6(u16),
    /// A bond with fewer than two members.
    #[error("a bond has at least two members, and this has {0}: use the port without a bond")]
    TooFewMembers(usize),
    /// A MAC address that belongs to no port.
    #[error("there is no port with the MAC address {0}")]
    UnknownPort(MacAddress),
    /// A port that is a member already, of this or of another bond.
    #[error("{0} is a member of a bond already")]
    MemberTwice(MacAddress),
    /// A network that is attached to a bond's member.
    #[error("{0} is a member of a bond: attach the network to the bond")]
    IsMember(MacAddress),
    /// A place in the list of bonds where there is none.
    #[error("there is no bond number {0}")]
    UnknownBond(usize),
    /// A network that is attached already.
    #[error("the network `{0}` is attached already")]
    NetworkTwice(String),
    /// A VLAN id that IEEE 802.1Q does not have.
    #[error("{0} is not a VLAN id: these are 1 to 4094")]
    VlanId(u16),
    /// A VLAN that is on the link already.
    #[error("VLAN {0} is on this link already")]
    VlanTwice(u16),
    /// A second native network on one link.
    #[error("another network is native on this link: tag one of them")]
    NativeTwice,
    /// An attachment without any way to come by an address.
    #[error("there is no address, and no way to come by one: leave the network out")]
    NoAddressing,
    /// The same automatic way twice on one network.
    #[error("this is said twice of the same network")]
    AutomaticTwice,
    /// Fixed and automatic addresses of one family on one network, which most tools cannot do.
    #[error("the network has fixed {0} addresses as well: decide for one of them")]
    FixedAndAutomatic(&'static str),
    /// SLAAC and DHCPv6 at once.
    #[error("the network has SLAAC and DHCPv6: decide for one of them")]
    SlaacAndDhcpv6,
    /// An address that no host has on a network.
    #[error("{0} cannot be the address of a host")]
    NotAHost(IpPrefix),
    /// An address that is given twice.
    #[error("{0} is given twice")]
    AddressTwice(IpAddr),
    /// IPv4 and IPv6 in one place.
    #[error("{0} is not of the family of {1}")]
    Family(IpAddr, IpPrefix),
    /// A gateway that is out of reach.
    #[error("{0} is not in {1}: no packet could reach it (say on_link if it can)")]
    GatewayOutOfReach(IpAddr, IpPrefix),
    /// A route's gateway that is out of reach.
    #[error("{0} is not in {1}: no packet could reach it")]
    NextHopOutOfReach(IpAddr, IpPrefix),
    /// A gateway that is the server itself.
    #[error("{0} is the server's own address")]
    GatewayIsOwn(IpAddr),
    /// A second default gateway of one family.
    #[error("there is another {0} default gateway: a server has one")]
    GatewayTwice(&'static str),
    /// A route to everywhere.
    #[error("{0} is everywhere: say it as the gateway")]
    DefaultRoute(IpPrefix),
    /// A destination with host bits.
    #[error("{0} has host bits that are not zero")]
    HostBits(IpPrefix),
    /// A destination that has a route already.
    #[error("there is another route to {0}")]
    RouteTwice(IpPrefix),
    /// An address that no name server has.
    #[error("{0} cannot be the address of a name server")]
    NameServer(IpAddr),
    /// Text that is no domain name (RFC 1123, section 2.1).
    #[error("`{0}` is not a domain name")]
    Domain(String),
    /// A domain that is listed twice.
    #[error("`{0}` is listed twice")]
    DomainTwice(String),
}
