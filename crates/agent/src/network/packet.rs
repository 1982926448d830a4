//! Packet sockets (packet(7)): Ethernet frames of one type, without their header.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A socket for the frames of one EtherType.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: OwnedFd,
    ethertype: u16,
}

/// Where a frame came in, and how many bytes of payload it brought.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) interface: i32,
    pub(super) length: usize,
}

impl PacketSocket {
    /// Opens a socket for `ethertype`, on one interface or (`None`) on all.
    pub(super) fn open(ethertype: u16, interface: Option<i32>) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: socket(2) takes no pointers.
        let number = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(ethertype.to_be())) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the number is a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        let socket = Self { socket, ethertype };
        if let Some(interface) = interface {
            let address = socket.address(interface, [0; 6]);
            // SAFETY: the address outlives the call and its size is its own.
            check(unsafe {
                libc::bind(
                    number,
                    (&raw const address).cast(),
                    size_of_val(&address) as u32,
                )
            })?;
        }
        Ok(socket)
    }

    /// Receives frames for a group address on an interface.
    pub(super) fn join(&self, interface: i32, group: [u8; 6]) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group);
        let membership = libc::packet_mreq {
            mr_ifindex: interface,
            mr_type: libc::PACKET_MR_MULTICAST as u16,
            mr_alen: 6,
            mr_address: address,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
    }

    /// Lets [`PacketSocket::receive`] give up after `limit`, which must not be zero.
    pub(super) fn set_patience(&self, limit: Duration) -> io::Result<()> {
        let patience = libc::timeval {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_usec: libc::suseconds_t::from(limit.subsec_micros().max(1)),
        };
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)
    }

    /// Waits for a frame; `None` when the patience is at its end.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        // SAFETY: an address of zeros is valid.
        let mut from: libc::sockaddr_ll = unsafe { zeroed() };
        let mut size = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: buffer and address outlive the call, with their true sizes.
        let length = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut size,
            )
        };
        if let Ok(length) = usize::try_from(length) {
            return Ok(Some(Received {
                interface: from.sll_ifindex,
                length,
            }));
        }
        match io::Error::last_os_error() {
            error
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            error => Err(error),
        }
    }

    /// Sends a frame to everybody on the interface's network.
    pub(super) fn broadcast(&self, interface: i32, payload: &[u8]) -> io::Result<()> {
        let to = self.address(interface, [0xff; 6]);
        // SAFETY: payload and address outlive the call, with their true sizes.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as u32,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn address(&self, interface: i32, octets: [u8; 6]) -> libc::sockaddr_ll {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&octets);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: self.ethertype.to_be(),
            sll_ifindex: interface,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        }
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: the value outlives the call and its size is its own.
        check(unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const *value).cast(),
                size_of::<T>() as u32,
            )
        })
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
