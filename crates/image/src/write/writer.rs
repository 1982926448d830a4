//! Network, processor and disk at the same time.
//!
//! The caller fetches chunks in any order, from as many connections as it likes, and hands them
//! over on threads of its own, which check and unpack them; other threads ([`worker`](super::worker))
//! write. Chunks are unpacked into a bounded number of places, so a fast network cannot fill the
//! memory. What is still missing is known at every moment, so a broken connection costs the chunks
//! that were on their way and nothing else.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Target;
use super::buffer::AlignedBuffer;
use super::worker::{Place, Shared, Unpacked, WRITERS, Worker};
use crate::chunk::Unpacker;
use crate::digest::Blake3Digest;
use crate::map::BlockMap;
use crate::{Error, Result};

/// Chunks that may wait for the disk or be on their way to it: with those of 1 MiB, 12 MiB of
/// memory.
const PLACES: usize = 12;

/// Images and their partition tables are made for sectors of this size.
const IMAGE_BLOCK_SIZE: u32 = 512;

/// Chunks, spread evenly, whose content is remembered so that they can be read back.
const SAMPLES: usize = 16;

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

/// What one piece of the disk holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// The hash of what was written there.
    pub blake3: Blake3Digest,
}

/// An image that is on its disk.
#[derive(Debug)]
pub struct Finished<T> {
    /// The disk.
    pub target: T,
    /// About 16 pieces of it, the first and the last chunk among them, to be read back.
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Fetching,
    Accepted,
}

/// What is known of every chunk. No chunk before `from` is missing, so that asking for the next
/// ones does not look at all of them again.
#[derive(Debug)]
struct Chunks {
    states: Vec<State>,
    from: usize,
    samples: Vec<Sample>,
}

/// Writes one image to one target. Dropping it stops after the writes under way; only
/// [`Writer::finish`] says that the image is on the disk.
pub struct Writer<T> {
    map: Arc<BlockMap>,
    chunks: Mutex<Chunks>,
    to_zero: u64,
    shared: Arc<Shared>,
    free: Mutex<Receiver<Place>>,
    queue: Option<Sender<Unpacked>>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T> std::fmt::Debug for Writer<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl<T: Target + 'static> Writer<T> {
    /// Starts to zero `target` for the image. Refuses, before touching the disk, an image that
    /// does not fit ([`Error::TooLargeForTarget`]) or that is made for other sectors
    /// ([`Error::BlockSize`]).
    pub fn start(map: Arc<BlockMap>, target: T, zeroing: Zeroing) -> Result<Self> {
        check_fit(&map, &target)?;
        let failed = |action| {
            move |source| Error::File {
                action,
                path: "the disk".into(),
                source,
            }
        };
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
        // Both are bounded by the number of places.
        let (queue, to_write) = channel();
        let (free, places) = channel();
        for _ in 0..PLACES.min(map.chunks().len().max(WRITERS)) {
            let unpacker = Unpacker::new().map_err(failed("unpack chunks for"))?;
            let buffer = AlignedBuffer::new(map.chunk_size() as usize);
            // The receiver is right here.
            let _ = free.send(Place { buffer, unpacker });
        }
        let worker = Worker {
            map: map.clone(),
            target,
            end,
            shared: shared.clone(),
            queue: Mutex::new(to_write),
            free,
        };
        let thread = std::thread::Builder::new()
            .name("image-writer".into())
            .spawn(move || worker.run())
            .map_err(failed("start a thread for"))?;
        Ok(Self {
            chunks: Mutex::new(Chunks {
                states: vec![State::Missing; map.chunks().len()],
                from: 0,
                samples: Vec::new(),
            }),
            map,
            to_zero,
            shared,
            free: Mutex::new(places),
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Waits until everything accepted is on the disk and flushed, and gives the target back.
    /// [`Error::Incomplete`] if chunks are missing; otherwise the first error of the disk.
    pub fn finish(mut self) -> Result<Finished<T>> {
        drop(self.queue.take());
        let thread = self.thread.take().ok_or(Error::WriterStopped)?;
        let target = thread.join().map_err(|_| Error::WriterStopped)??;
        let mut chunks = self.chunks();
        let total = chunks.states.len();
        let here = |state: &&State| **state == State::Accepted;
        match total - chunks.states.iter().filter(here).count() {
            0 => Ok(Finished {
                target,
                samples: std::mem::take(&mut chunks.samples),
            }),
            missing => Err(Error::Incomplete { missing, total }),
        }
    }
}

impl<T> Writer<T> {
    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of chunks that nobody fetches yet, now the caller's to fetch: the first ones,
    /// one after the other, of at most `bytes` in stored form but always one. `None` when every
    /// chunk is here or on its way. In order of offset, but for those given back.
    pub fn next_missing(&self, bytes: u64) -> Option<Range<usize>> {
        let mut chunks = self.chunks();
        let rest = &chunks.states[chunks.from..];
        let first = chunks.from + rest.iter().position(|state| *state == State::Missing)?;
        let mut end = first;
        let mut size = 0;
        while chunks.states.get(end) == Some(&State::Missing) {
            size += u64::from(self.map.chunks()[end].stored_length);
            if end > first && size > bytes {
                break;
            }
            chunks.states[end] = State::Fetching;
            end += 1;
        }
        chunks.from = end;
        Some(first..end)
    }

    /// Says that chunk `index` could not be fetched; [`Writer::next_missing`] gives it again.
    pub fn give_back(&self, index: usize) {
        let mut chunks = self.chunks();
        if let Some(state @ State::Fetching) = chunks.states.get_mut(index) {
            *state = State::Missing;
            chunks.from = chunks.from.min(index);
        }
    }

    /// Takes a fetched chunk, in its stored form, and unpacks it. Blocks while the disk is behind,
    /// so call it where that is allowed; several threads may.
    ///
    /// A chunk that differs from the map is refused with [`Error::ChunkDamaged`] and given back.
    /// One that was accepted before is ignored. [`Error::WriterStopped`] means that the disk
    /// failed: [`Writer::finish`] says how.
    pub fn accept(&self, index: usize, stored: &[u8]) -> Result<()> {
        let chunk = self
            .map
            .chunks()
            .get(index)
            .ok_or(Error::NoSuchChunk(index))?;
        if !chunk.matches(stored) {
            self.give_back(index);
            return Err(Error::ChunkDamaged(index));
        }
        let before = std::mem::replace(&mut self.chunks().states[index], State::Accepted);
        if before == State::Accepted {
            return Ok(());
        }
        let place = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let mut place = place.map_err(|_| Error::WriterStopped)?;
        let data = &mut place.buffer.as_mut_slice()[..chunk.length as usize];
        place
            .unpacker
            .unpack(stored, data)
            .map_err(|_| Error::ChunkMalformed(index))?;
        if self.is_sample(index) {
            let (range, blake3) = (chunk.range(), Blake3Digest::of(data));
            self.chunks().samples.push(Sample { range, blake3 });
        }
        let queue = self.queue.as_ref().ok_or(Error::WriterStopped)?;
        queue
            .send(Unpacked { index, place })
            .map_err(|_| Error::WriterStopped)
    }

    /// Makes it stop after the writes under way: nothing is accepted any more.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    fn is_sample(&self, index: usize) -> bool {
        let count = self.map.chunks().len();
        index.is_multiple_of(count.div_ceil(SAMPLES).max(1)) || index + 1 == count
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
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        // The outcome was wanted by nobody; what matters is that nothing writes any more.
        let _ = thread.join();
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
