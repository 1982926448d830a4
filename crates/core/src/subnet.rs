//! IP subnets, of either version, and all that is said about one: gateway, name servers, routes, and
//! the pools from which addresses are given to servers.
//!
//! What is wrong with a subnet is found here, without a database and without knowing of any other
//! subnet but those it is compared with: [`SubnetPlan::check`] and [`IpSubnet::overlaps`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::net::Ipv4Subnet;

/// The most addresses in one pool.
pub const MAX_POOL: u64 = 65_536;

/// The most pools of a subnet.
pub const MAX_POOLS: usize = 16;

/// The most name servers of a subnet: resolvers ask no more than three.
pub const MAX_DNS: usize = 3;

/// The most routes of a subnet, besides the one through its gateway.
pub const MAX_ROUTES: usize = 32;

/// A block of IP addresses in CIDR notation (RFC 4632, RFC 4291 section 2.3), of either version,
/// always with the host bits zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpSubnet {
    first: IpAddr,
    prefix: u8,
}

/// Text or numbers that are not a block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a subnet: write it as 192.168.100.0/24 or 2001:db8:1::/64, with the host bits zero"
)]
pub struct ParseIpSubnetError(String);

impl IpSubnet {
    /// The block; `first` must have no host bits set, and the prefix must be at most the address's
    /// length. IPv4 addresses that are written as IPv6 ones are refused.
    ///
    /// # Errors
    /// If it is no block.
    pub fn new(first: IpAddr, prefix: u8) -> Result<Self, ParseIpSubnetError> {
        let subnet = Self { first, prefix };
        let mapped = matches!(first, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        if prefix > bits(first) || mapped || number(first) & subnet.host_mask() != 0 {
            return Err(ParseIpSubnetError(format!("{first}/{prefix}")));
        }
        Ok(subnet)
    }

    /// Its first address, which no host has.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(self) -> IpAddr {
        like(self.first, number(self.first) | self.host_mask())
    }

    /// Bits of the network part: 0 to 32, or 0 to 128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is of IP version 4.
    pub fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4()
            && number(address) & !self.host_mask() == number(self.first)
    }

    /// Whether `address` is one that a host of this subnet can have: with IPv4 neither the network's
    /// own nor the broadcast address, with IPv6 not that of all its routers (RFC 4291 section 2.6.1).
    pub fn contains_host(self, address: IpAddr) -> bool {
        let broadcast = self.is_ipv4() && address == self.last();
        self.contains(address) && address != self.first && !broadcast
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// The bits that tell its hosts apart.
    fn host_mask(self) -> u128 {
        let all = u128::MAX >> (128 - u32::from(bits(self.first)));
        all.checked_shr(u32::from(self.prefix)).unwrap_or(0)
    }
}

impl From<Ipv4Subnet> for IpSubnet {
    fn from(subnet: Ipv4Subnet) -> Self {
        Self {
            first: subnet.network().into(),
            prefix: subnet.prefix(),
        }
    }
}

