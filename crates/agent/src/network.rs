//! The network of a machine that has just started: one interface with one address, both told by
//! the kernel command line. There is no second DHCP, so there is nothing to go wrong between the
//! lease that the firmware got and the one that the agent would get.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bessemer_core::net::MacAddress;

use crate::console::{causes, say};
use crate::drivers::Drivers;
use crate::machine::Machine;
use crate::{Error, Result};

pub mod arp;
mod departure;
pub mod interface;
pub mod lldp;
mod packet;

pub use departure::{Witnesses, watch_departure};
use interface::Control;

/// How long the NIC's driver may take to appear: a storage controller may be in its way.
const DRIVER_WAIT: Duration = Duration::from_secs(60);

/// How long a switch may take to give a carrier. Spanning tree without edge ports takes 30 s
/// more, but behind a carrier, where the session's own patience covers it.
const CARRIER_WAIT: Duration = Duration::from_secs(30);

/// What the kernel command line says about the network.
#[derive(Clone, Debug)]
pub struct Address {
    /// The NIC.
    pub mac: MacAddress,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network part, 1 to 32.
    pub prefix: u8,
    /// The router, if the conductor is not on the same network.
    pub gateway: Option<Ipv4Addr>,
}

/// Brings the interface up and gives its kernel name.
pub fn configure(machine: &Machine, drivers: &Drivers, wanted: &Address) -> Result<String> {
    let control = Control::open()?;
    control.set_up("lo")?;
    let name = drivers
        .wait_for(DRIVER_WAIT, || find(machine, wanted.mac))
        .ok_or_else(|| Error::NoInterface {
            wanted: wanted.mac.to_string(),
            found: found(machine),
        })?;
    control.set_up(&name)?;
    control.set_address(&name, wanted.address, wanted.prefix)?;
    if let Some(gateway) = wanted.gateway {
        control.add_default_route(&name, gateway)?;
    }
    wait_for_carrier(machine, &name);
    let driver = interface::driver(machine, &name);
    let (address, prefix) = (wanted.address, wanted.prefix);
    say(format_args!(
        "network: {name} ({}, {driver}) has {address}/{prefix}",
        wanted.mac
    ));
    Ok(name)
}

/// Who is asked at layer 2 for the ways to the conductors, each once. The first conductor needs a way;
/// another one without is not asked for.
pub fn next_hops(conductors: &[String], own: &Address) -> Result<Vec<Ipv4Addr>> {
    let mut hops = Vec::new();
    for (index, conductor) in conductors.iter().enumerate() {
        match next_hop(conductor, own) {
            Ok(hop) if hops.contains(&hop) => {}
            Ok(hop) => hops.push(hop),
            Err(error) if index == 0 => return Err(error),
            Err(error) => say(causes(&error)),
        }
    }
    Ok(hops)
}

/// The conductor itself if it is on the interface's own network, or else the router.
fn next_hop(conductor: &str, own: &Address) -> Result<Ipv4Addr> {
    let unusable = |message: String| Error::Conductor {
        url: conductor.to_owned(),
        message,
    };
    let url = reqwest::Url::parse(conductor).map_err(|error| unusable(error.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    let address: Ipv4Addr = host
        .parse()
        .map_err(|_| unusable("its host is not an IPv4 address".into()))?;
    let mask = u32::MAX
        .checked_shl(32 - u32::from(own.prefix))
        .unwrap_or(0);
    if u32::from(address) & mask == u32::from(own.address) & mask {
        return Ok(address);
    }
    own.gateway
        .ok_or_else(|| unusable("it is on another network and no gateway is given".into()))
}

/// Takes every interface down, so that no packet is written into memory that belongs to the next
/// kernel.
pub fn take_down(machine: &Machine) {
    let Ok(control) = Control::open() else { return };
    for name in interface::physical(machine) {
        if let Err(error) = control.set_down(&name) {
            say(causes(&error));
        }
    }
}

fn find(machine: &Machine, mac: MacAddress) -> Option<String> {
    interface::physical(machine)
        .into_iter()
        .find(|name| interface::address(machine, name) == Some(mac))
}

fn found(machine: &Machine) -> String {
    let described: Vec<String> = interface::physical(machine)
        .iter()
        .map(|name| match interface::address(machine, name) {
            Some(mac) => format!("{name} {mac}"),
            None => name.clone(),
        })
        .collect();
    if described.is_empty() {
        "none".into()
    } else {
        described.join(", ")
    }
}

/// Waits for a carrier, and goes on without one: some drivers never report it, and the session
/// has a patience of its own.
fn wait_for_carrier(machine: &Machine, name: &str) {
    let deadline = Instant::now() + CARRIER_WAIT;
    let mut told = false;
    while !interface::has_carrier(machine, name) {
        if Instant::now() >= deadline {
            say(format_args!(
                "network: {name} has no carrier: check the cable and the switch port"
            ));
            return;
        }
        if !told {
            say(format_args!("network: waiting for a carrier on {name}"));
            told = true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_conductors_are_direct_or_by_the_router() {
        let own = |gateway| Address {
            mac: "52:54:00:77:00:01".parse().unwrap(),
            address: Ipv4Addr::new(10, 77, 0, 50),
            prefix: 24,
            gateway,
        };
        let router = Ipv4Addr::new(10, 77, 0, 254);
        let direct = next_hop("https://10.77.0.1:8443", &own(Some(router))).unwrap();
        assert_eq!(direct, Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(
            next_hop("https://10.78.0.1:8443", &own(Some(router))).unwrap(),
            router
        );
        for wrong in [
            "https://10.78.0.1:8443",
            "https://conductor:8443",
            "10.77.0.1",
        ] {
            let error = next_hop(wrong, &own(None)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let all = [
            "https://10.77.0.1:8443",
            "https://10.78.0.1:8443",
            "https://10.77.0.2:8443",
            "https://10.79.0.1:8443",
        ];
        let hops = |first: usize, gateway| {
            let all: Vec<_> = all[first..].iter().map(|url| (*url).to_owned()).collect();
            next_hops(&all, &own(gateway))
        };
        let (one, two) = (direct, Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(hops(0, Some(router)).unwrap(), [one, router, two]);
        assert_eq!(hops(0, None).unwrap(), [one, two]);
        assert!(hops(1, None).is_err(), "the first has no way");
    }
}
