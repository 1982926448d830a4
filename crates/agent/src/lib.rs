//! The program that a machine runs while it belongs to nobody.
//!
//! It is PID 1 of a RAM disk, alone on the machine, with every disk at its mercy. It trusts
//! exactly one peer, the conductor whose certificate the kernel command line pins, and does what
//! that peer's commands say, for the machine they name and in the order of their generations. It
//! never listens: every connection goes out.
//!
//! Everything but the last step (power off, start of the tenant's kernel) is in this library and
//! works below the root folder that a [`machine::Machine`] names, so that it can be tested against
//! files; the last step is an [`Ending`](session::Ending), which only PID 1 carries out.
//!
//! Where to look:
//! - [`session`]: the conversation with the conductor; [`client`]: its HTTP; [`ledger`]: what has
//!   been commanded before;
//! - [`work`]: the commands themselves;
//! - [`drivers`], [`network`], [`initial`]: what PID 1 does first;
//! - [`inventory`]: what the machine is made of.

pub mod client;
pub mod clock;
pub mod console;
pub mod drivers;
pub mod error;
pub mod initial;
pub mod inventory;
pub mod ledger;
pub mod machine;
pub mod network;
pub mod progress;
pub mod random;
pub mod session;
pub mod work;

pub use error::{Error, Result};
