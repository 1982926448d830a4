//! IPMI messages on the LAN (section 13.8, figure 13-4): what a request or response looks like
//! inside of its payload.

/// Address of the remote console's software (section 5.5).
pub const REMOTE_CONSOLE: u8 = 0x81;

/// Address of the BMC (section 5.4).
pub const THE_BMC: u8 = 0x20;

/// Bytes of a message besides its data.
const OVERHEAD: usize = 7;

/// A request or a response. In a response the data begin with the completion code, and the network
/// function is odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whom it is for.
    pub target: u8,
    /// Network function (section 5.1), 6 bits.
    pub network_function: u8,
    /// Logical unit at the target, 2 bits.
    pub target_unit: u8,
    /// Who sends it.
    pub source: u8,
    /// Logical unit at the source, 2 bits.
    pub source_unit: u8,
    /// By which a response is matched with its request, 6 bits.
    pub sequence: u8,
    /// Command within the network function.
    pub command: u8,
    /// Data of the command, or completion code and data of the response.
    pub data: Vec<u8>,
}

impl Message {
    /// A request of the remote console to the BMC.
    pub fn request(network_function: u8, command: u8, sequence: u8, data: &[u8]) -> Self {
        Self {
            target: THE_BMC,
            network_function,
            target_unit: 0,
            source: REMOTE_CONSOLE,
            source_unit: 0,
            sequence,
            command,
            data: data.to_vec(),
        }
    }

    /// The response to this request; `data` begin with the completion code.
    #[must_use]
    pub fn response(&self, data: Vec<u8>) -> Self {
        Self {
            target: self.source,
            network_function: self.network_function | 1,
            target_unit: self.source_unit,
            source: self.target,
            source_unit: self.target_unit,
            sequence: self.sequence,
            command: self.command,
            data,
        }
    }

    /// Whether this is the response to `request`.
    pub fn answers(&self, request: &Self) -> bool {
        self.network_function == request.network_function | 1
            && self.command == request.command
            && self.sequence == request.sequence
            && !self.data.is_empty()
    }

    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let head = [
            self.target,
            self.network_function << 2 | self.target_unit & 3,
        ];
        let mut rest = vec![
            self.source,
            self.sequence << 2 | self.source_unit & 3,
            self.command,
        ];
        rest.extend_from_slice(&self.data);
        let mut bytes = Vec::with_capacity(OVERHEAD + self.data.len());
        bytes.extend_from_slice(&head);
        bytes.push(checksum(&head));
        bytes.extend_from_slice(&rest);
        bytes.push(checksum(&rest));
        bytes
    }

    /// The message in `bytes`; `None` if a checksum is wrong.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(3)?;
        if rest.len() < OVERHEAD - 3 || checksum(head) != 0 || checksum(rest) != 0 {
            return None;
        }
        Some(Self {
            target: head[0],
            network_function: head[1] >> 2,
            target_unit: head[1] & 3,
            source: rest[0],
            source_unit: rest[1] & 3,
            sequence: rest[1] >> 2,
            command: rest[2],
            data: rest[3..rest.len() - 1].to_vec(),
        })
    }
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_looks_as_the_specification_says() {
        // Get Channel Authentication Capabilities, as every tool sends it first.
        let request = Message::request(0x06, 0x38, 0, &[0x8e, 0x04]);
        assert_eq!(
            request.encode(),
            [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5]
        );
        let response = request.response(vec![0, 1]);
        assert!(response.answers(&request));
        assert!(!request.answers(&request));
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_or_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }
    }
}
