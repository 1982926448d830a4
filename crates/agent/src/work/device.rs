//! Requests to block devices beyond reading and writing (`linux/fs.h`).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::{Error, Result};

mod ioctl {
    nix::ioctl_none_bad!(reread_partition_table, nix::request_code_none!(0x12, 95));
    nix::ioctl_none_bad!(drop_cache, nix::request_code_none!(0x12, 97));
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
}

/// Whether this is a block device, and not a file in the place of one.
pub(super) fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Opens a device or file for reading and writing.
pub(super) fn open(path: &Path) -> Result<File> {
    let failed = |source| Error::File {
        action: "open",
        path: path.to_owned(),
        source,
    };
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)
}

/// Tells the device that its first `size` bytes are not needed any more. What they read as
/// afterwards is up to the device.
pub(super) fn discard(device: &File, size: u64) -> Result<(), Errno> {
    let range = [0, size];
    // SAFETY: BLKDISCARD reads two u64 from the pointer, which `range` outlives.
    unsafe { ioctl::discard(device.as_raw_fd(), &range) }?;
    Ok(())
}

/// Makes the kernel forget what it has cached of a device, so that reading asks the device.
pub(super) fn drop_cache(device: &File) -> Result<(), Errno> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { ioctl::drop_cache(device.as_raw_fd()) }?;
    Ok(())
}

/// Lets the kernel read a disk's partition table again, so that its partitions can be used.
/// Files in the place of disks have no partitions.
pub(super) fn reread_partition_table(path: &Path) -> Result<()> {
    const TRIES: u32 = 20;
    if !is_device(path) {
        return Ok(());
    }
    let failed = |errno: Errno| Error::File {
        action: "read the partition table of",
        path: path.to_owned(),
        source: errno.into(),
    };
    let device = open(path)?;
    let mut result = Ok(());
    for _ in 0..TRIES {
        // SAFETY: BLKRRPART takes no argument.
        result = unsafe { ioctl::reread_partition_table(device.as_raw_fd()) }.map(|_| ());
        if result != Err(Errno::EBUSY) {
            break;
        }
        // The kernel may be looking at a partition it has just found.
        std::thread::sleep(Duration::from_millis(100));
    }
    result.map_err(failed)
}
