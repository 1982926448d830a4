//! Everything that can go wrong on the way to a booted agent, before the node is involved.

use std::io;

/// What went wrong. The text says what was found and what to do; `source` has the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is not on the kernel command line.
    #[error("the kernel command line has no {0}: this machine was not booted by Bessemer")]
    MissingParameter(&'static str),
    /// A parameter cannot be used. The value is not shown, since it may be a secret.
    #[error("the kernel parameter {name} is not valid: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The EFI stub, kernel or initramfs is not what it should be.
    #[error("cannot make a boot file: {0}")]
    BootFile(String),
    /// The kernel command line is too long for its place in the boot file.
    #[error("the kernel command line has {found} bytes and at most {limit} fit")]
    CommandLineTooLong {
        /// Its length in bytes.
        found: usize,
        /// The bound in bytes.
        limit: usize,
    },

    /// A socket of a boot service could not be used.
    #[error("{service} cannot {action}: {remedy}")]
    Socket {
        /// Which service.
        service: &'static str,
        /// What was attempted.
        action: &'static str,
        /// What to look at.
        remedy: String,
        /// What the kernel said.
        source: io::Error,
    },

    /// A boot loader's file cannot be served.
    #[error(
        "cannot read the boot loader {path}: {reason}; install Debian's package `ipxe`, or set `provisioning.ipxe`"
    )]
    BootLoader {
        /// Which file.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
}

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
