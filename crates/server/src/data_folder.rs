//! The data folder, and that one server at a time works in it.
//!
//! Two servers on one embedded database would each take the other for dead when it starts, and
//! drive the same machines at the same time. So a server locks its folder: the second one does not
//! start, and the one that starts after a crash knows that nobody else holds a node. The kernel
//! lets go of the lock when the process ends, however it ends. Servers that share a PostgreSQL
//! database do not lock: their leases tell them who is alive.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::config::Config;
use crate::server::StartError;

/// Makes the folder, if there is none, for its owner's eyes only.
pub(crate) fn create(path: &Path) -> Result<(), StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| failed(path, source))
}

/// Whether there is what a server has left, so that a mistyped folder is not made into one.
///
/// # Errors
/// If there is none.
pub(crate) fn has_been_used(config: &Config) -> Result<(), StartError> {
    let left = match &config.database_url {
        Some(_) => config.data.clone(),
        None => config.data.join("bessemer.db"),
    };
    match std::fs::metadata(&left) {
        Ok(_) => Ok(()),
        Err(source) => Err(StartError::Unused { path: left, source }),
    }
}

/// Proof that no other server works in the folder, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Alone(#[expect(dead_code, reason = "the open file holds the lock")] File);

impl Alone {
    /// Locks `folder`.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, StartError> {
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let file = options
            .open(&path)
            .map_err(|source| failed(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse {
                folder: folder.into(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(&path, source)),
        }
    }
}

fn failed(path: &Path, source: std::io::Error) -> StartError {
    StartError::Folder {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Alone::in_folder(folder.path()).unwrap();
        let refused = Alone::in_folder(folder.path()).unwrap_err();
        assert!(matches!(refused, StartError::InUse { .. }), "{refused}");
        drop(first);
        Alone::in_folder(folder.path()).unwrap();
    }
}
