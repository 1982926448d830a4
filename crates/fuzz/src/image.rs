//! What whoever made an image put into it.

use std::io;
use std::sync::{Mutex, PoisonError};

use bessemer_image::chunk::Unpacker;
use bessemer_image::gpt;
use bessemer_image::import::{checksum_in, examine};
use bessemer_image::write::Target;
use uuid::Uuid;

/// The largest disk, and how much of what is compressed is unpacked, in bytes.
const LARGEST: u64 = 1 << 40;
const UNPACKED: u64 = 4 << 20;

/// The beginning of an image file, before all that looks at it ahead of the converter; and as a disk
/// whose partition table is fitted.
pub(crate) fn image_header(file: &[u8]) {
    match examine(file, LARGEST, UNPACKED) {
        Ok(_) => {}
        Err(error) => drop(error.to_string()),
    }
    for block in [512, 4096] {
        let disk = InMemory::of(file, block);
        let _ = gpt::has_verity_root(&disk);
        if let Ok(partition) = gpt::add_config_partition(&disk, Uuid::from_u128(1)) {
            // What was added is inside of the disk, and is found again.
            assert!(partition.offset + partition.length <= disk.size());
            let again = gpt::add_config_partition(&disk, Uuid::from_u128(2));
            assert_eq!(again.ok(), Some(partition));
        }
    }
}

/// A chunk as it is sent, after the length that it is to unpack to (in units of 512 bytes, two bytes, least
/// significant first).
pub(crate) fn image_chunk(input: &[u8]) {
    let Some((units, stored)) = input.split_first_chunk::<2>() else {
        return;
    };
    let mut data = vec![0; usize::from(u16::from_le_bytes(*units) % 1024) * 512];
    if let Ok(mut unpacker) = Unpacker::new() {
        let _ = unpacker.unpack(stored, &mut data);
    }
}

/// A file of checksums that lies beside an image.
pub(crate) fn image_checksums(text: &[u8]) {
    if let Err(error) = checksum_in(text, "SHA256SUMS", "disk.raw") {
        assert!(error.to_string().len() < 1000);
    }
}

/// A disk of whole blocks that begins with a file and is larger by what the config drive needs. Only what
/// is not zero is in memory.
struct InMemory<'f> {
    file: &'f [u8],
    /// What was written since, the latest last.
    written: Mutex<Vec<(u64, Vec<u8>)>>,
    size: u64,
    block: u32,
}

impl<'f> InMemory<'f> {
    fn of(file: &'f [u8], block: u32) -> Self {
        let size = file.len() as u64 + gpt::RESERVED_SIZE;
        Self {
            file,
            written: Mutex::default(),
            size: size - size % u64::from(block),
            block,
        }
    }

    fn holds(&self, offset: u64, length: usize) -> io::Result<()> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Copies what of `data`, which begins at `from`, is within `buffer`, which begins at `to`.
fn lay(data: &[u8], from: u64, buffer: &mut [u8], to: u64) {
    let start = from.max(to);
    let end = (from + data.len() as u64).min(to + buffer.len() as u64);
    if start < end {
        let part = &data[(start - from) as usize..(end - from) as usize];
        buffer[(start - to) as usize..(end - to) as usize].copy_from_slice(part);
    }
}

impl Target for InMemory<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn logical_block_size(&self) -> u32 {
        self.block
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.holds(offset, buffer.len())?;
        buffer.fill(0);
        lay(self.file, 0, buffer, offset);
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, data) in written.iter() {
            lay(data, *at, buffer, offset);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.holds(offset, data.len())?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((offset, data.to_vec()));
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(offset, &vec![0; length as usize])
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
