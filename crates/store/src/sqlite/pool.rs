//! Connections of a kind, lent to one task after the other.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::session::Session;
use crate::Error;

/// How connections of a kind are opened.
pub(super) struct Opening {
    pub(super) path: PathBuf,
    /// How long SQLite itself waits for a lock, and its thread with it.
    pub(super) busy: Duration,
    pub(super) writes: bool,
}

/// Connections of a kind, opened when they are first needed.
pub(super) struct Pool {
    opening: Opening,
    free: Arc<Mutex<Vec<Session>>>,
    places: Arc<Semaphore>,
    count: u32,
}

impl Pool {
    pub(super) fn new(opening: Opening, count: u32) -> Self {
        Self {
            opening,
            free: Arc::default(),
            places: Arc::new(Semaphore::new(count as usize)),
            count,
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Session>> {
        locked(&self.free)
    }

    /// Opens one before it is needed.
    pub(super) fn open_one(&self) -> Result<(), rusqlite::Error> {
        let session = Session::open(&self.opening)?;
        self.free().push(session);
        Ok(())
    }

    /// Lends a connection, in the order of those who ask. Errors are those of a pool of `sqlx`.
    pub(super) async fn lend(&self, patience: Duration) -> Result<Lent, Error> {
        let lent = timeout(patience, self.wait()).await;
        lent.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    /// The same, however long it takes.
    pub(super) async fn wait(&self) -> Result<Lent, Error> {
        let place = self.places.clone().acquire_owned().await;
        Ok(self.at(place.map_err(|_| sqlx::Error::PoolClosed)?)?)
    }

    /// One that nobody has or waits for, if there is one at this moment.
    pub(super) fn idle(&self) -> Result<Option<Lent>, rusqlite::Error> {
        let place = self.places.clone().try_acquire_owned().ok();
        place.map(|place| self.at(place)).transpose()
    }

    fn at(&self, place: OwnedSemaphorePermit) -> Result<Lent, rusqlite::Error> {
        // The one used last: what it has read is still in its cache.
        let free = self.free().pop();
        let session = match free {
            Some(session) => session,
            None => Session::open(&self.opening)?,
        };
        Ok(Lent {
            session: Some(session),
            home: self.free.clone(),
            _place: place,
        })
    }

    /// Waits for what is under way, and closes every connection.
    pub(super) async fn close(&self) {
        // Without an error: only this closes it, and twice does no harm.
        let all = self.places.acquire_many(self.count).await;
        for mut session in self.free().drain(..) {
            session.commit_batch();
        }
        self.places.close();
        drop(all);
    }
}

/// Nobody panics while holding it; and if so, connections are as good as before.
fn locked(free: &Mutex<Vec<Session>>) -> MutexGuard<'_, Vec<Session>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection on loan, which goes home when this is dropped.
pub(super) struct Lent {
    /// There until it is dropped.
    session: Option<Session>,
    home: Arc<Mutex<Vec<Session>>>,
    /// Given back after the connection is.
    _place: OwnedSemaphorePermit,
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("is there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            locked(&self.home).push(session);
        }
    }
}
