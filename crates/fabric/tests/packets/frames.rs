//! Frames that a malicious guest would send.

use std::net::{Ipv4Addr, Ipv6Addr};

/// IEEE 802.1Q and 802.1ad tags.
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

const BROADCAST: [u8; 6] = [0xff; 6];

/// What every frame of these tests has in it, followed by its number.
const MARK: &[u8; 4] = b"BSMR";

/// The addresses of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) mac: [u8; 6],
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl Station {
    /// Machine `number`, 1 to 254. All are in one subnet: no router keeps them apart.
    pub(crate) fn new(number: u8) -> Self {
        Self {
            mac: [0x52, 0x54, 0, 0, 0, number],
            ipv4: Ipv4Addr::new(10, 0, 0, number),
            ipv6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()),
        }
    }
}

/// A frame, and what to call it when it is heard where it should not be.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The number that a frame was given, if it is one of these tests'.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(MARK.len()).position(|each| each == MARK)?;
    let digits = bytes.get(at + MARK.len()..at + MARK.len() + 4)?;
    Some(u32::from_be_bytes(digits.try_into().ok()?))
}

fn note(number: u32) -> Vec<u8> {
    [&MARK[..], &number.to_be_bytes()].concat()
}

/// The tags of a frame, outermost first.
pub(crate) fn vlans(bytes: &[u8]) -> Vec<u16> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let mut vlans = Vec::new();
    let mut at = 12;
    while let Some(CUSTOMER_TAG | SERVICE_TAG) = word(at) {
        vlans.extend(word(at + 2).map(|control| control & 0x0fff));
        at += 4;
    }
    vlans
}

/// `frame` with these tags put before what it has, outermost first.
pub(crate) fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut bytes = addresses.to_vec();
    for (kind, vlan) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

/// A frame that no bridge forwards (IEEE 802.1Q, table 8-1) and no test counts.
pub(crate) fn greeting() -> Vec<u8> {
    ethernet(
        [0x01, 0x80, 0xc2, 0, 0, 0x0e],
        [2, 0, 0, 0, 0, 1],
        0x88cc,
        &[0, 0],
    )
}

/// A broadcast of `from` that carries `number`.
pub(crate) fn broadcast(from: Station, number: u32) -> Vec<u8> {
    arp(BROADCAST, from.mac, 1, from, from, number)
}

/// An IPv4 packet from one to the other that carries `number`.
pub(crate) fn unicast(from: Station, to: Station, number: u32) -> Vec<u8> {
    let packet = ipv4(from.ipv4, to.ipv4, 9, number);
    ethernet(to.mac, from.mac, 0x0800, &packet)
}

/// Everything that `from` could try in order to be heard by `victim` in `vlan`, from where `own` are the
/// VLANs that it has: each kind of frame, under its own and under the victim's address, with each kind of tag.
/// They are numbered from `first` on.
pub(crate) fn malicious(
    from: Station,
    victim: Station,
    own: &[u16],
    vlans: &[u16],
    first: u32,
) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for (source, whose) in [(from.mac, "own"), (victim.mac, "spoofed")] {
        for kind in 0..KINDS.len() {
            for (tags, shown) in tag_sets(own, vlans) {
                let number = first + u32::try_from(frames.len()).unwrap();
                let (name, bytes) = plain(kind, source, from, victim, number);
                frames.push(Frame {
                    name: format!("{name}, {whose} MAC address, {shown}"),
                    bytes: tagged(&bytes, &tags),
                });
            }
        }
    }
    frames
}

/// Tags that might lead into another VLAN: none, priority only, reserved, that VLAN, and two at once.
fn tag_sets(own: &[u16], vlans: &[u16]) -> Vec<(Vec<(u16, u16)>, String)> {
    let mut sets = vec![vec![], vec![(CUSTOMER_TAG, 0)], vec![(CUSTOMER_TAG, 4095)]];
    for vlan in vlans {
        sets.push(vec![(CUSTOMER_TAG, *vlan)]);
        sets.push(vec![(SERVICE_TAG, *vlan)]);
        sets.push(vec![(CUSTOMER_TAG, 0), (CUSTOMER_TAG, *vlan)]);
        for own in own {
            sets.push(vec![(CUSTOMER_TAG, *own), (CUSTOMER_TAG, *vlan)]);
            sets.push(vec![(SERVICE_TAG, *own), (CUSTOMER_TAG, *vlan)]);
            sets.push(vec![(CUSTOMER_TAG, *vlan), (CUSTOMER_TAG, *own)]);
        }
    }
    let shown = |tags: &Vec<(u16, u16)>| {
        let each = tags.iter().map(|(kind, vlan)| format!("{kind:x}:{vlan}"));
        format!("tags [{}]", each.collect::<Vec<_>>().join(" "))
    };
    sets.into_iter()
        .map(|tags| (tags.clone(), shown(&tags)))
        .collect()
}

