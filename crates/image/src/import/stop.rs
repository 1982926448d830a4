//! The wish that an import ends, heard on threads that cannot be aborted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Shared by an import and its threads.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

/// Stops when it is dropped.
pub(super) struct WhenDropped(Stop);

impl Stop {
    /// An error if the import is to end.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Error::Stopped),
            false => Ok(()),
        }
    }

    /// Stops when what this gives is dropped.
    pub(super) fn when_dropped(&self) -> WhenDropped {
        WhenDropped(self.clone())
    }
}

impl Drop for WhenDropped {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
