//! Serial over LAN payloads (section 15.9, table 15-2).

/// Longest run of characters in one packet: the count is one byte.
pub const SOL_MAX_DATA: usize = 255;

const NACK: u8 = 0x40;
/// From the BMC: characters cannot be transferred to the machine now, as while it is off.
const UNAVAILABLE: u8 = 0x20;
/// From the BMC: the payload is being deactivated.
const DEACTIVATING: u8 = 0x10;

/// What the fourth byte says, as far as we care.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SolFlags {
    /// The packet named is not accepted (as a whole, or beyond the accepted count).
    pub nack: bool,
    /// (BMC only) Characters cannot be passed on now.
    pub unavailable: bool,
    /// (BMC only) The console is being taken away.
    pub deactivating: bool,
}

/// One SOL packet of either side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SolPacket {
    /// Number of this packet, 1 to 15; 0 if it only acknowledges.
    pub sequence: u8,
    /// Number of the packet it acknowledges; 0 if none.
    pub acknowledged: u8,
    /// How many characters of that one have been accepted.
    pub accepted: u8,
    /// What else it says.
    pub flags: SolFlags,
    /// Characters.
    pub data: Vec<u8>,
}

impl SolPacket {
    /// An acknowledgement of packet `sequence`, of which `accepted` characters were taken.
    pub fn acknowledge(sequence: u8, accepted: usize) -> Self {
        Self {
            acknowledged: sequence,
            accepted: u8::try_from(accepted).unwrap_or(u8::MAX),
            ..Self::default()
        }
    }

    /// The number after `sequence`: 1 to 15, and around.
    pub fn next(sequence: u8) -> u8 {
        sequence % 15 + 1
    }

    /// The packet as bytes. Flags of the BMC are only written as the BMC; a remote console's other
    /// bits (break, ring, flow) are never wanted here.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        for (set, bit) in [
            (self.flags.nack, NACK),
            (self.flags.unavailable, UNAVAILABLE),
            (self.flags.deactivating, DEACTIVATING),
        ] {
            if set {
                flags |= bit;
            }
        }
        let head = [
            self.sequence & 15,
            self.acknowledged & 15,
            self.accepted,
            flags,
        ];
        [&head[..], &self.data].concat()
    }

    /// The packet in `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, data) = bytes.split_first_chunk::<4>()?;
        let [sequence, acknowledged, accepted, flags] = *head;
        Some(Self {
            sequence: sequence & 15,
            acknowledged: acknowledged & 15,
            accepted,
            flags: SolFlags {
                nack: flags & NACK != 0,
                unavailable: flags & UNAVAILABLE != 0,
                deactivating: flags & DEACTIVATING != 0,
            },
            data: data.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_go_around_without_zero() {
        assert_eq!([0, 1, 14, 15].map(SolPacket::next), [1, 2, 15, 1]);
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_or_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(packet) = SolPacket::decode(&bytes) {
                prop_assert_eq!(SolPacket::decode(&packet.encode()), Some(packet));
            } else {
                prop_assert!(bytes.len() < 4);
            }
        }
    }
}
