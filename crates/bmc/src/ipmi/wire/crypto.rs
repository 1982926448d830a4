//! Cipher suites: how a session is authenticated, its packets signed and encrypted (sections 13.28
//! to 13.32, table 22-20).
//!
//! Only the two suites that sign *and* encrypt with what still holds: 3 (HMAC-SHA-1) because every
//! IPMI 2.0 BMC must have it, and 17 (HMAC-SHA-256), which is preferred.

use std::fmt;

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of an AES block, and of the initialization vector before each payload (section 13.29.1).
const BLOCK: usize = 16;

/// Length of the constants from which K1 and K2 are made (section 13.32).
const CONSTANT: usize = 20;

/// A cipher suite (table 22-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

impl CipherSuite {
    /// Its number in table 22-20.
    pub fn number(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// Numbers of the authentication, integrity and confidentiality algorithms (tables 13-17 to
    /// 13-19).
    pub fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Suite3 => [1, 1, 1],
            Self::Suite17 => [3, 4, 1],
        }
    }

    /// The suite with these algorithms, if it is one of the two.
    pub fn of_algorithms(algorithms: [u8; 3]) -> Option<Self> {
        [Self::Suite17, Self::Suite3]
            .into_iter()
            .find(|suite| suite.algorithms() == algorithms)
    }

    /// The whole HMAC of `parts`, one after the other: 20 or 32 bytes.
    pub(super) fn code(self, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
        let algorithm = match self {
            Self::Suite3 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Suite17 => hmac::HMAC_SHA256,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// Bytes of the shortened code that signs a packet and proves the keys in RAKP message 4.
    pub(super) fn short_code_length(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }
}

/// Whether two codes are equal, in a time that does not depend on where they differ. Codes of
/// different lengths are not.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// What signs and encrypts the packets of one session. Wiped from memory when it goes.
pub struct SessionKeys {
    suite: CipherSuite,
    integrity: hmac::Key,
    confidentiality: Zeroizing<[u8; BLOCK]>,
}

impl SessionKeys {
    /// Derives K1 and K2 from the session integrity key (section 13.32).
    pub(super) fn derive(suite: CipherSuite, session_integrity_key: &[u8]) -> Self {
        let first = suite.code(session_integrity_key, &[&[1; CONSTANT]]);
        let second = suite.code(session_integrity_key, &[&[2; CONSTANT]]);
        let algorithm = match suite {
            CipherSuite::Suite3 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            CipherSuite::Suite17 => hmac::HMAC_SHA256,
        };
        let mut confidentiality = Zeroizing::new([0; BLOCK]);
        confidentiality.copy_from_slice(&second.as_ref()[..BLOCK]);
        Self {
            suite,
            integrity: hmac::Key::new(algorithm, first.as_ref()),
            confidentiality,
        }
    }

    /// The code that signs a packet.
    pub(super) fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let code = hmac::sign(&self.integrity, signed);
        code.as_ref()[..self.suite.short_code_length()].to_vec()
    }

    /// Bytes of that code.
    pub(super) fn code_length(&self) -> usize {
        self.suite.short_code_length()
    }

    /// Encrypts a payload under an initialization vector that is used once (section 13.29.1):
    /// the vector, then the payload with its padding 1, 2, 3, … and the padding's length.
    pub(super) fn encrypt(&self, vector: [u8; BLOCK], payload: &[u8]) -> Vec<u8> {
        let padding = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut plain = payload.to_vec();
        plain.extend((1..).take(padding));
        plain.push(padding as u8);
        let length = plain.len();
        let cipher = cbc::Encryptor::<Aes128>::new((&*self.confidentiality).into(), &vector.into());
        let encrypted = cipher
            .encrypt_padded::<NoPadding>(&mut plain, length)
            .unwrap_or_default();
        [&vector[..], encrypted].concat()
    }

    /// Undoes [`Self::encrypt`]; `None` if this was not encrypted so.
    pub(super) fn decrypt(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let (vector, encrypted) = payload.split_first_chunk::<BLOCK>()?;
        let cipher = cbc::Decryptor::<Aes128>::new((&*self.confidentiality).into(), vector.into());
        let mut plain = encrypted.to_vec();
        let length = cipher.decrypt_padded::<NoPadding>(&mut plain).ok()?.len();
        plain.truncate(length);
        let padding = usize::from(plain.pop()?);
        let end = plain.len().checked_sub(padding)?;
        let expected = (1..).take(padding);
        if padding >= BLOCK || !plain[end..].iter().copied().eq(expected) {
            return None;
        }
        plain.truncate(end);
        Some(plain)
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionKeys")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encrypted_is_read_back(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = SessionKeys::derive(CipherSuite::Suite17, b"key");
            let encrypted = keys.encrypt([7; BLOCK], &payload);
            prop_assert_eq!(keys.decrypt(&encrypted), Some(payload));
        }

        #[test]
        fn garbage_is_never_read(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = SessionKeys::derive(CipherSuite::Suite3, b"key");
            let _ = keys.decrypt(&garbage);
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = SessionKeys::derive(CipherSuite::Suite3, b"planted");
        assert_eq!(format!("{keys:?}"), "SessionKeys { suite: Suite3, .. }");
    }
}
