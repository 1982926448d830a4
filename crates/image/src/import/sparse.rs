//! Files that grow at their end, with holes where zeros are, and only as far as they may.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::{Limits, at};
use crate::{Error, Result};

/// Zeros are left out of the file in units of this size, at multiples of it.
const HOLE: usize = 64 << 10;

/// How often the free space is looked at, in bytes written.
const LOOK_EVERY: u64 = 64 << 20;

/// What a file may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes, zeros included.
    pub(super) size: u64,
    /// Bytes that are not zeros.
    pub(super) data: u64,
    /// Bytes that stay free on the file system.
    pub(super) reserve: u64,
}

impl Bounds {
    /// Those of a disk.
    pub(super) fn of_disk(limits: &Limits) -> Self {
        Self {
            size: limits.virtual_size,
            data: limits.data_size,
            reserve: limits.reserve,
        }
    }
}

/// A file being written from its beginning to its end.
pub(super) struct SparseFile {
    path: PathBuf,
    file: File,
    bounds: Bounds,
    /// What came and does not make a whole [`HOLE`] yet.
    rest: Vec<u8>,
    /// Bytes before `rest`.
    position: u64,
    data: u64,
    unseen: u64,
}

impl SparseFile {
    /// A new, empty file at `path`, in the place of one that is there.
    pub(super) fn create(path: &Path, bounds: Bounds) -> Result<Self> {
        let file = File::create(path).map_err(at("create", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bounds,
            rest: Vec::new(),
            position: 0,
            data: 0,
            // So that the first byte is preceded by a look.
            unseen: LOOK_EVERY,
        })
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.position + (self.rest.len() + bytes.len()) as u64;
        if size > self.bounds.size {
            return Err(Error::TooLarge {
                limit: self.bounds.size,
            });
        }
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / HOLE * HOLE;
        let rest = self.rest.split_off(whole);
        let ready = std::mem::replace(&mut self.rest, rest);
        self.put(&ready)
    }

    /// Writes the end, and gives the size.
    pub(super) fn finish(mut self) -> Result<u64> {
        let ready = std::mem::take(&mut self.rest);
        self.put(&ready)?;
        self.file
            .set_len(self.position)
            .map_err(at("write", &self.path))?;
        Ok(self.position)
    }

    fn put(&mut self, ready: &[u8]) -> Result<()> {
        for block in ready.chunks(HOLE) {
            if block.iter().any(|byte| *byte != 0) {
                self.count(block.len() as u64)?;
                self.file
                    .write_all_at(block, self.position)
                    .map_err(at("write", &self.path))?;
            }
            self.position += block.len() as u64;
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.data += bytes;
        self.unseen += bytes;
        if self.data > self.bounds.data {
            return Err(Error::TooLarge {
                limit: self.bounds.data,
            });
        }
        if self.unseen >= LOOK_EVERY {
            self.unseen = 0;
            check_space(&self.path, self.bounds.reserve)?;
        }
        Ok(())
    }
}

/// For whoever wants a [`Write`]; the error within is of this crate.
impl Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether more than `reserve` bytes are free where `path` is: a disk that is full stops more than
/// an import.
pub(super) fn check_space(path: &Path, reserve: u64) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let free = statvfs(folder).map_err(|errno| at("look at", folder)(errno.into()))?;
    let available = free.blocks_available() * free.fragment_size();
    if available > reserve {
        return Ok(());
    }
    Err(Error::NoSpace {
        path: folder.to_owned(),
        available,
        reserve,
    })
}
