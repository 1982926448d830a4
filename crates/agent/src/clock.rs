//! The machine's clock, which is set to the conductor's.
//!
//! A battery that is flat, or a firmware that was reset, leaves a node years off. The agent does not
//! depend on it: it believes a certificate by its fingerprint alone, and measures time by the
//! kernel's monotonic clock. What comes after it does: file systems and logs carry these times, and
//! the tenant's system begins with the hardware clock, by which it judges certificates.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use bessemer_core::Timestamp;
use jiff::tz::TimeZone;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use crate::console::say;
use crate::machine::Machine;

/// A clock that is off by less is left alone, in seconds: the conductor's answer took its time, too.
const TOLERATED: i64 = 2;

/// `struct rtc_time` (`linux/rtc.h`): as `struct tm` of C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    /// From 0.
    month: i32,
    /// Since 1900.
    year: i32,
    // The kernel works these out by itself.
    weekday: i32,
    day_of_year: i32,
    daylight_saving: i32,
}

mod ioctl {
    nix::ioctl_write_ptr!(set_rtc_time, b'p', 0x0a, super::RtcTime);
}

/// A clock that may be set, or not.
#[derive(Clone, Debug)]
pub struct Clock {
    hardware: Option<PathBuf>,
}

impl Clock {
    /// The clocks of this machine: the kernel's, and the hardware clock behind it.
    pub fn of(machine: &Machine) -> Self {
        Self {
            hardware: Some(machine.device("rtc0")),
        }
    }

    /// A clock that is somebody else's to set.
    pub fn left_alone() -> Self {
        Self { hardware: None }
    }

    /// Sets the clocks if they differ from `now`. What does not work is told and borne: nothing
    /// here depends on it.
    pub fn agree(&self, now: Timestamp) {
        let Some(hardware) = &self.hardware else {
            return;
        };
        let Ok(own) = clock_gettime(ClockId::CLOCK_REALTIME) else {
            return;
        };
        let off = own.tv_sec().saturating_sub(now.as_second());
        if off.abs() <= TOLERATED {
            return;
        }
        say(format_args!("the clock is off by {off} s: set to {now:.0}"));
        let time = TimeSpec::new(now.as_second(), i64::from(now.subsec_nanosecond()));
        if let Err(errno) = clock_settime(ClockId::CLOCK_REALTIME, time) {
            say(format_args!("the clock cannot be set: {errno}"));
        }
        if let Err(error) = set_hardware(hardware, now) {
            say(format_args!("the hardware clock cannot be set: {error}"));
        }
    }
}

/// The hardware clock shows universal time, as Linux systems expect unless they are told otherwise.
fn set_hardware(device: &PathBuf, now: Timestamp) -> std::io::Result<()> {
    let device = File::open(device)?;
    let time = rtc_time(now);
    // SAFETY: RTC_SET_TIME reads one `struct rtc_time` from the pointer.
    unsafe { ioctl::set_rtc_time(device.as_raw_fd(), &time) }?;
    Ok(())
}

fn rtc_time(now: Timestamp) -> RtcTime {
    let time = TimeZone::UTC.to_datetime(now);
    RtcTime {
        second: time.second().into(),
        minute: time.minute().into(),
        hour: time.hour().into(),
        day: time.day().into(),
        month: i32::from(time.month()) - 1,
        year: i32::from(time.year()) - 1900,
        ..RtcTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardware_clock_is_told_as_it_counts() {
        let time = rtc_time("2026-11-21T13:45:59.9Z".parse().unwrap());
        let expected = RtcTime {
            second: 59,
            minute: 45,
            hour: 13,
            day: 21,
            month: 10,
            year: 126,
            ..RtcTime::default()
        };
        assert_eq!(time, expected);
        assert_eq!(size_of::<RtcTime>(), 36);
    }

    #[test]
    fn somebody_elses_clock_is_left_alone() {
        let before = Timestamp::now();
        Clock::left_alone().agree("1999-01-01T00:00:00Z".parse().unwrap());
        assert!(Timestamp::now() >= before);
    }
}
