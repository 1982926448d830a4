//! The choice itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{AttachError, Nic, NodeWiring, Place, Wish};
use crate::net::MacAddress;
use crate::port_plan::{AttachmentMode, Carrier};

/// What carries each of these networks on the node that is wired so, and how; in their order.
///
/// # Errors
/// The first network that cannot be carried, and why.
pub fn attach(wishes: &[Wish], wiring: &NodeWiring) -> Result<Vec<Place>, AttachError> {
    let units = units(wiring);
    let carriers = wishes
        .iter()
        .map(|wish| Ok(choose(wish, &units, wiring)?.carrier()))
        .collect::<Result<Vec<_>, AttachError>>()?;
    let mut places: Vec<Place> = Vec::with_capacity(wishes.len());
    for (wish, carrier) in wishes.iter().zip(&carriers) {
        let mode = wish.mode.unwrap_or_else(|| match carrier {
            Carrier::Group(_) => AttachmentMode::Tagged,
            Carrier::Port(_) if native_is_taken(carrier, &places, wishes, &carriers) => {
                AttachmentMode::Tagged
            }
            Carrier::Port(_) => AttachmentMode::Native,
        });
        let carrier = carrier.clone();
        places.push(Place { carrier, mode });
    }
    check_together(wishes, &places)?;
    Ok(places)
}

/// Whether an earlier network is native on `carrier`, or a later one is asked to be.
fn native_is_taken(
    carrier: &Carrier,
    places: &[Place],
    wishes: &[Wish],
    carriers: &[Carrier],
) -> bool {
    let native = AttachmentMode::Native;
    let before = places
        .iter()
        .any(|place| place.carrier == *carrier && place.mode == native);
    let mut asked = wishes.iter().zip(carriers);
    before || asked.any(|(wish, other)| wish.mode == Some(native) && other == carrier)
}

/// What can carry a network: the ports of a bond, or a single one.
struct Unit<'wiring> {
    /// The bond's group.
    group: Option<&'wiring str>,
    /// In order of their addresses; at least one.
    nics: Vec<&'wiring Nic>,
}

/// All of them, the one that is the best where nothing else decides first.
fn units(wiring: &NodeWiring) -> Vec<Unit<'_>> {
    let mut units: Vec<Unit<'_>> = Vec::new();
    let mut nics: Vec<_> = wiring.nics.iter().collect();
    nics.sort_by_key(|nic| nic.port.mac);
    for nic in nics {
        let group = wiring.bond_of(nic).map(|group| group.name.as_str());
        let same = |unit: &&mut Unit<'_>| group.is_some() && unit.group == group;
        match units.iter_mut().find(same) {
            Some(unit) => unit.nics.push(nic),
            None => units.push(Unit {
                group,
                nics: vec![nic],
            }),
        }
    }
    units.sort_by_key(Unit::rank);
    units
}

impl Unit<'_> {
    fn carrier(&self) -> Carrier {
        match self.group {
            Some(group) => Carrier::Group(group.to_owned()),
            None => Carrier::Port(self.lowest()),
        }
    }

    fn lowest(&self) -> MacAddress {
        self.nics[0].port.mac
    }

    /// Less is better. Nothing of it depends on the order in which ports are given.
    fn rank(&self) -> impl Ord + use<> {
        let cabled = self.nics.iter().all(|nic| nic.port.cable.is_some());
        // Between yes and no: it has not been inspected.
        let link = self.nics.iter().map(|nic| match nic.link {
            Some(true) => 2,
            None => 1,
            Some(false) => 0,
        });
        let boots = self.nics.iter().any(|nic| nic.port.boots);
        let speed = self.nics.iter().filter_map(|nic| nic.speed_mbps);
        (
            Reverse(cabled),
            Reverse(link.max()),
            Reverse(self.group.is_some()),
            Reverse(boots),
            Reverse(speed.map(u64::from).sum::<u64>()),
            self.lowest(),
        )
    }

    /// The physical networks that its cables are declared to lead to.
    fn physical_networks(&self) -> BTreeSet<&str> {
        let declared = self.nics.iter().map(|nic| nic.physical_network.as_deref());
        declared.flatten().collect()
    }

    fn leads_to(&self, physical_network: &str) -> bool {
        let declared = self.physical_networks();
        declared.len() == 1 && declared.contains(physical_network)
    }

    fn told(&self) -> String {
        let macs: Vec<_> = self
            .nics
            .iter()
            .map(|nic| nic.port.mac.to_string())
            .collect();
        let macs = macs.join(" and ");
        let name = match self.group {
            Some(group) => format!("group `{group}` of {macs}"),
            None => macs,
        };
        let declared: Vec<_> = self.physical_networks().into_iter().collect();
        match declared[..] {
            [] => name,
            _ => format!("{name} (physical network `{}`)", declared.join("` and `")),
        }
    }
}

