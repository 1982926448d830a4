//! Networks that span switches without a VLAN between them: VXLAN (RFC 7348).
//!
//! A network has one VNI everywhere and a VLAN on each switch where one of its servers is. Every such
//! switch has a tunnel to every other one, and to none else: tunnels come with a network's first
//! server on a switch and go with its last. What comes out of one tunnel never goes into another
//! (split horizon), or a broadcast would go round for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::Serialize;

/// VXLAN network identifiers: 24 bits (RFC 7348, section 5); 0 is used by none.
pub const VNIS: RangeInclusive<u32> = 1..=0x00ff_ffff;

/// Bytes that VXLAN adds to a packet on the way between switches: Ethernet (14), IPv4 (20), UDP (8) and
/// VXLAN (8). With IPv6 it is 20 more.
pub const OVERHEAD: u16 = 50;

/// A switch, and the networks that are on it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelEnd {
    /// The switch's name.
    pub switch: String,
    /// Where other switches reach it.
    pub address: IpAddr,
    /// The networks that at least one of its ports carries.
    pub networks: Vec<LocalNetwork>,
}

/// A network on one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Its VNI, the same on every switch.
    pub vni: u32,
    /// Its VLAN on this switch, 1 to 4094.
    pub vlan: u16,
    /// A port that carries it: tunnels are to be where that is, if a switch has several bridges.
    pub beside: String,
}

/// What a switch must have of one network: its VLAN, which is to lead nowhere else, and its tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tunnels {
    /// The network's VNI.
    pub vni: u32,
    /// Its VLAN on this switch.
    pub vlan: u16,
    /// The other switches that it is on, if there are any.
    pub remotes: BTreeSet<IpAddr>,
    /// See [`LocalNetwork::beside`].
    pub beside: String,
}

/// A tunnel of one network to one other switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Tunnel {
    /// The network's VNI.
    pub vni: u32,
    /// Its VLAN on this switch.
    pub vlan: u16,
    /// The other switch.
    pub remote: IpAddr,
}

impl fmt::Display for Tunnel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vni, vlan, remote } = self;
        write!(formatter, "tunnel of VNI {vni} (VLAN {vlan}) to {remote}")
    }
}

impl Tunnels {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = Tunnel> {
        let (vni, vlan) = (self.vni, self.vlan);
        let remotes = self.remotes.iter();
        remotes.map(move |&remote| Tunnel { vni, vlan, remote })
    }
}

/// Bytes that VXLAN adds to a packet between switches at addresses like this one.
pub fn overhead(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => OVERHEAD,
        IpAddr::V6(_) => OVERHEAD + 20,
    }
}

/// Whether a network with packets of up to `mtu` bytes can be on a switch that others reach at
/// `address`, if that is known, and that forwards packets of up to `largest_mtu`, if that is.
///
/// # Errors
/// [`OverlayError::NoAddress`] and [`OverlayError::MtuTooLarge`].
pub fn check_switch(
    network: (&str, u16),
    switch: &str,
    address: Option<IpAddr>,
    largest_mtu: Option<u16>,
) -> Result<(), OverlayError> {
    let (name, mtu) = network;
    let address = address.ok_or_else(|| OverlayError::NoAddress {
        network: name.to_owned(),
        switch: switch.to_owned(),
    })?;
    let overhead = overhead(address);
    match largest_mtu {
        Some(limit) if mtu.saturating_add(overhead) > limit => Err(OverlayError::MtuTooLarge {
            network: name.to_owned(),
            mtu,
            overhead,
            switch: switch.to_owned(),
            limit,
        }),
        _ => Ok(()),
    }
}

/// Why there are no tunnels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// Other switches cannot reach a switch.
    #[error(
        "network `{network}` is a VXLAN network, and switch `{switch}` has no tunnel address: give it \
         one that other switches reach, or use ports of a switch that has one"
    )]
    NoAddress {
        /// The network.
        network: String,
        /// The switch.
        switch: String,
    },
    /// A packet would not go through a tunnel.
    #[error(
        "network `{network}`: packets of {mtu} bytes are {overhead} longer in a tunnel, and switch \
         `{switch}` forwards at most {limit}: lower the network's MTU"
    )]
    MtuTooLarge {
        /// The network.
        network: String,
        /// Its MTU in bytes.
        mtu: u16,
        /// What is added to it.
        overhead: u16,
        /// The switch.
        switch: String,
        /// The longest packet that it forwards, in bytes.
        limit: u16,
    },
    /// A number that no network has.
    #[error("switch `{switch}`: VNI {vni} is not one of 1 to 16777215")]
    BadVni {
        /// The switch.
        switch: String,
        /// The number.
        vni: u32,
    },
    /// A number that no VLAN has.
    #[error("switch `{switch}`: VNI {vni} has VLAN {vlan}, which is not one of 1 to 4094")]
    BadVlan {
        /// The switch.
        switch: String,
        /// The network.
        vni: u32,
        /// The number.
        vlan: u16,
    },
    /// Two networks would be one on a switch, or one would be two.
    #[error(
        "switch `{switch}`: VNI {first} and VNI {second} are both VLAN {vlan}, or one VNI has two VLANs"
    )]
    Mixed {
        /// The switch.
        switch: String,
        /// A network.
        first: u32,
        /// Another, or the same.
        second: u32,
        /// The VLAN of the second.
        vlan: u16,
    },
    /// Two switches say that they are at the same address.
    #[error("switches `{first}` and `{second}` are both at {address}: correct one of them")]
    SameAddress {
        /// A switch.
        first: String,
        /// Another.
        second: String,
        /// Their address.
        address: IpAddr,
    },
}

