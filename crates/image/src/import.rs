//! Bringing an image in: fetched, checked against its checksum, recognised by content, unpacked and
//! converted to raw, stored as chunks, and only then visible, all at once.
//!
//! Nothing about the source is believed. The checksum is the operator's word, or the publisher's,
//! for the bytes as fetched; the format is what the content says, never the name. The headers and
//! tables of a qcow2 or VMDK are checked here *before* any QEMU program sees the file, because such
//! a program opens whatever other files a header names (CVE-2024-4467), and the converter then runs
//! under limits. Whatever unpacks is bounded in what it may become.
//!
//! What was fetched outlives the process: an import that was killed goes on where it was. One that
//! has failed leaves nothing.

mod archive;
mod checksums;
mod convert;
mod examine;
mod fetch;
mod format;
mod landing;
mod qcow2;
mod scan;
mod sparse;
mod stop;
mod unpack;
mod vmdk;
mod web;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::chunk::Packed;
use crate::digest::Checksum;
use crate::gpt;
use crate::map::BlockMap;
use crate::store::{Adding, ChunkFolder, ImageStore, Record, Staging, StoredImage};
use crate::write::Disk;
use crate::{Error, Result};

use self::format::Kind;
use self::landing::Landing;
use self::sparse::Bounds;
use self::stop::Stop;

pub use checksums::ChecksumSource;
pub use examine::{checksum_in, examine};
pub use scan::scan;
pub use web::{Credentials, Web, redirects};

/// Archives and compressions around an image that are unpacked: an OVA holds a VMDK, which may be
/// compressed.
const MOST_LAYERS: usize = 3;

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file that the server can read.
    File(PathBuf),
    /// The web.
    Web(Web),
    /// It has been uploaded ([`ImageStore::upload`]).
    Uploaded,
}

/// Bounds on what an import may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes fetched.
    pub source_size: u64,
    /// Bytes of the disk that the image says it is, or that unpacking makes.
    pub virtual_size: u64,
    /// Bytes of that which are not zeros.
    pub data_size: u64,
    /// Bytes that stay free on the file system.
    pub reserve: u64,
    /// How long the source may send nothing.
    pub stall: Duration,
    /// How often a broken download is taken up again without getting any further.
    pub retries: u32,
    /// The pause before the first of these; each further one is longer by as much.
    pub retry_pause: Duration,
    /// How long the conversion may take, and as much of processor time.
    pub conversion: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_size: 64 << 30,
            virtual_size: 1 << 40,
            data_size: 256 << 30,
            reserve: 1 << 30,
            stall: Duration::from_secs(30),
            retries: 5,
            retry_pause: Duration::from_secs(2),
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
    /// Where the checksum of the bytes at the source comes from.
    pub checksum: ChecksumSource,
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
    /// Unpacking what is compressed or archived.
    Unpacking {
        /// So far, of what is unpacked.
        done: u64,
        /// All of it.
        total: u64,
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

/// Imports an image into `store`. Needs `qemu-img` for qcow2 and VMDK images.
///
/// A failed import leaves nothing behind. One that is dropped or killed leaves what it has
/// fetched, with which the next import of this name goes on, or which [`ImageStore::remove`]
/// removes.
pub async fn import(store: &ImageStore, import: &Import, report: Report) -> Result<StoredImage> {
    let staging = Arc::new(store.stage(&import.name)?);
    let stop = Stop::default();
    // Whoever drops this future leaves nobody at work for long.
    let _stop = stop.when_dropped();
    let work = Work {
        import,
        staging: staging.clone(),
        report,
        stop,
    };
    let imported = work.carry_out(store).await;
    let (store, imported) = blocking({
        let store = store.clone();
        move || {
            staging.discard();
            Ok((store, imported))
        }
    })
    .await?;
    if imported.is_err() {
        // Chunks without a record, if it came so far. Why it failed is the news.
        let _ = blocking(move || store.collect_garbage()).await;
    }
    imported
}

struct Work<'a> {
    import: &'a Import,
    staging: Arc<Staging>,
    report: Report,
    stop: Stop,
}

