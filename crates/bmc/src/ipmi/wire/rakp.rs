//! Opening a session: RMCP+ Open Session and the four RAKP messages (sections 13.17 to 13.24,
//! 13.31), with the codes by which both sides prove that they know the password.

use zeroize::Zeroizing;

use super::crypto::{CipherSuite, SessionKeys};
use super::{MAX_USERNAME, sixteen_at, u32_at};

/// RMCP+ and RAKP message status codes (table 13-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RakpStatus(pub u8);

impl RakpStatus {
    /// No errors.
    pub const OK: Self = Self(0);
    /// Insufficient resources to create a session.
    pub const NO_RESOURCES: Self = Self(0x01);
    /// Invalid session id.
    pub const INVALID_SESSION: Self = Self(0x02);
    /// Invalid role.
    pub const INVALID_ROLE: Self = Self(0x09);
    /// Unauthorized role or privilege level requested.
    pub const UNAUTHORIZED_ROLE: Self = Self(0x0a);
    /// Unauthorized name.
    pub const UNAUTHORIZED_NAME: Self = Self(0x0d);
    /// Invalid integrity check value.
    pub const INVALID_INTEGRITY: Self = Self(0x0f);
    /// No cipher suite match with proposed security algorithms.
    pub const NO_CIPHER_SUITE: Self = Self(0x11);

    /// In the specification's words.
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "no errors",
            0x01 => "insufficient resources to create a session",
            0x02 => "invalid session ID",
            0x03 => "invalid payload type",
            0x04 => "invalid authentication algorithm",
            0x05 => "invalid integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "inactive session ID",
            0x09 => "invalid role",
            0x0a => "unauthorized role or privilege level requested",
            0x0b => "insufficient resources to create a session at the requested role",
            0x0c => "invalid name length",
            0x0d => "unauthorized name",
            0x0e => "unauthorized GUID",
            0x0f => "invalid integrity check value",
            0x10 => "invalid confidentiality algorithm",
            0x11 => "no cipher suite match with proposed security algorithms",
            0x12 => "illegal or unrecognized parameter",
            _ => "an unknown status",
        }
    }

    /// Whether it is the proposed algorithms that are refused.
    pub fn refuses_algorithms(self) -> bool {
        matches!(self.0, 0x04..=0x07 | 0x10 | 0x11)
    }
}

/// A refusal, the same in every answer: tag, status, and the asker's session id or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RakpRefusal {
    /// Tag of the message refused.
    pub tag: u8,
    /// Why.
    pub status: RakpStatus,
    /// The remote console's session id.
    pub console_session: u32,
}

impl RakpRefusal {
    /// The refusal as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, self.status.0, 0, 0];
        bytes.extend_from_slice(&self.console_session.to_le_bytes());
        bytes
    }
}

/// Tag and status that every answer begins with.
fn status(bytes: &[u8]) -> Option<(u8, RakpStatus)> {
    Some((*bytes.first()?, RakpStatus(*bytes.get(1)?)))
}

/// The three algorithm payloads (table 13-9), 8 bytes each.
fn encode_algorithms(bytes: &mut Vec<u8>, suite: CipherSuite) {
    for (kind, algorithm) in suite.algorithms().into_iter().enumerate() {
        bytes.extend_from_slice(&[kind as u8, 0, 0, 8, algorithm, 0, 0, 0]);
    }
}

fn decode_algorithms(bytes: &[u8]) -> Option<[u8; 3]> {
    let mut algorithms = [0; 3];
    for (kind, algorithm) in algorithms.iter_mut().enumerate() {
        let payload = bytes.get(kind * 8..kind * 8 + 8)?;
        if usize::from(payload[0]) != kind {
            return None;
        }
        *algorithm = payload[4] & 0x3f;
    }
    Some(algorithms)
}

/// RMCP+ Open Session Request (table 13-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSession {
    /// To match the answer.
    pub tag: u8,
    /// Highest privilege level wanted; 0: as high as the account has.
    pub privilege: u8,
    /// The id by which the remote console wants to be addressed.
    pub console_session: u32,
    /// Authentication, integrity and confidentiality algorithm.
    pub algorithms: [u8; 3],
}

impl OpenSession {
    /// The message as bytes; `suite` gives the algorithms.
    pub fn encode(tag: u8, privilege: u8, console_session: u32, suite: CipherSuite) -> Vec<u8> {
        let mut bytes = vec![tag, privilege, 0, 0];
        bytes.extend_from_slice(&console_session.to_le_bytes());
        encode_algorithms(&mut bytes, suite);
        bytes
    }

    /// The message in `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tag: *bytes.first()?,
            privilege: *bytes.get(1)? & 15,
            console_session: u32_at(bytes, 4)?,
            algorithms: decode_algorithms(bytes.get(8..)?)?,
        })
    }
}

