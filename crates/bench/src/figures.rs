//! What is made of many measurements of one thing, and what is told meanwhile.

use std::time::Duration;

/// Tells what is going on.
pub(crate) fn progress(message: &str) {
    eprintln!("bench: {message}");
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The duration that the share `of` (0 to 1) of `durations` does not exceed; zero if there are
/// none.
pub(crate) fn percentile(durations: &[Duration], of: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * of).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let durations: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        for (of, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&durations, of), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&durations[..1], 0.5), Duration::from_millis(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
