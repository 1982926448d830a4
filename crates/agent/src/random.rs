//! Randomness for secrets, from the kernel.
//!
//! A machine that has just started has little of it; the kernel holds the first request back until
//! its generator is seeded, so nothing drawn here can be foretold.

use ring::rand::{SecureRandom, SystemRandom};

use crate::{Error, Result};

/// `N` random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Randomness)?;
    Ok(bytes)
}

/// A number below `bound`, which must not be zero. Not for secrets: the modulus favours small
/// numbers by less than one in 2^32 for the bounds it is used with.
pub fn below(bound: u64) -> Result<u64> {
    Ok(u64::from_ne_bytes(bytes()?) % bound)
}

/// A session secret: 64 hexadecimal digits, 32 random bytes.
pub fn session_secret() -> Result<String> {
    Ok(bytes::<32>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_have_the_promised_form_and_differ() {
        let (one, other) = (
            super::session_secret().unwrap(),
            super::session_secret().unwrap(),
        );
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
