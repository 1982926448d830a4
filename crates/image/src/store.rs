//! Where imported images lie: a record for each, complete or not there at all, and the chunks of
//! all of them.
//!
//! An image is put together in a hidden folder and appears under its name by one rename, with
//! everything on the disk before. So a reader needs no lock and a crash leaves nothing that looks
//! like an image.

mod chunks;
mod upload;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::digest::{Blake3Digest, Checksum};
use crate::import::at;
use crate::map::BlockMap;
use crate::{Error, Result};

pub use chunks::Collected;
pub(crate) use chunks::{Adding, ChunkFolder};
pub use upload::Upload;

/// The folder of all chunks: no image can have this name.
const CHUNKS: &str = ".chunks";
/// The record in an image's folder.
const RECORD_FILE: &str = "image.json";
/// Locked by who works in the folder of an import.
const LOCK_FILE: &str = "lock";
/// What the folders begin with in which records are put together and images removed.
const HIDDEN: &str = ".bessemer-";
/// What the folders of imports begin with.
const IMPORT: &str = ".import-";

/// What is known of an image; kept as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) checksum: Checksum,
    /// What it came in, for people.
    pub(crate) format: String,
    pub(crate) map: BlockMap,
}

/// A folder of images.
#[derive(Debug, Clone)]
pub struct ImageStore {
    folder: PathBuf,
    chunks: ChunkFolder,
}