const KINDS: [&str; 13] = [
    "ARP request",
    "ARP reply",
    "false ARP announcement",
    "IPv4 unicast",
    "IPv4 to an unknown machine",
    "DHCP request",
    "IPv6 unicast",
    "neighbour solicitation",
    "router advertisement",
    "LLDP",
    "spanning tree",
    "LACP",
    "Cisco spanning tree",
];

fn plain(
    kind: usize,
    source: [u8; 6],
    from: Station,
    victim: Station,
    number: u32,
) -> (&'static str, Vec<u8>) {
    let name = KINDS[kind];
    let slow = |to: [u8; 6], kind: u16, head: &[u8]| {
        let mut payload = head.to_vec();
        payload.extend(note(number));
        payload.resize(110, 0);
        ethernet(to, source, kind, &payload)
    };
    let frame = match name {
        "ARP request" => arp(BROADCAST, source, 1, from, victim, number),
        "ARP reply" => arp(victim.mac, source, 2, from, victim, number),
        // It says that the victim's IP address is here.
        "false ARP announcement" => {
            let liar = Station {
                mac: from.mac,
                ..victim
            };
            arp(BROADCAST, source, 2, liar, victim, number)
        }
        "IPv4 unicast" => {
            let packet = ipv4(from.ipv4, victim.ipv4, 9, number);
            ethernet(victim.mac, source, 0x0800, &packet)
        }
        "IPv4 to an unknown machine" => {
            let packet = ipv4(from.ipv4, victim.ipv4, 9, number);
            ethernet([0x52, 0x54, 0, 9, 9, 9], source, 0x0800, &packet)
        }
        "DHCP request" => {
            let packet = ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 67, number);
            ethernet(BROADCAST, source, 0x0800, &packet)
        }
        "IPv6 unicast" => {
            let packet = icmpv6(from.ipv6, victim.ipv6, 128, number);
            ethernet(victim.mac, source, 0x86dd, &packet)
        }
        "neighbour solicitation" => {
            let [.., a, b, c] = victim.ipv6.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(a),
                u16::from_be_bytes([b, c]),
            );
            let packet = icmpv6(from.ipv6, group, 135, number);
            ethernet([0x33, 0x33, 0xff, a, b, c], source, 0x86dd, &packet)
        }
        "router advertisement" => {
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let packet = icmpv6(from.ipv6, all, 134, number);
            ethernet([0x33, 0x33, 0, 0, 0, 1], source, 0x86dd, &packet)
        }
        // IEEE 802.1AB, 802.1D (behind an LLC header) and 802.1AX: bridges do not forward them.
        "LLDP" => slow([0x01, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &[]),
        "spanning tree" => slow([0x01, 0x80, 0xc2, 0, 0, 0], 110, &[0x42, 0x42, 3]),
        "LACP" => slow([0x01, 0x80, 0xc2, 0, 0, 2], 0x8809, &[1, 1]),
        // For other switches this is a multicast like any other.
        _ => slow([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd], 110, &[0xaa, 0xaa, 3]),
    };
    (name, frame)
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&to[..], &from[..], &kind.to_be_bytes(), payload].concat();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// RFC 826.
fn arp(
    to: [u8; 6],
    source: [u8; 6],
    operation: u8,
    from: Station,
    target: Station,
    number: u32,
) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(from.mac);
    packet.extend(from.ipv4.octets());
    packet.extend(target.mac);
    packet.extend(target.ipv4.octets());
    packet.extend(note(number));
    ethernet(to, source, 0x0806, &packet)
}

/// A UDP datagram (RFC 768, RFC 791) to this port.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr, port: u16, number: u32) -> Vec<u8> {
    let data = note(number);
    let length = u16::try_from(28 + data.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(68_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(data);
    packet
}

/// An ICMPv6 message (RFC 4443, RFC 4861) of this type.
fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, number: u32) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(to.octets());
    message.extend(note(number));
    let length = u16::try_from(message.len()).unwrap();
    let mut pseudo = [from.octets(), to.octets()].concat();
    pseudo.extend([0, 0]);
    pseudo.extend(length.to_be_bytes());
    pseudo.extend([0, 0, 0, 58]);
    pseudo.extend(&message);
    let sum = checksum(&pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([58, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(message);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
