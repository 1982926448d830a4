//! The erasing of one disk: format → verify → zeros by the device → verify → zeros by hand → verify.
//!
//! Each way is only gone when the one before did not leave a disk that reads as zero. A drive's own
//! secure erase (NVMe Format) reaches what no writing does, so it comes first where there is one.
//! ATA's is not used: a drive has been seen to refuse it while all went on as if it had worked, and
//! one that loses its power half-way is left locked by a password.

use std::path::PathBuf;
use std::time::Instant;

use bessemer_core::hardware::{Disk as DiskInfo, Transport};
use bessemer_image::write::{Disk, Target};
use bessemer_wire::agent::ErasedDisk;
use tokio_util::sync::CancellationToken;

use super::pulse::{CALL_LIMIT, Pulse, Stride};
use crate::console::{causes, say};
use crate::inventory::disks;
use crate::machine::Machine;
use crate::work::nvme::{self, SecureErase};
use crate::work::{Job, device, verify};
use crate::{Error, Result};

/// Zeroed by the device in one call, in bytes, at first and at most.
const ZERO: (u64, u64) = (32 << 20, 256 << 20);

/// Given back to the device in one call, in bytes, at first and at most.
const DISCARD: (u64, u64) = (1 << 30, 64 << 30);

/// Written by one call, in bytes, when the device cannot be trusted to zero by itself.
const WRITE_STEP: u64 = 1 << 20;

/// The erasing of one disk.
pub(super) struct Erasure<'a> {
    machine: &'a Machine,
    info: &'a DiskInfo,
    path: PathBuf,
    job: &'a Job,
    stop: &'a CancellationToken,
    pulse: &'a Pulse,
}

impl<'a> Erasure<'a> {
    pub(super) fn new(
        machine: &'a Machine,
        info: &'a DiskInfo,
        job: &'a Job,
        stop: &'a CancellationToken,
        pulse: &'a Pulse,
    ) -> Self {
        pulse.turn_to(info);
        Self {
            machine,
            info,
            path: machine.device(&info.name),
            job,
            stop,
            pulse,
        }
    }

    /// Erases the disk and reads back that it is erased.
    pub(super) fn run(&self) -> Result<ErasedDisk> {
        self.check_writable()?;
        let mut methods = Vec::new();
        let promises = self.format(&mut methods)?;
        let target = Disk::open(&self.path)?;
        self.check_size(target.size())?;
        let mut found = None;
        if promises {
            found = Some(self.verify(&target)?);
            if let Some(Reading::Zero { .. }) = found {
                self.job.tracker.add(target.size());
            }
        }
        if !is_zero(&found) && self.zero_by_device(&target, &mut methods)? {
            found = Some(self.verify(&target)?);
        }
        if !is_zero(&found) {
            self.job.tracker.extend(target.size());
            self.overwrite(&target)?;
            methods.push("overwritten");
            found = Some(self.verify(&target)?);
        }
        self.check_size(disks::size_bytes(self.machine, &self.info.name).unwrap_or(0))?;
        let verified_bytes = match found {
            Some(Reading::Zero { bytes }) => bytes,
            Some(Reading::Data { offset }) => return Err(Error::NotErased { offset }),
            None => return Err(Error::Bug("a disk was not looked at".into())),
        };
        let method = methods.join(", ");
        say(format_args!(
            "{}: erased ({method}), {verified_bytes} bytes read back",
            self.info.name
        ));
        Ok(ErasedDisk {
            name: self.info.name.clone(),
            serial: self.info.serial.clone(),
            method,
            verified_bytes,
        })
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.is_cancelled() {
            Err(Error::Superseded)
        } else {
            Ok(())
        }
    }

    /// Refuses a disk that says beforehand that nothing can be written.
    fn check_writable(&self) -> Result<()> {
        let path = format!("sys/block/{}/ro", self.info.name);
        if self.machine.text(path).as_deref() == Some("1") {
            return Err(Error::WriteProtected);
        }
        if self.info.transport == Transport::Sata
            && device::is_device(&self.path)
            && device::is_locked(&device::open(&self.path)?)
        {
            return Err(Error::Locked);
        }
        Ok(())
    }

    /// A disk must be as large as the kernel first said, when it is opened and at the end.
    fn check_size(&self, found: u64) -> Result<()> {
        if found == self.info.size_bytes {
            return Ok(());
        }
        Err(Error::SizeChanged {
            expected: self.info.size_bytes,
            found,
        })
    }