fn told(units: &[Unit<'_>]) -> String {
    let mut units: Vec<_> = units.iter().collect();
    units.sort_by_key(|unit| unit.lowest());
    let all: Vec<_> = units.into_iter().map(Unit::told).collect();
    if all.is_empty() {
        "none at all".to_owned()
    } else {
        all.join(", ")
    }
}

fn choose<'units, 'wiring>(
    wish: &Wish,
    units: &'units [Unit<'wiring>],
    wiring: &NodeWiring,
) -> Result<&'units Unit<'wiring>, AttachError> {
    if let Some(asked) = &wish.carrier {
        return asked_for(wish, asked, units, wiring);
    }
    let network = || wish.network.clone();
    let node = || wiring.node.clone();
    match &wish.physical_network {
        None => units.first().ok_or_else(|| AttachError::NoPorts {
            network: network(),
            node: node(),
        }),
        Some(wanted) => {
            let mut fitting = units.iter().filter(|unit| unit.leads_to(wanted));
            fitting.next().ok_or_else(|| AttachError::NoneFits {
                network: network(),
                wanted: wanted.clone(),
                node: node(),
                ports: told(units),
            })
        }
    }
}

/// What was asked for by the name of a group, or the address or name of a port.
fn asked_for<'units, 'wiring>(
    wish: &Wish,
    asked: &str,
    units: &'units [Unit<'wiring>],
    wiring: &NodeWiring,
) -> Result<&'units Unit<'wiring>, AttachError> {
    let network = || wish.network.clone();
    let mac = asked.parse::<MacAddress>().ok();
    let is_port = |nic: &Nic| match mac {
        Some(mac) => nic.port.mac == mac,
        None => nic.name.as_deref() == Some(asked),
    };
    let is_group = wiring.groups.iter().any(|group| group.name == asked);
    let found = if is_group {
        let group = |nic: &&Nic| nic.port.group.as_deref() == Some(asked);
        units.iter().find(|unit| unit.nics.iter().any(group))
    } else {
        units
            .iter()
            .find(|unit| unit.nics.iter().any(|nic| is_port(nic)))
    };
    let unit = found.ok_or_else(|| AttachError::NoSuchCarrier {
        network: network(),
        asked: asked.to_owned(),
        node: wiring.node.clone(),
        ports: told(units),
    })?;
    if let Some(group) = unit.group.filter(|_| !is_group) {
        let nic = unit.nics.iter().find(|nic| is_port(nic));
        return Err(AttachError::BondedPort {
            network: network(),
            mac: nic.map_or(unit.lowest(), |nic| nic.port.mac),
            group: group.to_owned(),
        });
    }
    check_physical_network(wish, unit, wiring)?;
    Ok(unit)
}

/// A port of which nothing is declared may be asked for; one that leads elsewhere may not.
fn check_physical_network(
    wish: &Wish,
    unit: &Unit<'_>,
    wiring: &NodeWiring,
) -> Result<(), AttachError> {
    let Some(wanted) = &wish.physical_network else {
        return Ok(());
    };
    let declared: Vec<_> = unit.physical_networks().into_iter().collect();
    if declared.is_empty() || unit.leads_to(wanted) {
        return Ok(());
    }
    Err(AttachError::Elsewhere {
        network: wish.network.clone(),
        wanted: wanted.clone(),
        carrier: unit.carrier().to_string(),
        node: wiring.node.clone(),
        found: declared.join("` and `"),
    })
}

/// Checks what the networks of one carrier have to agree on: an untagged network has the link's own
/// MTU, which must do for the tagged ones as well.
fn check_together(wishes: &[Wish], places: &[Place]) -> Result<(), AttachError> {
    let all: Vec<_> = wishes.iter().zip(places).collect();
    for (index, (one, place)) in all.iter().enumerate() {
        if place.mode != AttachmentMode::Native {
            continue;
        }
        let others = all.iter().enumerate();
        for (_, (other, theirs)) in others.filter(|(other, _)| *other != index) {
            if theirs.carrier != place.carrier {
                continue;
            }
            if theirs.mode == AttachmentMode::Native {
                return Err(AttachError::TwoNative {
                    first: one.network.clone(),
                    second: other.network.clone(),
                    carrier: place.carrier.to_string(),
                });
            }
            if other.mtu > one.mtu {
                return Err(AttachError::Mtu {
                    tagged: other.network.clone(),
                    larger: other.mtu,
                    native: one.network.clone(),
                    smaller: one.mtu,
                });
            }
        }
    }
    Ok(())
}
