//! The threads that own the disk: one zeroes the holes, then several write.
//!
//! Two writes are always under way, so that the disk has the next one before it is through with
//! this one. More would not make it faster, and would let a spinning disk seek.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::Target;
use super::buffer::AlignedBuffer;
use crate::chunk::Unpacker;
use crate::map::BlockMap;
use crate::{Error, Result};

/// Writes under way at the same time.
pub(super) const WRITERS: usize = 2;

/// Bytes zeroed by one call, so that progress is seen and cancelling takes effect in between.
const ZERO_STEP: u64 = 128 << 20;

/// What it takes to unpack a chunk: there are only so many, which bounds the memory.
pub(super) struct Place {
    pub(super) buffer: AlignedBuffer,
    pub(super) unpacker: Unpacker,
}

/// An unpacked chunk on its way to the disk.
pub(super) struct Unpacked {
    pub(super) index: usize,
    pub(super) place: Place,
}

/// What the writer and its threads both see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) zeroed: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) stop: AtomicBool,
}

pub(super) struct Worker<T> {
    pub(super) map: Arc<BlockMap>,
    pub(super) target: T,
    /// Up to where the disk is zeroed, in bytes.
    pub(super) end: u64,
    pub(super) shared: Arc<Shared>,
    /// Chunks to write.
    pub(super) queue: Mutex<Receiver<Unpacked>>,
    /// Where places go that are free again.
    pub(super) free: Sender<Place>,
}

impl<T: Target> Worker<T> {
    /// Works until nobody can bring chunks any more, and gives the target back.
    pub(super) fn run(self) -> Result<T> {
        let beyond =
            (self.map.virtual_size() < self.end).then(|| self.map.virtual_size()..self.end);
        for hole in self.map.holes().chain(beyond) {
            self.zero(hole)?;
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..WRITERS)
                .map(|_| scope.spawn(|| self.write_chunks()))
                .collect();
            let mut results = vec![self.write_chunks()];
            results.extend(others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }));
            first_cause(results)
        })?;
        self.check_stop()?;
        self.target.flush().map_err(|source| Error::Disk {
            action: "flush",
            offset: 0,
            length: self.end,
            source,
        })?;
        Ok(self.target)
    }

    /// Writes what is queued; an error stops the other writers too.
    fn write_chunks(&self) -> Result<()> {
        loop {
            let next = self
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(Unpacked { index, place }) = next else {
                return Ok(());
            };
            self.check_stop()?;
            let chunk = &self.map.chunks()[index];
            let data = &place.buffer.as_slice()[..chunk.length as usize];
            if let Err(source) = self.target.write_at(chunk.offset, data) {
                self.shared.stop.store(true, Ordering::Relaxed);
                return Err(Error::Disk {
                    action: "write",
                    offset: chunk.offset,
                    length: u64::from(chunk.length),
                    source,
                });
            }
            self.shared
                .written
                .fetch_add(u64::from(chunk.length), Ordering::Relaxed);
            // Nobody wants it back once the writer is being finished.
            let _ = self.free.send(place);
        }
    }

    fn zero(&self, hole: Range<u64>) -> Result<()> {
        let mut offset = hole.start;
        while offset < hole.end {
            self.check_stop()?;
            let length = ZERO_STEP.min(hole.end - offset);
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

/// The error that made the others stop, if there is one.
fn first_cause(results: Vec<Result<()>>) -> Result<()> {
    let mut stopped = Ok(());
    for result in results {
        match result {
            Ok(()) => {}
            Err(Error::WriterStopped) => stopped = Err(Error::WriterStopped),
            Err(cause) => return Err(cause),
        }
    }
    stopped
}
