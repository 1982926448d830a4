//! Everything that can go wrong on the machine, in words for the person who must act on it.

use std::io;
use std::path::PathBuf;

use bessemer_core::cause::Cause;
use bessemer_core::hardware::{Disk, DiskIdentity, MachineIdentity};
use bessemer_core::id::Generation;
use bessemer_core::reason::{Failure, FailureClass};

use crate::client::ClientError;
use crate::console;

/// What went wrong. The text says what was found and what to do; `source` has the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or device could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("the kernel gives no random bytes")]
    Randomness,
    /// A network interface could not be configured.
    #[error("cannot {action} network interface {interface}")]
    Interface {
        /// What was attempted, such as `set the address of`.
        action: &'static str,
        /// Its kernel name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The NIC named on the kernel command line is not there.
    #[error(
        "no network interface has the MAC address {wanted} that this boot is for (found: {found}): \
         check the node's MAC address, or the RAM disk lacks the driver"
    )]
    NoInterface {
        /// What the command line says.
        wanted: String,
        /// Every interface that is there.
        found: String,
    },
    /// The conductor's URL cannot be used.
    #[error("the conductor's URL {url} cannot be used: {message}")]
    Conductor {
        /// The URL.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// A conversation with the conductor failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Working on an image or a partition table failed.
    #[error(transparent)]
    Image(#[from] bessemer_image::Error),

    /// A command for another machine.
    #[error(
        "refused: this command is for the machine with {expected}, and this is the one with {found}"
    )]
    WrongMachine {
        /// What the command says.
        expected: MachineIdentity,
        /// What this machine is.
        found: MachineIdentity,
    },
    /// A command that has been overtaken.
    #[error("refused: generation {found} is older than {newest}")]
    OldGeneration {
        /// What the command says.
        found: Generation,
        /// The newest seen.
        newest: Generation,
    },
    /// The command was stopped because a newer one arrived.
    #[error("stopped: a newer command has overtaken this one")]
    Superseded,

    /// The disk that a command names is not there.
    #[error(
        "there is no disk {wanted} (found: {found}): put it back; or, after a disk was changed, \
         `node hold` and `node unhold` inspect the node again, and `node set --root-disk` says \
         which disk is meant"
    )]
    NoSuchDisk {
        /// What the command says.
        wanted: String,
        /// Every disk that is there.
        found: String,
    },
    /// More than one disk is what a command names.
    #[error(
        "several disks answer to {wanted} ({found}): they cannot be told apart by serial number \
         and world-wide name, so none is written: say with `node set --root-disk` that another \
         disk is meant, or take one out"
    )]
    AmbiguousDisk {
        /// What the command says.
        wanted: String,
        /// Those that it could be.
        found: String,
    },
    /// Nothing to erase: on a machine with disks that means a missing driver.
    #[error(
        "no disk is visible, so nothing can be said about what the disks hold: check the storage \
         controller, or the RAM disk lacks its driver"
    )]
    NoDisks,
    /// Something about one disk; the source has what.
    #[error("disk {disk} (serial number {serial})")]
    OnDisk {
        /// Kernel name.
        disk: String,
        /// Serial number, by which a person finds it.
        serial: String,
        /// What about it.
        source: Box<Error>,
    },
    /// Neither the disk's own ways nor writing zeros made it read as zeros.
    #[error("it is not zero at offset {offset} after zeros were written: replace it")]
    NotErased {
        /// Where, in bytes.
        offset: u64,
    },
    /// A call does not come back.
    #[error(
        "disk {disk} (serial number {serial}) hangs: to {action} at offset {offset} has taken \
         {seconds} s so far"
    )]
    DiskHangs {
        /// Kernel name.
        disk: String,
        /// Serial number.
        serial: String,
        /// What was asked of it.
        action: &'static str,
        /// Where, in bytes.
        offset: u64,
        /// How long it has been waited for.
        seconds: u64,
    },
    /// The kernel sees another size than at the beginning; 0 for a disk that is gone.
    #[error("it had {expected} bytes at the beginning and has {found} now")]
    SizeChanged {
        /// At the beginning.
        expected: u64,
        /// At the end.
        found: u64,
    },
    /// A disk that takes no data.
    #[error("it is write-protected: remove the protection, or replace it")]
    WriteProtected,
    /// A disk that gives and takes no data without its password.
    #[error(
        "it is locked by an ATA password that a former user has set: erase it with the maker's \
         tool and its master password or PSID, or replace it"
    )]
    Locked,
    /// A part of a drive that cannot be seen, and so not be erased, as it is.
    #[error(
        "namespaces {namespaces:?} exist and are not attached, so what they hold cannot be erased: \
         attach them (nvme attach-ns) or delete them (nvme delete-ns), then clean the node again"
    )]
    HiddenNamespaces {
        /// Their ids.
        namespaces: Vec<u32>,
    },
    /// Bytes that were written read back differently.
    #[error("disk {disk} does not give back what was written at offset {offset}: replace the disk")]
    ReadBack {
        /// Kernel name.
        disk: String,
        /// Where, in bytes.
        offset: u64,
    },
    /// The conductor sent something that is no config drive.
    #[error("the config drive is not an ISO 9660 image of at most 1 MiB")]
    NotAConfigDrive,
    /// Files of ours have no place on this disk.
    #[error("no file can be placed in the root file system on {disk}: {message}")]
    NotPlaced {
        /// Kernel name of the disk, or of a partition.
        disk: String,
        /// Why.
        message: String,
    },
    /// No operating system that could be started was found on the disk.
    #[error("no kernel to start was found on disk {disk}: {message}")]
    NoKernel {
        /// Kernel name of the disk.
        disk: String,
        /// What was looked at.
        message: String,
    },
    /// `kexec_file_load` failed.
    #[error("the kernel of the image cannot be loaded")]
    LoadKernel(#[source] io::Error),
    /// Hand-over without a loaded kernel.
    #[error("no kernel is loaded: the command to load it must come first")]
    NothingLoaded,
    /// The neighbours whose absence is to be the sign to leave are not there in the first place.
    #[error(
        "{witnesses}: no answer to ARP although the conductor can be reached, so this silence \
         could not tell that the switch port has moved"
    )]
    NeighborsSilent {
        /// Addresses of conductors, or of their routers.
        witnesses: String,
    },
    /// Our own fault.
    #[error("bug in the agent: {0}")]
    Bug(String),
}

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What to report to the conductor.
    pub fn failure(&self) -> Failure {
        let message = console::printable(&console::causes(self));
        Failure::new(self.class(), self.cause(), message)
    }

    /// What it is, in the catalogue's names.
    fn cause(&self) -> Cause {
        use bessemer_image::Error as Image;
        match self {
            Self::OnDisk { source, .. } => match source.cause() {
                // Whatever else is said of a disk: it is the disk.
                Cause::AgentFailed => Cause::DiskError,
                cause => cause,
            },
            Self::Image(Image::Disk { source, .. }) => match class_of_io(source) {
                FailureClass::Operator => Cause::DiskLocked,
                _ => Cause::DiskError,
            },
            Self::NotErased { .. }
            | Self::DiskHangs { .. }
            | Self::SizeChanged { .. }
            | Self::ReadBack { .. }
            | Self::Image(Image::File { .. }) => Cause::DiskError,
            Self::NoSuchDisk { .. } | Self::AmbiguousDisk { .. } | Self::NoDisks => {
                Cause::DiskMissing
            }
            Self::WriteProtected | Self::Locked | Self::HiddenNamespaces { .. } => {
                Cause::DiskLocked
            }
            Self::Client(_) | Self::Image(Image::ChunkDamaged(_) | Image::Incomplete { .. }) => {
                Cause::ImageNotFetched
            }
            Self::Image(_) | Self::NoKernel { .. } | Self::LoadKernel(_) => Cause::ImageUnusable,
            Self::NoInterface { .. } => Cause::NicMissing,
            Self::WrongMachine { .. } => Cause::WrongMachine,
            Self::Superseded | Self::OldGeneration { .. } => Cause::Overtaken,
            Self::Bug(_) | Self::Randomness => Cause::InternalError,
            Self::File { .. }
            | Self::Interface { .. }
            | Self::Conductor { .. }
            | Self::NotAConfigDrive
            | Self::NotPlaced { .. }
            | Self::NothingLoaded
            | Self::NeighborsSilent { .. } => Cause::AgentFailed,
        }
    }

    /// This error, as one of this disk.
    pub(crate) fn on(self, disk: &Disk) -> Self {
        match self {
            Self::Superseded => Self::Superseded,
            error => Self::OnDisk {
                disk: disk.name.clone(),
                serial: disk.serial.clone(),
                source: Box::new(error),
            },
        }
    }

    /// This error, with the disk's serial number if it is one of the disk that was meant.
    pub(crate) fn of_device(self, meant: &DiskIdentity) -> Self {
        use bessemer_image::Error as Image;
        match self {
            Self::Image(Image::Disk { .. } | Image::File { .. }) => Self::OnDisk {
                disk: meant.name.clone(),
                serial: meant.serial.clone(),
                source: Box::new(self),
            },
            error => error,
        }
    }

    /// Whether trying again makes sense. What a device says or fails to say may pass when the
    /// machine is started anew (controllers that were reset, drives that did not spin up), and the
    /// conductor tries again only so often: so that is transient, whatever it looks like.
    fn class(&self) -> FailureClass {
        use bessemer_image::Error as Image;
        match self {
            Self::OnDisk { source, .. } => source.class(),
            Self::Client(error) if error.is_final() => FailureClass::Permanent,
            Self::Client(_)
            | Self::Superseded
            | Self::NeighborsSilent { .. }
            | Self::DiskHangs { .. }
            | Self::SizeChanged { .. }
            | Self::Image(Image::ChunkDamaged(_) | Image::Incomplete { .. }) => {
                FailureClass::Transient
            }
            Self::Image(Image::Disk { source, .. } | Image::File { source, .. })
            | Self::File { source, .. } => class_of_io(source),
            Self::Image(Image::ChunkMalformed(_))
            | Self::Interface { .. }
            | Self::NoInterface { .. }
            | Self::Conductor { .. }
            | Self::NoSuchDisk { .. }
            | Self::AmbiguousDisk { .. }
            | Self::NoDisks
            | Self::NotErased { .. }
            | Self::WriteProtected
            | Self::Locked
            | Self::HiddenNamespaces { .. }
            | Self::ReadBack { .. } => FailureClass::Operator,
            Self::Bug(_) | Self::Randomness => FailureClass::Bug,
            Self::Image(_)
            | Self::WrongMachine { .. }
            | Self::OldGeneration { .. }
            | Self::NotAConfigDrive
            | Self::NotPlaced { .. }
            | Self::NoKernel { .. }
            | Self::LoadKernel(_)
            | Self::NothingLoaded => FailureClass::Permanent,
        }
    }
}

