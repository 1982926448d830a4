//! The clock, and what is to be done when it was wrong.
//!
//! Deadlines, due times and leases are moments of the wall clock, since they must outlast the process.
//! Servers on one PostgreSQL compare each other's: one whose clock was a minute ahead would take the
//! others' leases for run out, and do to machines what they are doing. So the time of all of them is that
//! of the database, which each asks now and then and carries on by its monotonic clock: what the clock of its
//! own machine says, or jumps to, does not matter. Should the database's jump, as when another machine takes
//! over, nobody claims anything until all have noticed and have renewed what they hold.
//!
//! A clock that was ahead and is set right again leaves moments behind that lie in the future: a node
//! would wait for them, be it for years. So each server looks now and then whether it is earlier than
//! it was, or than the latest event says, has everything looked at that waits, and says so;
//! `bessemer_core::lifecycle::step` then takes a step that seems to begin in the future to begin now.
//! Leases that cannot be right are ended at the same time (`bessemer_store`'s `leases`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bessemer_core::Timestamp;
use bessemer_store::{Error as StoreError, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::conductor::LEASE;
use crate::site::Site;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many looks at the clock to one at all leases.
const LEASES_EVERY: u32 = 12;

/// What a clock may be corrected by without anybody noticing; less than any deadline.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The longest that a lease can last from now on: twice what is claimed for.
const LONGEST_LEASE: Duration = LEASE.saturating_mul(2);

/// The longest way to the database and back by which its time is believed.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// The time of a site: the database's, or this machine's where the database is a file of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<Followed>>);

/// What is known of the database's time.
#[derive(Default)]
struct Followed {
    /// What it was at a moment of the monotonic clock; `None` before it was asked, and if there is none.
    read: Option<(Timestamp, Instant)>,
    /// Until then, it has jumped a moment ago.
    unsettled_until: Option<Instant>,
    /// Whether this machine's own differs.
    differs: bool,
}

impl Followed {
    fn now(&self) -> Timestamp {
        match self.read {
            Some((then, read)) => after(then, read.elapsed()),
            None => Timestamp::now(),
        }
    }

    /// Goes by what the database has said, a moment ago, in an answer that took as long as `way`.
    fn follow(&mut self, there: Timestamp, way: Duration) {
        let there = after(there, way / 2);
        let by = there.duration_since(self.now()).unsigned_abs();
        let is_first = self.read.is_none();
        // It may have been read anywhere on the way.
        if !is_first && by <= way / 2 {
            return;
        }
        self.read = Some((there, Instant::now()));
        if !is_first && by > TOLERANCE {
            let seconds = by.as_secs();
            warn!(
                "the database's clock has jumped by {seconds} s: nodes are claimed again when every server has noticed"
            );
            self.unsettled_until = Some(Instant::now() + LEASE);
        }
        self.compare_own();
    }

    /// Says when this machine's own clock has come to differ, and when it does no more.
    fn compare_own(&mut self) {
        let apart = Timestamp::now().duration_since(self.now()).unsigned_abs();
        match (self.differs, apart > TOLERANCE) {
            (false, true) => warn!(
                "the clock of this machine and the database's differ by {} s: the database's counts; set \
                 them right (NTP), or times in this log do not compare with those of events",
                apart.as_secs()
            ),
            (true, false) => info!("the clock of this machine and the database's agree again"),
            _ => {}
        }
        self.differs = apart > TOLERANCE;
    }
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.followed().now()
    }

    /// Asks the database for its time, if it has one, and goes by that from now on.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub async fn follow(&self, store: &Store) -> Result<(), StoreError> {
        let asked = Instant::now();
        let Some(there) = store.database_clock().await? else {
            return Ok(());
        };
        let way = asked.elapsed();
        let mut followed = self.followed();
        if way <= LONGEST_WAY || followed.read.is_none() {
            followed.follow(there, way);
        }
        Ok(())
    }

    /// For how long nothing is to be claimed: leases of others may be written by another time.
    pub(crate) fn unsettled(&self) -> Option<Duration> {
        let until = self.followed().unsettled_until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        // It is whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `then`, so much later; the end of time at the latest.
fn after(then: Timestamp, by: Duration) -> Timestamp {
    then.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Looks at clock and leases once, before anything is claimed, and gives the time up to which the
/// clock has been.
pub(crate) async fn look_at_start(site: &Site) -> Result<Timestamp, StoreError> {
    let now = site.now();
    if let Some(latest) = site.store.last_happened_at().await? {
        set_right(site, latest, now).await?;
    }
    mend_leases(site).await?;
    Ok(now)
}

/// Looks again and again until `stop`; `latest` is how late it has been.
pub(crate) async fn watch(site: Site, mut latest: Timestamp, stop: CancellationToken) {
    let mut looks = 0_u32;
    while timeout(INTERVAL, stop.cancelled()).await.is_err() {
        looks = looks.wrapping_add(1);
        let looked = async {
            site.clock.follow(&site.store).await?;
            let now = site.now();
            set_right(&site, latest, now).await?;
            if looks.is_multiple_of(LEASES_EVERY) {
                mend_leases(&site).await?;
            }
            Ok::<_, StoreError>(now)
        };
        match looked.await {
            Ok(now) if now + TOLERANCE < latest => latest = now,
            Ok(now) => latest = latest.max(now),
            // It is looked again.
            Err(error) if error.is_outage() => {}
            Err(error) => error!(%error, "the clock and the leases cannot be looked over"),
        }
    }
}

/// Has everything looked at if it is earlier than it was.
async fn set_right(site: &Site, latest: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    if now + TOLERANCE >= latest {
        return Ok(());
    }
    let seconds = latest.duration_since(now).as_secs();
    warn!("the clock is {seconds} s behind what it was: everything that waits is looked at now");
    site.heard.clock_was_set_back(now);
    site.store.clock_was_set_back(latest, now).await?;
    mend_leases(site).await?;
    site.bell.ring();
    Ok(())
}

async fn mend_leases(site: &Site) -> Result<(), StoreError> {
    let now = site.now();
    let longest = LONGEST_LEASE.as_millis() as i64;
    let mended = site.store.mend_leases(now, longest).await?;
    for message in &mended {
        warn!("{message}");
    }
    if !mended.is_empty() {
        site.bell.ring();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Duration = Duration::from_millis(20);
    const HOUR: Duration = Duration::from_secs(3600);

    fn is(clock: &Clock, expected: Timestamp) {
        let apart = clock.now().duration_since(expected).unsigned_abs();
        assert!(apart < TOLERANCE, "{apart:?} apart");
    }

    #[test]
    fn the_time_is_the_databases() {
        let clock = Clock::default();
        is(&clock, Timestamp::now());
        for there in [Timestamp::now() - HOUR, Timestamp::MAX] {
            let clock = Clock::default();
            clock.followed().follow(there, WAY);
            is(&clock, there);
            assert_eq!(clock.unsettled(), None, "nobody went by another one");
        }
    }

    #[test]
    fn after_a_jump_nothing_is_claimed_for_as_long_as_a_lease() {
        let start = Timestamp::now();
        for there in [start + HOUR, start - HOUR] {
            let clock = Clock::default();
            clock.followed().follow(start, WAY);
            let later = clock.now() + TOLERANCE / 2;
            clock.followed().follow(later, WAY);
            assert_eq!(clock.unsettled(), None, "clocks run at different speeds");
            clock.followed().follow(there, WAY);
            is(&clock, there);
            assert!(clock.unsettled().is_some_and(|left| left > LEASE / 2));
        }
    }

    #[test]
    fn what_was_long_on_its_way_moves_nothing() {
        let clock = Clock::default();
        clock.followed().follow(Timestamp::now() + HOUR, WAY);
        let before = clock.followed().read;
        let now = clock.now();
        clock.followed().follow(now, 2 * TOLERANCE);
        assert_eq!(clock.followed().read, before);
    }
}
