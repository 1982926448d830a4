//! Randomness: for protocols that need numbers nobody can guess, and so that many do not act in step.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Sixteen (or another number of) random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel gives random numbers");
    bytes
}

/// `pause`, lengthened by up to a quarter.
pub(crate) fn jitter(pause: Duration) -> Duration {
    let [random] = random::<1>();
    pause + pause / 1024 * u32::from(random)
}
