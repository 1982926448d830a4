//! RMCP+ sessions as the controller keeps them (sections 13.15 to 13.24).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bessemer_bmc::ipmi::wire::{
    CipherSuite, Exchange, Message, OpenSession, OpenedSession, Packet, PayloadType, Rakp1, Rakp2,
    Rakp3, Rakp4, RakpRefusal, RakpStatus, SessionKeys, Window, same, seal, wrap,
};
use uuid::Uuid;

use super::MAX_PASSWORD;
use crate::redfish::Bmc;

/// Simultaneous sessions, those included that are being opened.
const SESSION_LIMIT: usize = 16;
/// A session ends after this long without a packet (section 6.12.15).
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Time for the four messages that open one.
const OPENING_LIMIT: Duration = Duration::from_secs(20);

/// Privilege levels (table 22-19).
pub(super) const USER: u8 = 2;
pub(super) const OPERATOR: u8 = 3;
pub(super) const ADMINISTRATOR: u8 = 4;

/// The privilege level in the role byte of RAKP message 1.
const LEVEL: u8 = 0x0f;

enum Phase {
    Proposed,
    /// The password is known to us; the console is to prove that it knows it.
    Named(Box<Exchange>),
    Open(Box<Open>),
}

/// An open session.
pub(super) struct Open {
    keys: SessionKeys,
    window: Window,
    next_sequence: u32,
    /// The highest level it may raise itself to, and the present one.
    limit: u8,
    pub(super) privilege: u8,
    /// The last command and its answer, for a console that asks again.
    pub(super) last: Option<(Message, Vec<u8>)>,
}

/// A session, open or about to be.
pub(super) struct Session {
    /// Our id of it.
    pub(super) id: u32,
    /// The console's id of it.
    console: u32,
    suite: CipherSuite,
    phase: Phase,
    pub(super) peer: SocketAddr,
    used: Instant,
}

/// What arrived within a session.
pub(super) struct Received {
    pub(super) session: u32,
    pub(super) sequence: u32,
    pub(super) payload_type: PayloadType,
    pub(super) payload: Vec<u8>,
}

impl Session {
    pub(super) fn open(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            _ => None,
        }
    }

    /// A packet of this session.
    pub(super) fn seal(&mut self, payload_type: PayloadType, payload: &[u8]) -> Option<Vec<u8>> {
        let console = self.console;
        let open = self.open()?;
        let sequence = open.next_sequence;
        open.next_sequence = sequence.checked_add(1).unwrap_or(1);
        let vector = *Uuid::new_v4().as_bytes();
        let packet = seal(&open.keys, payload_type, console, sequence, vector, payload);
        Some(packet)
    }

    /// Raises or lowers the privilege, up to what the session was opened for.
    pub(super) fn set_privilege(&mut self, level: u8) -> Option<u8> {
        let open = self.open()?;
        if level > open.limit || level == 1 {
            return None;
        }
        // 0 asks for the present level.
        if level != 0 {
            open.privilege = level;
        }
        Some(open.privilege)
    }

    fn is_alive(&self, now: Instant) -> bool {
        let limit = match self.phase {
            Phase::Open(_) => IDLE_LIMIT,
            _ => OPENING_LIMIT,
        };
        now.duration_since(self.used) < limit
    }
}

/// The sessions of one controller.
#[derive(Default)]
pub(super) struct Sessions(Vec<Session>);

impl Sessions {
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Session> {
        self.0.iter_mut().find(|session| session.id == id)
    }

    pub(super) fn close(&mut self, id: u32) {
        self.0.retain(|session| session.id != id);
    }

