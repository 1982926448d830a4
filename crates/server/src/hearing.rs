//! Since when this server hears what it is told.
//!
//! Whoever calls while the server or its database is away calls again, but a deadline may pass meanwhile.
//! So it is noted when work with the database failed last, and what is waited for has its whole time again
//! after that ([`bessemer_core::lifecycle::Observed::heard_since`]): a machine is not given up for what we
//! could not hear. A failure that passes within [`MOMENT`] is none of these, since callers ask again sooner
//! than that: so a database with a hiccup now and then keeps nobody waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_store::Error as StoreError;

/// How long work must have failed to count as an absence.
const MOMENT: Duration = Duration::from_secs(5);

/// Failures less than this apart belong together. The conductor asks the database every second or two.
const TOGETHER: Duration = Duration::from_secs(15);

/// When the database could not be worked with.
pub struct Hearing(Mutex<Absences>);

struct Absences {
    /// The end of the last absence; at first, when the server started.
    heard_since: Timestamp,
    /// The first and the latest of the failures that belong together.
    failing: Option<(Timestamp, Timestamp)>,
}

impl Hearing {
    /// From the start of the server on.
    pub fn from(start: Timestamp) -> Self {
        Self(Mutex::new(Absences {
            heard_since: start,
            failing: None,
        }))
    }

    /// Since when everything is heard; never later than `now`, whatever the clock said then.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        let mut absences = self.lock();
        absences.heard_since = absences.heard_since.min(now);
        absences.heard_since
    }

    /// Notes that work with the database failed, if it is for lack of the database.
    pub(crate) fn note(&self, error: &StoreError, now: Timestamp) {
        if !matches!(
            error,
            StoreError::Away(_) | StoreError::DiskFull(_) | StoreError::CannotWrite(_)
        ) {
            return;
        }
        let mut absences = self.lock();
        let since =
            |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        let first = match absences.failing {
            Some((first, latest)) if since(latest) <= TOGETHER => first.min(now),
            _ => now,
        };
        absences.failing = Some((first, now));
        if since(first) >= MOMENT {
            absences.heard_since = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Absences> {
        // It is whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn away() -> StoreError {
        StoreError::Away("x".into())
    }

    #[test]
    fn an_absence_ends_with_its_last_failure() {
        let hearing = Hearing::from(at(0));
        assert_eq!(hearing.since(at(9999)), at(0));
        for second in 100..=160 {
            hearing.note(&away(), at(second));
        }
        assert_eq!(hearing.since(at(9999)), at(160));
        hearing.note(&StoreError::DiskFull("x".into()), at(162));
        assert_eq!(hearing.since(at(9999)), at(162));
    }

    #[test]
    fn what_fails_for_a_moment_or_for_other_reasons_is_no_absence() {
        let hearing = Hearing::from(at(0));
        for second in [100, 104, 200, 204, 300] {
            hearing.note(&away(), at(second));
        }
        for second in 400..500 {
            hearing.note(&StoreError::LeaseLost, at(second));
        }
        assert_eq!(hearing.since(at(9999)), at(0));
    }

    #[test]
    fn nothing_is_heard_since_the_future() {
        let hearing = Hearing::from(at(1000));
        hearing.note(&away(), at(1000));
        hearing.note(&away(), at(10));
        assert_eq!(hearing.since(at(10)), at(10));
        assert_eq!(hearing.since(at(20)), at(10), "and stays so");
        hearing.note(&away(), at(20));
        assert_eq!(hearing.since(at(20)), at(20));
    }
}
