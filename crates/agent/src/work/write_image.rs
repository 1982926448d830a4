//! Writing an image: network and disk at the same time, every chunk checked as it lands, and some
//! of it read back at the end.

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::id::ImageId;
use bessemer_image::Error as ImageError;
use bessemer_image::map::BlockMap;
use bessemer_image::write::{Disk, Writer, Zeroing};
use bessemer_wire::agent::{CommandResult, DiskSelector};
use tokio::task::JoinSet;

use super::{Context, Job, blocking, device, patience, verify};
use crate::console::{bytes, say};
use crate::inventory::disks;
use crate::{Error, Result};

/// Chunks fetched at the same time: enough to hide the way there and back.
const FETCHERS: usize = 4;

/// Damaged chunks that are borne before the way to the conductor counts as broken.
const MAX_DAMAGED: u32 = 16;

/// How often the progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Chunks, and holes, that are read back at the end.
const READ_BACK: usize = 16;

/// The most that is read back of one hole, in bytes.
const HOLE_SAMPLE: u64 = 64 << 10;

/// Writes the image to the disk.
pub(super) async fn write_image(
    context: Context,
    image: ImageId,
    selector: DiskSelector,
    job: Arc<Job>,
) -> Result<CommandResult> {
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
    let fetched = fetch_all(&context, image, &map, &writer, &job).await;
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
        let target = writer.finish()?;
        finishing.tracker.begin("reading back", 0);
        read_back(&disk.name, &map, &target)?;
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
    image: ImageId,
    map: &Arc<BlockMap>,
    writer: &Arc<Writer<Disk>>,
    job: &Arc<Job>,
) -> Result<()> {
    let mut fetchers = JoinSet::new();
    for _ in 0..FETCHERS {
        let fetcher = Fetcher {
            context: context.clone(),
            image,
            map: map.clone(),
            writer: writer.clone(),
            job: job.clone(),
        };
        fetchers.spawn(fetcher.run());
    }
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
    image: ImageId,
    map: Arc<BlockMap>,
    writer: Arc<Writer<Disk>>,
    job: Arc<Job>,
}

impl Fetcher {
    async fn run(self) -> Result<()> {
        let mut damaged = 0;
        while let Some(index) = self.writer.next_missing() {
            let length = self.map.chunks()[index].length as usize;
            let question = || self.context.client.chunk(self.image, index, length);
            let data = patience::ask(&self.job, question).await?;
            let writer = self.writer.clone();
            match blocking(move || Ok(writer.accept(index, data)?)).await {
                Err(error @ Error::Image(ImageError::ChunkDamaged(_))) => {
                    damaged += 1;
                    say(format_args!("{error}: fetching it again"));
                    if damaged >= MAX_DAMAGED {
                        return Err(error);
                    }
                }
                result => result?,
            }
        }
        Ok(())
    }
}

/// Reads some chunks and holes back from the disk itself and compares them with the map.
fn read_back(disk: &str, map: &BlockMap, target: &Disk) -> Result<()> {
    let differs = |offset| Error::ReadBack {
        disk: disk.to_owned(),
        offset,
    };
    for chunk in spread(map.chunks(), READ_BACK) {
        let mut data = vec![0; chunk.length as usize];
        verify::read(target, chunk.offset, &mut data)?;
        if !chunk.matches(&data) {
            return Err(differs(chunk.offset));
        }
    }
    let holes: Vec<_> = map.holes().collect();
    let samples: Vec<_> = spread(&holes, READ_BACK)
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