/// What the kernel says of a file or device: being refused stays, failing may pass.
fn class_of_io(error: &io::Error) -> FailureClass {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => FailureClass::Operator,
        InvalidInput | Unsupported => FailureClass::Permanent,
        _ => FailureClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::hardware::Transport;
    use nix::errno::Errno;

    fn disk() -> Disk {
        Disk {
            name: "nvme0n1".into(),
            size_bytes: 1,
            model: String::new(),
            serial: "S4711".into(),
            wwn: None,
            rotational: false,
            transport: Transport::Nvme,
        }
    }

    fn io(errno: Errno) -> Failure {
        Error::Image(bessemer_image::Error::Disk {
            action: "read",
            offset: 0,
            length: 512,
            source: errno.into(),
        })
        .on(&disk())
        .failure()
    }

    #[test]
    fn a_disk_that_fails_or_vanishes_is_tried_again_and_named() {
        for errno in [
            Errno::EIO,
            Errno::ENXIO,
            Errno::ENODEV,
            Errno::ENODATA,
            Errno::ENOSPC,
        ] {
            let failure = io(errno);
            assert_eq!(failure.class, FailureClass::Transient, "{errno}");
            let (disk, cause) = (
                "disk nvme0n1 (serial number S4711): ",
                "cannot read 512 bytes",
            );
            assert!(failure.message.starts_with(disk), "{}", failure.message);
            assert!(failure.message.contains(cause), "{}", failure.message);
        }
        let shrunk = Error::SizeChanged {
            expected: 8 << 30,
            found: 0,
        };
        assert_eq!(shrunk.on(&disk()).class(), FailureClass::Transient);
    }

    #[test]
    fn what_a_reboot_cannot_mend_is_for_a_person() {
        for errno in [Errno::EROFS, Errno::EACCES] {
            assert_eq!(io(errno).class, FailureClass::Operator, "{errno}");
        }
        for error in [
            Error::NotErased { offset: 7 },
            Error::WriteProtected,
            Error::Locked,
            Error::HiddenNamespaces {
                namespaces: vec![3],
            },
        ] {
            let failure = error.on(&disk()).failure();
            assert_eq!(failure.class, FailureClass::Operator, "{}", failure.message);
            assert!(failure.message.contains("S4711"), "{}", failure.message);
        }
    }

    /// What people are told and what they do follows from these, and a node's disks are believed to be
    /// locked, or an image to be unusable, by an agent's word alone.
    #[test]
    fn each_is_what_the_catalogue_says() {
        use bessemer_image::Error as Image;
        let broken = |errno: Errno| {
            Error::Image(Image::Disk {
                action: "write",
                offset: 0,
                length: 512,
                source: errno.into(),
            })
        };
        let text = String::new;
        for (error, cause) in [
            (Error::WriteProtected, Cause::DiskLocked),
            (Error::Locked, Cause::DiskLocked),
            (
                Error::HiddenNamespaces {
                    namespaces: vec![3],
                },
                Cause::DiskLocked,
            ),
            (broken(Errno::EROFS), Cause::DiskLocked),
            (broken(Errno::EACCES), Cause::DiskLocked),
            (broken(Errno::EIO), Cause::DiskError),
            (Error::NotErased { offset: 7 }, Cause::DiskError),
            (Error::NoDisks, Cause::DiskMissing),
            (Image::ChunkDamaged(1).into(), Cause::ImageNotFetched),
            (
                ClientError::Short { missing: 1 }.into(),
                Cause::ImageNotFetched,
            ),
            (Image::ChunkMalformed(1).into(), Cause::ImageUnusable),
            (Image::PartitionTable(text()).into(), Cause::ImageUnusable),
            (
                Image::NoRoomForConfigDrive(text()).into(),
                Cause::ImageUnusable,
            ),
            (
                Error::NoKernel {
                    disk: text(),
                    message: text(),
                },
                Cause::ImageUnusable,
            ),
            (
                Error::LoadKernel(Errno::ENOEXEC.into()),
                Cause::ImageUnusable,
            ),
            (Error::Superseded, Cause::Overtaken),
            (Error::Bug(text()), Cause::InternalError),
            (Error::Randomness, Cause::InternalError),
            (Error::NothingLoaded, Cause::AgentFailed),
        ] {
            let said = error.to_string();
            let told = error.failure();
            assert_eq!(told.cause, Some(cause), "{said}");
            assert!(cause.may_come_from_an_agent(), "{said} is not believed");
            let is_bug = told.class == FailureClass::Bug;
            assert_eq!(is_bug, cause == Cause::InternalError, "{said}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_disk_stays_that_when_the_disk_is_named() {
        for (error, cause) in [
            (Error::Locked, Cause::DiskLocked),
            (Error::NothingLoaded, Cause::DiskError),
            (Error::Bug("a".into()), Cause::InternalError),
        ] {
            let said = error.to_string();
            assert_eq!(error.on(&disk()).failure().cause, Some(cause), "{said}");
        }
        assert!(matches!(Error::Superseded.on(&disk()), Error::Superseded));
    }
}
