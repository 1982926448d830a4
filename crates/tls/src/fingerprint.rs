//! The name of one certificate.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// SHA-256 of a certificate's DER encoding (RFC 5280, section 4.1).
///
/// Written as 64 lowercase hexadecimal digits; read with or without the colons and capitals that
/// `openssl` and web pages put in. In serde it is that string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// The fingerprint of `certificate`.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

/// A text that is not a SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a SHA-256 fingerprint: expected 64 hexadecimal digits, with or without colons between \
     pairs, as `openssl x509 -noout -fingerprint -sha256` prints them"
)]
pub struct FingerprintParseError;

impl FromStr for Fingerprint {
    type Err = FingerprintParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let compact;
        let digits = if text.contains(':') {
            if !text.split(':').all(|pair| pair.len() == 2) {
                return Err(FingerprintParseError);
            }
            compact = text.replace(':', "");
            compact.as_bytes()
        } else {
            text.as_bytes()
        };
        if digits.len() != 2 * SHA256_OUTPUT_LEN {
            return Err(FingerprintParseError);
        }
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(character: u8) -> Result<u8, FingerprintParseError> {
    let value = char::from(character)
        .to_digit(16)
        .ok_or(FingerprintParseError)?;
    u8::try_from(value).map_err(|_| FingerprintParseError)
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, appendix B.1: the digest of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn is_the_digest_in_lowercase_hex() {
        let fingerprint = Fingerprint::of(&CertificateDer::from(b"abc".to_vec()));
        assert_eq!(fingerprint.to_string(), ABC);
        assert_eq!(
            serde_json::to_string(&fingerprint).unwrap(),
            format!("\"{ABC}\"")
        );
    }

    #[test]
    fn reads_what_openssl_prints() {
        let upper = ABC.to_uppercase();
        let pairs: Vec<&str> = (0..32)
            .map(|index| &upper[2 * index..2 * index + 2])
            .collect();
        let expected: Fingerprint = ABC.parse().unwrap();
        assert_eq!(pairs.join(":").parse(), Ok(expected));
        assert_eq!(upper.parse(), Ok(expected));
        let escaped = format!("\"\\u{:04x}{}\"", u32::from(b'b'), &ABC[1..]);
        assert_eq!(
            serde_json::from_str::<Fingerprint>(&escaped).unwrap(),
            expected
        );
    }

    #[test]
    fn refuses_everything_else() {
        let long = format!("{ABC}00");
        let signed = format!("+{}", &ABC[1..]);
        let colons = format!("{}::", &ABC[..62]);
        let wide = format!("{}é", &ABC[..62]);
        for text in [
            "",
            "ba78",
            &long,
            &signed,
            &colons,
            &wide,
            &ABC.replace('b', "g"),
        ] {
            assert_eq!(
                text.parse::<Fingerprint>(),
                Err(FingerprintParseError),
                "{text}"
            );
        }
    }
}
