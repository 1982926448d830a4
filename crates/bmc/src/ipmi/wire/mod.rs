//! The bytes of IPMI over LAN: *IPMI v2.0 rev 1.1*, sections 13 (sessions), 15 (SOL) and 22.
//!
//! Pure: no socket and no clock. Both ends are here, because our lab's BMC is the other end; that
//! they agree with the rest of the world is tested against programs we did not write. Nothing that
//! arrives is trusted: every function takes any bytes and answers `None` to what is not the thing.

mod crypto;
mod message;
mod packet;
mod rakp;
mod sol;
mod window;

pub use crypto::{CipherSuite, SessionKeys, same};
pub use message::{Message, REMOTE_CONSOLE, THE_BMC};
pub use packet::{MAX_DATAGRAM, Packet, PayloadType, presence_ping, seal, wrap, wrap_v15};
pub use rakp::{
    Exchange, OpenSession, OpenedSession, Rakp1, Rakp2, Rakp3, Rakp4, RakpRefusal, RakpStatus,
};
pub use sol::{SOL_MAX_DATA, SolFlags, SolPacket};
pub use window::Window;

/// Longest password (section 22.30, 20-byte passwords), in bytes.
pub const MAX_PASSWORD: usize = 20;

/// Longest user name (section 22.28), in bytes.
pub const MAX_USERNAME: usize = 16;

/// The four bytes at `at`, least significant first.
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The sixteen bytes at `at`.
fn sixteen_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at.checked_add(16)?)?.try_into().ok()
}
