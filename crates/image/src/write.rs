//! Writing an image to a disk whose former content is unknown.
//!
//! Skipping zeros is only safe if the disk reads as zeros where nothing is written. A disk that
//! was "just erased" may not (discard promises nothing), so the holes are always zeroed, by a
//! command that the device carries out by itself where it can.

mod buffer;
mod disk;
mod worker;
mod writer;

pub use disk::Disk;
pub use writer::{Finished, Progress, Sample, Writer, Zeroing};

use std::io;

/// Something an image can be written to: a disk, or a file in its place.
///
/// Offsets and lengths are bytes and multiples of [`Target::logical_block_size`].
pub trait Target: Send + Sync {
    /// Bytes that it holds.
    fn size(&self) -> u64;

    /// Bytes of the smallest unit that can be read or written.
    fn logical_block_size(&self) -> u32;

    /// Fills `buffer` from `offset` on; an end before that is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`. Called by several threads at the same time; quickest for
    /// data at a multiple of 4096 in memory.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes `length` bytes at `offset` read as zeros.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Returns when everything written before survives a power cut.
    fn flush(&self) -> io::Result<()>;
}
