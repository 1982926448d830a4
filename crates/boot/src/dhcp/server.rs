//! The sockets and the loop: receive, look up, answer, tell.

use std::collections::HashMap;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bessemer_core::net::MacAddress;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind as bind_socket, setsockopt, socket, sockopt,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::reply::{Config, Expectation, Kind, Mode, Reply};
use super::request::{Client, Port, Relay, Request};
use super::silence::Silence;
use crate::{Error, Result};

/// Where servers listen (RFC 2131 §4.1).
const SERVER_PORT: u16 = 67;

/// Where boot servers beside another DHCP server listen (PXE specification 2.1, §2.2.3).
const BOOT_SERVER_PORT: u16 = 4011;

/// More than any Ethernet packet holds without fragments.
const MAX_PACKET: usize = 2048;

/// How long a look-up may take. Firmware asks again after 4 seconds.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

/// The same event for the same MAC address is told once in this time.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// Requests without an answer that are told one by one within that time. More are no mistake of a
/// cable but a flood, of invented MAC addresses for instance: that is told instead.
const MOST_REFUSALS: usize = 256;

/// Answers remembered for that purpose; only nodes of ours get any.
const MOST_ANSWERS: usize = 4096;

/// Who is to boot what.
pub trait Directory: Send + Sync {
    /// What `mac`, which asks through `relay`, is to do now. An error makes the server stay
    /// silent; the client asks again. Asked for every packet, so it must be cheap.
    fn lookup(
        &self,
        mac: MacAddress,
        relay: Option<&Relay>,
    ) -> impl Future<Output = Result<Expectation, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// What happened on the provisioning network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// A client got an answer.
    Answered {
        /// Who.
        mac: MacAddress,
        /// What kind of firmware it is.
        client: Client,
        /// What.
        kind: Kind,
        /// The node's address, if it is ours to give; in a NAK the one it should have asked for.
        address: Option<Ipv4Addr>,
        /// Whether it was told to boot its disk, rather than the agent.
        boots_disk: bool,
    },
    /// A client got none.
    Silent {
        /// Who, if that could be read.
        mac: Option<MacAddress>,
        /// Why.
        reason: Silence,
    },
    /// More different requests went unanswered within a minute than are told one by one.
    Flood {
        /// How many were told.
        told: usize,
    },
}

/// Where requests come in.
#[derive(Debug)]
pub struct Sockets {
    /// Port 67.
    pub dhcp: UdpSocket,
    /// Port 4011: needed beside another DHCP server only.
    pub boot_server: Option<UdpSocket>,
}

/// Sockets that hear and speak on `interface` alone. Needs `CAP_NET_BIND_SERVICE` and
/// `CAP_NET_RAW`.
pub fn bind(interface: &str, mode: Mode) -> Result<Sockets> {
    Ok(Sockets {
        dhcp: bind_port(interface, SERVER_PORT)?,
        boot_server: match mode {
            Mode::Full => None,
            Mode::Proxy => Some(bind_port(interface, BOOT_SERVER_PORT)?),
        },
    })
}

fn bind_port(interface: &str, port: u16) -> Result<UdpSocket> {
    let failed = |source: io::Error| Error::Socket {
        service: "DHCP",
        action: "listen",
        remedy: format!(
            "check that interface {interface} exists, that no other DHCP server of this host runs \
             on it (port {port}) and that Bessemer may use low ports"
        ),
        source,
    };
    let socket = open(interface, port).map_err(|errno| failed(errno.into()))?;
    UdpSocket::from_std(socket.into()).map_err(failed)
}

/// A UDP socket that hears and speaks on `interface` alone, broadcasts included.
pub(super) fn open(interface: &str, port: u16) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface))?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind_socket(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    Ok(socket)
}

/// Answers on `sockets` until one fails; dropping the future stops it. `tell` is called for
/// every event that is not as it should be, for every answer, and for every machine that is left to
/// its disk, but not again within a minute for the same event of the same client; in a flood, for
/// the flood.
pub async fn serve(
    sockets: &Sockets,
    config: Config,
    directory: impl Directory,
    tell: impl Fn(Event) + Send + Sync,
) -> Result<()> {
    let mut told = Told::default();
    let mut buffers = (vec![0; MAX_PACKET], vec![0; MAX_PACKET]);
    loop {
        let (socket, port, received) = tokio::select! {
            received = sockets.dhcp.recv_from(&mut buffers.0) => {
                (&sockets.dhcp, Port::Dhcp, received.map(|(length, from)| (&buffers.0[..length], from)))
            }
            received = receive(sockets.boot_server.as_ref(), &mut buffers.1) => {
                let Some(socket) = &sockets.boot_server else { continue };
                (socket, Port::BootServer, received.map(|(length, from)| (&buffers.1[..length], from)))
            }
        };
        let (packet, from) = received.map_err(|source| Error::Socket {
            service: "DHCP",
            action: "receive",
            remedy: "check that its interface still exists".into(),
            source,
        })?;
        let event = match decide(packet, port, &config, &directory).await {
            Ok((request, reply)) => send(socket, from, &request, reply).await,
            Err(event) => event,
        };
        let idle = matches!(&event, Event::Silent { reason, .. } if !reason.is_worth_telling());
        if !idle && let Some(news) = told.news(event, Instant::now()) {
            tell(news);
        }
    }
}