impl Work<'_> {
    async fn carry_out(&self, store: &ImageStore) -> Result<StoredImage> {
        let limits = &self.import.limits;
        let checksum = self
            .import
            .checksum
            .resolve(&self.file_name(), limits)
            .await?;
        let source = self.staging.path().join("source");
        // It gets this name when it is whole, so then there is nothing left to fetch.
        if !source.exists() && !self.land(checksum, &source).await? {
            // The pieces were not of one file. Everything once more, from the beginning.
            let part = self.staging.part();
            std::fs::remove_file(&part).map_err(at("remove", &part))?;
            self.land(checksum, &source).await?;
        }
        let (raw, format) = self.to_raw(source).await?;
        let (map, adding) = self.store_chunks(raw, store.chunks().clone()).await?;
        let record = Record {
            checksum,
            format,
            map,
        };
        let (store, name) = (store.clone(), self.import.name.clone());
        self.blocking(move || store.publish(&name, record, &adding))
            .await
    }

    /// Fetches the source to where it belongs. False if what came in several pieces has the wrong
    /// checksum.
    async fn land(&self, checksum: Checksum, source: &Path) -> Result<bool> {
        let (part, stop) = (self.staging.part(), self.stop.clone());
        let landing = self.blocking(move || Landing::open(&part, checksum, &stop));
        let landing = self.fetch(landing.await?).await?;
        let in_pieces = landing.is_pieced() && matches!(self.import.source, Source::Web(_));
        let source = source.to_owned();
        let landed = self.blocking(move || landing.finish(&source)).await;
        match landed {
            Err(Error::WrongChecksum { .. }) if in_pieces => Ok(false),
            landed => landed.map(|()| true),
        }
    }

    /// What the file is called at its source, for whoever lists checksums by name.
    fn file_name(&self) -> String {
        let name = match &self.import.source {
            Source::File(path) => path.file_name().and_then(|name| name.to_str()),
            Source::Web(web) => web.url.path().rsplit('/').next(),
            Source::Uploaded => None,
        };
        name.unwrap_or_default().to_owned()
    }

    async fn fetch(&self, landing: Landing) -> Result<Landing> {
        let limits = self.import.limits;
        match &self.import.source {
            Source::Web(web) => fetch::download(web, landing, &limits, &self.report).await,
            Source::Uploaded => Ok(landing),
            Source::File(path) => {
                let (path, stop, report) = (path.clone(), self.stop.clone(), self.report.clone());
                self.blocking(move || fetch::copy(&path, landing, &limits, &stop, &report))
                    .await
            }
        }
    }

    /// Unwraps and converts; gives the raw disk, and what it was in.
    async fn to_raw(&self, source: PathBuf) -> Result<(PathBuf, String)> {
        let mut current = source;
        let mut layers: Vec<Kind> = Vec::new();
        loop {
            let kind = self.detect(&current).await?;
            let next = self.staging.path().join(format!("layer-{}", layers.len()));
            layers.push(kind);
            match kind {
                Kind::Raw => {}
                Kind::Qcow2 | Kind::Vmdk => {
                    self.convert(kind, &current, &next).await?;
                    current = next;
                }
                _ if layers.len() > MOST_LAYERS => {
                    return Err(Error::Refused(
                        "it is packed again and again: unpack it first".into(),
                    ));
                }
                Kind::Tar | Kind::Packed(_) => {
                    self.unwrap(kind, &current, &next).await?;
                    current = next;
                    continue;
                }
            }
            let names: Vec<_> = layers.iter().rev().map(|kind| kind.name()).collect();
            return Ok((current, names.join(" in ")));
        }
    }

    /// Reads the beginning of the file and decides by it.
    async fn detect(&self, path: &Path) -> Result<Kind> {
        let (path, largest) = (path.to_owned(), self.import.limits.virtual_size);
        self.blocking(move || {
            let (beginning, size) = beginning(&path)?;
            format::detect(&beginning, size, largest)
        })
        .await
    }

    async fn unwrap(&self, kind: Kind, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let bounds = Bounds::of_disk(&self.import.limits);
        let (stop, report) = (self.stop.clone(), self.report.clone());
        self.blocking(move || match kind {
            Kind::Packed(compression) => {
                let report = |done, total| report(Progress::Unpacking { done, total });
                unpack::unpack(&from, compression, &to, bounds, &stop, &report)
            }
            _ => archive::take_disk(&from, &to, bounds, &stop),
        })
        .await
    }

    async fn convert(&self, kind: Kind, from: &Path, to: &Path) -> Result<()> {
        let limits = self.import.limits;
        let (path, stop) = (from.to_owned(), self.stop.clone());
        let virtual_size = self
            .blocking(move || check_before_conversion(kind, &path, limits.virtual_size, &stop))
            .await?;
        (self.report)(Progress::Converting);
        convert::to_raw(from, kind.name(), to, virtual_size, &limits).await
    }

    /// Checks the partition table, stores the chunks and makes the block map.
    async fn store_chunks(&self, raw: PathBuf, chunks: ChunkFolder) -> Result<(BlockMap, Adding)> {
        let (report, stop) = (self.report.clone(), self.stop.clone());
        self.blocking(move || {
            let disk = Disk::open(&raw)?;
            gpt::check(&disk).map_err(|error| Error::NotADiskImage(error.to_string()))?;
            let adding = chunks.add()?;
            let keep = |packed: Packed| {
                stop.check()?;
                chunks.put(&adding, &packed)
            };
            let map = scan(&raw, &keep, |done, total| {
                report(Progress::Storing { done, total })
            })?;
            Ok((map, adding))
        })
        .await
    }

    /// Runs `work` where it may block, and keeps the staging folder ours until it is through, even
    /// if nobody waits for it any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let staging = self.staging.clone();
        blocking(move || {
            let result = work();
            drop(staging);
            result
        })
        .await
    }
}

/// The first bytes of a file, and its size.
fn beginning(path: &Path) -> Result<(Vec<u8>, u64)> {
    let file = std::fs::File::open(path).map_err(at("open", path))?;
    let size = file.metadata().map_err(at("read", path))?.len();
    let mut beginning = vec![0; format::BEGINNING.min(size as usize)];
    file.read_exact_at(&mut beginning, 0)
        .map_err(at("read", path))?;
    Ok((beginning, size))
}

/// Makes sure that the converter will find all in this file, and no bomb; gives the virtual size.
fn check_before_conversion(kind: Kind, path: &Path, largest: u64, stop: &Stop) -> Result<u64> {
    let (beginning, size) = beginning(path)?;
    let file = std::fs::File::open(path).map_err(at("open", path))?;
    // As much as there is, up to what is asked for.
    let read = |offset: u64, length: usize| {
        let there = size.saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = vec![0; there];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    };
    check_disk(kind, &beginning, size, largest, stop, read)
}

/// The same of a file of `size` bytes that has this `beginning`, of which `read` gives as much as there
/// is, up to what is asked for.
fn check_disk(
    kind: Kind,
    beginning: &[u8],
    size: u64,
    largest: u64,
    stop: &Stop,
    read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
) -> Result<u64> {
    if kind == Kind::Vmdk {
        return vmdk::check(beginning, largest, read);
    }
    let header = qcow2::check_header(beginning, largest)?;
    header.check_tables(size, stop, read)?;
    Ok(header.virtual_size)
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
        // The runtime ends before it has begun it, and with that whoever waits here.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
