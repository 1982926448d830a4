//! Getting the agent onto a machine that knows nothing yet.
//!
//! Three ways lead to it, and each machine takes one (`bessemer_core::boot_method`):
//!
//! - UEFI HTTP: [`dhcp`] answers the firmware with the URL of one EFI file ([`uki`]);
//! - PXE: [`dhcp`] names iPXE, [`tftp`] serves it, and iPXE fetches a [`script`] with kernel and
//!   initramfs; [`advertisement`] keeps it from waiting for IPv6;
//! - virtual media: the management controller fetches a CD image ([`medium`]) with that EFI file
//!   in it, and there is no DHCP at all.
//!
//! All three compose what is particular to one boot around the one shared kernel and initramfs: a
//! command line, whose words are [`parameters`]. The agent reads the same [`parameters`]; it builds
//! this crate without the `serve` feature.

#[cfg(feature = "serve")]
pub mod advertisement;
#[cfg(feature = "serve")]
pub mod dhcp;
pub mod error;
#[cfg(feature = "serve")]
pub mod medium;
pub mod parameters;
#[cfg(feature = "serve")]
pub mod pieces;
#[cfg(feature = "serve")]
pub mod script;
#[cfg(feature = "serve")]
pub mod tftp;
#[cfg(feature = "serve")]
pub mod uki;

pub use error::{Error, Result};
