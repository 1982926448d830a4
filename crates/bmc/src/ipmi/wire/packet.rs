//! RMCP and session headers (sections 13.1 and 13.6, tables 13-1 and 13-8).

use super::crypto::{SessionKeys, same};

/// The longest datagram read: BMCs send a few hundred bytes.
pub const MAX_DATAGRAM: usize = 2048;

/// RMCP version 6, no acknowledgement wanted, class IPMI (DSP0136).
const RMCP_IPMI: [u8; 4] = [6, 0, 0xff, 7];
/// RMCP, class ASF.
const RMCP_ASF: [u8; 4] = [6, 0, 0xff, 6];
/// IANA enterprise number of ASF.
const ASF: [u8; 4] = [0, 0, 0x11, 0xbe];

/// Authentication type of IPMI 1.5 packets without one.
const NO_AUTHENTICATION: u8 = 0;
/// Authentication type that says: RMCP+ (IPMI 2.0).
const RMCP_PLUS: u8 = 6;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// Next header: the only one there is.
const NEXT_HEADER: u8 = 7;

/// What a packet carries (table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// Serial over LAN.
    Sol,
    /// RMCP+ Open Session Request.
    OpenSessionRequest,
    /// RMCP+ Open Session Response.
    OpenSessionResponse,
    /// RAKP Message 1.
    Rakp1,
    /// RAKP Message 2.
    Rakp2,
    /// RAKP Message 3.
    Rakp3,
    /// RAKP Message 4.
    Rakp4,
}

impl PayloadType {
    const ALL: [(Self, u8); 8] = [
        (Self::Ipmi, 0),
        (Self::Sol, 1),
        (Self::OpenSessionRequest, 0x10),
        (Self::OpenSessionResponse, 0x11),
        (Self::Rakp1, 0x12),
        (Self::Rakp2, 0x13),
        (Self::Rakp3, 0x14),
        (Self::Rakp4, 0x15),
    ];

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(each, _)| *each == self)
            .map_or(0, |(_, number)| *number)
    }

    fn of(number: u8) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, each)| *each == number);
        found.map(|(payload, _)| *payload)
    }
}

/// A packet as it arrived: not authenticated and not decrypted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'b> {
    /// What it carries.
    pub payload_type: PayloadType,
    /// Whether it is an IPMI 1.5 packet, as before a session.
    pub version_15: bool,
    /// The receiver's id of the session; 0 outside of one.
    pub session: u32,
    /// Number of the packet within the session.
    pub sequence: u32,
    flags: u8,
    payload: &'b [u8],
    /// What the code signs, and the code.
    signed: Option<&'b [u8]>,
    trailer: &'b [u8],
}

impl<'b> Packet<'b> {
    /// Takes a datagram apart; `None` if it is no IPMI packet.
    pub fn parse(datagram: &'b [u8]) -> Option<Self> {
        let body = datagram.strip_prefix(&RMCP_IPMI)?;
        match *body.first()? {
            NO_AUTHENTICATION => Self::parse_15(body),
            RMCP_PLUS => Self::parse_20(body),
            _ => None,
        }
    }

    fn parse_15(body: &'b [u8]) -> Option<Self> {
        let length = usize::from(*body.get(9)?);
        Some(Self {
            payload_type: PayloadType::Ipmi,
            version_15: true,
            session: super::u32_at(body, 5)?,
            sequence: super::u32_at(body, 1)?,
            flags: 0,
            payload: body.get(10..10 + length)?,
            signed: None,
            trailer: &[],
        })
    }

    fn parse_20(body: &'b [u8]) -> Option<Self> {
        let kind = *body.get(1)?;
        let low = body.get(10..12)?;
        let end = 12 + usize::from(u16::from_le_bytes(low.try_into().ok()?));
        Some(Self {
            payload_type: PayloadType::of(kind & 0x3f)?,
            version_15: false,
            session: super::u32_at(body, 2)?,
            sequence: super::u32_at(body, 6)?,
            flags: kind & (ENCRYPTED | AUTHENTICATED),
            payload: body.get(12..end)?,
            signed: Some(body),
            trailer: body.get(end..)?,
        })
    }

    /// The payload of a packet outside of a session; `None` of one inside.
    pub fn clear(&self) -> Option<&'b [u8]> {
        (self.session == 0 && self.flags == 0).then_some(self.payload)
    }

    /// The payload of a packet inside of a session, if it is signed and encrypted with `keys`.
    /// Sessions of ours always are, so a packet that is not has been forged.
    pub fn open(&self, keys: &SessionKeys) -> Option<Vec<u8>> {
        if self.flags != ENCRYPTED | AUTHENTICATED {
            return None;
        }
        let whole = self.signed?;
        let signed_length = whole.len().checked_sub(keys.code_length())?;
        let (signed, code) = whole.split_at(signed_length);
        // Padding, its length and the next header stand between the payload and the code.
        let between = self.trailer.len().checked_sub(keys.code_length())?;
        let padding = usize::from(*signed.get(signed_length.checked_sub(2)?)?);
        let well_formed = between == padding + 2 && padding < 4;
        if !well_formed || !same(&keys.sign(signed), code) {
            return None;
        }
        keys.decrypt(self.payload)
    }
}

