//! How a figure is told: one JSON line on standard output. Tests that measure tell theirs in the same way.

use serde::Serialize;

/// What a line says, in this order.
#[derive(Serialize)]
struct Figure<'s> {
    name: &'s str,
    value: f64,
    unit: &'s str,
    /// What else the machine does, since times depend on it.
    load_1m: Option<f64>,
}

/// Prints one figure.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    // More than four digits would claim more than was measured.
    let digits = 3 - value.abs().max(1e-6).log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, 6));
    let figure = Figure {
        name,
        value: (value * scale).round() / scale,
        unit,
        load_1m: load(),
    };
    // Strings and finite numbers always serialise.
    println!("{}", serde_json::to_string(&figure).unwrap_or_default());
}

/// Processes that ran or wanted to, averaged over the last minute (proc(5)); `None` if that cannot be read.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
