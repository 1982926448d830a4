//! Network and disk at the same time.
//!
//! The caller fetches chunks in any order, from as many connections as it likes, and hands them
//! over; one thread zeroes the holes and writes. A bounded queue between them keeps a fast network
//! from filling the memory. What is still missing is known at every moment, so a broken connection
//! costs the chunks that were on their way and nothing else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::Target;
use crate::map::BlockMap;
use crate::{Error, Result};

/// Chunks that may wait for the disk: with those of 1 MiB, 8 MiB of memory.
const QUEUE_LENGTH: usize = 8;

/// Bytes zeroed by one call, so that progress is seen and cancelling takes effect in between.
const ZERO_STEP: u64 = 128 << 20;

/// Images and their partition tables are made for sectors of this size.
const IMAGE_BLOCK_SIZE: u32 = 512;

/// How much of the disk is zeroed before the image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroing {
    /// Whatever the image says is zero; the rest of the disk, beyond the image, is left as it is.
    Holes,
    /// Also the rest of the disk beyond the image. Slow on disks that cannot zero by themselves.
    HolesAndRest,
}

/// How far a [`Writer`] is; all numbers are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Zeroed so far.
    pub zeroed: u64,
    /// What will have been zeroed at the end.
    pub to_zero: u64,
    /// Image data written so far.
    pub written: u64,
    /// What will have been written at the end.
    pub to_write: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Fetching,
    Accepted,
}

/// What is known of every chunk. No chunk before `from` is missing, so that asking for the next
/// one does not look at all of them again.
#[derive(Debug)]
struct Chunks {
    states: Vec<State>,
    from: usize,
}

#[derive(Debug)]
struct Shared {
    zeroed: AtomicU64,
    written: AtomicU64,
    stop: AtomicBool,
}

