//! Bringing an image in: fetched, checked against its digest, recognised by content, converted to
//! raw, stored as chunks, and only then visible, all at once.
//!
//! Nothing about the source is believed. The digest is the operator's word for the bytes as
//! fetched; the format is what the content says, never the name; the headers of a qcow2 are
//! checked here *before* any QEMU program sees the file, because such a program opens whatever
//! other files a header names (CVE-2024-4467), and the converter then runs under limits.

mod convert;
mod fetch;
mod format;
mod scan;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use crate::chunk::Packed;
use crate::digest::Sha256Digest;
use crate::gpt;
use crate::map::BlockMap;
use crate::store::{Adding, ChunkFolder, ImageStore, Record, StoredImage};
use crate::write::Disk;
use crate::{Error, Result};

pub use format::Format;
pub use scan::scan;

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file that the server can read.
    File(PathBuf),
    /// An `http` or `https` URL.
    Url(reqwest::Url),
}

/// Bounds on what an import may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes fetched.
    pub source_size: u64,
    /// Bytes of the disk that the image says it is.
    pub virtual_size: u64,
    /// How long the source may send nothing.
    pub stall: Duration,
    /// How long the conversion may take, and as much of processor time.
    pub conversion: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_size: 64 << 30,
            virtual_size: 1 << 40,
            stall: Duration::from_secs(30),
            conversion: Duration::from_secs(1800),
        }
    }
}

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// The name in the store.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// The SHA-256 of the bytes at the source, as its publisher gives it.
    pub sha256: Sha256Digest,
    /// What it may cost.
    pub limits: Limits,
}

/// How far an import is. All numbers are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Reading the source.
    Fetching {
        /// So far.
        done: u64,
        /// In all, if the source says so.
        total: Option<u64>,
    },
    /// Converting to raw.
    Converting,
    /// Looking for zeros, compressing and storing.
    Storing {
        /// So far.
        done: u64,
        /// The image's virtual size.
        total: u64,
    },
}

/// Called with every step forward; must not block.
pub type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Imports an image into `store`. Needs `qemu-img` for qcow2 images.
///
/// A failed or dropped import leaves nothing behind; one that was killed leaves a folder that
/// [`ImageStore::open`] removes. `client` is used for URLs only.
pub async fn import(
    store: &ImageStore,
    client: &reqwest::Client,
    import: &Import,
    report: Report,
) -> Result<StoredImage> {
    let staging = store.stage(&import.name)?;
    let fetched = staging.path().join("source");
    let digest = fetch_source(client, import, &fetched, report.clone()).await?;
    if digest != import.sha256 {
        return Err(Error::WrongDigest {
            expected: import.sha256,
            found: digest,
        });
    }
    let format = detect(&fetched, &import.limits).await?;
    let raw = staging.path().join("disk.raw");
    match format {
        Format::Raw => rename(&fetched, &raw)?,
        Format::Qcow2 { virtual_size } => {
            report(Progress::Converting);
            convert::to_raw(&fetched, &raw, virtual_size, import.limits.conversion).await?;
            std::fs::remove_file(&fetched).map_err(at("remove", &fetched))?;
        }
    }
    let (map, adding) = store_chunks(raw, store.chunks().clone(), report).await?;
    let record = Record {
        sha256: import.sha256,
        map,
    };
    let (store, name) = (store.clone(), import.name.clone());
    blocking(move || store.publish(staging, &name, record, &adding)).await
}

async fn fetch_source(
    client: &reqwest::Client,
    import: &Import,
    destination: &Path,
    report: Report,
) -> Result<Sha256Digest> {
    let limits = &import.limits;
    match &import.source {
        Source::File(path) => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(at("open", path))?;
            let metadata = file.metadata().await.map_err(at("read", path))?;
            if !metadata.is_file() {
                return Err(Error::NotADiskImage(format!(
                    "{} is not a file",
                    path.display()
                )));
            }
            let path = path.clone();
            let stream =
                tokio_util::io::ReaderStream::with_capacity(file, 1 << 20).map_err(move |source| {
                    Error::File {
                        action: "read",
                        path: path.clone(),
                        source,
                    }
                });
            fetch::land(
                stream.boxed(),
                Some(metadata.len()),
                limits,
                destination,
                report,
            )
            .await
        }
        Source::Url(url) => {
            let (stream, total) = fetch::download(client, url.clone(), limits).await?;
            fetch::land(stream, total, limits, destination, report).await
        }
    }
}

/// Reads the beginning of the file and decides by it.
async fn detect(path: &Path, limits: &Limits) -> Result<Format> {
    let (path, limits) = (path.to_owned(), *limits);
    blocking(move || {
        let file = std::fs::File::open(&path).map_err(at("open", &path))?;
        let size = file.metadata().map_err(at("read", &path))?.len();
        let mut beginning = vec![0; format::BEGINNING.min(size as usize)];
        file.read_exact_at(&mut beginning, 0)
            .map_err(at("read", &path))?;
        format::detect(&beginning, size, limits.virtual_size)
    })
    .await
}

/// Checks the partition table, stores the chunks and makes the block map.
async fn store_chunks(
    raw: PathBuf,
    chunks: ChunkFolder,
    report: Report,
) -> Result<(BlockMap, Adding)> {
    blocking(move || {
        gpt::check(&Disk::open(&raw)?).map_err(|error| Error::NotADiskImage(error.to_string()))?;
        let adding = chunks.add()?;
        let keep = |packed: Packed| chunks.put(&adding, &packed);
        let map = scan(&raw, &keep, |done, total| {
            report(Progress::Storing { done, total })
        })?;
        Ok((map, adding))
    })
    .await
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(at("rename", from))
}

/// An error of the file at `path`.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
