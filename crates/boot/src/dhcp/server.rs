//! The socket and the loop: receive, look up, answer, tell.

use std::collections::HashMap;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bessemer_core::net::MacAddress;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind as bind_socket, setsockopt, socket, sockopt,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::message::{BootLease, Config, Kind, Reply, Request, Silence};
use crate::{Error, Result};

/// Where servers listen (RFC 2131 §4.1).
const SERVER_PORT: u16 = 67;

/// More than any Ethernet packet holds without fragments.
const MAX_PACKET: usize = 2048;

/// How long a look-up may take. Firmware asks again after 4 seconds.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

/// The same event for the same MAC address is told once in this time.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// Events remembered for that purpose: bounds the memory that a flood of invented MAC addresses
/// can take. While it is full, new events are dropped.
const MAX_REMEMBERED: usize = 1024;

/// Who is to boot the agent now.
pub trait Directory: Send + Sync {
    /// What `mac` is to get, or `None` if it is not to boot now. An error makes the server stay
    /// silent; the client asks again. Asked for every packet, so it must be cheap.
    fn lookup(
        &self,
        mac: MacAddress,
    ) -> impl Future<Output = Result<Option<BootLease>, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// What happened on the provisioning network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// A client got an answer.
    Answered {
        /// Who.
        mac: MacAddress,
        /// What.
        kind: Kind,
        /// The node's address; in a NAK the one it should have asked for.
        address: Ipv4Addr,
    },
    /// A client got none.
    Silent {
        /// Who, if that could be read.
        mac: Option<MacAddress>,
        /// Why.
        reason: Silence,
    },
}

/// A socket on port 67 that hears and speaks on `interface` alone. Needs `CAP_NET_BIND_SERVICE`
/// and `CAP_NET_RAW`.
pub fn bind(interface: &str) -> Result<UdpSocket> {
    let failed = |source: io::Error| Error::Socket {
        action: "listen on port 67",
        remedy: format!(
            "check that interface {interface} exists, that no other DHCP server runs on it and \
             that Bessemer may use low ports"
        ),
        source,
    };
    let socket = open(interface).map_err(|errno| failed(errno.into()))?;
    UdpSocket::from_std(socket.into()).map_err(failed)
}

fn open(interface: &str) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface))?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
    bind_socket(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    Ok(socket)
}

/// Answers on `socket` until the socket fails; dropping the future stops it. `tell` is called for
/// every event, but not again within a minute for the same event of the same client.
pub async fn serve(
    socket: UdpSocket,
    config: Config,
    directory: impl Directory,
    tell: impl Fn(Event) + Send + Sync,
) -> Result<()> {
    let mut buffer = vec![0; MAX_PACKET];
    let mut told = Told::default();
    loop {
        let length = socket
            .recv(&mut buffer)
            .await
            .map_err(|source| Error::Socket {
                action: "receive",
                remedy: "check that its interface still exists".into(),
                source,
            })?;
        let event = match decide(&buffer[..length], &config, &directory).await {
            // One answer that cannot be sent, such as while the link is down, is no reason to
            // leave everybody else without.
            Ok((mac, reply)) => match socket.send_to(&reply.packet, reply.destination).await {
                Ok(_) => Event::Answered {
                    mac,
                    kind: reply.kind,
                    address: reply.address,
                },
                Err(_) => Event::Silent {
                    mac: Some(mac),
                    reason: Silence::SendFailed,
                },
            },
            Err(event) => event,
        };
        if told.is_new(&event, Instant::now()) {
            tell(event);
        }
    }
}

async fn decide(
    packet: &[u8],
    config: &Config,
    directory: &impl Directory,
) -> Result<(MacAddress, Reply), Event> {
    let request = Request::parse(packet).map_err(|(mac, reason)| Event::Silent { mac, reason })?;
    let mac = request.mac();
    let silent = |reason| Event::Silent {
        mac: Some(mac),
        reason,
    };
    let lease = match timeout(LOOKUP_DEADLINE, directory.lookup(mac)).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(_)) | Err(_) => return Err(silent(Silence::DirectoryFailed)),
    };
    let reply = request.answer(config, lease.as_ref()).map_err(silent)?;
    Ok((mac, reply))
}

/// What was told lately.
#[derive(Debug, Default)]
struct Told(HashMap<Event, Instant>);

impl Told {
    fn is_new(&mut self, event: &Event, now: Instant) -> bool {
        if self.0.get(event).is_some_and(|at| now - *at < QUIET_TIME) {
            return false;
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, at| now - *at < QUIET_TIME);
        }
        if self.0.len() >= MAX_REMEMBERED {
            return false;
        }
        self.0.insert(event.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(number: u32) -> Event {
        let [a, b, c, d] = number.to_be_bytes();
        let mac = MacAddress::new([2, 0, a, b, c, d]).ok();
        Event::Silent {
            mac,
            reason: Silence::NotExpected,
        }
    }

    #[test]
    fn an_event_is_told_once_a_minute_and_floods_are_bounded() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert!(told.is_new(&silent(0), start));
        assert!(!told.is_new(&silent(0), start + QUIET_TIME / 2));
        assert!(told.is_new(&silent(0), start + QUIET_TIME));
        let heard = (1..10_000)
            .filter(|n| told.is_new(&silent(*n), start + QUIET_TIME))
            .count();
        assert_eq!(heard, MAX_REMEMBERED - 1);
        assert_eq!(told.0.len(), MAX_REMEMBERED);
        assert!(told.is_new(&silent(20_000), start + QUIET_TIME * 2));
    }
}
