//! The controllers of a fleet on the wire: one socket, and as many addresses as there are machines.
//!
//! Linux has all of 127.0.0.0/8 on its loopback interface, so a socket that listens on every address
//! of it hears them all, and the address that a connection came to says which controller is meant.
//! A listening socket for each would cost a file, a task and some kilobytes a machine.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bessemer_tls::SelfSigned;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::redfish::{Bmc, answer};

/// The first half of every controller's address.
const NETWORK: [u8; 2] = [127, 77];

/// Connections that may wait to be accepted: a server's conductor opens many at once.
const BACKLOG: u32 = 1024;

/// How long a connection is kept without a request: longer than the interval of the usual checks,
/// as with controllers that are watched all the time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Connections that each controller has at the same time, on average.
const CONNECTIONS: usize = 4;

/// Pause after a failed `accept`, which only passing shortages cause.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Where the controller of the machine with this number is.
pub(super) fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(NETWORK[0], NETWORK[1], high, low)
}

/// The number of the machine whose controller has this address.
fn number(address: SocketAddr) -> Option<u16> {
    match address.ip() {
        IpAddr::V4(address) => match address.octets() {
            [a, b, high, low] if [a, b] == NETWORK => Some(u16::from_be_bytes([high, low])),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// The listening socket with what answers on it.
pub(super) struct Controllers {
    listener: TcpListener,
    port: u16,
    tls: Option<TlsAcceptor>,
    first: u16,
    bmcs: Arc<[Arc<Bmc>]>,
}

/// Listens for the controllers of the machines from `first` on.
pub(super) fn listen(
    port: u16,
    certificate: Option<&SelfSigned>,
    first: u16,
    bmcs: Arc<[Arc<Bmc>]>,
) -> Result<Controllers, Error> {
    let tls = match certificate {
        Some(certificate) => {
            let mut config = certificate.server_config()?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(TlsAcceptor::from(Arc::new(config)))
        }
        None => None,
    };
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let cannot_listen = |source| Error::Listen { address, source };
    let listener = loopback_listener(address).map_err(cannot_listen)?;
    let port = listener.local_addr().map_err(cannot_listen)?.port();
    Ok(Controllers {
        listener,
        port,
        tls,
        first,
        bmcs,
    })
}

/// A socket that hears every address of the loopback interface, and no other interface.
fn loopback_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from("lo"))?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Controllers {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Answers until this is dropped.
    pub(super) async fn run(self) {
        let limit = self.bmcs.len().saturating_mul(CONNECTIONS);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(RETRY_PAUSE).await;
                continue;
            };
            // Whoever is asked for and is not here is not here: the connection is closed.
            if let Some(bmc) = self.meant(&stream)
                && connections.len() < limit
            {
                connections.spawn(answer(stream, self.tls.clone(), bmc, PATIENCE));
            }
        }
    }

    /// The controller that this connection came to.
    fn meant(&self, stream: &TcpStream) -> Option<Arc<Bmc>> {
        let number = number(stream.local_addr().ok()?)?;
        let index = number.checked_sub(self.first)?;
        self.bmcs.get(usize::from(index)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_belong_together() {
        for each in [1, 255, 256, 10_000, u16::MAX] {
            assert_eq!(number(SocketAddr::from((address(each), 1))), Some(each));
        }
        assert_eq!(address(258).to_string(), "127.77.1.2");
        for other in ["127.0.0.1:1", "[::1]:1", "10.77.0.1:1"] {
            assert_eq!(number(other.parse().unwrap()), None);
        }
    }
}
