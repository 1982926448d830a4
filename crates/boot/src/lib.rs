//! Getting the agent onto a machine that knows nothing yet.
//!
//! A node that is to boot the agent asks for an address like any other UEFI machine. [`dhcp`]
//! answers it, and only it, with the URL of a boot file; [`uki`] composes that file around the one
//! shared kernel and initramfs, with a command line that belongs to this one boot; [`parameters`]
//! is what that command line says. There is no second DHCP, no boot script, and nothing in the
//! shared parts that differs from node to node.
//!
//! The agent reads the same [`parameters`]; it builds this crate without the `serve` feature.

#[cfg(feature = "serve")]
pub mod dhcp;
pub mod error;
pub mod parameters;
#[cfg(feature = "serve")]
pub mod uki;

pub use error::{Error, Result};
