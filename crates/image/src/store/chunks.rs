//! Where chunks lie: a file for each, named by its hash, so that what several images have in common
//! is there once.
//!
//! Nobody counts references, because a count is wrong after a crash. What no image's record names
//! is garbage, and is removed by whoever finds the folder at rest: an import holds a shared lock on
//! it from its first chunk until its record is visible, and removing takes an exclusive one. Both
//! are the kernel's, so a process that dies lets go of them.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::Packed;
use crate::digest::Blake3Digest;
use crate::import::at;
use crate::map::Chunk;
use crate::{Error, Result};

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".new-";

/// A folder of chunks. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ChunkFolder(Arc<Path>);

/// While this lives, no chunk is removed.
#[derive(Debug)]
pub(crate) struct Adding(#[allow(dead_code, reason = "held for its lock")] File);

/// What a collection of garbage has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Chunks that no image has.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ChunkFolder {
    /// The chunks in `folder`, which is made if need be.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok(Self(folder.into()))
    }

    /// Keeps chunks from being removed, those that are added as well as those found to be there
    /// already. Blocks while garbage is collected.
    pub(crate) fn add(&self) -> Result<Adding> {
        let (file, path) = super::lock_file(&self.0)?;
        file.lock_shared().map_err(at("lock", &path))?;
        Ok(Adding(file))
    }

    fn place(&self, blake3: &Blake3Digest) -> PathBuf {
        let name = blake3.to_string();
        self.0.join(&name[..2]).join(name)
    }

    /// Stores a chunk unless it is there. What is there is believed only if it is the same: after
    /// a power cut it may be a file of the right name and no content.
    pub(crate) fn put(&self, _: &Adding, packed: &Packed) -> Result<()> {
        let place = self.place(&packed.blake3);
        if std::fs::read(&place).is_ok_and(|found| found == packed.bytes) {
            return Ok(());
        }
        let folder = place.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(folder)
            .map_err(at("create a file in", folder))?;
        std::io::Write::write_all(&mut file, &packed.bytes).map_err(at("write", &place))?;
        file.persist(&place)
            .map_err(|error| at("rename", &place)(error.error))?;
        Ok(())
    }

    /// Returns when every chunk stored so far survives a power cut.
    pub(crate) fn synchronise(&self, _: &Adding) -> Result<()> {
        // One call for the file system is quicker than one for each of thousands of files.
        File::open(&self.0)
            .and_then(|folder| Ok(nix::unistd::syncfs(folder)?))
            .map_err(at("write", &self.0))
    }

    /// A chunk in its stored form. It is not verified here: the agent does that, after all the
    /// ways in which it could still be damaged.
    pub(crate) fn read(&self, chunk: &Chunk) -> Result<Bytes> {
        let place = self.place(&chunk.blake3);
        let stored = std::fs::read(&place).map_err(at("read", &place))?;
        if stored.len() != chunk.stored_length as usize {
            return Err(Error::Map(format!(
                "{} has {} bytes, expected {}",
                place.display(),
                stored.len(),
                chunk.stored_length
            )));
        }
        Ok(stored.into())
    }

    /// Removes every chunk that `is_used` does not give, or nothing at all while chunks are being
    /// added: who adds them collects afterwards. `None` is that.
    pub(crate) fn collect(
        &self,
        used: impl FnOnce() -> Result<HashSet<Blake3Digest>>,
    ) -> Result<Option<Collected>> {
        let (file, path) = super::lock_file(&self.0)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
        }
        // Asked for only now: nobody can add a record from here on.
        let used = used()?;
        let mut collected = Collected::default();
        for folder in entries(&self.0)?.into_iter().filter(|entry| entry.is_dir()) {
            for file in entries(&folder)? {
                let name = file.file_name().and_then(|name| name.to_str());
                let digest = name.and_then(|name| name.parse::<Blake3Digest>().ok());
                if digest.is_none_or(|digest| !used.contains(&digest)) {
                    collected.bytes += file.metadata().map_or(0, |metadata| metadata.len());
                    collected.chunks += 1;
                    remove(&file)?;
                }
            }
        }
        Ok(Some(collected))
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(at("read", folder))
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("remove", file)(error)),
        _ => Ok(()),
    }
}
