//! The clock, and what is to be done when it was wrong.
//!
//! Deadlines, due times and leases are moments of the wall clock, since they must outlast the process.
//! A clock that was ahead and is set right again leaves moments behind that lie in the future: a node
//! would wait for them, be it for years. So each server looks now and then whether it is earlier than
//! it was, or than the latest event says, has everything looked at that waits, and says so;
//! `bessemer_core::lifecycle::step` then takes a step that seems to begin in the future to begin now.
//! Leases that cannot be right are ended at the same time (`bessemer_store`'s `leases`).

use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_store::Error as StoreError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::site::Site;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many looks at the clock to one at all leases.
const LEASES_EVERY: u32 = 12;

/// What a clock may be corrected by without anybody noticing; less than any deadline.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The longest that a lease can last from now on: twice what is claimed for, as the clocks of several
/// servers differ.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// The most by which clocks of several servers may differ: leases last for 30 s.
const MOST_APART: Duration = Duration::from_secs(10);

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
        let now = site.now();
        looks = looks.wrapping_add(1);
        let looked = async {
            set_right(&site, latest, now).await?;
            if looks.is_multiple_of(LEASES_EVERY) {
                mend_leases(&site).await?;
            }
            Ok::<(), StoreError>(())
        };
        match looked.await {
            Ok(()) if now + TOLERANCE < latest => latest = now,
            Ok(()) => latest = latest.max(now),
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
    if let Some(there) = site.store.database_clock().await? {
        let apart = there.duration_since(now).unsigned_abs();
        if apart > MOST_APART {
            warn!(
                "the clock of this server and that of the database's differ by {} s: set them right \
                 (NTP), or servers take each other for dead",
                apart.as_secs()
            );
        }
    }
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
