//! Making the block map of a raw file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::digest::Blake3Digest;
use crate::map::{ALIGNMENT, BlockMap, CHUNK_SIZE, Chunk};

/// Zeros are looked for in units of this size.
const GRANULE: usize = ALIGNMENT as usize;

/// Zeros between data that are shorter than this are sent as data: a request, a hash and a system
/// call of their own would cost more than the bytes.
const SHORTEST_HOLE: usize = 64 << 10;

/// Reads `file` once, but for what the file system says is a hole, and lists what is not zero.
/// `report` gets bytes done and bytes in all. The file's length has to be whole sectors of 512.
///
/// Chunks never cross a multiple of [`CHUNK_SIZE`], so that the same content gives the same map
/// however the file came to be.
pub fn scan(file: &File, report: impl Fn(u64, u64)) -> io::Result<BlockMap> {
    let size = file.metadata()?.len();
    let mut chunks = Vec::new();
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    let mut offset = 0;
    while let Some(data) = next_data(file, offset, size)? {
        let start = data / u64::from(CHUNK_SIZE) * u64::from(CHUNK_SIZE);
        let length = u64::from(CHUNK_SIZE).min(size - start) as usize;
        let cell = &mut buffer[..length];
        file.read_exact_at(cell, start)?;
        add_chunks(cell, start, &mut chunks);
        offset = start + length as u64;
        report(offset, size);
    }
    report(size, size);
    BlockMap::new(size, CHUNK_SIZE, chunks).map_err(io::Error::other)
}

/// Where the first data at or after `offset` starts, as far as the file system knows.
fn next_data(file: &File, offset: u64, size: u64) -> io::Result<Option<u64>> {
    if offset >= size {
        return Ok(None);
    }
    let from = i64::try_from(offset).map_err(io::Error::other)?;
    match lseek(file.as_fd(), from, Whence::SeekData) {
        Ok(data) => Ok(Some(data as u64).filter(|data| *data < size)),
        Err(Errno::ENXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// Adds a chunk for every run of data in `cell`, which starts at `start` in the image.
fn add_chunks(cell: &[u8], start: u64, chunks: &mut Vec<Chunk>) {
    let mut run: Option<(usize, usize)> = None;
    let mut add = |(from, to): (usize, usize)| {
        chunks.push(Chunk {
            offset: start + from as u64,
            length: (to - from) as u32,
            blake3: Blake3Digest::of(&cell[from..to]),
        });
    };
    for (index, granule) in cell.chunks(GRANULE).enumerate() {
        if is_zero(granule) {
            continue;
        }
        let (from, to) = (index * GRANULE, index * GRANULE + granule.len());
        run = match run {
            Some((first, last)) if from - last < SHORTEST_HOLE => Some((first, to)),
            finished => {
                finished.map(&mut add);
                Some((from, to))
            }
        };
    }
    run.map(&mut add);
}

/// Written so that the compiler makes vector instructions of it.
fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
