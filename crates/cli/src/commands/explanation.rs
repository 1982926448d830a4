//! What explanations of nodes and of servers have in common.

use bessemer_wire::api::{LikelyCause, PowerSeen, Sighting};
use jiff::Timestamp;

use crate::words::{ago, printable, until};

/// Where something is: its phase, step and attempt.
pub(super) struct At<'a> {
    pub(super) phase: &'a str,
    pub(super) doing: &'a str,
    pub(super) since: Timestamp,
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) tries: u32,
}

impl At<'_> {
    pub(super) fn words(&self, now: Timestamp) -> String {
        format!(
            "{}: {}, since {} (attempt {} of {}, try {})",
            self.phase,
            self.doing,
            ago(self.since, now),
            self.attempt,
            self.attempts,
            self.tries
        )
    }
}

pub(super) fn deadline(at: Option<Timestamp>, now: Timestamp) -> Option<String> {
    at.map(|at| format!("given up {}", until(at, now)))
}

pub(super) fn cause(cause: &LikelyCause) -> String {
    format!("{} ({})", cause.summary, cause.code)
}

pub(super) fn power(power: Option<PowerSeen>) -> String {
    let power = match power {
        Some(PowerSeen::On) => "on",
        Some(PowerSeen::Off) => "off",
        Some(PowerSeen::PoweringOn) => "powering on",
        Some(PowerSeen::PoweringOff) => "powering off",
        Some(PowerSeen::Unknown) => "unknown",
        None => "the BMC does not say",
    };
    power.to_owned()
}

/// One thing that was seen; with a mark if it is not as it should be.
pub(super) fn sighting(sighting: &Sighting, now: Timestamp) -> String {
    let mark = if sighting.well { " " } else { "!" };
    let times = match sighting.times {
        0 | 1 => String::new(),
        times => format!(" ({times} times)"),
    };
    let what = printable(&sighting.what).replace('\n', " ");
    format!("{mark} {}: {what}{times}", ago(sighting.at, now))
}

/// The end of a serial console, if there is one.
pub(super) fn console(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines = lines.iter().map(|line| format!("\n  {}", printable(line)));
    format!("\n\nSerial console:{}", lines.collect::<String>())
}