/// What each of `ends` must have, by the switch's name; every switch is in it, so that one that needs no
/// tunnels any more loses those that it has.
///
/// # Errors
/// When two networks would meet, or numbers are out of their bounds: then no tunnel is to change.
pub fn tunnels(ends: &[TunnelEnd]) -> Result<BTreeMap<String, Vec<Tunnels>>, OverlayError> {
    let mut members: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for end in ends {
        check(end)?;
        if let Some(first) = addresses.insert(end.address, &end.switch) {
            return Err(OverlayError::SameAddress {
                first: first.to_owned(),
                second: end.switch.clone(),
                address: end.address,
            });
        }
        for network in &end.networks {
            members.entry(network.vni).or_default().insert(end.address);
        }
    }
    let wanted = ends.iter().map(|end| {
        let each = end.networks.iter().map(|network| {
            let others = members.get(&network.vni).into_iter().flatten();
            Tunnels {
                vni: network.vni,
                vlan: network.vlan,
                remotes: others
                    .filter(|each| **each != end.address)
                    .copied()
                    .collect(),
                beside: network.beside.clone(),
            }
        });
        (end.switch.clone(), each.collect())
    });
    Ok(wanted.collect())
}

fn check(end: &TunnelEnd) -> Result<(), OverlayError> {
    let switch = || end.switch.clone();
    for (index, network) in end.networks.iter().enumerate() {
        let (vni, vlan) = (network.vni, network.vlan);
        if !VNIS.contains(&vni) {
            return Err(OverlayError::BadVni {
                switch: switch(),
                vni,
            });
        }
        if !(1..=4094).contains(&vlan) {
            return Err(OverlayError::BadVlan {
                switch: switch(),
                vni,
                vlan,
            });
        }
        let earlier = end.networks[..index].iter();
        for other in earlier {
            if other.vni == vni || other.vlan == vlan {
                return Err(OverlayError::Mixed {
                    switch: switch(),
                    first: other.vni,
                    second: vni,
                    vlan,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(number: u8, networks: &[(u32, u16)]) -> TunnelEnd {
        let networks = networks.iter().map(|(vni, vlan)| LocalNetwork {
            vni: *vni,
            vlan: *vlan,
            beside: "p1".to_owned(),
        });
        TunnelEnd {
            switch: format!("leaf{number}"),
            address: IpAddr::from([10, 50, 0, number]),
            networks: networks.collect(),
        }
    }

    fn shown(ends: &[TunnelEnd]) -> Vec<String> {
        let wanted = tunnels(ends).unwrap();
        let each = wanted.into_iter().flat_map(|(switch, networks)| {
            networks.into_iter().map(move |each| {
                let remotes: Vec<_> = each.remotes.iter().map(IpAddr::to_string).collect();
                let (vni, vlan) = (each.vni, each.vlan);
                format!("{switch}: {vni} as {vlan} to {}", remotes.join(" and "))
            })
        });
        each.collect()
    }

    #[test]
    fn a_network_has_a_tunnel_between_any_two_of_its_switches() {
        let three = [
            end(1, &[(5000, 100), (6000, 101)]),
            end(2, &[(5000, 200)]),
            end(3, &[(5000, 100), (7000, 101)]),
        ];
        assert_eq!(
            shown(&three),
            [
                "leaf1: 5000 as 100 to 10.50.0.2 and 10.50.0.3",
                "leaf1: 6000 as 101 to ",
                "leaf2: 5000 as 200 to 10.50.0.1 and 10.50.0.3",
                "leaf3: 5000 as 100 to 10.50.0.1 and 10.50.0.2",
                "leaf3: 7000 as 101 to ",
            ]
        );
    }

    #[test]
    fn tunnels_go_with_the_last_server_on_a_switch() {
        let two = [end(1, &[(5000, 100)]), end(2, &[(5000, 200)])];
        assert_eq!(shown(&two).len(), 2);
        let one = [end(1, &[(5000, 100)]), end(2, &[])];
        assert_eq!(shown(&one), ["leaf1: 5000 as 100 to "]);
        assert_eq!(tunnels(&one).unwrap().len(), 2, "both are told");
    }

    #[test]
    fn a_switch_must_be_reachable_and_forward_what_the_tunnel_adds() {
        let check = |mtu, address: Option<&str>, limit| {
            let address = address.map(|address| address.parse().unwrap());
            let checked = check_switch(("far", mtu), "leaf1", address, limit);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(9000, Some("10.50.0.1"), None), Ok(()));
        assert_eq!(check(1450, Some("10.50.0.1"), Some(1500)), Ok(()));
        assert_eq!(check(1430, Some("2001:db8::1"), Some(1500)), Ok(()));
        for (mtu, address, part) in [
            (1451, Some("10.50.0.1"), "are 50 longer in a tunnel"),
            (1431, Some("2001:db8::1"), "are 70 longer in a tunnel"),
            (1450, None, "switch `leaf1` has no tunnel address"),
        ] {
            let error = check(mtu, address, Some(1500)).unwrap_err();
            assert!(error.contains(part) && error.contains("`far`"), "{error}");
        }
    }

    #[test]
    fn networks_that_would_meet_are_refused() {
        for (ends, part) in [
            (vec![end(1, &[(0, 100)])], "VNI 0"),
            (vec![end(1, &[(1 << 24, 100)])], "VNI 16777216"),
            (vec![end(1, &[(5000, 0)])], "VLAN 0"),
            (vec![end(1, &[(5000, 4095)])], "VLAN 4095"),
            (vec![end(1, &[(5000, 100), (6000, 100)])], "both VLAN 100"),
            (vec![end(1, &[(5000, 100), (5000, 101)])], "two VLANs"),
            (vec![end(1, &[]), end(1, &[])], "both at 10.50.0.1"),
        ] {
            let error = tunnels(&ends).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