/// The length of an address of this version.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// A number as an address of the version that `model` has. The callers keep within its bits.
fn like(model: IpAddr, number: u128) -> IpAddr {
    match model {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

impl FromStr for IpSubnet {
    type Err = ParseIpSubnetError;

    fn from_str(text: &str) -> Result<Self, ParseIpSubnetError> {
        let wrong = || ParseIpSubnetError(text.chars().take(60).collect());
        let (first, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (first, prefix) = (first.parse(), prefix.parse());
        Self::new(first.map_err(|_| wrong())?, prefix.map_err(|_| wrong())?)
    }
}

impl fmt::Display for IpSubnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for IpSubnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for IpSubnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpSubnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for IpSubnet {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for IpSubnet {}

/// Addresses that are given to servers, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressPool {
    /// The first.
    #[schema(value_type = String)]
    pub first: IpAddr,
    /// The last; at most 65,536 in all.
    #[schema(value_type = String)]
    pub last: IpAddr,
}

impl AddressPool {
    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// How many they are; 0 if the last comes before the first.
    pub fn size(&self) -> u64 {
        let distance = number(self.last).checked_sub(number(self.first));
        let distance = distance.filter(|_| self.first.is_ipv4() == self.last.is_ipv4());
        let distance = distance.map(|distance| u64::try_from(distance).unwrap_or(u64::MAX));
        distance.map_or(0, |distance| distance.saturating_add(1))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

/// Where packets for other addresses go, besides the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The addresses that are reached by it.
    pub destination: IpSubnet,
    /// The router, which is in the subnet.
    #[schema(value_type = String)]
    pub next_hop: IpAddr,
}

/// A subnet with all that its servers are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetPlan {
    /// The subnet.
    pub cidr: IpSubnet,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// Name servers, of either version.
    pub dns: Vec<IpAddr>,
    /// More routes.
    pub routes: Vec<Route>,
    /// Addresses that are given to servers.
    pub pools: Vec<AddressPool>,
}

/// What is wrong with a subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SubnetFault {
    /// The field at fault, such as `pools[1].last`.
    pub field: String,
    /// What is wrong with it, as a sentence.
    pub message: String,
    /// What to do about it, as a sentence; empty if the message says it.
    pub remedy: &'static str,
}

impl SubnetFault {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            remedy: "",
        }
    }

    fn remedy(self, remedy: &'static str) -> Self {
        Self { remedy, ..self }
    }
}

impl SubnetPlan {
    /// How many addresses its pools have.
    pub fn size(&self) -> u64 {
        let sizes = self.pools.iter().map(AddressPool::size);
        sizes.fold(0, u64::saturating_add)
    }

