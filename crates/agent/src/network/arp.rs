//! ARP packets (RFC 826) for IPv4 over Ethernet.

use std::net::Ipv4Addr;

use bessemer_core::net::MacAddress;

/// Bytes of a packet.
pub const LENGTH: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const HEADER: [u8; 6] = [0, 1, 8, 0, 6, 4];

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// A request: who has `target`? Tell `sender`.
pub fn who_has(target: Ipv4Addr, sender: Ipv4Addr, mac: MacAddress) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[..6].copy_from_slice(&HEADER);
    packet[6..8].copy_from_slice(&REQUEST.to_be_bytes());
    packet[8..14].copy_from_slice(&mac.octets());
    packet[14..18].copy_from_slice(&sender.octets());
    packet[24..28].copy_from_slice(&target.octets());
    packet
}

/// The IPv4 address whose owner sent this packet: request or reply, both prove that it is there.
/// `None` for anything that is no ARP packet of IPv4 over Ethernet.
pub fn sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let packet = packet.get(..LENGTH)?;
    let operation = u16::from_be_bytes([packet[6], packet[7]]);
    if packet[..6] != HEADER || !matches!(operation, REQUEST | REPLY) {
        return None;
    }
    let octets: [u8; 4] = packet[14..18].try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_as_rfc_826_has_them() {
        let (target, own) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 9));
        let packet = who_has(target, own, "52:54:00:77:00:01".parse().unwrap());
        let expected = [
            0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x77, 0, 1, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192,
            0, 2, 1,
        ];
        assert_eq!(packet, expected);
        assert_eq!(sender(&packet), Some(own));
    }

    #[test]
    fn frames_are_longer_than_packets() {
        let own = Ipv4Addr::new(192, 0, 2, 9);
        let mut frame = who_has(own, own, "52:54:00:77:00:01".parse().unwrap()).to_vec();
        frame.resize(46, 0);
        assert_eq!(sender(&frame), Some(own));
        frame[7] = 3;
        assert_eq!(sender(&frame), None);
        assert_eq!(sender(&frame[..27]), None);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            sender(&packet);
        }
    }
}
