//! How far a command is, told once a second to the conductor and now and then to the console.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bessemer_wire::agent::Progress;

/// The rate is that of the last so many seconds: long enough to be calm, short enough to be true.
const WINDOW: Duration = Duration::from_secs(6);

/// Counts one command's bytes; shared by the threads that work and the loop that reports.
#[derive(Debug)]
pub struct Tracker {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    step: String,
    bytes: u64,
    total: u64,
    samples: VecDeque<(Instant, u64)>,
}

impl Tracker {
    /// A tracker in the given step, with nothing to count.
    pub fn new(step: &str) -> Self {
        let inner = Inner {
            step: step.to_owned(),
            bytes: 0,
            total: 0,
            samples: VecDeque::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Begins a step of `total` bytes (0 where there is nothing to count).
    pub fn begin(&self, step: &str, total: u64) {
        let mut inner = self.inner();
        step.clone_into(&mut inner.step);
        inner.bytes = 0;
        inner.total = total;
        inner.samples.clear();
    }

    /// So many more bytes are dealt with.
    pub fn add(&self, bytes: u64) {
        self.inner().bytes += bytes;
    }

    /// So many bytes of this step are dealt with altogether.
    pub fn set(&self, bytes: u64) {
        self.inner().bytes = bytes;
    }

    /// There is more to do than was thought.
    pub fn extend(&self, bytes: u64) {
        self.inner().total += bytes;
    }

    /// How far it is at `now`, which must not go backwards between calls.
    pub fn snapshot(&self, now: Instant) -> Progress {
        let mut inner = self.inner();
        let bytes = inner.bytes;
        inner.samples.push_back((now, bytes));
        while inner.samples.len() > 2 && now.duration_since(inner.samples[1].0) >= WINDOW {
            inner.samples.pop_front();
        }
        let (since, before) = inner.samples[0];
        let seconds = now.duration_since(since).as_secs_f64();
        let rate = if seconds > 0.0 {
            (bytes.saturating_sub(before) as f64 / seconds) as u64
        } else {
            0
        };
        let left = inner.total.saturating_sub(bytes);
        let eta_seconds = (rate > 0 && inner.total > 0).then(|| left.div_ceil(rate));
        Progress {
            step: inner.step.clone(),
            bytes,
            total: inner.total,
            rate,
            eta_seconds,
        }
    }
}

/// A progress as a line for people.
pub fn describe(progress: &Progress) -> String {
    use crate::console::bytes;
    if progress.total == 0 {
        return progress.step.clone();
    }
    let percent = progress.bytes.saturating_mul(100) / progress.total;
    let mut line = format!(
        "{}: {} of {} ({percent} %), {}/s",
        progress.step,
        bytes(progress.bytes),
        bytes(progress.total),
        bytes(progress.rate)
    );
    if let Some(seconds) = progress.eta_seconds {
        line.push_str(&format!(", {seconds} s to go"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_to_go_follow_the_last_seconds() {
        let (tracker, start) = (Tracker::new("waiting"), Instant::now());
        tracker.begin("writing", 100 << 20);
        assert_eq!(tracker.snapshot(start).eta_seconds, None);
        let mut last = None;
        for second in 1..=20_u64 {
            tracker.add(if second <= 10 { 1 << 20 } else { 4 << 20 });
            last = Some(tracker.snapshot(start + Duration::from_secs(second)));
        }
        let last = last.unwrap();
        assert_eq!(
            (last.bytes, last.total, last.rate),
            (50 << 20, 100 << 20, 4 << 20)
        );
        assert_eq!(last.eta_seconds, Some(13));
        assert_eq!(
            describe(&last),
            "writing: 50 MiB of 100 MiB (50 %), 4 MiB/s, 13 s to go"
        );
    }
}
