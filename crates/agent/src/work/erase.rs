//! Erasing every disk, so that nothing of a former tenant can be read.
//!
//! The disk's own erase comes first where it has one, then everything is written with zeros by the
//! device itself, then the result is read back. If anything but zeros is found, zeros are written
//! the slow way and it is looked at again. Disks are erased at the same time.

use std::path::{Path, PathBuf};

use bessemer_core::hardware::{Disk as DiskInfo, Transport};
use bessemer_image::write::{Disk, Target};
use bessemer_wire::agent::{CommandResult, ErasedDisk};

use super::{Job, device, nvme, verify};
use crate::console::say;
use crate::inventory::disks;
use crate::machine::Machine;
use crate::{Error, Result};

/// Zeroed by one call, in bytes: progress is seen and stopping takes effect in between.
const ZERO_STEP: u64 = 256 << 20;

/// Written by one call, in bytes, when the device cannot be trusted to zero by itself.
const WRITE_STEP: u64 = 1 << 20;

/// Erases every disk of the machine and reads back that it is erased.
pub(super) fn erase_all(machine: &Machine, job: &Job) -> Result<CommandResult> {
    let disks = disks::all(machine);
    if disks.is_empty() {
        return Err(Error::NoDisks);
    }
    job.tracker
        .begin("erasing", disks.iter().map(|disk| disk.size_bytes).sum());
    let results: Vec<Result<ErasedDisk>> = std::thread::scope(|scope| {
        let threads: Vec<_> = disks
            .iter()
            .map(|disk| {
                scope.spawn(|| {
                    Erasure {
                        info: disk,
                        path: machine.device(&disk.name),
                        job,
                    }
                    .run()
                })
            })
            .collect();
        let panicked = |_| {
            Err(Error::Bug(
                "a thread that erased a disk has panicked".into(),
            ))
        };
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    });
    Ok(CommandResult::Erased {
        disks: results.into_iter().collect::<Result<_>>()?,
    })
}

/// The erasing of one disk.
struct Erasure<'a> {
    info: &'a DiskInfo,
    path: PathBuf,
    job: &'a Job,
}

impl Erasure<'_> {
    fn run(&self) -> Result<ErasedDisk> {
        let mut methods = self.ask_device()?;
        let target = Disk::open(&self.path)?;
        match self.zero(&target) {
            Ok(()) => methods.push("write zeroes"),
            Err(Error::Superseded) => return Err(Error::Superseded),
            Err(error) => say(format_args!(
                "{}: {error}; writing zeros instead",
                self.info.name
            )),
        }
        let mut verified = self.verify(&target)?;
        if let Err(offset) = verified {
            say(format_args!(
                "{}: not zero at offset {offset}: writing zeros",
                self.info.name
            ));
            self.job.tracker.extend(target.size());
            self.overwrite(&target)?;
            methods.push("overwritten");
            verified = self.verify(&target)?;
        }
        let verified_bytes = verified.map_err(|offset| Error::NotErased {
            disk: self.info.name.clone(),
            message: format!(
                "it is not zero at offset {offset} after zeros were written: replace it"
            ),
        })?;
        let method = methods.join(", ");
        say(format_args!(
            "{}: erased ({method}), {verified_bytes} bytes read back",
            self.info.name
        ));
        Ok(ErasedDisk {
            name: self.info.name.clone(),
            method,
            verified_bytes,
        })
    }

    /// Lets the device forget its content in its own ways, as far as it has any.
    fn ask_device(&self) -> Result<Vec<&'static str>> {
        let mut methods = Vec::new();
        if !device::is_device(&self.path) {
            return Ok(methods);
        }
        let file = device::open(&self.path)?;
        if self.info.transport == Transport::Nvme {
            match nvme::format(&file) {
                Some(nvme::SecureErase::UserData) => methods.push("nvme format, user data erase"),
                Some(nvme::SecureErase::None) => methods.push("nvme format"),
                None => {}
            }
            self.job.check()?;
        }
        if device::discard(&file, self.info.size_bytes).is_ok() {
            methods.push("discard");
        }
        Ok(methods)
    }

    fn zero(&self, target: &Disk) -> Result<()> {
        let failed = |action, offset, length| {
            move |source| {
                Error::Image(bessemer_image::Error::Disk {
                    action,
                    offset,
                    length,
                    source,
                })
            }
        };
        let mut offset = 0;
        while offset < target.size() {
            self.job.check()?;
            let length = ZERO_STEP.min(target.size() - offset);
            target
                .zero(offset, length)
                .map_err(failed("zero", offset, length))?;
            self.job.tracker.add(length);
            offset += length;
        }
        target.flush().map_err(failed("flush", 0, target.size()))
    }

    fn overwrite(&self, target: &Disk) -> Result<()> {
        let zeros = vec![0; WRITE_STEP as usize];
        let failed = |action, offset, length| {
            move |source| {
                Error::Image(bessemer_image::Error::Disk {
                    action,
                    offset,
                    length,
                    source,
                })
            }
        };
        let mut offset = 0;
        while offset < target.size() {
            self.job.check()?;
            let length = WRITE_STEP.min(target.size() - offset);
            target
                .write_at(offset, &zeros[..length as usize])
                .map_err(failed("write", offset, length))?;
            self.job.tracker.add(length);
            offset += length;
        }
        target.flush().map_err(failed("flush", 0, target.size()))
    }

    /// How many bytes were read back as zeros, or where something else was found.
    fn verify(&self, target: &Disk) -> Result<Result<u64, u64>> {
        forget_cache(&self.path);
        let ranges = verify::samples(target.size())?;
        let found = verify::first_non_zero(target, &ranges, |_| self.job.check())?;
        let read = ranges.iter().map(|range| range.end - range.start).sum();
        Ok(found.map_or(Ok(read), Err))
    }
}

/// Reading goes around the cache anyway (`O_DIRECT`); this is for devices that ignore that.
fn forget_cache(path: &Path) {
    if let Ok(file) = std::fs::File::open(path)
        && device::is_device(path)
    {
        let _ = device::drop_cache(&file);
    }
}
