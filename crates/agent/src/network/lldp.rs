//! What switches say about themselves: LLDP (IEEE 802.1AB), heard in the background.
//!
//! A switch speaks every 30 seconds, far longer than an inspection should take. So listening
//! starts with the agent, on every interface, and an inspection tells what was heard by then. The
//! listener also switches interfaces on, since one that is off has no link to tell of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_core::hardware::LldpNeighbor;

use super::interface::{self, Control};
use super::packet::PacketSocket;
use crate::console::{causes, printable, say};
use crate::machine::Machine;

/// The group address of the nearest bridge, which no switch forwards.
const NEAREST_BRIDGE: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];

/// How often new interfaces are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest text taken from an announcement, in characters.
const MAX_TEXT: usize = 255;

/// What has been heard so far, by interface name.
#[derive(Clone, Debug, Default)]
pub struct Neighbors {
    heard: Arc<Mutex<HashMap<String, LldpNeighbor>>>,
}

impl Neighbors {
    /// Switches every interface on, now and as they appear, and listens for as long as the
    /// program runs. Without the right to listen, nothing is ever heard, which is said once.
    pub fn listen(machine: &Machine) -> Self {
        let neighbors = Self::default();
        let (heard, machine) = (neighbors.clone(), machine.clone());
        let listener = std::thread::Builder::new().name("lldp".into());
        if let Err(error) = listener.spawn(move || {
            if let Err(error) = heard.run(&machine) {
                say(format_args!("LLDP is not heard: {error}"));
            }
        }) {
            say(format_args!("LLDP is not heard: {error}"));
        }
        neighbors
    }

    /// What was heard last on an interface.
    pub fn of(&self, interface: &str) -> Option<LldpNeighbor> {
        self.heard().get(interface).cloned()
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, HashMap<String, LldpNeighbor>> {
        self.heard
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run(&self, machine: &Machine) -> std::io::Result<()> {
        let socket = PacketSocket::open(libc::ETH_P_LLDP as u16, None)?;
        socket.set_patience(LOOK_AGAIN)?;
        let mut joined = HashSet::new();
        let mut buffer = [0; 2048];
        loop {
            join_new(machine, &socket, &mut joined);
            let Ok(Some(received)) = socket.receive(&mut buffer) else {
                continue;
            };
            let names = interface::physical(machine);
            let name = names
                .into_iter()
                .find(|name| interface::index(machine, name) == Some(received.interface));
            if let (Some(name), Some(news)) = (name, parse(&buffer[..received.length])) {
                self.remember(name, news);
            }
        }
    }

    fn remember(&self, name: String, news: Announcement) {
        match news {
            Announcement::Neighbor(neighbor) => {
                let told = format!(
                    "LLDP: {name} is at port {} of {}",
                    neighbor.port, neighbor.chassis
                );
                if self.heard().insert(name, neighbor.clone()).as_ref() != Some(&neighbor) {
                    say(told);
                }
            }
            Announcement::Leaving => drop(self.heard().remove(&name)),
        }
    }
}

fn join_new(machine: &Machine, socket: &PacketSocket, joined: &mut HashSet<i32>) {
    for name in interface::physical(machine) {
        let Some(index) = interface::index(machine, &name) else {
            continue;
        };
        if !joined.insert(index) {
            continue;
        }
        let up = Control::open().and_then(|control| control.set_up(&name));
        if let Err(error) = up {
            say(causes(&error));
        }
        if let Err(error) = socket.join(index, NEAREST_BRIDGE) {
            say(format_args!("LLDP is not heard on {name}: {error}"));
        }
    }
}

/// What one LLDP frame says.
#[derive(Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Who is at the other end.
    Neighbor(LldpNeighbor),
    /// The neighbour is leaving (time to live 0).
    Leaving,
}

/// Reads the TLVs of a frame (IEEE 802.1AB-2016, clause 8), without its Ethernet header. `None`
/// if it lacks one of the three mandatory ones or contradicts itself.
pub fn parse(mut frame: &[u8]) -> Option<Announcement> {
    let (mut chassis, mut port, mut ttl, mut system_name) = (None, None, None, None);
    while let Some((kind, value, rest)) = next_tlv(frame) {
        frame = rest;
        match kind {
            0 => break,
            1 => chassis = Some(chassis_id(value)?),
            2 => port = Some(port_id(value)?),
            3 => ttl = Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?)),
            5 => system_name = Some(text(value)),
            _ => {}
        }
    }
    if ttl? == 0 {
        return Some(Announcement::Leaving);
    }
    Some(Announcement::Neighbor(LldpNeighbor {
        chassis: chassis?,
        port: port?,
        system_name,
    }))
}