impl ImageStore {
    /// Opens, and makes if need be, the store in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
        let folder = folder.canonicalize().map_err(at("open", folder))?;
        let chunks = ChunkFolder::open(folder.join(CHUNKS))?;
        Ok(Self { folder, chunks })
    }

    /// Removes what was left behind by a process that died: everything but images, and the imports
    /// of those names that `goes_on` says are taken up again. To be called when nobody is at work.
    pub fn sweep(&self, goes_on: impl Fn(&str) -> bool) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder).map_err(at("read", &self.folder))? {
            let entry = entry.map_err(at("read", &self.folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_import = name.strip_prefix(IMPORT).is_some_and(|name| !goes_on(name));
            if is_import || name.starts_with(HIDDEN) {
                remove_folder(&entry.path())?;
            }
        }
        self.collect_garbage().map(drop)
    }

    /// Removes the chunks that no image has, unless an import is adding chunks at this moment
    /// (`None`): its end is the time to ask again.
    pub fn collect_garbage(&self) -> Result<Option<Collected>> {
        self.chunks.collect(|| self.used_chunks())
    }

    fn used_chunks(&self) -> Result<HashSet<Blake3Digest>> {
        let mut used = HashSet::new();
        for entry in std::fs::read_dir(&self.folder).map_err(at("read", &self.folder))? {
            let name = entry.map_err(at("read", &self.folder))?.file_name();
            // What else lies here is not ours, and has no chunks.
            let Some(name) = name.to_str().filter(|name| self.place(name).is_ok()) else {
                continue;
            };
            let image = self.image(name)?;
            used.extend(image.map.chunks().iter().map(|chunk| chunk.blake3));
        }
        Ok(used)
    }

    /// The folder of all chunks.
    pub(crate) fn chunks(&self) -> &ChunkFolder {
        &self.chunks
    }

    /// The image of this name.
    pub fn image(&self, name: &str) -> Result<StoredImage> {
        let folder = self.place(name)?;
        let record = folder.join(RECORD_FILE);
        let text = std::fs::read(&record).map_err(at("read", &record))?;
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| Error::Map(format!("{}: {error}", record.display())))?;
        Ok(StoredImage::new(self.chunks.clone(), record))
    }

    /// Removes the image of this name, what its import or upload has left, and the chunks that no
    /// other image has; that it is not there is fine.
    pub fn remove(&self, name: &str) -> Result<()> {
        let folder = self.place(name)?;
        let import = self.folder.join(format!("{IMPORT}{name}"));
        if import.exists() {
            // An import that was stopped may still have a thread at work.
            let (lock, path) = lock_file(&import)?;
            lock.lock().map_err(at("lock", &path))?;
            remove_folder(&import)?;
        }
        let grave = self.hidden()?;
        match std::fs::rename(&folder, grave.path().join("image")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at("remove", &folder)(error));
            }
            _ => grave.close().map_err(at("remove", &folder))?,
        }
        self.collect_garbage().map(drop)
    }

    /// The folder in which the image `name` is being imported, with what is there already. Ours
    /// alone: [`Error::Busy`] while somebody else works in it.
    pub(crate) fn stage(&self, name: &str) -> Result<Staging> {
        if self.place(name)?.exists() {
            return Err(Error::AlreadyStored(name.to_owned()));
        }
        let folder = self.folder.join(format!("{IMPORT}{name}"));
        std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let (lock, path) = lock_file(&folder)?;
        match lock.try_lock() {
            Ok(()) => Ok(Staging {
                folder,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
        }
    }

    /// Makes the image visible under `name`, with everything about it on the disk before.
    pub(crate) fn publish(
        &self,
        name: &str,
        record: Record,
        adding: &Adding,
    ) -> Result<StoredImage> {
        let place = self.place(name)?;
        self.chunks.synchronise(adding)?;
        let folder = self.hidden()?;
        let path = folder.path().join(RECORD_FILE);
        let text = serde_json::to_vec(&record).map_err(|error| Error::Map(error.to_string()))?;
        let mut file = File::create_new(&path).map_err(at("create", &path))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(at("write", &path))?;
        synchronise(folder.path())?;
        std::fs::rename(folder.path(), &place).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                Error::AlreadyStored(name.to_owned())
            }
            _ => at("rename", folder.path())(error),
        })?;
        synchronise(&self.folder)?;
        Ok(StoredImage::new(self.chunks.clone(), record))
    }

    fn hidden(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(HIDDEN)
            .tempdir_in(&self.folder)
            .map_err(at("create a folder in", &self.folder))
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty()
            || name.len() > 100
            || name.starts_with('.')
            || !name.bytes().all(allowed)
        {
            return Err(Error::Refused(
                "its name in the store must be 1 to 100 letters, digits, dots, dashes or \
                 underscores and not start with a dot"
                    .into(),
            ));
        }
        Ok(self.folder.join(name))
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(at("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Returns when the names in `folder` survive a power cut.
fn synchronise(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(at("write", folder))
}

fn lock_file(folder: &Path) -> Result<(File, PathBuf)> {
    let path = folder.join(LOCK_FILE);
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    Ok((file.map_err(at("open", &path))?, path))
}

/// A folder in which an image is being imported; nobody else works in it while this lives.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
    _lock: File,
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Where the source arrives.
    pub(crate) fn part(&self) -> PathBuf {
        self.folder.join("part")
    }

    /// Removes it with all that is in it. What cannot be removed is so at the next start.
    pub(crate) fn discard(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An image that is complete. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoredImage {
    checksum: Checksum,
    format: String,
    map: Arc<BlockMap>,
    chunks: ChunkFolder,
}

impl StoredImage {
    fn new(chunks: ChunkFolder, record: Record) -> Self {
        Self {
            checksum: record.checksum,
            format: record.format,
            map: Arc::new(record.map),
            chunks,
        }
    }

    /// The checksum of the image as it was fetched.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// What it came in, for people: `raw in xz`.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// Which parts hold data.
    pub fn map(&self) -> &Arc<BlockMap> {
        &self.map
    }

    /// Chunk `index` in its stored form. Blocks on the disk. It is not verified here: the agent
    /// does that, after all the ways in which it could still be damaged.
    pub fn read_chunk(&self, index: usize) -> Result<Bytes> {
        let chunk = self.map.chunks().get(index);
        self.chunks.read(chunk.ok_or(Error::NoSuchChunk(index))?)
    }
}
