//! Baseboard management controllers: the second computer in every server, by which the first one
//! is switched on and off and told what to boot.
//!
//! Bessemer asks little of a BMC, and always in the same way: *check, act, verify*. A call first
//! reads whether what is wanted is already so (then nothing is sent), asks for it once, and reads
//! until it is seen, up to the deadline its caller gave. So carrying out an intent twice is
//! harmless, and success means *seen*, not *accepted*: BMCs that answer "204 No Content" and do
//! nothing are not rare.
//!
//! What a BMC can do is [`Bmc`]; how is up to the protocol: [`redfish`] (DMTF DSP0266), or [`ipmi`]
//! (IPMI 2.0 over LAN) for machines without it and for serial consoles.
//! A BMC is a slow, fragile peer whose answers are never trusted: sizes, counts, redirects and
//! times are bounded, one request is in flight at a time, no faster than its model bears, one that
//! does not answer is left alone for a while (`governor`), and every [`Error`] says whose turn it is
//! ([`Error::class`]).

mod bmc;
mod console;
mod credentials;
mod error;
mod exchange;
mod governor;
mod hardware;
pub mod ipmi;
mod random;
pub mod redfish;

pub use bmc::{Bmc, BootDevice, BootMode, Capabilities, PowerAction, PowerState};
pub use console::{ConsoleEnd, SerialConsole};
pub use credentials::Credentials;
pub use error::{Effect, Error};
pub use exchange::{Exchange, ExchangeEnd};
pub use governor::{LeftAlone, Patience};
pub use hardware::{
    BmcInventory, BootOption, Cpu, Drive, Identity, MediaDrive, Nic, StorageController,
};
