//! What of a disk is zero.
//!
//! Disks of simulated machines are sparse files of gigabytes with megabytes in them. Where they
//! have holes is asked of the file system (`lseek` with `SEEK_DATA`), so that reading a whole disk
//! back costs what is on it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// How much is read at once.
const STEP: usize = 1 << 20;

/// The first byte of the file at `path` that is not zero.
///
/// # Errors
/// If the file cannot be read.
pub fn first_nonzero(path: &Path) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut from = 0;
    while let Some(data) = next_data(&file, from, size)? {
        if let Some(found) = first_nonzero_in(&file, data.clone())? {
            return Ok(Some(found));
        }
        from = data.end;
    }
    Ok(None)
}

/// The next range at or after `from` that the file system has stored.
fn next_data(file: &File, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if from >= size {
        return Ok(None);
    }
    let seek = |offset: u64, whence| match lseek(file, offset as i64, whence) {
        Ok(found) => Ok(Some(found as u64)),
        // No data from here to the end.
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(io::Error::from(error)),
    };
    let Some(start) = seek(from, Whence::SeekData)? else {
        return Ok(None);
    };
    let end = seek(start, Whence::SeekHole)?.unwrap_or(size);
    Ok(Some(start..end))
}

fn first_nonzero_in(file: &File, data: Range<u64>) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; STEP];
    let mut offset = data.start;
    while offset < data.end {
        let length = STEP.min((data.end - offset) as usize);
        let bytes = &mut buffer[..length];
        file.read_exact_at(bytes, offset)?;
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + at as u64));
        }
        offset += length as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(8 << 30).unwrap();
        assert_eq!(first_nonzero(&path).unwrap(), None);
        file.write_all_at(&[0; 4096], 1 << 20).unwrap();
        assert_eq!(first_nonzero(&path).unwrap(), None);
        for at in [(8 << 30) - 1, (3 << 30) + 7, 5] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(first_nonzero(&path).unwrap(), Some(at));
        }
    }
}
