//! When has this machine left the provisioning network?
//!
//! The tenant's operating system may only start where the conductor is not. What tells the two
//! networks apart is layer 2: the conductor's host answers ARP for its address as long as its
//! kernel runs, whatever becomes of the conductor's process, its firewall or its certificate; and
//! an answer arrives or does not within a millisecond, while TCP would wait for a minute on a
//! stale neighbour entry. So the agent asks again and again, and is gone only after a row of
//! unanswered questions on a link that is up. If a conductor is behind a router, the router is
//! the neighbour that is asked; where there are several conductors, none of them may answer.
//!
//! Limits, for who relies on this: where there is only one such neighbour, a host that loses power
//! while an agent waits looks the same as a moved port.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bessemer_core::net::MacAddress;

use super::packet::PacketSocket;
use super::{arp, interface};
use crate::machine::Machine;
use crate::{Error, Result};

/// From one question to the next.
const INTERVAL: Duration = Duration::from_millis(200);

/// Unanswered questions in a row after which the neighbours are gone: one second.
const ENOUGH_SILENCE: u32 = 5;

/// The neighbours by which the provisioning network is known, and who asks for them.
#[derive(Clone, Debug)]
pub struct Witnesses {
    /// Kernel name of the interface.
    pub interface: String,
    /// The interface's address.
    pub mac: MacAddress,
    /// The agent's own address.
    pub own: Ipv4Addr,
    /// The conductors, or the routers before them; at least one.
    pub addresses: Vec<Ipv4Addr>,
}

/// Counts silence.
#[derive(Debug, Default)]
struct Silence {
    questions: u32,
}

impl Silence {
    /// Takes the outcome of one question and says whether the neighbours are gone.
    fn observe(&mut self, answered: bool, link_is_up: bool) -> bool {
        // Without a link nothing is known: the switch may be moving the port.
        self.questions = if answered || !link_is_up {
            0
        } else {
            self.questions + 1
        };
        self.questions >= ENOUGH_SILENCE
    }
}

impl fmt::Display for Witnesses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(formatter, "{before}{address}")?;
        }
        Ok(())
    }
}

impl Witnesses {
    /// Whether one of them answers within `limit`.
    pub fn answer(&self, machine: &Machine, limit: Duration) -> Result<bool> {
        let (socket, index) = self.open(machine)?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.ask(&socket, index)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open(&self, machine: &Machine) -> Result<(PacketSocket, i32)> {
        let index = interface::index(machine, &self.interface)
            .ok_or_else(|| self.failed(std::io::ErrorKind::NotFound.into()))?;
        let socket =
            PacketSocket::open(libc::ETH_P_ARP as u16, Some(index)).map_err(|e| self.failed(e))?;
        Ok((socket, index))
    }

    /// Asks each of them once and listens for one interval, to its end if none answers.
    fn ask(&self, socket: &PacketSocket, index: i32) -> Result<bool> {
        let deadline = Instant::now() + INTERVAL;
        for address in &self.addresses {
            match socket.broadcast(index, &arp::who_has(*address, self.own, self.mac)) {
                // The link is down just now; the caller looks at that.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                result => result.map_err(|error| self.failed(error))?,
            }
        }
        let mut buffer = [0; 256];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if left.is_zero() {
                break;
            }
            socket
                .set_patience(left)
                .map_err(|error| self.failed(error))?;
            match socket.receive(&mut buffer) {
                Ok(Some(received))
                    if arp::sender(&buffer[..received.length])
                        .is_some_and(|sender| self.addresses.contains(&sender)) =>
                {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    std::thread::sleep(left.min(INTERVAL));
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(false)
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Interface {
            action: "ask for neighbours on",
            interface: self.interface.clone(),
            source,
        }
    }
}

/// Watches until all witnesses are gone (`true`), or until `deadline` or `stopped` (`false`).
/// Blocks. One must have been seen to answer before, or their silence says nothing.
pub fn watch_departure(
    machine: &Machine,
    witnesses: &Witnesses,
    deadline: Instant,
    stopped: impl Fn() -> bool,
) -> Result<bool> {
    let (socket, index) = witnesses.open(machine)?;
    let mut silence = Silence::default();
    while Instant::now() < deadline && !stopped() {
        let begun = Instant::now();
        let answered = witnesses.ask(&socket, index)?;
        if silence.observe(
            answered,
            interface::has_carrier(machine, &witnesses.interface),
        ) {
            return Ok(!stopped());
        }
        std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_on_a_link_that_is_up_counts() {
        let mut silence = Silence::default();
        for _ in 0..ENOUGH_SILENCE - 1 {
            assert!(!silence.observe(false, true));
        }
        assert!(!silence.observe(true, true));
        for _ in 0..ENOUGH_SILENCE - 1 {
            assert!(!silence.observe(false, true));
        }
        assert!(!silence.observe(false, false));
        for _ in 0..ENOUGH_SILENCE - 1 {
            assert!(!silence.observe(false, true));
        }
        assert!(silence.observe(false, true));
    }
}
