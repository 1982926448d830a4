//! Lines for the people who read a machine's serial console, often the only thing they see of it.

use std::fmt::Display;
use std::io::Write;

use nix::time::{ClockId, clock_gettime};

/// The longest line, in characters: what a peer sends cannot flood the console.
const MAX_LINE: usize = 500;

/// Writes one line to standard error, which for PID 1 is the console: program, seconds since the
/// kernel started, message. Control characters, which a peer may have sent, are replaced.
///
/// Secrets never go here.
pub fn say(message: impl Display) {
    let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0.0, |time| {
        time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
    });
    let line = format!(
        "bessemer-agent: [{uptime:.2}] {}\n",
        printable(&message.to_string())
    );
    // Without a console there is nobody to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// `text` with control characters replaced and cut to a line's length.
pub fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_LINE)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// An error with all its causes, as one sentence.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = cause.source();
    }
    text
}

/// Bytes for people: MiB below 10 GiB, then GiB.
pub fn bytes(count: u64) -> String {
    if count < 10 << 30 {
        format!("{} MiB", count >> 20)
    } else {
        format!("{} GiB", count >> 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_paint_the_console() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a?[2Jb?c");
        assert_eq!(printable(&"x".repeat(10_000)).len(), MAX_LINE);
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let error = crate::Error::File {
            action: "read",
            path: "/dev/vda".into(),
            source: inner,
        };
        assert_eq!(causes(&error), "cannot read /dev/vda: disk on fire");
    }
}
