//! The two network values everything else is keyed by: MAC addresses and IPv4 subnets.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// An Ethernet address (IEEE 802 EUI-48). Written as six lowercase hexadecimal pairs with colons;
/// read with colons or dashes, in either case. Group and all-zero addresses are refused, since no
/// NIC has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "52:54:00:12:34:56")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address with these octets, unless it is a group or the all-zero address.
    pub fn new(octets: [u8; 6]) -> Result<Self, ParseMacError> {
        if octets == [0; 6] || octets[0] & 1 == 1 {
            return Err(ParseMacError(Self(octets).to_string()));
        }
        Ok(Self(octets))
    }

    /// The six octets in transmission order.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

/// Text that is not the address of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a NIC's MAC address: write six hexadecimal pairs such as 52:54:00:12:34:56")]
pub struct ParseMacError(String);

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let wrong = || ParseMacError(text.chars().take(40).collect());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(octets)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An IPv4 subnet in CIDR notation (RFC 4632), always with the host bits zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv4Subnet(Ipv4Addr, u8);

/// Text or numbers that are not an IPv4 subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an IPv4 subnet: write it as 192.168.100.0/24, prefix 8 to 30, host bits zero"
)]
pub struct ParseSubnetError(String);

impl Ipv4Subnet {
    /// The subnet; the prefix is 8 to 30 bits, and `network` must have no host bits set.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Result<Self, ParseSubnetError> {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        if !(8..=30).contains(&prefix) || u32::from(network) & host_bits != 0 {
            return Err(ParseSubnetError(format!("{network}/{prefix}")));
        }
        Ok(Self(network, prefix))
    }

    /// Its first address, which no host has.
    pub fn network(self) -> Ipv4Addr {
        self.0
    }

    /// Bits of the network part, 8 to 30.
    pub fn prefix(self) -> u8 {
        self.1
    }

    /// The mask, such as 255.255.255.0.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(!(u32::MAX >> self.1))
    }

    /// Whether `address` is one that a host of this subnet can have (neither the network's own
    /// nor the broadcast address).
    pub fn contains_host(self, address: Ipv4Addr) -> bool {
        let (address, first) = (u32::from(address), u32::from(self.0));
        let last = first | (u32::MAX >> self.1);
        address > first && address < last
    }
}

impl FromStr for Ipv4Subnet {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Self, ParseSubnetError> {
        let wrong = || ParseSubnetError(text.chars().take(40).collect());
        let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(
            network.parse().map_err(|_| wrong())?,
            prefix.parse().map_err(|_| wrong())?,
        )
    }
}

impl fmt::Display for Ipv4Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.0, self.1)
    }
}

impl fmt::Debug for Ipv4Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl utoipa::PartialSchema for Ipv4Subnet {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for Ipv4Subnet {}

macro_rules! serde_as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text! { MacAddress Ipv4Subnet }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_have_one_spelling() {
        let mac: MacAddress = "52-54-00-AB-cd-01".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
        for wrong in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:01:02",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "g2:54:00:ab:cd:01",
            "5254.00ab.cd01",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn subnets_know_their_hosts() {
        let subnet: Ipv4Subnet = "192.168.100.0/24".parse().unwrap();
        assert_eq!(subnet.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(subnet.contains_host(Ipv4Addr::new(192, 168, 100, 1)));
        assert!(!subnet.contains_host(Ipv4Addr::new(192, 168, 100, 0)));
        assert!(!subnet.contains_host(Ipv4Addr::new(192, 168, 100, 255)));
        assert!(!subnet.contains_host(Ipv4Addr::new(192, 168, 101, 1)));
        for wrong in [
            "192.168.100.1/24",
            "10.0.0.0/7",
            "10.0.0.0/31",
            "10.0.0.0",
            "x/24",
        ] {
            assert!(wrong.parse::<Ipv4Subnet>().is_err(), "{wrong}");
        }
    }
}
