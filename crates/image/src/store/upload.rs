//! Images that people send instead of naming a place to fetch them from.
//!
//! An upload may break; what has arrived is kept, and the next one goes on after it. When all is
//! there, an import ([`Source::Uploaded`](crate::import::Source::Uploaded)) checks and converts it
//! like any other.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::{ImageStore, Staging};
use crate::import::at;
use crate::{Error, Result};

/// An upload under way. Dropping it keeps what has arrived.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: PathBuf,
    size: u64,
    offset: u64,
    _staging: Staging,
}

impl ImageStore {
    /// Goes on with the upload of the image `name`, of `size` bytes in all, from `offset` on.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::WrongOffset`] if that is not where the last one ended, [`Error::Busy`] while
    /// another one is under way.
    pub fn upload(&self, name: &str, size: u64, offset: u64) -> Result<Upload> {
        let staging = self.stage(name)?;
        let path = staging.part();
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(at("open", &path))?;
        let expected = file.metadata().map_err(at("read", &path))?.len();
        if offset != expected {
            return Err(Error::WrongOffset {
                expected,
                found: offset,
            });
        }
        Ok(Upload {
            file,
            path,
            size,
            offset,
            _staging: staging,
        })
    }

    /// Bytes of the upload of the image `name` that have arrived.
    pub fn uploaded(&self, name: &str) -> u64 {
        let path = self.folder.join(format!("{}{name}/part", super::IMPORT));
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    }
}

impl Upload {
    /// Appends bytes. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they are more than were announced.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.offset + bytes.len() as u64 > self.size {
            return Err(Error::TooLarge { limit: self.size });
        }
        self.file
            .write_all(bytes)
            .map_err(at("write", &self.path))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Whether all that was announced is here.
    pub fn is_complete(&self) -> bool {
        self.offset == self.size
    }
}
