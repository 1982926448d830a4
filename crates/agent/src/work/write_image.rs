//! Writing an image: network, processors and disk at the same time, every chunk checked before it
//! is unpacked, and some of the disk read back at the end.
//!
//! A few connections each bring a run of chunks. Each chunk is checked and unpacked on a thread of
//! its own, and threads of the writer's put it on the disk. Whatever is slowest, the disk if all is
//! well, holds up the others through the writer's bounded memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::id::ImageId;
use bessemer_image::Error as ImageError;
use bessemer_image::digest::Blake3Digest;
use bessemer_image::map::BlockMap;
use bessemer_image::write::{Disk, Finished, Sample, Writer, Zeroing};
use bessemer_wire::agent::{ChunkUrl, CommandResult};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Context, Job, blocking, device, patience, verify};
use crate::console::{bytes, say};
use crate::inventory::disks;
use crate::{Error, Result};

/// Connections: while one waits for the answer to its next request, the other brings chunks.
const FETCHERS: usize = 2;

/// How much is asked for at once, in bytes: few requests, and still little that a broken
/// connection costs.
const RUN_BYTES: u64 = 4 << 20;

/// Chunks that are checked and unpacked at the same time.
const MOST_UNPACKERS: usize = 8;

/// Damaged chunks that are borne before the way to the conductor counts as broken.
const MAX_DAMAGED: u32 = 16;

/// How often the progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Holes that are read back at the end.
const READ_BACK: usize = 16;

/// The most that is read back of one hole, in bytes.
const HOLE_SAMPLE: u64 = 64 << 10;

/// Where the image is.
#[derive(Debug)]
pub(super) struct Source {
    /// Which one.
    pub(super) image: ImageId,
    /// Where its chunks are to be had without TLS, if they are.
    pub(super) in_clear: Option<ChunkUrl>,
}

/// Writes the image to the disk.
pub(super) async fn write_image(
    context: Context,
    source: Source,
    selector: DiskIdentity,
    job: Arc<Job>,
) -> Result<CommandResult> {
    let image = source.image;
    let disk = disks::select(&context.machine, &selector)?;
    let path = context.machine.device(&disk.name);
    let map = Arc::new(patience::ask(&job, || context.client.map(image)).await?);
    say(format_args!(
        "image {image}: {} on {}, of which {} are data",
        bytes(map.virtual_size()),
        disk.name,
        bytes(map.data_bytes())
    ));
    job.tracker.begin("zeroing", map.virtual_size());
    let (opened, start_map) = (path.clone(), map.clone());
    let writer = blocking(move || {
        Ok(Writer::start(
            start_map,
            Disk::open(&opened)?,
            Zeroing::Holes,
        )?)
    })
    .await?;
    let writer = Arc::new(writer);
    let fetched = fetch_all(&context, source, &map, &writer, &job).await;
    let bytes_written = map.data_bytes();
    let finishing = job.clone();
    blocking(move || {
        // Dropping the writer, as on an error, waits until nothing is written any more.
        let writer =
            Arc::into_inner(writer).ok_or_else(|| Error::Bug("the writer is in use".into()))?;
        match fetched {
            Err(Error::Image(ImageError::WriterStopped)) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        finishing.tracker.begin("flushing", 0);
        let Finished { target, samples } = writer.finish()?;
        finishing.tracker.begin("reading back", 0);
        read_back(&disk.name, &map, &target, &samples)?;
        drop(target);
        device::reread_partition_table(&path)?;
        Ok(CommandResult::Written {
            bytes_written,
            disk: disk.name,
        })
    })
    .await
}

/// Fetches every chunk by several connections and hands them to the writer.
async fn fetch_all(
    context: &Context,
    source: Source,
    map: &Arc<BlockMap>,
    writer: &Arc<Writer<Disk>>,
    job: &Arc<Job>,
) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // With one processor, one chunk waits for the disk while another is unpacked.
    let count = processors.clamp(2, MOST_UNPACKERS);
    let unpackers = Arc::new(Semaphore::new(count));
    let fetcher = Arc::new(Fetcher {
        context: context.clone(),
        source,
        map: map.clone(),
        writer: writer.clone(),
        job: job.clone(),
        unpackers: unpackers.clone(),
        damaged: Arc::default(),
    });
    let mut fetchers = JoinSet::new();
    for _ in 0..FETCHERS {
        let fetcher = fetcher.clone();
        fetchers.spawn(async move { fetcher.run().await });
    }
    drop(fetcher);
    let fetched = until_fetched(fetchers, writer, job).await;
    if fetched.is_err() {
        writer.stop();
    }
    // Threads cannot be aborted. Those that still unpack hold the writer.
    let _ = unpackers.acquire_many(count as u32).await;
    fetched
}

/// Shows the progress until every fetcher is through, or one has failed and all are gone.
async fn until_fetched(
    mut fetchers: JoinSet<Result<()>>,
    writer: &Writer<Disk>,
    job: &Job,
) -> Result<()> {
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut writing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => show(writer, job, &mut writing),
            ended = fetchers.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    fetchers.shutdown().await;
                    return Err(error);
                }
                Some(Err(error)) => return Err(Error::Bug(error.to_string())),
            },
        }
    }
}

