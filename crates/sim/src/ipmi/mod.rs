//! The other face of a server's management controller: IPMI 2.0 over LAN (*IPMI v2.0 rev 1.1*), beside
//! its Redfish service, with the same account, the same machine and the same faults.
//!
//! Strict where the specification is: sessions are authenticated, signed and encrypted (cipher
//! suites 3 and 17), few, and end after a minute of silence; an operator's commands are refused to
//! a session that has not raised its privilege. It bears what UDP does: a command that comes twice
//! is carried out once.
//!
//! `server` receives and sends; `sessions` is RAKP; `commands` is what can be asked, with `boot`,
//! `chassis`, `storage` and `sol` for the larger subjects; `console` carries the serial line.

mod boot;
mod chassis;
mod commands;
mod console;
mod server;
mod sessions;
mod sol;
mod storage;

pub use server::IpmiServer;

/// Longest password that IPMI can check, in bytes.
pub const MAX_PASSWORD: usize = bessemer_bmc::ipmi::wire::MAX_PASSWORD;

/// Completion codes (table 5-2).
mod code {
    pub(super) const OK: u8 = 0x00;
    pub(super) const BUSY: u8 = 0xc0;
    pub(super) const INVALID_COMMAND: u8 = 0xc1;
    pub(super) const OUT_OF_RANGE: u8 = 0xc9;
    pub(super) const CANNOT_RETURN: u8 = 0xca;
    pub(super) const NOT_PRESENT: u8 = 0xcb;
    pub(super) const INVALID_DATA: u8 = 0xcc;
    pub(super) const TRUNCATED: u8 = 0xc6;
    pub(super) const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;
    pub(super) const NOT_IN_THIS_STATE: u8 = 0xd5;
    pub(super) const UNSPECIFIED: u8 = 0xff;
    /// Of the parameter commands: there is no such parameter.
    pub(super) const NO_SUCH_PARAMETER: u8 = 0x80;
}

/// An answer without its code, or the code of a refusal.
type Answer = Result<Vec<u8>, u8>;
