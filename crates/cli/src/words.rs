//! Times, sizes and foreign text, as people read them.

use std::time::Duration;

use bessemer_core::hardware::{DiskIdentity, Inventory};
use bessemer_core::lifecycle::Step;
use bessemer_wire::agent::Progress;
use jiff::Timestamp;

/// How long ago `then` was, in one unit: `12s ago`, `5m ago`, `3h ago`, `4d ago`. Clocks that
/// differ a little make no difference: what seems to be in the future is `now`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        ..1 => "now".into(),
        1..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A length of time in at most two units: `18 s`, `1 min 25 s`, `2 h 5 min`.
pub(crate) fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, seconds) {
        (0, 0, _) => format!("{seconds} s"),
        (0, _, 0) => format!("{minutes} min"),
        (0, ..) => format!("{minutes} min {seconds} s"),
        (_, 0, _) => format!("{hours} h"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// How long something took: up to 10 s with tenths.
pub(crate) fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        length(duration)
    }
}

/// How long until `then`: `in 25 s`; `now` if that has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(then.duration_since(now)) {
        Ok(left) if left.as_secs() > 0 => format!("in {}", length(left)),
        _ => "now".into(),
    }
}

/// A number of bytes in the largest unit of which there is at least one: `640 MiB`, `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().unwrap_or(0) as usize / 10;
    let Some(unit) = power.checked_sub(1).map(|index| units[index]) else {
        return format!("{bytes} B");
    };
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let digits = usize::from(value < 10.0 && value.fract() > 0.05);
    format!("{value:.digits$} {unit}")
}

/// The same of whole seconds.
pub(crate) fn seconds(seconds: u32) -> String {
    length(Duration::from_secs(u64::from(seconds)))
}

/// `1 POST`, `2 POSTs`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// A step as words.
pub(crate) fn step(step: Step) -> String {
    let words = step.name().replace('_', " ");
    words.replace("bmc", "BMC").replace(" os", " OS")
}

/// How far something is: `412 MiB of 640 MiB, 35 MiB/s, 6 s to go`.
pub(crate) fn progress(progress: &Progress) -> String {
    let done = bytes(progress.bytes);
    let mut text = match progress.total {
        0 => done,
        total => format!("{done} of {}", bytes(total)),
    };
    if progress.rate > 0 {
        text.push_str(&format!(", {}/s", bytes(progress.rate)));
    }
    if let Some(seconds) = progress.eta_seconds {
        let left = length(Duration::from_secs(seconds));
        text.push_str(&format!(", {left} to go"));
    }
    text
}

/// A disk as it is told from others: `nvme0n1 (serial number S1, 447 GiB)`.
pub(crate) fn disk_identity(disk: &DiskIdentity) -> String {
    let size = bytes(disk.size_bytes);
    let mut text = match disk.serial.as_str() {
        "" => format!("{} (no serial number, {size}", disk.name),
        serial => format!("{} (serial number {serial}, {size}", disk.name),
    };
    if let Some(wwn) = &disk.wwn {
        text.push_str(&format!(", {wwn}"));
    }
    text.push(')');
    text
}

/// A machine in one line: `8 threads, 32 GiB, 2 disks (960 GiB)`.
pub(crate) fn hardware(inventory: &Inventory) -> String {
    let disks: u64 = inventory.disks.iter().map(|disk| disk.size_bytes).sum();
    format!(
        "{}, {}, {} ({})",
        count(inventory.cpu.threads as usize, "thread"),
        memory(inventory.memory_mib),
        count(inventory.disks.len(), "disk"),
        bytes(disks)
    )
}

/// Memory: in GiB where that is exact enough, else in MiB.
pub(crate) fn memory(mib: u64) -> String {
    if mib >= 1024 && mib.is_multiple_of(1024) {
        format!("{} GiB", mib / 1024)
    } else {
        format!("{mib} MiB")
    }
}

/// `text` without what a terminal would obey: names and messages come from tenants and machines,
/// and must not be able to write on an operator's screen. Line breaks stay.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let harmless = character == '\n' || !(character.is_control() || is_direction(character));
        if harmless {
            safe.push(character);
        } else {
            safe.extend(character.escape_unicode());
        }
    }
    safe
}

/// Characters that make the text after them look as if it were in another order.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let then: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let after = |seconds| ago(then, then + Duration::from_secs(seconds));
        let texts = [0, 59, 60, 7199, 7200, 86_400, 864_000].map(after);
        assert_eq!(
            texts,
            [
                "now", "59s ago", "1m ago", "1h ago", "2h ago", "1d ago", "10d ago"
            ]
        );
        assert_eq!(ago(then, then - Duration::from_secs(30)), "now");
        assert_eq!(until(then + Duration::from_secs(90), then), "in 1 min 30 s");
        assert_eq!(until(then, then), "now");
        assert_eq!(took(Duration::from_millis(9940)), "9.9 s");
        assert_eq!(took(Duration::from_millis(10_600)), "10 s");
        let lengths = [0, 59, 60, 85, 3600, 7500].map(seconds);
        assert_eq!(
            lengths,
            ["0 s", "59 s", "1 min", "1 min 25 s", "1 h", "2 h 5 min"]
        );
    }

    #[test]
    fn sizes_are_short() {
        let texts = [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(bytes);
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 MiB", "16 EiB"]
        );
    }

    #[test]
    fn progress_tells_what_is_known() {
        let mut known = Progress {
            step: "writing image".into(),
            bytes: 412 << 20,
            total: 640 << 20,
            rate: 35 << 20,
            eta_seconds: Some(6),
        };
        assert_eq!(progress(&known), "412 MiB of 640 MiB, 35 MiB/s, 6 s to go");
        (known.total, known.rate, known.eta_seconds) = (0, 0, None);
        assert_eq!(progress(&known), "412 MiB");
    }

    #[test]
    fn foreign_text_cannot_write_on_the_screen() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}1m\r\nb\u{202e}é"),
            "a\\u{1b}[2J\\u{9b}1m\\u{d}\nb\\u{202e}é"
        );
    }
}
