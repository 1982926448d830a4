//! The kernel's announcements of new devices (kobject uevents over netlink).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::errno;
use crate::Result;

/// An announcement is a page at most.
const MAX_ANNOUNCEMENT: usize = 8192;

/// A socket on which the kernel announces devices.
#[derive(Debug)]
pub struct Announcements {
    socket: OwnedFd,
}

impl Announcements {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        const KERNEL_GROUP: u32 = 1;
        let failed = errno("listen for", "new devices");
        let (family, kind) = (AddressFamily::Netlink, SockType::Datagram);
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).map_err(&failed)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP)).map_err(&failed)?;
        Ok(Self { socket })
    }

    /// Waits for the next announcement and gives the module alias of the new device, if that is
    /// what was announced.
    pub fn next_alias(&self) -> Option<String> {
        let mut buffer = [0; MAX_ANNOUNCEMENT];
        // An error means that announcements were lost because there were too many at once; the
        // next call waits again.
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
        added_alias(&buffer[..length])
    }
}

/// The module alias of a device that was added. The text is `add@/devices/…`, then `KEY=value`
/// parts, each ended by a NUL.
fn added_alias(announcement: &[u8]) -> Option<String> {
    let mut parts = announcement.split(|byte| *byte == 0);
    if !parts.next()?.starts_with(b"add@") {
        return None;
    }
    let alias = parts.find_map(|part| part.strip_prefix(b"MODALIAS="))?;
    Some(String::from_utf8_lossy(alias).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_added_devices_with_an_alias_count() {
        let added = b"add@/devices/x\0ACTION=add\0MODALIAS=virtio:d1v2\0SEQNUM=1\0";
        assert_eq!(added_alias(added).as_deref(), Some("virtio:d1v2"));
        assert_eq!(
            added_alias(b"remove@/devices/x\0MODALIAS=virtio:d1v2\0"),
            None
        );
        assert_eq!(added_alias(b"add@/devices/x\0ACTION=add\0"), None);
        assert_eq!(added_alias(b""), None);
    }
}
