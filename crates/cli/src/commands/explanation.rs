//! What explanations of nodes and of servers have in common.

use bessemer_wire::api::{LikelyCause, PowerSeen, Sighting, Standing};
use jiff::Timestamp;

use crate::failure::tell;
use crate::words::{ago, printable, until};

/// A title, and what stands beside it.
type Row = (&'static str, Option<String>);

/// Where something is, and why: rows for a table, after `first`.
pub(super) fn rows<const N: usize>(
    first: [Row; N],
    standing: &Standing,
    now: Timestamp,
) -> impl Iterator<Item = Row> {
    let deadline = standing.deadline;
    first.into_iter().chain([
        ("At", Some(at(standing, now))),
        (
            "Deadline",
            deadline.map(|at| format!("given up {}", until(at, now))),
        ),
        ("Reason", Some(tell(&standing.reason, now))),
        ("Likely cause", Some(cause(&standing.cause))),
        ("What to do", Some(standing.cause.remedy.clone())),
        ("Power", Some(power(standing.power))),
    ])
}

fn at(standing: &Standing, now: Timestamp) -> String {
    format!(
        "{}: {}, since {} (attempt {} of {}, try {})",
        standing.phase.name(),
        standing.doing,
        ago(standing.since, now),
        standing.attempt,
        standing.attempts,
        standing.tries
    )
}

fn cause(cause: &LikelyCause) -> String {
    format!("{} ({})", cause.summary, cause.code)
}

fn power(power: Option<PowerSeen>) -> String {
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
