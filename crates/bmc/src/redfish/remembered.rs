//! What need not be asked for again: where things are on this BMC.
//!
//! Paths, action targets and allowable values change when a BMC's firmware is renewed, and
//! otherwise never. So they are kept for a while, and given up at once when they lead nowhere.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// How long something is believed without being asked for anew.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// One thing that was found out, or not yet.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    /// With the end of its validity.
    kept: Mutex<Option<(T, Instant)>>,
    validity: Duration,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            validity: VALIDITY,
        }
    }
}

impl<T: Clone> Remembered<T> {
    /// What is remembered, or else what `find` finds. Callers that come meanwhile look for
    /// themselves: each has a deadline of its own.
    pub(super) async fn or_find(
        &self,
        find: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let found = find.await?;
        *self.lock() = Some((found.clone(), Instant::now() + self.validity));
        Ok(found)
    }

    /// Has it found anew next time.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn get(&self) -> Option<T> {
        let now = Instant::now();
        let kept = self.lock();
        let (value, _) = kept.as_ref().filter(|(_, until)| now < *until)?;
        Some(value.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(T, Instant)>> {
        // Replaced as a whole, so a panic elsewhere cannot have broken it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_found_once_and_again_when_forgotten() {
        let remembered = Remembered::default();
        assert_eq!(remembered.or_find(async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(remembered.or_find(async { Ok(2) }).await.unwrap(), 1);
        remembered.forget();
        assert_eq!(remembered.or_find(async { Ok(3) }).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn is_found_again_when_old() {
        let remembered = Remembered {
            validity: Duration::ZERO,
            ..Remembered::default()
        };
        assert_eq!(remembered.or_find(async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(remembered.or_find(async { Ok(2) }).await.unwrap(), 2);
    }
}
