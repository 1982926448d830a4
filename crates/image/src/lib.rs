//! Disk images, from the file an operator names to the bytes on a node's disk.
//!
//! An image is imported once ([`import`]) into compressed [`chunk`]s and a [`map::BlockMap`]: the
//! list of its non-zero pieces and their hashes. From then on nobody reads the whole image again.
//! The server hands out chunks as they lie in its [`store`], the agent verifies, unpacks and writes
//! them ([`write`]), and the rest of the disk is zeroed by the device itself. Afterwards the partition table is fitted to the
//! real disk ([`gpt`]) and the [`config_drive`] tells the image who it is.
//!
//! The agent builds this crate without the `import` feature: it gets neither HTTP client nor
//! converter, only what has to run in a RAM disk.

pub mod chunk;
pub mod config_drive;
pub mod digest;
pub mod error;
pub mod gpt;
#[cfg(feature = "import")]
pub mod import;
pub mod map;
#[cfg(feature = "import")]
pub mod store;
pub mod write;

pub use error::{Error, Result};
