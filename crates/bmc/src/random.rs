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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_a_little_longer_and_not_in_step() {
        let pause = Duration::from_secs(100);
        let pauses: Vec<_> = (0..64).map(|_| jitter(pause)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(
            *least >= pause && *most <= pause * 5 / 4,
            "{least:?} to {most:?}"
        );
        // Of 64 at random, some are in each half: that none is happens once in 10^19 times.
        let middle = pause * 9 / 8;
        assert!(*least < middle && *most >= middle, "{least:?} to {most:?}");
    }
}