fn show(writer: &Writer<Disk>, job: &Job, writing: &mut bool) {
    let progress = writer.progress();
    if progress.zeroed < progress.to_zero {
        job.tracker.set(progress.zeroed);
        return;
    }
    if !*writing {
        *writing = true;
        job.tracker.begin("writing image", progress.to_write);
    }
    job.tracker.set(progress.written);
}

struct Fetcher {
    context: Context,
    source: Source,
    map: Arc<BlockMap>,
    writer: Arc<Writer<Disk>>,
    job: Arc<Job>,
    unpackers: Arc<Semaphore>,
    damaged: Arc<AtomicU32>,
}

impl Fetcher {
    /// Silence turns from chunks in the clear to those over TLS, and back: who has them in the clear may
    /// be gone while another conductor is there.
    async fn run(&self) -> Result<()> {
        let silences = AtomicUsize::new(0);
        while let Some(run) = self.writer.next_missing(RUN_BYTES) {
            let next = AtomicUsize::new(run.start);
            let fetch = || async {
                let by_tls = silences.load(Ordering::Relaxed) % 2 == 1;
                let fetched = self.fetch(&next, run.end, by_tls).await;
                if matches!(&fetched, Err(Error::Client(error)) if error.is_silence()) {
                    silences.fetch_add(1, Ordering::Relaxed);
                }
                fetched
            };
            patience::ask(&self.job, fetch).await?;
        }
        Ok(())
    }

    /// Fetches chunks up to `end`; `next` is the first that has not arrived. Returns when all that
    /// did arrive are with the writer, or given back to it because they are damaged.
    async fn fetch(&self, next: &AtomicUsize, end: usize, by_tls: bool) -> Result<()> {
        let mut unpacking = JoinSet::new();
        let fetched = self.receive(next, end, by_tls, &mut unpacking).await;
        while let Some(unpacked) = unpacking.join_next().await {
            unpacked.map_err(|error| Error::Bug(error.to_string()))??;
        }
        fetched
    }

    async fn receive(
        &self,
        next: &AtomicUsize,
        end: usize,
        by_tls: bool,
        unpacking: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        let in_clear = self.source.in_clear.as_ref().filter(|_| !by_tls);
        let client = &self.context.client;
        let first = next.load(Ordering::Relaxed);
        let mut chunks = client
            .chunks(self.source.image, in_clear, first, end - first)
            .await?;
        for index in first..end {
            let length = self.map.chunks()[index].stored_length as usize;
            let stored = chunks.next(length).await?;
            // The semaphore is never closed.
            let Ok(place) = self.unpackers.clone().acquire_owned().await else {
                return Err(Error::Superseded);
            };
            let (writer, damaged) = (self.writer.clone(), self.damaged.clone());
            unpacking.spawn_blocking(move || {
                let result = accept(&writer, index, &stored, &damaged);
                // In this order: who has all the permits is alone with the writer.
                drop(writer);
                drop(place);
                result
            });
            next.store(index + 1, Ordering::Relaxed);
            // A disk that fails is noticed here rather than at the end of the run.
            while let Some(unpacked) = unpacking.try_join_next() {
                unpacked.map_err(|error| Error::Bug(error.to_string()))??;
            }
        }
        Ok(())
    }
}

/// Hands a chunk to the writer; one that is damaged is fetched again, but not for ever.
fn accept(writer: &Writer<Disk>, index: usize, stored: &Bytes, damaged: &AtomicU32) -> Result<()> {
    match writer.accept(index, stored) {
        Err(error @ ImageError::ChunkDamaged(_)) => {
            say(format_args!("{error}: fetching it again"));
            match damaged.fetch_add(1, Ordering::Relaxed) + 1 {
                MAX_DAMAGED.. => Err(error.into()),
                _ => Ok(()),
            }
        }
        result => Ok(result?),
    }
}

/// Reads some chunks and holes back from the disk itself.
fn read_back(disk: &str, map: &BlockMap, target: &Disk, samples: &[Sample]) -> Result<()> {
    let differs = |offset| Error::ReadBack {
        disk: disk.to_owned(),
        offset,
    };
    for Sample { range, blake3 } in samples {
        let mut data = vec![0; (range.end - range.start) as usize];
        verify::read(target, range.start, &mut data)?;
        if Blake3Digest::of(&data) != *blake3 {
            return Err(differs(range.start));
        }
    }
    let holes: Vec<_> = map.holes().collect();
    let samples: Vec<Range<u64>> = spread(&holes, READ_BACK)
        .map(|hole| hole.start..hole.end.min(hole.start + HOLE_SAMPLE))
        .collect();
    match verify::first_non_zero(target, &samples, |_, _| Ok(()))? {
        Some(offset) => Err(differs(offset)),
        None => Ok(()),
    }
}

/// At most about `count` of the things, spread evenly, the first and the last among them.
fn spread<T>(things: &[T], count: usize) -> impl Iterator<Item = &T> {
    let step = things.len().div_ceil(count).max(1);
    let last = things.len().checked_sub(1).filter(|last| last % step != 0);
    things
        .iter()
        .step_by(step)
        .chain(last.map(|last| &things[last]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_from_first_to_last() {
        for length in 0..100 {
            let things: Vec<usize> = (0..length).collect();
            let taken: Vec<usize> = spread(&things, READ_BACK).copied().collect();
            assert_eq!(
                (taken.first(), taken.last()),
                (things.first(), things.last())
            );
            assert!(taken.len() <= READ_BACK + 1 && taken.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
