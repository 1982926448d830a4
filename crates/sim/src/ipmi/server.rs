//! The controller's UDP socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_bmc::ipmi::wire::{
    MAX_DATAGRAM, Message, Packet, PayloadType, SolPacket, presence_ping, wrap_v15,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::code;
use super::commands::Requester;
use super::sessions::{Received, Sessions};
use super::sol::SerialOverLan;
use crate::Error;
use crate::redfish::Bmc;

/// How often sessions and the serial line are looked after while nothing arrives.
const LOOK: Duration = Duration::from_secs(5);

/// A running IPMI service; it stops when dropped.
#[derive(Debug)]
pub struct IpmiServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl IpmiServer {
    /// Serves `bmc` on `listen` (UDP); port 0 takes any free port.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(bmc: Arc<Bmc>, listen: SocketAddr) -> Result<Self, Error> {
        let cannot_listen = |source| Error::Listen {
            address: listen,
            source,
        };
        let socket = UdpSocket::bind(listen).await.map_err(cannot_listen)?;
        let address = socket.local_addr().map_err(cannot_listen)?;
        bmc.set_ipmi(|settings| settings.is_served = true);
        let service = Service {
            sol: SerialOverLan::new(bmc.machine().clone(), address.port()),
            state: State::default(),
            socket,
            bmc,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run());
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("ipmi://{}", self.address)
    }
}

/// What the controller remembers.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: Sessions,
    pub(super) boot_options: super::boot::BootOptions,
}

struct Service {
    socket: UdpSocket,
    bmc: Arc<Bmc>,
    state: State,
    sol: SerialOverLan,
}

impl Service {
    async fn run(mut self) {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let wake = self.sol.due().unwrap_or_else(|| Instant::now() + LOOK);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // An error is about an earlier packet, to a console that has gone.
                    if let Ok((length, peer)) = received
                        && !self.bmc.faults().get().refuse_connections
                    {
                        self.take(&buffer[..length], peer).await;
                    }
                }
                () = self.sol.listen() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            self.state.sessions.expire();
            self.send_console().await;
        }
    }

    async fn take(&mut self, datagram: &[u8], peer: SocketAddr) {
        if let Some(pong) = presence_ping(datagram) {
            return self.send(&pong, peer).await;
        }
        let Some(packet) = Packet::parse(datagram) else {
            return;
        };
        if packet.session != 0 {
            if let Some(received) = self.state.sessions.receive(&packet, peer) {
                self.take_payload(received).await;
            }
            return;
        }
        if packet.payload_type == PayloadType::Ipmi {
            return self.answer_stranger(&packet, peer).await;
        }
        let answer = self.state.sessions.advance(&packet, peer, &self.bmc);
        if let Some(answer) = answer {
            self.send(&answer, peer).await;
        }
    }

    /// Commands that need no session.
    async fn answer_stranger(&mut self, packet: &Packet<'_>, peer: SocketAddr) {
        let Some(request) = packet.clear().and_then(Message::decode) else {
            return;
        };
        let mut requester = Requester {
            bmc: &self.bmc,
            state: &mut self.state,
            sol: &mut self.sol,
            session: None,
        };
        let answer = requester.answer(&request).await;
        let response = request.response(answer).encode();
        let response = match packet.version_15 {
            true => wrap_v15(&response),
            false => bessemer_bmc::ipmi::wire::wrap(PayloadType::Ipmi, &response),
        };
        self.send(&response, peer).await;
    }

    async fn take_payload(&mut self, received: Received) {
        let session = received.session;
        match received.payload_type {
            PayloadType::Ipmi => {
                if let Some(request) = Message::decode(&received.payload) {
                    self.answer_session(session, request).await;
                }
            }
            PayloadType::Sol => {
                if let Some(packet) = SolPacket::decode(&received.payload) {
                    let answer = self.sol.take(session, received.sequence, &packet).await;
                    if let Some(answer) = answer {
                        self.send_payload(session, PayloadType::Sol, &answer.encode())
                            .await;
                    }
                }
            }
            _ => {}
        }
    }

    async fn answer_session(&mut self, session: u32, request: Message) {
        let known = self.state.sessions.get(session).and_then(|session| {
            let (asked, answer) = session.open()?.last.as_ref()?;
            (*asked == request).then(|| answer.clone())
        });
        let busy = self.bmc.faults().take_unavailable_answer();
        let answer = match known {
            Some(answer) => answer,
            None if busy => vec![code::BUSY],
            None => {
                let mut requester = Requester {
                    bmc: &self.bmc,
                    state: &mut self.state,
                    sol: &mut self.sol,
                    session: Some(session),
                };
                requester.answer(&request).await
            }
        };
        let response = request.response(answer.clone()).encode();
        // The answer to "close the session" still belongs to it.
        let closes = super::commands::closes(&request) && answer.first() == Some(&code::OK);
        if let Some(open) = self
            .state
            .sessions
            .get(session)
            .and_then(|session| session.open())
            && answer.first() != Some(&code::BUSY)
        {
            open.last = Some((request, answer));
        }
        self.send_payload(session, PayloadType::Ipmi, &response)
            .await;
        if closes {
            self.state.sessions.close(session);
        }
        for (session, goodbye) in self.sol.goodbyes() {
            self.send_payload(session, PayloadType::Sol, &goodbye.encode())
                .await;
        }
    }

    /// Sends what the machine wrote, or repeats it, to the session that has the console.
    async fn send_console(&mut self) {
        let Some(session) = self.sol.holder() else {
            return;
        };
        if self.state.sessions.get(session).is_none() {
            self.sol.release(session);
            return;
        }
        if let Some(packet) = self.sol.next_packet() {
            self.send_payload(session, PayloadType::Sol, &packet.encode())
                .await;
        }
    }

    async fn send_payload(&mut self, session: u32, payload_type: PayloadType, payload: &[u8]) {
        let Some(session) = self.state.sessions.get(session) else {
            return;
        };
        let peer = session.peer;
        if let Some(packet) = session.seal(payload_type, payload) {
            self.send(&packet, peer).await;
        }
    }

    async fn send(&self, datagram: &[u8], peer: SocketAddr) {
        if let Err(error) = self.socket.send_to(datagram, peer).await {
            tracing::debug!(%error, %peer, "datagram not sent");
        }
    }
}
