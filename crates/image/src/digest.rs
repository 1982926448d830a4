//! Digests as values rather than strings, so that a SHA-256 is never compared with a BLAKE3 and a
//! mistyped one is refused where it enters.
//!
//! SHA-256 and SHA-512 name images towards people, because that is what distributions publish. BLAKE3 guards
//! the chunks between server and agent, because a node without SHA extensions hashes it several
//! times faster.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

fn parse_hexadecimal<const LENGTH: usize>(text: &str) -> Result<[u8; LENGTH], Error> {
    let wrong = || Error::Digest(text.chars().take(140).collect());
    if text.len() != 2 * LENGTH || !text.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |character: u8| char::from(character).to_digit(16).ok_or_else(wrong);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Ok(bytes)
}

macro_rules! digests {
    ($($(#[$doc:meta])* $name:ident($length:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The digest with these bytes.
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes of the digest.
            pub const fn bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                parse_hexadecimal(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

digests! {
    /// A SHA-256 (FIPS 180-4), written as 64 hexadecimal digits; lowercase when shown.
    Sha256Digest(32);
    /// A SHA-512 (FIPS 180-4), written as 128 hexadecimal digits; lowercase when shown.
    Sha512Digest(64);
    /// A BLAKE3 hash of 32 bytes, written as 64 hexadecimal digits; lowercase when shown.
    Blake3Digest(32);
}

/// The checksum of an image as its publisher gives it. Written as `sha256:` or `sha512:` and its
/// digits; read without that too, its length then telling which it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// A SHA-256.
    Sha256(Sha256Digest),
    /// A SHA-512.
    Sha512(Sha512Digest),
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some(("sha256", digits)) => digits.parse().map(Self::Sha256),
            Some(("sha512", digits)) => digits.parse().map(Self::Sha512),
            None if text.len() == 128 => text.parse().map(Self::Sha512),
            _ => text.parse().map(Self::Sha256),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(formatter, "sha256:{digest}"),
            Self::Sha512(digest) => write!(formatter, "sha512:{digest}"),
        }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Blake3Digest {
    /// The hash of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_one_spelling() {
        let lower = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let empty = Blake3Digest::of(b"");
        assert_eq!(empty.to_string(), lower);
        assert_eq!(lower.to_uppercase().parse::<Blake3Digest>().unwrap(), empty);
        for wrong in [
            "",
            "af13",
            &lower[1..],
            &format!("{lower}0"),
            &lower.replace('a', "g"),
            &"ä".repeat(32),
        ] {
            assert!(wrong.parse::<Sha256Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_checksum_says_which_it_is() {
        let (short, long) = ("ab".repeat(32), "cd".repeat(64));
        for (text, shown) in [
            (short.clone(), format!("sha256:{short}")),
            (format!("sha256:{short}"), format!("sha256:{short}")),
            (long.to_uppercase(), format!("sha512:{long}")),
            (format!("sha512:{long}"), format!("sha512:{long}")),
        ] {
            assert_eq!(text.parse::<Checksum>().unwrap().to_string(), shown);
        }
        for wrong in [
            String::new(),
            format!("sha512:{short}"),
            format!("sha256:{long}"),
            format!("md5:{short}"),
            long[1..].into(),
        ] {
            assert!(wrong.parse::<Checksum>().is_err(), "{wrong}");
        }
    }
}