    /// The drive's own erase, where it has one. Says whether it promises that the data are gone.
    fn format(&self, methods: &mut Vec<&'static str>) -> Result<bool> {
        if self.info.transport != Transport::Nvme || !device::is_device(&self.path) {
            return Ok(false);
        }
        let file = device::open(&self.path)?;
        let hidden = nvme::unattached_namespaces(&file);
        if !hidden.is_empty() {
            return Err(Error::HiddenNamespaces { namespaces: hidden });
        }
        let limit = nvme::format_limit(self.info.size_bytes);
        self.pulse.begin("format", 0, limit + CALL_LIMIT);
        let begun = Instant::now();
        let Some(erase) = nvme::format(&file, limit) else {
            return Ok(false);
        };
        methods.push(erase.name());
        say(format_args!(
            "{}: {} took {:.1} s",
            self.info.name,
            erase.name(),
            begun.elapsed().as_secs_f64()
        ));
        self.check_stop()?;
        Ok(erase != SecureErase::None)
    }

    /// Lets the device write zeros. Says whether it did; one that does not may still take zeros as
    /// data, and one that is gone will not.
    fn zero_by_device(&self, target: &Disk, methods: &mut Vec<&'static str>) -> Result<bool> {
        if self.discard()? {
            methods.push("discard");
        }
        match self.zero(target) {
            Ok(()) => {
                methods.push("write zeroes");
                Ok(true)
            }
            Err(Error::Superseded) => Err(Error::Superseded),
            Err(error) => {
                let text = causes(&error);
                say(format_args!(
                    "{}: {text}: writing zeros instead",
                    self.info.name
                ));
                Ok(false)
            }
        }
    }

    /// Gives all blocks back to the device, as far as it takes them: what they read as afterwards
    /// is up to it, so this only spares it work.
    fn discard(&self) -> Result<bool> {
        if !device::is_device(&self.path) {
            return Ok(false);
        }
        let file = device::open(&self.path)?;
        let size = self.info.size_bytes;
        let mut refused = false;
        self.stride(DISCARD, "discard", size, |offset, length| {
            refused = refused || device::discard(&file, offset, length).is_err();
            Ok(())
        })?;
        Ok(!refused)
    }

    fn zero(&self, target: &Disk) -> Result<()> {
        self.stride(ZERO, "zero", target.size(), |offset, length| {
            target
                .zero(offset, length)
                .map_err(failed("zero", offset, length))?;
            self.job.tracker.add(length);
            Ok(())
        })?;
        self.flush(target)
    }

    fn overwrite(&self, target: &Disk) -> Result<()> {
        let zeros = vec![0; WRITE_STEP as usize];
        self.stride(
            (WRITE_STEP, WRITE_STEP),
            "write",
            target.size(),
            |offset, length| {
                target
                    .write_at(offset, &zeros[..length as usize])
                    .map_err(failed("write", offset, length))?;
                self.job.tracker.add(length);
                Ok(())
            },
        )?;
        self.flush(target)
    }

    fn flush(&self, target: &Disk) -> Result<()> {
        self.pulse.begin("flush", 0, CALL_LIMIT);
        target.flush().map_err(failed("flush", 0, target.size()))
    }

    /// Does something with all of the disk, step by step, each watched and timed.
    fn stride(
        &self,
        (first, most): (u64, u64),
        action: &'static str,
        size: u64,
        mut step: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let mut stride = Stride::new(first, most);
        let mut offset = 0;
        while offset < size {
            self.check_stop()?;
            let length = stride.next(size - offset);
            self.pulse.begin(action, offset, CALL_LIMIT);
            let begun = Instant::now();
            step(offset, length)?;
            stride.learn(begun.elapsed());
            offset += length;
        }
        Ok(())
    }

    fn verify(&self, target: &Disk) -> Result<Reading> {
        // Reading goes around the cache anyway (`O_DIRECT`); this is for what ignores that.
        device::forget_cache(&self.path);
        let ranges = verify::samples(target.size())?;
        let mut bytes = 0;
        self.pulse.begin("read", 0, CALL_LIMIT);
        let found = verify::first_non_zero(target, &ranges, |offset, length| {
            bytes += length;
            self.pulse.begin("read", offset, CALL_LIMIT);
            self.check_stop()
        })?;
        if let Some(offset) = found {
            say(format_args!(
                "{}: not zero at offset {offset}",
                self.info.name
            ));
            return Ok(Reading::Data { offset });
        }
        Ok(Reading::Zero { bytes })
    }
}

/// What was found when a disk was read back.
enum Reading {
    /// So many bytes, and all of them zero.
    Zero { bytes: u64 },
    /// Something else, here.
    Data { offset: u64 },
}

fn is_zero(found: &Option<Reading>) -> bool {
    matches!(found, Some(Reading::Zero { .. }))
}

fn failed(action: &'static str, offset: u64, length: u64) -> impl FnOnce(std::io::Error) -> Error {
    move |source| {
        Error::Image(bessemer_image::Error::Disk {
            action,
            offset,
            length,
            source,
        })
    }
}