/// RMCP+ Open Session Response without an error (table 13-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedSession {
    /// Tag of the request.
    pub tag: u8,
    /// Highest privilege level that can be had.
    pub privilege: u8,
    /// The remote console's session id.
    pub console_session: u32,
    /// The BMC's session id.
    pub bmc_session: u32,
    /// The algorithms chosen.
    pub algorithms: [u8; 3],
}

impl OpenedSession {
    /// The message as bytes.
    pub fn encode(&self, suite: CipherSuite) -> Vec<u8> {
        let mut bytes = vec![self.tag, 0, self.privilege, 0];
        bytes.extend_from_slice(&self.console_session.to_le_bytes());
        bytes.extend_from_slice(&self.bmc_session.to_le_bytes());
        encode_algorithms(&mut bytes, suite);
        bytes
    }

    /// The answer in `bytes` if it is to the request `tag`: the session, or why there is none.
    pub fn decode(bytes: &[u8], tag: u8) -> Option<Result<Self, RakpStatus>> {
        let (answered, status) = status(bytes)?;
        if answered != tag {
            return None;
        }
        if status != RakpStatus::OK {
            return Some(Err(status));
        }
        Some(Ok(Self {
            tag,
            privilege: *bytes.get(2)? & 15,
            console_session: u32_at(bytes, 4)?,
            bmc_session: u32_at(bytes, 8)?,
            algorithms: decode_algorithms(bytes.get(12..)?)?,
        }))
    }
}

/// RAKP Message 1 (table 13-11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp1 {
    /// To match the answer.
    pub tag: u8,
    /// The BMC's session id.
    pub bmc_session: u32,
    /// The remote console's random number.
    pub console_random: [u8; 16],
    /// Bits 0 to 3: privilege level wanted; bit 4: find the account by name alone.
    pub role: u8,
    /// The account.
    pub username: Vec<u8>,
}

impl Rakp1 {
    /// The message as bytes. Names beyond 16 bytes are cut.
    pub fn encode(&self) -> Vec<u8> {
        let name = &self.username[..self.username.len().min(MAX_USERNAME)];
        let mut bytes = vec![self.tag, 0, 0, 0];
        bytes.extend_from_slice(&self.bmc_session.to_le_bytes());
        bytes.extend_from_slice(&self.console_random);
        bytes.extend_from_slice(&[self.role, 0, 0, name.len() as u8]);
        bytes.extend_from_slice(name);
        bytes
    }

    /// The message in `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let length = usize::from(*bytes.get(27)?);
        Some(Self {
            tag: *bytes.first()?,
            bmc_session: u32_at(bytes, 4)?,
            console_random: sixteen_at(bytes, 8)?,
            role: *bytes.get(24)?,
            username: bytes.get(28..28 + length)?.to_vec(),
        })
    }
}

/// RAKP Message 2 without an error (table 13-12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp2 {
    /// Tag of message 1.
    pub tag: u8,
    /// The remote console's session id.
    pub console_session: u32,
    /// The BMC's random number.
    pub bmc_random: [u8; 16],
    /// The BMC's GUID.
    pub guid: [u8; 16],
    /// The BMC's proof that it knows the password.
    pub code: Vec<u8>,
}

impl Rakp2 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, 0, 0, 0];
        bytes.extend_from_slice(&self.console_session.to_le_bytes());
        bytes.extend_from_slice(&self.bmc_random);
        bytes.extend_from_slice(&self.guid);
        bytes.extend_from_slice(&self.code);
        bytes
    }

    /// The answer in `bytes` if it is to message 1 `tag`.
    pub fn decode(bytes: &[u8], tag: u8) -> Option<Result<Self, RakpStatus>> {
        let (answered, status) = status(bytes)?;
        if answered != tag {
            return None;
        }
        if status != RakpStatus::OK {
            return Some(Err(status));
        }
        Some(Ok(Self {
            tag,
            console_session: u32_at(bytes, 4)?,
            bmc_random: sixteen_at(bytes, 8)?,
            guid: sixteen_at(bytes, 24)?,
            code: bytes.get(40..)?.to_vec(),
        }))
    }
}

/// RAKP Message 3 (table 13-13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp3 {
    /// To match the answer.
    pub tag: u8,
    /// Whether message 2 was accepted.
    pub status: RakpStatus,
    /// The BMC's session id.
    pub bmc_session: u32,
    /// The remote console's proof that it knows the password; nothing if message 2 was refused.
    pub code: Vec<u8>,
}

impl Rakp3 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, self.status.0, 0, 0];
        bytes.extend_from_slice(&self.bmc_session.to_le_bytes());
        bytes.extend_from_slice(&self.code);
        bytes
    }

    /// The message in `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, status) = status(bytes)?;
        Some(Self {
            tag,
            status,
            bmc_session: u32_at(bytes, 4)?,
            code: bytes.get(8..)?.to_vec(),
        })
    }
}

