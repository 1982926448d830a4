//! Datagrams to a BMC and back. Some get lost, come twice, late or from nobody: whatever is asked
//! is repeated with growing pauses, and whatever arrives is held against what was asked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::endpoint::IpmiEndpoint;
use super::wire::MAX_DATAGRAM;
use crate::Error;
use crate::random::jitter;

/// Pauses before a question is repeated, in milliseconds, each one lengthened by up to a quarter
/// at random, so that a room full of BMCs is not asked in step. Busy BMCs answer late: an answer
/// to any of the tries counts. After the last one the BMC is taken for silent.
pub(super) const PATIENT: &[u64] = &[400, 800, 1600, 2400, 2400];

/// The same for messages that some BMCs answer once only: beginning anew helps, repeating does not.
pub(super) const IMPATIENT: &[u64] = &[400, 800, 1600];

/// A socket that speaks to one BMC only.
#[derive(Debug)]
pub(super) struct Link {
    socket: UdpSocket,
    bmc: Arc<str>,
    requests: Arc<AtomicU64>,
}

/// What came back, and after how many tries.
pub(super) struct Answered<T> {
    pub(super) value: T,
    pub(super) tries: usize,
}

impl Link {
    pub(super) async fn connect(
        endpoint: &IpmiEndpoint,
        bmc: &Arc<str>,
        requests: &Arc<AtomicU64>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let connecting = async {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host(endpoint.host_and_port()).await? {
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).await?;
                match socket.connect(address).await {
                    Ok(()) => return Ok(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let socket = match timeout_at(deadline, connecting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(unreachable(bmc, "its address", error)),
            Err(_) => return Err(timed_out(bmc, "finding its address")),
        };
        Ok(Self {
            socket,
            bmc: Arc::clone(bmc),
            requests: Arc::clone(requests),
        })
    }

    /// Sends a datagram. What the network says of earlier ones is no reason not to.
    pub(super) async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.socket.send(datagram).await.map(drop)
    }

    /// The next datagram. Cancel-safe.
    pub(super) async fn receive(&self, buffer: &mut [u8; MAX_DATAGRAM]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }

    /// Sends what `packet` makes until `accept` takes an answer, with these pauses between; `doing`
    /// says what it is about.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when nothing acceptable comes after all tries, [`Error::TimedOut`]
    /// when the deadline is earlier.
    pub(super) async fn ask<T>(
        &self,
        doing: &str,
        pauses: &[u64],
        deadline: Instant,
        mut packet: impl FnMut() -> Vec<u8>,
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Answered<T>, Error> {
        let mut problem = None;
        for (index, pause) in pauses.iter().copied().enumerate() {
            if Instant::now() >= deadline {
                return Err(timed_out(&self.bmc, doing));
            }
            if let Err(error) = self.send(&packet()).await {
                problem = Some(error);
            }
            let pause = jitter(Duration::from_millis(pause));
            let until = deadline.min(Instant::now() + pause);
            let listening = self.listen(&mut accept, &mut problem);
            if let Ok(value) = timeout_at(until, listening).await {
                let tries = index + 1;
                return Ok(Answered { value, tries });
            }
        }
        if Instant::now() >= deadline {
            return Err(timed_out(&self.bmc, doing));
        }
        let silence = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
        Err(unreachable(
            &self.bmc,
            doing,
            problem.unwrap_or_else(silence),
        ))
    }

    async fn listen<T>(
        &self,
        accept: &mut impl FnMut(&[u8]) -> Option<T>,
        problem: &mut Option<io::Error>,
    ) -> T {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match self.receive(&mut buffer).await {
                Ok(length) => {
                    if let Some(value) = accept(&buffer[..length]) {
                        return value;
                    }
                }
                // "Port unreachable" and the like, about an earlier datagram: a BMC that restarts
                // says so too. The pause goes on; a socket that only fails must not keep others
                // from their work.
                Err(error) => {
                    *problem = Some(error);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

fn unreachable(bmc: &str, doing: &str, source: io::Error) -> Error {
    Error::Unreachable {
        bmc: bmc.to_owned(),
        detail: format!("{doing}: {source} (IPMI over LAN, UDP)"),
        source: Box::new(source),
    }
}

pub(super) fn timed_out(bmc: &str, doing: &str) -> Error {
    Error::TimedOut {
        bmc: bmc.to_owned(),
        doing: doing.to_owned(),
    }
}
