//! What a thread that erases waits for, seen from outside; and how much it asks of a disk at once.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bessemer_core::hardware::Disk as DiskInfo;

use crate::Error;

/// The longest that one call for a few MiB may take. The kernel itself gives a command up long
/// before, several times over: [`super::device::be_patient`].
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The call that a thread is in.
#[derive(Debug)]
pub(super) struct Pulse {
    call: Mutex<Call>,
}

#[derive(Debug)]
struct Call {
    disk: String,
    serial: String,
    action: &'static str,
    offset: u64,
    begun: Instant,
    limit: Duration,
}

impl Pulse {
    /// A thread that is about to open this disk.
    pub(super) fn new(disk: &DiskInfo) -> Self {
        Self {
            call: Mutex::new(Call {
                disk: disk.name.clone(),
                serial: disk.serial.clone(),
                action: "open",
                offset: 0,
                begun: Instant::now(),
                limit: CALL_LIMIT,
            }),
        }
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The thread turns to this disk.
    pub(super) fn turn_to(&self, disk: &DiskInfo) {
        *self.call() = Self::new(disk)
            .call
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
    }

    /// A call begins, at this offset of the disk, that may take as long as `limit`.
    pub(super) fn begin(&self, action: &'static str, offset: u64, limit: Duration) {
        let mut call = self.call();
        call.action = action;
        call.offset = offset;
        call.begun = Instant::now();
        call.limit = limit;
    }

    /// The error of a call that has taken longer than it may.
    pub(super) fn overdue(&self, now: Instant) -> Option<Error> {
        let call = self.call();
        let taken = now.saturating_duration_since(call.begun);
        (taken > call.limit).then(|| Error::DiskHangs {
            disk: call.disk.clone(),
            serial: call.serial.clone(),
            action: call.action,
            offset: call.offset,
            seconds: taken.as_secs(),
        })
    }
}

/// How many bytes the next call is for: as many as take about a second, so that progress is seen,
/// stopping takes effect soon, and a slow device is not asked for more than it can do in time.
#[derive(Debug)]
pub(super) struct Stride {
    length: u64,
    most: u64,
}

impl Stride {
    const LEAST: u64 = 4 << 20;

    /// Begins with `length` bytes; never more than `most`.
    pub(super) fn new(length: u64, most: u64) -> Self {
        Self { length, most }
    }

    /// Bytes of the next call, of those that are left.
    pub(super) fn next(&self, left: u64) -> u64 {
        self.length.min(left)
    }

    /// A call of that length took so long.
    pub(super) fn learn(&mut self, taken: Duration) {
        if taken < Duration::from_millis(400) {
            self.length = (self.length * 2).min(self.most);
        } else if taken > Duration::from_millis(1500) {
            self.length = (self.length / 2).max(Self::LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_devices_are_asked_for_less() {
        let mut stride = Stride::new(32 << 20, 256 << 20);
        assert_eq!(stride.next(1 << 40), 32 << 20);
        assert_eq!(stride.next(512), 512);
        for _ in 0..10 {
            stride.learn(Duration::from_millis(1));
        }
        assert_eq!(stride.next(1 << 40), 256 << 20);
        stride.learn(Duration::from_secs(1));
        assert_eq!(stride.next(1 << 40), 256 << 20);
        for _ in 0..10 {
            stride.learn(Duration::from_secs(60));
        }
        assert_eq!(stride.next(1 << 40), Stride::LEAST);
    }
}