    /// Whether `address` is in one of its pools.
    pub fn in_pool(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.contains(address))
    }

    /// The pools of somebody who names none: every host address but the gateway's, as far as
    /// [`MAX_POOL`] goes.
    pub fn usual_pools(cidr: IpSubnet, gateway: Option<IpAddr>) -> Vec<AddressPool> {
        let first = number(cidr.first()).saturating_add(1);
        let last = number(cidr.last()).saturating_sub(u128::from(cidr.is_ipv4()));
        let last = last.min(first.saturating_add(u128::from(MAX_POOL) - 1));
        let pool = |first: u128, last: u128| {
            let ends = (like(cidr.first(), first), like(cidr.first(), last));
            (first <= last).then_some(AddressPool {
                first: ends.0,
                last: ends.1,
            })
        };
        let gateway = gateway.filter(|address| cidr.contains(*address));
        let gateway = gateway.map(number).filter(|at| (first..=last).contains(at));
        match gateway {
            None => pool(first, last).into_iter().collect(),
            Some(at) => [pool(first, at - 1), pool(at + 1, last)]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// Finds what is wrong with it.
    ///
    /// # Errors
    /// The first field that makes no sense, and why.
    pub fn check(&self) -> Result<(), SubnetFault> {
        self.check_cidr()?;
        self.check_pools()?;
        self.check_gateway()?;
        self.check_dns()?;
        self.check_routes()
    }

    fn check_cidr(&self) -> Result<(), SubnetFault> {
        let cidr = self.cidr;
        let (shortest, longest) = if cidr.is_ipv4() { (8, 30) } else { (64, 126) };
        if !(shortest..=longest).contains(&cidr.prefix()) {
            let version = if cidr.is_ipv4() { 4 } else { 6 };
            return Err(SubnetFault::new(
                "cidr",
                format!("The prefix of an IPv{version} subnet is {shortest} to {longest} bits."),
            ));
        }
        let unusable = match cidr.first() {
            IpAddr::V4(first) => {
                // 0.0.0.0/8 and 127.0.0.0/8 (RFC 1122 section 3.2.1.3), 224.0.0.0/3 (RFC 1112).
                [0, 127].contains(&first.octets()[0])
                    || first.octets()[0] >= 224
                    || first.is_link_local()
            }
            IpAddr::V6(first) => {
                first.is_unspecified() || first.is_multicast() || first.is_unicast_link_local()
            }
        };
        if unusable {
            return Err(SubnetFault::new(
                "cidr",
                format!("{cidr} is not for hosts: it is reserved, link-local or multicast."),
            ));
        }
        Ok(())
    }

    fn check_pools(&self) -> Result<(), SubnetFault> {
        if self.pools.len() > MAX_POOLS {
            let message = format!("A subnet has at most {MAX_POOLS} pools.");
            return Err(SubnetFault::new("pools", message));
        }
        for (index, pool) in self.pools.iter().enumerate() {
            let first = format!("pools[{index}].first");
            let last = format!("pools[{index}].last");
            self.check_host(&first, pool.first)?;
            self.check_host(&last, pool.last)?;
            if pool.first > pool.last {
                return Err(SubnetFault::new(last, "It comes before `first`."));
            }
            // The middle of an IPv6 subnet of 64 bits, at which the store's numbers turn negative.
            let half = |address: IpAddr| number(address) >> 63 & 1;
            if !self.cidr.is_ipv4() && half(pool.first) != half(pool.last) {
                let message = "A pool must not reach across the middle of the last 64 bits.";
                return Err(SubnetFault::new(last, message).remedy("Make two pools of it."));
            }
            if pool.size() > MAX_POOL {
                let message = format!("A pool has at most {MAX_POOL} addresses.");
                return Err(SubnetFault::new(last, message));
            }
            if self.pools[..index].iter().any(|other| other.overlaps(pool)) {
                let message = format!("{pool} overlaps another pool.");
                return Err(SubnetFault::new(format!("pools[{index}]"), message));
            }
        }
        Ok(())
    }

    fn check_gateway(&self) -> Result<(), SubnetFault> {
        let Some(gateway) = self.gateway else {
            return Ok(());
        };
        // The usual address of an IPv6 router is its link-local one (RFC 4861 section 4.2).
        if !is_link_local_v6(gateway) || self.cidr.is_ipv4() {
            self.check_host("gateway", gateway)?;
        }
        if self.in_pool(gateway) {
            let message = format!("{gateway} lies in a pool of the servers' addresses.");
            return Err(SubnetFault::new("gateway", message)
                .remedy("Take a gateway outside of the pools, or pools that leave it out."));
        }
        Ok(())
    }

    fn check_dns(&self) -> Result<(), SubnetFault> {
        if self.dns.len() > MAX_DNS {
            let message = format!("At most {MAX_DNS} name servers are asked.");
            return Err(SubnetFault::new("dns", message));
        }
        let wrong = |address: &IpAddr| address.is_unspecified() || address.is_multicast();
        match self.dns.iter().position(wrong) {
            Some(index) => Err(SubnetFault::new(
                format!("dns[{index}]"),
                "No name server has this address.",
            )),
            None => Ok(()),
        }
    }

    fn check_routes(&self) -> Result<(), SubnetFault> {
        if self.routes.len() > MAX_ROUTES {
            let message = format!("A subnet has at most {MAX_ROUTES} routes.");
            return Err(SubnetFault::new("routes", message));
        }
        for (index, route) in self.routes.iter().enumerate() {
            let field = |name: &str| format!("routes[{index}].{name}");
            if route.destination.is_ipv4() != self.cidr.is_ipv4() {
                let message = "It is of another IP version than the subnet.";
                return Err(SubnetFault::new(field("destination"), message));
            }
            if route.destination.prefix() == 0 {
                return Err(
                    SubnetFault::new(field("destination"), "That is the default route.")
                        .remedy("Give its router as `gateway`."),
                );
            }
            if route.destination.overlaps(self.cidr) {
                let message = format!("{} overlaps the subnet itself.", route.destination);
                return Err(SubnetFault::new(field("destination"), message));
            }
            if !is_link_local_v6(route.next_hop) || self.cidr.is_ipv4() {
                self.check_host(&field("next_hop"), route.next_hop)?;
            }
            let same = |other: &Route| other.destination == route.destination;
            if self.routes[..index].iter().any(same) {
                return Err(SubnetFault::new(
                    field("destination"),
                    format!("There are two routes to {}.", route.destination),
                ));
            }
        }
        Ok(())
    }

    fn check_host(&self, field: &str, address: IpAddr) -> Result<(), SubnetFault> {
        if self.cidr.contains_host(address) {
            return Ok(());
        }
        let message = format!("{address} is no host address of {}.", self.cidr);
        Err(SubnetFault::new(field, message))
    }
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