    /// Forgets those that have been silent for too long.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        self.0.retain(|session| session.is_alive(now));
    }

    /// The answer to a message that opens a session, if it deserves one.
    pub(super) fn advance(
        &mut self,
        packet: &Packet<'_>,
        peer: SocketAddr,
        bmc: &Bmc,
    ) -> Option<Vec<u8>> {
        let payload = packet.clear()?;
        match packet.payload_type {
            PayloadType::OpenSessionRequest => {
                let answer = self.propose(&OpenSession::decode(payload)?, peer);
                Some(wrap(PayloadType::OpenSessionResponse, &answer))
            }
            PayloadType::Rakp1 => {
                let answer = self.name(Rakp1::decode(payload)?, bmc);
                Some(wrap(PayloadType::Rakp2, &answer))
            }
            PayloadType::Rakp3 => {
                let answer = self.prove(&Rakp3::decode(payload)?, bmc)?;
                Some(wrap(PayloadType::Rakp4, &answer))
            }
            _ => None,
        }
    }

    fn propose(&mut self, message: &OpenSession, peer: SocketAddr) -> Vec<u8> {
        self.expire();
        let refuse = |status| {
            let refusal = RakpRefusal {
                tag: message.tag,
                status,
                console_session: message.console_session,
            };
            refusal.encode()
        };
        let Some(suite) = CipherSuite::of_algorithms(message.algorithms) else {
            return refuse(RakpStatus::NO_CIPHER_SUITE);
        };
        if message.privilege > ADMINISTRATOR {
            return refuse(RakpStatus::INVALID_ROLE);
        }
        if self.0.len() >= SESSION_LIMIT {
            return refuse(RakpStatus::NO_RESOURCES);
        }
        let id = loop {
            let id = Uuid::new_v4().as_fields().0;
            if id != 0 && self.get(id).is_none() {
                break id;
            }
        };
        self.0.push(Session {
            id,
            console: message.console_session,
            suite,
            phase: Phase::Proposed,
            peer,
            used: Instant::now(),
        });
        let opened = OpenedSession {
            tag: message.tag,
            privilege: match message.privilege {
                0 => ADMINISTRATOR,
                level => level,
            },
            console_session: message.console_session,
            bmc_session: id,
            algorithms: message.algorithms,
        };
        opened.encode(suite)
    }

    fn name(&mut self, message: Rakp1, bmc: &Bmc) -> Vec<u8> {
        let refuse = |status, console_session| {
            let refusal = RakpRefusal {
                tag: message.tag,
                status,
                console_session,
            };
            refusal.encode()
        };
        let Some(session) = self.get(message.bmc_session) else {
            return refuse(RakpStatus::INVALID_SESSION, 0);
        };
        // A message that comes again gets the same answer: whatever is drawn twice would make the
        // console's proof wrong.
        let known = match &session.phase {
            Phase::Named(exchange) if exchange.console_random == message.console_random => {
                Some(exchange.bmc_random)
            }
            Phase::Open(_) => return refuse(RakpStatus::INVALID_SESSION, session.console),
            _ => None,
        };
        let credentials = bmc.credentials();
        if message.username != credentials.username.as_bytes() {
            return refuse(RakpStatus::UNAUTHORIZED_NAME, session.console);
        }
        if !(USER..=ADMINISTRATOR).contains(&(message.role & LEVEL)) {
            return refuse(RakpStatus::INVALID_ROLE, session.console);
        }
        if message.role & LEVEL > bmc.ipmi().privilege {
            return refuse(RakpStatus::UNAUTHORIZED_ROLE, session.console);
        }
        let exchange = Exchange {
            suite: session.suite,
            console_session: session.console,
            bmc_session: session.id,
            console_random: message.console_random,
            bmc_random: known.unwrap_or_else(|| *Uuid::new_v4().as_bytes()),
            guid: guid(bmc),
            role: message.role,
            username: message.username,
        };
        let answer = Rakp2 {
            tag: message.tag,
            console_session: session.console,
            bmc_random: exchange.bmc_random,
            guid: exchange.guid,
            code: exchange.code_of_message_2(&password(bmc)),
        };
        session.phase = Phase::Named(Box::new(exchange));
        session.used = Instant::now();
        answer.encode()
    }

    fn prove(&mut self, message: &Rakp3, bmc: &Bmc) -> Option<Vec<u8>> {
        let session = self.get(message.bmc_session)?;
        let console = session.console;
        let refusal = RakpRefusal {
            tag: message.tag,
            status: RakpStatus::INVALID_INTEGRITY,
            console_session: console,
        };
        // Without an exchange: already open, or never named. Silence, as most controllers do.
        let Phase::Named(exchange) = &session.phase else {
            return None;
        };
        let password = password(bmc);
        let good = message.status == RakpStatus::OK
            && same(&exchange.code_of_message_3(&password), &message.code);
        if !good {
            let id = session.id;
            self.close(id);
            return Some(refusal.encode());
        }
        let key = bmc.ipmi().key;
        let (keys, code) = exchange.keys(key.as_ref().unwrap_or(&password));
        let limit = exchange.role & LEVEL;
        session.used = Instant::now();
        session.phase = Phase::Open(Box::new(Open {
            keys,
            window: Window::default(),
            next_sequence: 1,
            limit,
            privilege: USER,
            last: None,
        }));
        let answer = Rakp4 {
            tag: message.tag,
            console_session: console,
            code,
        };
        Some(answer.encode())
    }

    /// What is in a packet of an open session, if it is one, and new.
    pub(super) fn receive(&mut self, packet: &Packet<'_>, peer: SocketAddr) -> Option<Received> {
        self.expire();
        let session = self.get(packet.session)?;
        let open = session.open()?;
        let payload = packet.open(&open.keys)?;
        if !open.window.accept(packet.sequence) {
            return None;
        }
        session.used = Instant::now();
        session.peer = peer;
        Some(Received {
            session: packet.session,
            sequence: packet.sequence,
            payload_type: packet.payload_type,
            payload,
        })
    }
}

/// The GUID in SMBIOS's order of bytes, as most controllers give it.
pub(super) fn guid(bmc: &Bmc) -> [u8; 16] {
    bmc.machine().inventory().uuid.to_bytes_le()
}

/// The password as IPMI can know it. With credentials that are to be rejected, none.
fn password(bmc: &Bmc) -> Vec<u8> {
    if bmc.faults().get().reject_credentials {
        return Uuid::new_v4().as_bytes().to_vec();
    }
    let password = bmc.credentials().password.as_bytes();
    password[..password.len().min(MAX_PASSWORD)].to_vec()
}
