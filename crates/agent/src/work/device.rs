//! Requests to block devices beyond reading and writing (`linux/fs.h`).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::machine::Machine;
use crate::{Error, Result};

mod ioctl {
    nix::ioctl_none_bad!(reread_partition_table, nix::request_code_none!(0x12, 95));
    nix::ioctl_none_bad!(drop_cache, nix::request_code_none!(0x12, 97));
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
    // `linux/hdreg.h`: HDIO_GET_IDENTITY.
    nix::ioctl_read_bad!(ata_identity, 0x030d, [u16; 256]);
}

/// How long the kernel waits for one command of a disk before it aborts it and resets the
/// controller, in milliseconds. NVMe's 30 s are not enough for a disk that is busy with itself:
/// one has been seen to be away for 85 s, and to be gone after the reset.
const COMMAND_TIMEOUT_MILLISECONDS: u32 = 180_000;

/// Lets the kernel wait longer for every disk there is, those behind a multipath device included.
/// A disk that cannot be waited for longer is used as it is.
pub(super) fn be_patient(machine: &Machine) {
    for name in machine.names("sys/block") {
        let path = machine.path(format!("sys/block/{name}/queue/io_timeout"));
        if path.exists() {
            let _ = std::fs::write(path, COMMAND_TIMEOUT_MILLISECONDS.to_string());
        }
    }
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

/// Tells the device that these bytes are not needed any more. What they read as afterwards is up
/// to the device.
pub(super) fn discard(device: &File, offset: u64, length: u64) -> Result<(), Errno> {
    let range = [offset, length];
    // SAFETY: BLKDISCARD reads two u64 from the pointer, which `range` outlives.
    unsafe { ioctl::discard(device.as_raw_fd(), &range) }?;
    Ok(())
}

/// Makes the kernel forget what it has cached of a device, so that reading asks the device.
pub(super) fn forget_cache(path: &Path) {
    if is_device(path)
        && let Ok(device) = File::open(path)
    {
        // SAFETY: BLKFLSBUF takes no argument. What is not cached need not be forgotten.
        let _ = unsafe { ioctl::drop_cache(device.as_raw_fd()) };
    }
}

/// Whether an ATA disk is locked by a password: IDENTIFY DEVICE word 128, bit 2 (ACS-3, 7.12.7.67).
/// Disks that do not answer are taken as not locked: reading them back decides.
pub(super) fn is_locked(device: &File) -> bool {
    const SECURITY_STATUS: usize = 128;
    const LOCKED: u16 = 1 << 2;
    let mut identity = [0; 256];
    // SAFETY: HDIO_GET_IDENTITY writes 512 bytes to the pointer.
    let answer = unsafe { ioctl::ata_identity(device.as_raw_fd(), &mut identity) };
    answer.is_ok() && identity[SECURITY_STATUS] & LOCKED != 0
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
