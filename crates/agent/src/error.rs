//! Everything that can go wrong on the machine, in words for the person who must act on it.

use std::io;
use std::path::PathBuf;

use bessemer_core::hardware::MachineIdentity;
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
    #[error("there is no disk {wanted} (found: {found}): inspect the node again")]
    NoSuchDisk {
        /// What the command says.
        wanted: String,
        /// Every disk that is there.
        found: String,
    },
    /// Nothing to erase: on a machine with disks that means a missing driver.
    #[error(
        "no disk is visible, so nothing can be said about what the disks hold: check the storage \
         controller, or the RAM disk lacks its driver"
    )]
    NoDisks,
    /// A disk cannot be erased.
    #[error("disk {disk} is not erased: {message}")]
    NotErased {
        /// Kernel name.
        disk: String,
        /// What was seen.
        message: String,
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
    /// The neighbour whose absence is to be the sign to leave is not there in the first place.
    #[error(
        "{neighbor} does not answer ARP although the conductor can be reached, so its silence \
         could not tell that the switch port has moved"
    )]
    NeighborSilent {
        /// The conductor's address, or the gateway's.
        neighbor: std::net::Ipv4Addr,
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
        Failure {
            class: self.class(),
            message: console::printable(&console::causes(self)),
        }
    }

    fn class(&self) -> FailureClass {
        use bessemer_image::Error as Image;
        match self {
            Self::Client(error) if error.is_final() => FailureClass::Permanent,
            Self::Client(_) | Self::Superseded | Self::NeighborSilent { .. } => {
                FailureClass::Transient
            }
            Self::Image(Image::Disk { .. } | Image::File { .. }) => FailureClass::Operator,
            Self::Image(Image::ChunkDamaged(_) | Image::Incomplete { .. }) => {
                FailureClass::Transient
            }
            Self::File { .. }
            | Self::Interface { .. }
            | Self::NoInterface { .. }
            | Self::Conductor { .. }
            | Self::NoSuchDisk { .. }
            | Self::NoDisks
            | Self::NotErased { .. }
            | Self::ReadBack { .. } => FailureClass::Operator,
            Self::Bug(_) | Self::Randomness => FailureClass::Bug,
            Self::Image(_)
            | Self::WrongMachine { .. }
            | Self::OldGeneration { .. }
            | Self::NotAConfigDrive
            | Self::NoKernel { .. }
            | Self::LoadKernel(_)
            | Self::NothingLoaded => FailureClass::Permanent,
        }
    }
}
