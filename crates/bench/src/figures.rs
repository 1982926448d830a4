//! How figures are told, and what is made of many measurements of one thing.

use std::time::Duration;

use serde::Serialize;

/// What a line says, in this order.
#[derive(Serialize)]
struct Figure<'s> {
    name: &'s str,
    value: f64,
    unit: &'s str,
}

/// Prints one figure as a JSON line.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    // More than four digits would claim more than was measured.
    let digits = 3 - value.abs().max(1e-6).log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, 6));
    let value = (value * scale).round() / scale;
    // Strings and a finite number always serialise.
    let line = serde_json::to_string(&Figure { name, value, unit }).unwrap_or_default();
    println!("{line}");
}

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