/// RAKP Message 4 without an error (table 13-14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp4 {
    /// Tag of message 3.
    pub tag: u8,
    /// The remote console's session id.
    pub console_session: u32,
    /// The BMC's proof that it has the session's keys.
    pub code: Vec<u8>,
}

impl Rakp4 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, 0, 0, 0];
        bytes.extend_from_slice(&self.console_session.to_le_bytes());
        bytes.extend_from_slice(&self.code);
        bytes
    }

    /// The answer in `bytes` if it is to message 3 `tag`.
    pub fn decode(bytes: &[u8], tag: u8) -> Option<Result<Self, RakpStatus>> {
        let (answered, status) = status(bytes)?;
        if answered != tag {
            return None;
        }
        if status != RakpStatus::OK {
            return Some(Err(status));
        }
        Some(Ok(Self {
            tag,
            console_session: u32_at(bytes, 4)?,
            code: bytes.get(8..)?.to_vec(),
        }))
    }
}

/// All that both sides have told each other, from which codes and keys are made (section 13.31).
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The cipher suite agreed on.
    pub suite: CipherSuite,
    /// The remote console's session id (SIDm).
    pub console_session: u32,
    /// The BMC's session id (SIDc).
    pub bmc_session: u32,
    /// The remote console's random number (Rm).
    pub console_random: [u8; 16],
    /// The BMC's random number (Rc).
    pub bmc_random: [u8; 16],
    /// The BMC's GUID (GUIDc).
    pub guid: [u8; 16],
    /// The role byte of message 1 (ROLEm).
    pub role: u8,
    /// The account (UNAMEm).
    pub username: Vec<u8>,
}

impl Exchange {
    /// The code of message 2, which proves that the BMC knows `password`.
    pub fn code_of_message_2(&self, password: &[u8]) -> Vec<u8> {
        let code = self.suite.code(
            password,
            &[
                &self.console_session.to_le_bytes(),
                &self.bmc_session.to_le_bytes(),
                &self.console_random,
                &self.bmc_random,
                &self.guid,
                &self.role_and_name(),
            ],
        );
        code.as_ref().to_vec()
    }

    /// The code of message 3, which proves that the remote console knows `password`.
    pub fn code_of_message_3(&self, password: &[u8]) -> Vec<u8> {
        let session = self.console_session.to_le_bytes();
        let parts: [&[u8]; 3] = [&self.bmc_random, &session, &self.role_and_name()];
        self.suite.code(password, &parts).as_ref().to_vec()
    }

    /// The session's keys and the code of message 4, which proves that the BMC has them too. `key`
    /// is the BMC's key K_g if it has one, otherwise the password.
    pub fn keys(&self, key: &[u8]) -> (SessionKeys, Vec<u8>) {
        let parts: [&[u8]; 3] = [
            &self.console_random,
            &self.bmc_random,
            &self.role_and_name(),
        ];
        let integrity_key = self.suite.code(key, &parts);
        let integrity_key = Zeroizing::new(integrity_key.as_ref().to_vec());
        let session = self.bmc_session.to_le_bytes();
        let parts: [&[u8]; 3] = [&self.console_random, &session, &self.guid];
        let proof = self.suite.code(&integrity_key, &parts);
        let proof = proof.as_ref()[..self.suite.short_code_length()].to_vec();
        (SessionKeys::derive(self.suite, &integrity_key), proof)
    }

    fn role_and_name(&self) -> Vec<u8> {
        let mut bytes = vec![self.role, self.username.len() as u8];
        bytes.extend_from_slice(&self.username);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_arrives_is_read_or_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let tag = bytes.first().copied().unwrap_or(0);
            let _ = OpenSession::decode(&bytes);
            let _ = OpenedSession::decode(&bytes, tag);
            let _ = Rakp1::decode(&bytes);
            let _ = Rakp2::decode(&bytes, tag);
            let _ = Rakp3::decode(&bytes);
            let _ = Rakp4::decode(&bytes, tag);
        }
    }

    #[test]
    fn messages_are_read_back() {
        let bytes = OpenSession::encode(7, 4, 0xa1a2_a3a4, CipherSuite::Suite17);
        assert_eq!(bytes.len(), 32);
        let read = OpenSession::decode(&bytes).unwrap();
        assert_eq!(
            (read.console_session, read.algorithms),
            (0xa1a2_a3a4, [3, 4, 1])
        );
        let message = Rakp1 {
            tag: 1,
            bmc_session: 2,
            console_random: [3; 16],
            role: 0x14,
            username: b"admin".to_vec(),
        };
        assert_eq!(Rakp1::decode(&message.encode()), Some(message));
        let refusal = RakpRefusal {
            tag: 9,
            status: RakpStatus::NO_CIPHER_SUITE,
            console_session: 1,
        };
        let read = OpenedSession::decode(&refusal.encode(), 9).unwrap();
        assert_eq!(read, Err(RakpStatus::NO_CIPHER_SUITE));
        assert_eq!(OpenedSession::decode(&refusal.encode(), 8), None);
    }
}
