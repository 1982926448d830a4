//! Cutting a raw disk into chunks: what is not zero, packed, and listed in a block map.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::at;
use crate::Result;
use crate::chunk::{Packed, Packer};
use crate::map::{ALIGNMENT, BlockMap, CHUNK_SIZE, Chunk};

/// Zeros are looked for in units of this size.
const GRANULE: usize = ALIGNMENT as usize;

/// Zeros between data that are shorter than this are sent as data: a request, a hash and a system
/// call of their own would cost more than the bytes.
const SHORTEST_HOLE: usize = 64 << 10;

/// Processors used at the same time; packing is what an import's time goes to.
const MOST_PACKERS: usize = 8;

/// A piece of the disk, [`CHUNK_SIZE`] long unless it is the last.
struct Cell {
    start: u64,
    data: Vec<u8>,
}

/// Reads the file at `path` once, but for what the file system says is a hole, hands every chunk
/// of what is not zero to `keep`, and lists them. `report` gets bytes done and bytes in all. The
/// file's length has to be whole sectors of 512.
///
/// Chunks never cross a multiple of [`CHUNK_SIZE`], so that the same content gives the same map
/// however the file came to be, and images that have a cell in common share its chunks.
pub fn scan(
    path: &Path,
    keep: &(impl Fn(Packed) -> Result<()> + Sync),
    report: impl Fn(u64, u64),
) -> Result<BlockMap> {
    let file = File::open(path).map_err(at("open", path))?;
    let size = file.metadata().map_err(at("read", path))?.len();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = processors.min(MOST_PACKERS);
    let mut chunks = Vec::new();
    let mut offset = 0;
    loop {
        let cells = read_cells(&file, &mut offset, size, at_once).map_err(at("read", path))?;
        if cells.is_empty() {
            break;
        }
        for packed in pack_cells(&cells, path, keep) {
            chunks.extend(packed?);
        }
        report(offset, size);
    }
    report(size, size);
    BlockMap::new(size, CHUNK_SIZE, chunks)
}

/// The next `count` cells that may hold data, from `offset` on, which moves behind them.
fn read_cells(file: &File, offset: &mut u64, size: u64, count: usize) -> io::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    while cells.len() < count
        && let Some(data) = next_data(file, *offset, size)?
    {
        let start = data / u64::from(CHUNK_SIZE) * u64::from(CHUNK_SIZE);
        let length = u64::from(CHUNK_SIZE).min(size - start) as usize;
        let mut data = vec![0; length];
        file.read_exact_at(&mut data, start)?;
        *offset = start + length as u64;
        cells.push(Cell { start, data });
    }
    Ok(cells)
}

/// Packs cells, each on a thread of its own, and gives their chunks in the same order.
fn pack_cells(
    cells: &[Cell],
    path: &Path,
    keep: &(impl Fn(Packed) -> Result<()> + Sync),
) -> Vec<Result<Vec<Chunk>>> {
    let pack = |cell: &Cell| {
        let mut packer = Packer::new().map_err(at("pack", path))?;
        runs(&cell.data)
            .into_iter()
            .map(|(from, to)| {
                let packed = packer
                    .pack(&cell.data[from..to])
                    .map_err(at("pack", path))?;
                let chunk = Chunk {
                    offset: cell.start + from as u64,
                    length: (to - from) as u32,
                    stored_length: packed.bytes.len() as u32,
                    blake3: packed.blake3,
                };
                keep(packed).map(|()| chunk)
            })
            .collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = cells
            .iter()
            .map(|cell| scope.spawn(move || pack(cell)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    })
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

/// Where data is in `cell`, from and to, with no short holes between.
fn runs(cell: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, granule) in cell.chunks(GRANULE).enumerate() {
        if is_zero(granule) {
            continue;
        }
        let (from, to) = (index * GRANULE, index * GRANULE + granule.len());
        match runs.last_mut() {
            Some((_, last)) if from - *last < SHORTEST_HOLE => *last = to,
            _ => runs.push((from, to)),
        }
    }
    runs
}

/// Written so that the compiler makes vector instructions of it.
fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
