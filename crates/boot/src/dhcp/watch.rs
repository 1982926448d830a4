//! Looking out for DHCP servers that should not be there.
//!
//! A second server on the provisioning network makes machines boot something else, now and then,
//! which is found out late. So from time to time a question is sent that every DHCP server answers
//! and that asks for nothing; whoever else answers, and whoever answers others by broadcast, is
//! told. What a switch passes to one port only is not heard.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bessemer_core::net::MacAddress;
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::request::server_of;
use super::server::open;
use crate::{Error, Result};

/// The vendor class (option 60) of our question, by which our own servers know it.
pub(super) const CLASS: &[u8] = b"bessemer-watch";

/// Where clients listen, and servers are asked.
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// The same server is told again after this time.
const QUIET_TIME: Duration = Duration::from_secs(3600);

/// Servers remembered for that purpose; more are not told, which bounds memory and events.
const MAX_REMEMBERED: usize = 64;

/// More than any Ethernet packet holds without fragments.
const MAX_PACKET: usize = 2048;

/// A DHCP server that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stranger {
    /// What it calls itself (option 54).
    pub server: Ipv4Addr,
}

/// What is watched.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The interface.
    pub interface: String,
    /// Our own server's address.
    pub own: Ipv4Addr,
    /// The client that the question pretends to be: a MAC address that no node has.
    pub mac: MacAddress,
    /// From one question to the next.
    pub every: Duration,
}

/// The server that gave this answer, if it is not `own`.
pub fn stranger(packet: &[u8], own: Ipv4Addr) -> Option<Stranger> {
    let (_, server) = server_of(packet)?;
    (server != own && !server.is_unspecified()).then_some(Stranger { server })
}

/// Asks and listens until the socket fails; dropping the future stops it. `tell` is called for
/// each server at most once an hour.
pub async fn watch(watch: Watch, tell: impl Fn(Stranger) + Send) -> Result<()> {
    let failed = |action, source: std::io::Error| Error::Socket {
        service: "the watch for other DHCP servers",
        action,
        remedy: format!(
            "check that interface {} exists and that no DHCP client of this host holds port 68 on it",
            watch.interface
        ),
        source,
    };
    let socket = open(&watch.interface, CLIENT_PORT)
        .map_err(|errno| failed("listen", errno.into()))
        .and_then(|socket| {
            UdpSocket::from_std(socket.into()).map_err(|source| failed("listen", source))
        })?;
    let mut told: HashMap<Stranger, Instant> = HashMap::new();
    let mut ticks = interval(watch.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; MAX_PACKET];
    let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                // While the link is down there is nobody to ask.
                let _ = socket.send_to(&question(watch.mac), to).await;
            }
            received = socket.recv(&mut buffer) => {
                let length = received.map_err(|source| failed("receive", source))?;
                let Some(found) = stranger(&buffer[..length], watch.own) else { continue };
                if is_new(&mut told, found, Instant::now()) {
                    tell(found);
                }
            }
        }
    }
}

fn is_new(told: &mut HashMap<Stranger, Instant>, found: Stranger, now: Instant) -> bool {
    told.retain(|_, at| now - *at < QUIET_TIME);
    if told.contains_key(&found) || told.len() >= MAX_REMEMBERED {
        return false;
    }
    told.insert(found, now);
    true
}

/// A DHCPDISCOVER; no answer to it is ever accepted, so no address is taken.
fn question(mac: MacAddress) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new(none, none, none, none, &mac.octets());
    message.set_flags(Flags::default().set_broadcast());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ClassIdentifier(CLASS.to_vec()));
    // A message of these few fields always has a form.
    message.to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::request::Request;
    use super::super::silence::Silence;
    use super::*;

    #[test]
    fn our_own_servers_know_the_question() {
        let mac = "52:54:00:77:00:01".parse().unwrap();
        let (from, reason) = Request::parse(&question(mac)).unwrap_err();
        assert_eq!((from, reason), (Some(mac), Silence::Watch));
        assert!(!reason.is_worth_telling());
    }

    #[test]
    fn a_stranger_is_told_once_an_hour_and_a_flood_is_bounded() {
        let (mut told, now) = (HashMap::new(), Instant::now());
        let server = |number: u32| Stranger {
            server: Ipv4Addr::from(number),
        };
        assert!(is_new(&mut told, server(1), now));
        assert!(!is_new(&mut told, server(1), now + QUIET_TIME / 2));
        assert!(is_new(&mut told, server(1), now + QUIET_TIME));
        let later = now + QUIET_TIME;
        let heard = (2..10_000).filter(|n| is_new(&mut told, server(*n), later));
        assert_eq!(heard.count(), MAX_REMEMBERED - 1);
        assert_eq!(told.len(), MAX_REMEMBERED);
    }
}
