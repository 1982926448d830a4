//! Block devices, and plain files in their place, as targets.
//!
//! Devices are opened with `O_EXCL`, so that a disk with a mounted filesystem or an active array
//! is refused instead of destroyed, and with `O_DIRECT`: an image goes through the page cache of a
//! small RAM disk at the cost of everything else in it, and slower (24 s against 18 s for 640 MB
//! when it was measured). `O_DIRECT` wants aligned memory: what is
//! not aligned goes through a buffer that is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use super::Target;
use super::buffer::{AlignedBuffer, MEMORY_ALIGNMENT};
use crate::{Error, Result};

/// How much is moved by one system call.
const BUFFER_SIZE: usize = 1 << 20;

/// Idle buffers that are kept; more are made when more threads write at once.
const IDLE_BUFFERS: usize = 4;

mod ioctl {
    //! `linux/fs.h`.

    nix::ioctl_read!(block_device_size, 0x12, 114, u64);
    nix::ioctl_read_bad!(
        logical_block_size,
        nix::request_code_none!(0x12, 104),
        nix::libc::c_int
    );
    nix::ioctl_write_ptr_bad!(zero_out, nix::request_code_none!(0x12, 127), [u64; 2]);
}

/// A block device, or a regular file that is treated like one.
#[derive(Debug)]
pub struct Disk {
    file: File,
    is_device: bool,
    size: u64,
    logical_block_size: u32,
    idle: Mutex<Vec<AlignedBuffer>>,
}

impl Disk {
    /// Opens the device or file at `path` for reading and writing. A device must not be in use.
    /// A file is taken to be as large as it is now, with blocks of 512 bytes.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::File {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let is_device = std::fs::metadata(path)
            .map_err(failed)?
            .file_type()
            .is_block_device();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if is_device {
            options.custom_flags((OFlag::O_EXCL | OFlag::O_DIRECT).bits());
        }
        let file = options.open(path).map_err(failed)?;
        let (size, logical_block_size) = geometry(&file, is_device).map_err(failed)?;
        Ok(Self {
            file,
            is_device,
            size,
            logical_block_size,
            idle: Mutex::default(),
        })
    }

    fn with_buffer<T>(&self, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
        let idle = || {
            self.idle
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        };
        let mut buffer = idle()
            .pop()
            .unwrap_or_else(|| AlignedBuffer::new(BUFFER_SIZE));
        let result = use_it(buffer.as_mut_slice());
        let mut idle = idle();
        if idle.len() < IDLE_BUFFERS {
            idle.push(buffer);
        }
        result
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        let block = u64::from(self.logical_block_size);
        let inside = offset
            .checked_add(length)
            .is_some_and(|end| end <= self.size);
        if inside && offset.is_multiple_of(block) && length.is_multiple_of(block) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "outside of the disk or not aligned",
        ))
    }

    fn zero_file(&self, offset: u64, length: u64) -> io::Result<()> {
        let (start, length) = (to_signed(offset)?, to_signed(length)?);
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(self.file.as_fd(), punch, start, length) {
            Err(nix::errno::Errno::EOPNOTSUPP) => self.write_zeros(offset, length as u64),
            result => Ok(result?),
        }
    }

    fn write_zeros(&self, offset: u64, length: u64) -> io::Result<()> {
        self.with_buffer(|buffer| {
            buffer.fill(0);
            let end = offset + length;
            let mut position = offset;
            while position < end {
                let count = buffer.len().min((end - position) as usize);
                self.file.write_all_at(&buffer[..count], position)?;
                position += count as u64;
            }
            Ok(())
        })
    }

    fn zero_device(&self, offset: u64, length: u64) -> io::Result<()> {
        let range = [offset, length];
        // SAFETY: BLKZEROOUT reads two u64 from the pointer, which `range` outlives.
        unsafe { ioctl::zero_out(self.file.as_raw_fd(), &range) }?;
        Ok(())
    }
}

impl Target for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn logical_block_size(&self) -> u32 {
        self.logical_block_size
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.check(offset, data.len() as u64)?;
        self.with_buffer(|buffer| {
            let mut position = offset;
            for part in data.chunks_mut(BUFFER_SIZE) {
                self.file
                    .read_exact_at(&mut buffer[..part.len()], position)?;
                part.copy_from_slice(&buffer[..part.len()]);
                position += part.len() as u64;
            }
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len() as u64)?;
        let is_aligned = data.as_ptr().align_offset(MEMORY_ALIGNMENT) == 0;
        if !self.is_device || is_aligned {
            return self.file.write_all_at(data, offset);
        }
        self.with_buffer(|buffer| {
            let mut position = offset;
            for part in data.chunks(BUFFER_SIZE) {
                buffer[..part.len()].copy_from_slice(part);
                self.file.write_all_at(&buffer[..part.len()], position)?;
                position += part.len() as u64;
            }
            Ok(())
        })
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length)?;
        match (length, self.is_device) {
            (0, _) => Ok(()),
            (_, true) => self.zero_device(offset, length),
            (_, false) => self.zero_file(offset, length),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Size and logical block size in bytes.
fn geometry(file: &File, is_device: bool) -> io::Result<(u64, u32)> {
    if !is_device {
        return Ok((file.metadata()?.len() / 512 * 512, 512));
    }
    let (mut size, mut block) = (0, 0);
    // SAFETY: both ioctls write one value of the given type through the pointer.
    unsafe {
        ioctl::block_device_size(file.as_raw_fd(), &mut size)?;
        ioctl::logical_block_size(file.as_raw_fd(), &mut block)?;
    }
    match u32::try_from(block) {
        Ok(block @ 512..=4096) if block.is_power_of_two() => Ok((size, block)),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("logical blocks of {block} bytes, only 512 to 4096 are supported"),
        )),
    }
}

fn to_signed(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}