/// A packet outside of a session (session id and sequence 0, neither signed nor encrypted).
pub fn wrap(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    let mut packet = RMCP_IPMI.to_vec();
    header(&mut packet, payload_type.number(), 0, 0, payload.len());
    packet.extend_from_slice(payload);
    packet
}

/// An IPMI message outside of a session in the 1.5 format (section 13.6), in which what comes
/// before a session is asked.
pub fn wrap_v15(message: &[u8]) -> Vec<u8> {
    let mut packet = RMCP_IPMI.to_vec();
    packet.extend_from_slice(&[NO_AUTHENTICATION, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
    packet.extend_from_slice(&message[..message.len().min(255)]);
    packet
}

/// A signed and encrypted packet of a session: `session` is the receiver's id of it, `vector`
/// sixteen random bytes that are used once.
pub fn seal(
    keys: &SessionKeys,
    payload_type: PayloadType,
    session: u32,
    sequence: u32,
    vector: [u8; 16],
    payload: &[u8],
) -> Vec<u8> {
    let encrypted = keys.encrypt(vector, payload);
    let mut signed = Vec::with_capacity(encrypted.len() + 40);
    let kind = payload_type.number() | ENCRYPTED | AUTHENTICATED;
    header(&mut signed, kind, session, sequence, encrypted.len());
    signed.extend_from_slice(&encrypted);
    // With the padding, all that is signed is a multiple of four bytes.
    let padding = (4 - (signed.len() + 2) % 4) % 4;
    signed.extend(std::iter::repeat_n(0xff, padding));
    signed.extend_from_slice(&[padding as u8, NEXT_HEADER]);
    let code = keys.sign(&signed);
    [&RMCP_IPMI[..], &signed, &code].concat()
}

fn header(packet: &mut Vec<u8>, kind: u8, session: u32, sequence: u32, length: usize) {
    packet.extend_from_slice(&[RMCP_PLUS, kind]);
    packet.extend_from_slice(&session.to_le_bytes());
    packet.extend_from_slice(&sequence.to_le_bytes());
    // Payloads of ours are far shorter than a datagram.
    packet.extend_from_slice(&(length as u16).to_le_bytes());
}

/// The answer to an ASF presence ping (section 13.2.4), if `datagram` is one.
pub fn presence_ping(datagram: &[u8]) -> Option<Vec<u8>> {
    const PING: u8 = 0x80;
    const PONG: u8 = 0x40;
    let body = datagram.strip_prefix(&RMCP_ASF)?.strip_prefix(&ASF)?;
    let [PING, tag, ..] = *body else { return None };
    let mut pong = [&RMCP_ASF[..], &ASF, &[PONG, tag, 0, 16]].concat();
    pong.extend_from_slice(&ASF);
    // OEM bytes; entities: IPMI supported, ASF 1.0; no interactions; reserved.
    pong.extend_from_slice(&[0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    Some(pong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::CipherSuite;
    use super::*;

    fn keys(suite: CipherSuite) -> SessionKeys {
        SessionKeys::derive(suite, b"session integrity key")
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
        ) {
            for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
                let keys = keys(suite);
                let mut datagram = seal(&keys, PayloadType::Sol, 0x1122_3344, 5, [9; 16], &payload);
                let packet = Packet::parse(&datagram).unwrap();
                prop_assert_eq!((packet.session, packet.sequence), (0x1122_3344, 5));
                prop_assert_eq!(packet.payload_type, PayloadType::Sol);
                prop_assert_eq!(packet.clear(), None);
                prop_assert_eq!(packet.open(&keys), Some(payload.clone()));
                let at = 4 + flip.index(datagram.len() - 4);
                datagram[at] ^= 1;
                let opened = Packet::parse(&datagram).and_then(|packet| packet.open(&keys));
                prop_assert_eq!(opened, None);
            }
        }

        #[test]
        fn garbage_is_dropped(garbage in proptest::collection::vec(any::<u8>(), 0..100), known in any::<bool>()) {
            let mut datagram = if known { [&RMCP_IPMI[..], &[RMCP_PLUS]].concat() } else { Vec::new() };
            datagram.extend(garbage);
            if let Some(packet) = Packet::parse(&datagram) {
                prop_assert_eq!(packet.open(&keys(CipherSuite::Suite3)), None);
            }
            let _ = presence_ping(&datagram);
        }
    }

    #[test]
    fn packets_outside_of_a_session_are_read() {
        let plain = wrap(PayloadType::Rakp1, b"payload");
        assert_eq!(
            Packet::parse(&plain).unwrap().clear(),
            Some(&b"payload"[..])
        );
        let old = wrap_v15(b"message");
        let packet = Packet::parse(&old).unwrap();
        assert!(packet.version_15);
        assert_eq!(packet.clear(), Some(&b"message"[..]));
    }
}
