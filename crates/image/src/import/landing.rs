//! The file that a source arrives in. What has arrived outlives the process: an import that was
//! killed goes on after the last byte that it wrote, and one whose connection broke as well.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256, Sha512};

use super::{Stop, at};
use crate::digest::{Checksum, Sha256Digest, Sha512Digest};
use crate::{Error, Result};

const BUFFER: usize = 1 << 20;

/// A checksum in the making.
#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// One that makes the same kind of checksum as `like`.
    fn new(like: &Checksum) -> Self {
        match like {
            Checksum::Sha256(_) => Self::Sha256(Sha256::new()),
            Checksum::Sha512(_) => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hasher) => Checksum::Sha256(Sha256Digest::new(hasher.finalize().into())),
            Self::Sha512(hasher) => Checksum::Sha512(Sha512Digest::new(hasher.finalize().into())),
        }
    }
}

/// A source that is arriving.
pub(super) struct Landing {
    path: PathBuf,
    file: File,
    expected: Checksum,
    hasher: Hasher,
    written: u64,
    pieced: bool,
}

impl Landing {
    /// The file at `path`, which is made, or read again as far as it has come.
    pub(super) fn open(path: &Path, expected: Checksum, stop: &Stop) -> Result<Self> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(at("open", path))?;
        let mut hasher = Hasher::new(&expected);
        let mut written = 0;
        let mut buffer = vec![0; BUFFER];
        loop {
            stop.check()?;
            match file.read(&mut buffer).map_err(at("read", path))? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    written += count as u64;
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            expected,
            hasher,
            written,
            pieced: written > 0,
        })
    }

    /// Bytes that are here.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it did not come in one piece, so that the pieces may not belong together.
    pub(super) fn is_pieced(&self) -> bool {
        self.pieced
    }

    /// Says that what comes next is another piece.
    pub(super) fn goes_on(&mut self) {
        self.pieced = true;
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(at("write", &self.path))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is here.
    pub(super) fn start_over(&mut self) -> Result<()> {
        use std::io::Seek;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(at("write", &self.path))?;
        self.hasher = Hasher::new(&self.expected);
        self.written = 0;
        self.pieced = false;
        Ok(())
    }

    /// Compares the checksum and, if it is right, renames the file to `to`, whole and on the disk.
    pub(super) fn finish(self, to: &Path) -> Result<()> {
        let found = self.hasher.finish();
        if found != self.expected {
            return Err(Error::WrongChecksum {
                expected: Box::new(self.expected),
                found: Box::new(found),
            });
        }
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.path, to))
            .map_err(at("write", &self.path))
    }
}