/// The next packet, or never if there is no such socket.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

/// One answer that cannot be sent, such as while the link is down, is no reason to leave everybody
/// else without.
async fn send(socket: &UdpSocket, from: SocketAddr, request: &Request, reply: Reply) -> Event {
    let to = reply.destination.map_or(from, SocketAddr::V4);
    match socket.send_to(&reply.packet, to).await {
        Ok(_) => Event::Answered {
            mac: request.mac(),
            client: request.client(),
            kind: reply.kind,
            address: reply.address,
            boots_disk: reply.boots_disk,
        },
        Err(_) => Event::Silent {
            mac: Some(request.mac()),
            reason: Silence::SendFailed,
        },
    }
}

async fn decide(
    packet: &[u8],
    port: Port,
    config: &Config,
    directory: &impl Directory,
) -> Result<(Request, Reply), Event> {
    let request = Request::parse(packet).map_err(|(mac, reason)| Event::Silent { mac, reason })?;
    let silent = |reason| Event::Silent {
        mac: Some(request.mac()),
        reason,
    };
    // Before the directory is asked: what a stranger's relay says may move nothing.
    if let Some(relay) = request.relay()
        && !config.is_relay(relay.address)
    {
        return Err(silent(Silence::UnknownRelay(relay.address)));
    }
    let lookup = directory.lookup(request.mac(), request.relay());
    let expectation = match timeout(LOOKUP_DEADLINE, lookup).await {
        Ok(Ok(expectation)) => expectation,
        Ok(Err(_)) | Err(_) => return Err(silent(Silence::DirectoryFailed)),
    };
    let reply = request.answer(config, port, &expectation).map_err(silent)?;
    Ok((request, reply))
}

/// What was told lately.
#[derive(Debug, Default)]
struct Told {
    answers: HashMap<Event, Instant>,
    /// Requests without an answer, and the flood. Apart, so that no flood of them hides an answer.
    refusals: HashMap<Event, Instant>,
}

impl Told {
    /// What is to be told of `event`, if anything.
    fn news(&mut self, event: Event, now: Instant) -> Option<Event> {
        if let Event::Answered { .. } = event {
            return is_new(&mut self.answers, MOST_ANSWERS, &event, now).then_some(event);
        }
        let flood = Event::Flood {
            told: MOST_REFUSALS,
        };
        self.refusals.retain(|_, at| now - *at < QUIET_TIME);
        if self.refusals.contains_key(&event) {
            return None;
        }
        // One place more is for the flood.
        if is_new(&mut self.refusals, MOST_REFUSALS, &event, now) {
            return Some(event);
        }
        is_new(&mut self.refusals, MOST_REFUSALS + 1, &flood, now).then_some(flood)
    }
}

/// Whether `event` has not been told within [`QUIET_TIME`], and is one of `most`.
fn is_new(told: &mut HashMap<Event, Instant>, most: usize, event: &Event, now: Instant) -> bool {
    if told.get(event).is_some_and(|at| now - *at < QUIET_TIME) {
        return false;
    }
    if told.len() >= most {
        told.retain(|_, at| now - *at < QUIET_TIME);
    }
    if told.len() >= most {
        return false;
    }
    told.insert(event.clone(), now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(number: u32) -> Event {
        Event::Silent {
            mac: mac(number),
            reason: Silence::NotExpected,
        }
    }

    fn mac(number: u32) -> Option<MacAddress> {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress::new([2, 0, a, b, c, d]).ok()
    }

    #[test]
    fn an_event_is_told_once_a_minute_and_a_flood_as_one() {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut tell = |event, at| told.news(event, at);
        assert!(tell(silent(0), start).is_some());
        assert!(tell(silent(0), start + QUIET_TIME / 2).is_none());
        let later = start + QUIET_TIME;
        assert!(tell(silent(0), later).is_some());
        let heard: Vec<_> = (1..10_000).filter_map(|n| tell(silent(n), later)).collect();
        assert_eq!(heard.len(), MOST_REFUSALS);
        let floods = heard.iter().filter(|event| **event == flood()).count();
        assert_eq!(floods, 1);
        assert_eq!(heard.last(), Some(&flood()));
        // Answers are told all the same.
        let answer = Event::Answered {
            mac: mac(1).unwrap(),
            client: Client::UefiHttp,
            kind: Kind::Offer,
            address: None,
            boots_disk: false,
        };
        assert_eq!(tell(answer.clone(), later), Some(answer.clone()));
        assert_eq!(tell(answer, later), None);
        assert!(tell(silent(20_000), start + QUIET_TIME * 3).is_some());
        assert_eq!(told.refusals.len(), 1);
    }

    fn flood() -> Event {
        Event::Flood {
            told: MOST_REFUSALS,
        }
    }
}
