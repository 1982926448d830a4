//! Reading back: a drive's word is not proof (a SATA disk has been seen to report a secure erase
//! that it had refused).

use std::iter::once;
use std::ops::Range;

use bessemer_image::write::Target;

use crate::{Error, Result, random};

/// How much is read at the beginning and at the end, where partition tables, boot loaders and
/// RAID superblocks are: in bytes each.
const EDGE: u64 = 16 << 20;

/// How many samples are taken in between, and how large they are in bytes.
const SAMPLES: u64 = 256;
const SAMPLE: u64 = 64 << 10;

/// Read by one call.
const STEP: u64 = 1 << 20;

/// What is read to find out whether a disk of `size` bytes is zero: both ends, and one sample at
/// a random place in each of [`SAMPLES`] equal parts of the rest. All of a small disk. Sorted, and
/// aligned like the size.
pub(super) fn samples(size: u64) -> Result<Vec<Range<u64>>> {
    const ALIGNMENT: u64 = 4096;
    if size <= 2 * EDGE + SAMPLES * SAMPLE {
        return Ok(once(0..size).collect());
    }
    let mut ranges: Vec<_> = once(0..EDGE).collect();
    let part = (size - 2 * EDGE) / SAMPLES;
    for number in 0..SAMPLES {
        let slack = part.saturating_sub(SAMPLE);
        let offset = EDGE + number * part + random::below(slack + 1)?;
        let start = offset / ALIGNMENT * ALIGNMENT;
        ranges.push(start..start + SAMPLE);
    }
    let last = (size - EDGE) / ALIGNMENT * ALIGNMENT;
    ranges.push(last..size);
    Ok(ranges)
}

/// Reads the ranges and gives the offset of the first byte that is not zero, if there is one.
/// `advance` hears of every part that was read: its offset and length.
pub(super) fn first_non_zero(
    target: &impl Target,
    ranges: &[Range<u64>],
    mut advance: impl FnMut(u64, u64) -> Result<()>,
) -> Result<Option<u64>> {
    let mut buffer = vec![0; STEP as usize];
    for range in ranges {
        let mut offset = range.start;
        while offset < range.end {
            let length = STEP.min(range.end - offset);
            let part = &mut buffer[..length as usize];
            read(target, offset, part)?;
            if let Some(at) = position_of_data(part) {
                return Ok(Some(offset + at as u64));
            }
            advance(offset, length)?;
            offset += length;
        }
    }
    Ok(None)
}

/// Reads, with the error of a disk that does not.
pub(super) fn read(target: &impl Target, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let length = buffer.len() as u64;
    target.read_at(offset, buffer).map_err(|source| {
        Error::Image(bessemer_image::Error::Disk {
            action: "read",
            offset,
            length,
            source,
        })
    })
}

fn position_of_data(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 512;
    // Adding up whole blocks is what the compiler makes fast; the place is only looked for once.
    let block = bytes
        .chunks(BLOCK)
        .position(|block| block.iter().fold(0, |all, byte| all | byte) != 0)?;
    Some(block * BLOCK + bytes[block * BLOCK..].iter().position(|byte| *byte != 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_image::write::Disk;
    use std::os::unix::fs::FileExt;

    #[test]
    fn samples_cover_both_ends_and_never_overlap() {
        for size in [512, 48 << 20, (48 << 20) + 512, 1 << 30, 4 << 40] {
            let ranges = samples(size).unwrap();
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, size));
            assert!(
                ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
                "{size}"
            );
            assert!(
                ranges
                    .iter()
                    .all(|range| range.start % 512 == 0 && range.end % 512 == 0)
            );
        }
        assert_eq!(samples(1 << 30).unwrap().len(), 258);
    }

    #[test]
    fn a_single_byte_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let disk = Disk::open(file.path()).unwrap();
        let all: Vec<_> = once(0..disk.size()).collect();
        assert_eq!(first_non_zero(&disk, &all, |_, _| Ok(())).unwrap(), None);
        file.as_file().write_at(b"x", (2 << 20) + 777).unwrap();
        assert_eq!(
            first_non_zero(&disk, &all, |_, _| Ok(())).unwrap(),
            Some((2 << 20) + 777)
        );
    }
}