/// Writes one image to one target. Dropping it stops after the write under way; only
/// [`Writer::finish`] says that the image is on the disk.
#[derive(Debug)]
pub struct Writer<T> {
    map: Arc<BlockMap>,
    chunks: Mutex<Chunks>,
    to_zero: u64,
    shared: Arc<Shared>,
    queue: Option<SyncSender<(usize, Bytes)>>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Target + 'static> Writer<T> {
    /// Starts to zero `target` for the image. Refuses, before touching the disk, an image that
    /// does not fit ([`Error::TooLargeForTarget`]) or that is made for other sectors
    /// ([`Error::BlockSize`]).
    pub fn start(map: Arc<BlockMap>, target: T, zeroing: Zeroing) -> Result<Self> {
        check_fit(&map, &target)?;
        let end = match zeroing {
            Zeroing::Holes => map.virtual_size(),
            Zeroing::HolesAndRest => target.size(),
        };
        let to_zero = end - map.data_bytes();
        let shared = Arc::new(Shared {
            zeroed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (queue, chunks) = sync_channel(QUEUE_LENGTH);
        let worker = Worker {
            map: map.clone(),
            target,
            end,
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("image-writer".into())
            .spawn(move || worker.run(chunks))
            .map_err(|source| Error::File {
                action: "start a thread for",
                path: "disk".into(),
                source,
            })?;
        Ok(Self {
            chunks: Mutex::new(Chunks {
                states: vec![State::Missing; map.chunks().len()],
                from: 0,
            }),
            map,
            to_zero,
            shared,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The number of a chunk that nobody fetches yet, now the caller's to fetch; `None` when
    /// every chunk is here or on its way. In order of offset, but for those given back.
    pub fn next_missing(&self) -> Option<usize> {
        let mut chunks = self.chunks();
        let rest = &chunks.states[chunks.from..];
        let skipped = rest.iter().position(|state| *state == State::Missing)?;
        let index = chunks.from + skipped;
        chunks.states[index] = State::Fetching;
        chunks.from = index + 1;
        Some(index)
    }

    /// Says that chunk `index` could not be fetched; [`Writer::next_missing`] gives it again.
    pub fn give_back(&self, index: usize) {
        let mut chunks = self.chunks();
        if let Some(state @ State::Fetching) = chunks.states.get_mut(index) {
            *state = State::Missing;
            chunks.from = chunks.from.min(index);
        }
    }

    /// Takes a fetched chunk. Blocks while the disk is behind, so call it where that is allowed.
    ///
    /// A chunk that differs from the map is refused with [`Error::ChunkDamaged`] and given back.
    /// One that was accepted before is ignored. [`Error::WriterStopped`] means that the disk
    /// failed: [`Writer::finish`] says how.
    pub fn accept(&self, index: usize, data: Bytes) -> Result<()> {
        let chunk = self
            .map
            .chunks()
            .get(index)
            .ok_or(Error::NoSuchChunk(index))?;
        if !chunk.matches(&data) {
            self.give_back(index);
            return Err(Error::ChunkDamaged(index));
        }
        let before = std::mem::replace(&mut self.chunks().states[index], State::Accepted);
        if before == State::Accepted {
            return Ok(());
        }
        let queue = self.queue.as_ref().ok_or(Error::WriterStopped)?;
        queue.send((index, data)).map_err(|_| Error::WriterStopped)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            zeroed: self.shared.zeroed.load(Ordering::Relaxed),
            to_zero: self.to_zero,
            written: self.shared.written.load(Ordering::Relaxed),
            to_write: self.map.data_bytes(),
        }
    }

    /// Waits until everything accepted is on the disk and flushed, and gives the target back.
    /// [`Error::Incomplete`] if chunks are missing; otherwise the first error of the disk.
    pub fn finish(mut self) -> Result<T> {
        drop(self.queue.take());
        let thread = self.thread.take().ok_or(Error::WriterStopped)?;
        let target = thread.join().map_err(|_| Error::WriterStopped)??;
        let total = self.map.chunks().len();
        let here = |state: &&State| **state == State::Accepted;
        match total - self.chunks().states.iter().filter(here).count() {
            0 => Ok(target),
            missing => Err(Error::Incomplete { missing, total }),
        }
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The outcome was wanted by nobody; what matters is that nothing writes any more.
            let _ = thread.join();
        }
    }
}

fn check_fit(map: &BlockMap, target: &impl Target) -> Result<()> {
    if target.logical_block_size() != IMAGE_BLOCK_SIZE {
        let found = target.logical_block_size();
        return Err(Error::BlockSize {
            expected: IMAGE_BLOCK_SIZE,
            found,
        });
    }
    if map.virtual_size() > target.size() {
        return Err(Error::TooLargeForTarget {
            needed: map.virtual_size(),
            available: target.size(),
        });
    }
    Ok(())
}

struct Worker<T> {
    map: Arc<BlockMap>,
    target: T,
    end: u64,
    shared: Arc<Shared>,
}

impl<T: Target> Worker<T> {
    fn run(self, chunks: Receiver<(usize, Bytes)>) -> Result<T> {
        let beyond =
            (self.map.virtual_size() < self.end).then(|| self.map.virtual_size()..self.end);
        for hole in self.map.holes().chain(beyond) {
            self.zero(hole.start, hole.end)?;
        }
        for (index, data) in chunks {
            self.check_stop()?;
            let offset = self.map.chunks()[index].offset;
            let length = data.len() as u64;
            self.target
                .write_at(offset, &data)
                .map_err(|source| Error::Disk {
                    action: "write",
                    offset,
                    length,
                    source,
                })?;
            self.shared.written.fetch_add(length, Ordering::Relaxed);
        }
        self.check_stop()?;
        let length = self.end;
        self.target.flush().map_err(|source| Error::Disk {
            action: "flush",
            offset: 0,
            length,
            source,
        })?;
        Ok(self.target)
    }

    fn zero(&self, start: u64, end: u64) -> Result<()> {
        let mut offset = start;
        while offset < end {
            self.check_stop()?;
            let length = ZERO_STEP.min(end - offset);
            self.target
                .zero(offset, length)
                .map_err(|source| Error::Disk {
                    action: "zero",
                    offset,
                    length,
                    source,
                })?;
            self.shared.zeroed.fetch_add(length, Ordering::Relaxed);
            offset += length;
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        if self.shared.stop.load(Ordering::Relaxed) {
            Err(Error::WriterStopped)
        } else {
            Ok(())
        }
    }
}