/// Type (7 bits), length (9 bits), value; and what follows.
fn next_tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let header = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let length = usize::from(header & 0x1ff);
    let value = bytes.get(2..2 + length)?;
    Some(((header >> 9) as u8, value, &bytes[2 + length..]))
}

/// Chassis id: table 8-2 gives the subtypes.
fn chassis_id(value: &[u8]) -> Option<String> {
    let (subtype, id) = value.split_first()?;
    Some(match subtype {
        4 => mac_address(id)?,
        5 => network_address(id)?,
        _ => text(id),
    })
}

/// Port id: table 8-3 gives the subtypes.
fn port_id(value: &[u8]) -> Option<String> {
    let (subtype, id) = value.split_first()?;
    Some(match subtype {
        3 => mac_address(id)?,
        4 => network_address(id)?,
        _ => text(id),
    })
}

fn mac_address(id: &[u8]) -> Option<String> {
    let octets: &[u8; 6] = id.try_into().ok()?;
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Some(pairs.join(":"))
}

/// IANA address family (1: IPv4, 2: IPv6), then the address.
fn network_address(id: &[u8]) -> Option<String> {
    let (family, address) = id.split_first()?;
    Some(match family {
        1 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(),
        2 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(),
        _ => address
            .iter()
            .take(MAX_TEXT / 2)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}

fn text(bytes: &[u8]) -> String {
    let text = printable(String::from_utf8_lossy(bytes).trim_end_matches('\0'));
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (kind << 9 | value.len() as u16).to_be_bytes().to_vec();
        bytes.extend(value);
        bytes
    }

    fn frame(ttl: u16) -> Vec<u8> {
        [
            tlv(1, &[4, 0x52, 0x54, 0, 1, 2, 3]),
            tlv(2, b"\x05swp7"),
            tlv(3, &ttl.to_be_bytes()),
            tlv(5, b"leaf-1\x1b[2J"),
            tlv(127, &[0, 0x80, 0xc2, 1]),
            tlv(0, &[]),
        ]
        .concat()
    }

    #[test]
    fn a_switch_port_is_heard() {
        let neighbor = LldpNeighbor {
            chassis: "52:54:00:01:02:03".into(),
            port: "swp7".into(),
            system_name: Some("leaf-1?[2J".into()),
        };
        assert_eq!(parse(&frame(120)), Some(Announcement::Neighbor(neighbor)));
        assert_eq!(parse(&frame(0)), Some(Announcement::Leaving));
    }

    #[test]
    fn padding_and_other_ids_are_understood() {
        let mut padded = [
            tlv(1, &[5, 1, 192, 0, 2, 1]),
            tlv(2, &[3, 2, 0, 0, 0, 0, 1]),
            tlv(3, &[0, 9]),
        ]
        .concat();
        padded.resize(60, 0);
        let Some(Announcement::Neighbor(neighbor)) = parse(&padded) else {
            panic!()
        };
        assert_eq!(
            (neighbor.chassis.as_str(), neighbor.port.as_str()),
            ("192.0.2.1", "02:00:00:00:00:01")
        );
    }

    #[test]
    fn incomplete_frames_say_nothing() {
        let whole = frame(120);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&whole[..12]), None);
        assert_eq!(parse(&tlv(1, &[4, 1])), None);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&frame);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..50, value in any::<u8>()) {
            let mut frame = frame(120);
            let at = at % frame.len();
            frame[at] = value;
            parse(&frame);
        }
    }
}
