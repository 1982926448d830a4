//! TFTP, to read, and only the few files that PXE loads.
//!
//! PXE knows nothing else, so it is needed for the one step from the firmware to iPXE. It is also
//! the favourite of those who want a small packet with a forged sender to make a large one. So:
//! files are known by name beforehand and no name is ever looked for in a folder; only addresses
//! that are booting now are answered, all others get silence; nobody is sent more than one small
//! packet, thrice, before they have proven that they hear it; transfers are few and end.
//!
//! RFC 1350, with options of RFC 2347: block size (2348), timeout and transfer size (2349), window
//! size (7440). [`packet`] has the format, [`transfer`] sends one file, [`server`] owns the port.

pub mod packet;
mod server;
mod transfer;

pub use packet::{MAX_BLOCK_SIZE, MAX_WINDOW_SIZE};
pub use server::{Event, Files, Guard, Refusal, bind, serve};
