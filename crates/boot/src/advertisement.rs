//! Router advertisements that say: there is no IPv6 here.
//!
//! iPXE asks for IPv6 routers beside DHCP and waits 16 seconds if nobody answers. An advertisement
//! with a router lifetime of zero, no prefix and no DHCPv6 tells it that there is nothing to wait
//! for, and gives nobody a route (RFC 4861 §4.2, §6.2.3).
//!
//! An answer is smaller than most questions, goes to the asker alone, and only to link-local
//! addresses of the same link: nothing can be amplified. Floods are answered a few times a second.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6,
    recvmsg, setsockopt, socket, sockopt,
};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::{Error, Result};

/// All routers of the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What every packet of neighbour discovery must have: it has passed no router (RFC 4861 §6.1.1).
const HOP_LIMIT: i32 = 255;

/// ICMPv6 types (RFC 4861 §4.1, §4.2).
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

/// A solicitation without options.
const SHORTEST_SOLICITATION: usize = 8;

/// Answers in a second, whoever asks.
const MOST_A_SECOND: u32 = 32;

/// Code, checksum (by the kernel), hop limit unspecified, no flags, lifetime 0, no timers.
const NOTHING_HERE: [u8; 16] = [ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A socket that hears solicitations on `interface` alone. Needs `CAP_NET_RAW`, and IPv6 on the
/// interface.
pub fn bind(interface: &str) -> Result<UdpSocket> {
    let failed = |source: std::io::Error| Error::Socket {
        service: "the router advertisement",
        action: "listen",
        remedy: format!(
            "check that interface {interface} has IPv6 (sysctl disable_ipv6); without it iPXE \
             waits 16 s longer"
        ),
        source,
    };
    let socket = open(interface).map_err(|errno| failed(errno.into()))?;
    let index = if_nametoindex(interface).map_err(|errno| failed(errno.into()))?;
    SockRef::from(&socket)
        .join_multicast_v6(&ALL_ROUTERS, index)
        .map_err(failed)?;
    // A raw socket is read and written as a datagram socket is.
    UdpSocket::from_std(socket.into()).map_err(failed)
}

fn open(interface: &str) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        flags,
        SockProtocol::IcmpV6,
    )?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface))?;
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    setsockopt(&socket, sockopt::Ipv6Ttl, &HOP_LIMIT)?;
    Ok(socket)
}

/// Answers solicitations until the socket fails; dropping the future stops it.
pub async fn serve(socket: &UdpSocket) -> Result<()> {
    let failed = |source| Error::Socket {
        service: "the router advertisement",
        action: "receive",
        remedy: "check that its interface still exists".into(),
        source,
    };
    let mut pace = Pace::new(Instant::now());
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket));
        let asker = received.await.map_err(failed)?;
        let Some(asker) = asker.filter(|_| pace.allows(Instant::now())) else {
            continue;
        };
        // One that cannot be sent is asked for again.
        let _ = socket.send_to(&NOTHING_HERE, asker).await;
    }
}

/// Who solicits, if the next packet is a solicitation that may be answered.
fn receive(socket: &UdpSocket) -> std::io::Result<Option<SocketAddrV6>> {
    let mut buffer = [0; 256];
    let mut control = cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let mut notes = message.cmsgs()?;
    let is_local = notes.any(|note| note == ControlMessageOwned::Ipv6HopLimit(HOP_LIMIT));
    let (asker, length) = (message.address, message.bytes);
    let packet = &buffer[..length.min(buffer.len())];
    let asker = asker.map(SocketAddrV6::from);
    Ok(asker.filter(|asker| is_local && may_be_answered(packet, *asker.ip())))
}

/// Whether `packet`, from `asker`, is a solicitation (RFC 4861 §4.1) from a link-local address. Takes
/// any bytes.
pub fn may_be_answered(packet: &[u8], asker: Ipv6Addr) -> bool {
    packet.len() >= SHORTEST_SOLICITATION
        && packet.starts_with(&[SOLICITATION, 0])
        && asker.is_unicast_link_local()
}

/// So many answers a second.
struct Pace {
    second: Instant,
    answered: u32,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            second: now,
            answered: 0,
        }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if now - self.second >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.answered += 1;
        self.answered <= MOST_A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_solicitations_from_this_link_are_answered() {
        let local: Ipv6Addr = "fe80::5054:ff:feb5:1".parse().unwrap();
        let solicitation = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        assert!(may_be_answered(&solicitation, local));
        assert!(!may_be_answered(&solicitation[..7], local));
        assert!(!may_be_answered(
            &[ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0],
            local
        ));
        assert!(!may_be_answered(
            &[SOLICITATION, 1, 0, 0, 0, 0, 0, 0],
            local
        ));
        for other in ["2001:db8::1", "::", "ff02::1", "::1"] {
            assert!(
                !may_be_answered(&solicitation, other.parse().unwrap()),
                "{other}"
            );
        }
    }

    #[test]
    fn a_flood_is_answered_a_few_times_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let answered = (0..10_000).filter(|_| pace.allows(start)).count();
        assert_eq!(answered, MOST_A_SECOND as usize);
        assert!(pace.allows(start + Duration::from_secs(1)));
    }
}
