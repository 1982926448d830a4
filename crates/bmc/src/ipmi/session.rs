//! One RMCP+ session (section 13.15): opening it by RAKP, sending commands in it, closing it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client::{BUSY_PAUSE, MOST_BUSY, is_busy};
use super::link::{Answered, IMPATIENT, Link, PATIENT};
use super::wire::{
    CipherSuite, Exchange, Message, OpenSession, OpenedSession, Packet, PayloadType, Rakp1, Rakp2,
    Rakp3, Rakp4, RakpStatus, SessionKeys, Window, same, seal, wrap,
};
use crate::random::random;
use crate::{Credentials, Error};

/// BMCs end sessions that are idle for 60 s (section 6.12.15). One that may be gone is not used
/// again: its BMC would say nothing, and that looks like a BMC that is away.
const IDLE_LIMIT: Duration = Duration::from_secs(40);

/// Find the account by its name, whatever its privilege (table 13-11).
const NAME_ONLY: u8 = 0x10;

/// How closing is allowed to take: a BMC that has forgotten the session does not answer.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

/// Network function and command numbers used here (appendix G).
const APPLICATION: u8 = 0x06;
const SET_SESSION_PRIVILEGE: u8 = 0x3b;
const CLOSE_SESSION: u8 = 0x3c;

/// What a session may do (table 22-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Operator = 3,
    Administrator = 4,
}

/// What it takes to open a session.
pub(super) struct Login<'a> {
    pub(super) bmc: &'a Arc<str>,
    pub(super) credentials: &'a Credentials,
    /// The BMC's key K_g, if it has one (section 13.33).
    pub(super) key: Option<&'a Zeroizing<Vec<u8>>>,
    pub(super) suite: CipherSuite,
    pub(super) privilege: Privilege,
}

/// Why there is no session.
pub(super) enum Refused {
    /// The cipher suite is not to the BMC's liking.
    Suite,
    /// The account may not have this privilege.
    Privilege,
    /// The two sides lost step by lost and repeated messages: worth beginning anew.
    OutOfStep,
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    keys: SessionKeys,
    console_session: u32,
    bmc_session: u32,
    next_sequence: u32,
    next_request: u8,
    window: Window,
    last_used: Instant,
}

/// What arrived within the session: number of the packet, what it carries, and that.
pub(super) struct Received {
    pub(super) sequence: u32,
    pub(super) payload_type: PayloadType,
    pub(super) payload: Vec<u8>,
}

impl Session {
    /// Opens a session over `link`.
    pub(super) async fn open(
        link: Link,
        login: &Login<'_>,
        deadline: Instant,
    ) -> Result<Self, Refused> {
        let opened = propose(&link, login, deadline).await?;
        let (exchange, again) = identify(&link, login, opened, deadline).await?;
        let keys = prove(&link, login, &exchange, again, deadline).await?;
        let mut session = Self {
            link,
            keys,
            console_session: exchange.console_session,
            bmc_session: exchange.bmc_session,
            next_sequence: 1,
            next_request: 0,
            window: Window::default(),
            last_used: Instant::now(),
        };
        session.take_privilege(login, deadline).await?;
        Ok(session)
    }

    /// A session begins with few privileges, whatever was asked for (section 22.18).
    async fn take_privilege(
        &mut self,
        login: &Login<'_>,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let wanted = [login.privilege as u8];
        let mut tries = 0;
        let answer = loop {
            let answer = self
                .command(APPLICATION, SET_SESSION_PRIVILEGE, &wanted, deadline)
                .await?;
            tries += 1;
            if tries == MOST_BUSY || !answer.first().is_some_and(|code| is_busy(*code)) {
                break answer;
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        };
        match answer.first() {
            Some(0) => Ok(()),
            Some(code) if is_busy(*code) => Err(Refused::OutOfStep),
            // Not available to this account, or above its limit.
            _ if login.privilege == Privilege::Administrator => Err(Refused::Privilege),
            _ => Err(Refused::Other(forbidden(login))),
        }
    }

    /// Sends a command until it is answered: completion code and data, at least the code.
    pub(super) async fn command(
        &mut self,
        network_function: u8,
        command: u8,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let request = self.request(network_function, command, data);
        let payload = request.encode();
        let doing = format!("IPMI command {network_function:02x}/{command:02x}");
        let Self {
            link,
            keys,
            console_session,
            bmc_session,
            next_sequence,
            window,
            ..
        } = self;
        let answered = link
            .ask(
                &doing,
                PATIENT,
                deadline,
                || {
                    seal_next(
                        keys,
                        *bmc_session,
                        next_sequence,
                        PayloadType::Ipmi,
                        &payload,
                    )
                },
                |datagram| {
                    let received = receive(datagram, keys, *console_session, window)?;
                    let message = Message::decode(&received.payload)?;
                    message.answers(&request).then_some(message.data)
                },
            )
            .await?;
        self.last_used = Instant::now();
        Ok(answered.value)
    }

    /// A request with a number of its own.
    pub(super) fn request(&mut self, network_function: u8, command: u8, data: &[u8]) -> Message {
        self.next_request = (self.next_request + 1) % 64;
        Message::request(network_function, command, self.next_request, data)
    }

    /// Sends a payload once, whatever becomes of it.
    pub(super) async fn send(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let sequence = &mut self.next_sequence;
        let packet = seal_next(
            &self.keys,
            self.bmc_session,
            sequence,
            payload_type,
            payload,
        );
        if let Err(error) = self.link.send(&packet).await {
            tracing::debug!(%error, "datagram to a BMC not sent; it is repeated");
        }
    }

    /// What is in a datagram, if it is a packet of this session that has not been seen before.
    pub(super) fn accept(&mut self, datagram: &[u8]) -> Option<Received> {
        receive(datagram, &self.keys, self.console_session, &mut self.window)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Whether the BMC can be expected to know it still.
    pub(super) fn is_fresh(&self) -> bool {
        self.last_used.elapsed() < IDLE_LIMIT
    }

    /// Ends the session. Slots for sessions are few on a BMC.
    pub(super) async fn close(mut self) {
        let id = self.bmc_session.to_le_bytes();
        let until = Instant::now() + CLOSE_LIMIT;
        if let Err(error) = self.command(APPLICATION, CLOSE_SESSION, &id, until).await {
            tracing::debug!(%error, "IPMI session not closed; it times out");
        }
    }
}

fn seal_next(
    keys: &SessionKeys,
    session: u32,
    next_sequence: &mut u32,
    payload_type: PayloadType,
    payload: &[u8],
) -> Vec<u8> {
    let sequence = *next_sequence;
    // 0 marks packets outside of a session.
    *next_sequence = sequence.checked_add(1).unwrap_or(1);
    seal(keys, payload_type, session, sequence, random(), payload)
}

fn receive(
    datagram: &[u8],
    keys: &SessionKeys,
    console_session: u32,
    window: &mut Window,
) -> Option<Received> {
    let packet = Packet::parse(datagram)?;
    if packet.session != console_session {
        return None;
    }
    let payload = packet.open(keys)?;
    window.accept(packet.sequence).then_some(Received {
        sequence: packet.sequence,
        payload_type: packet.payload_type,
        payload,
    })
}

/// The payload of a packet outside of a session, if it is of this type.
fn before_session(datagram: &[u8], wanted: PayloadType) -> Option<Vec<u8>> {
    let packet = Packet::parse(datagram)?;
    let payload = packet.clear()?;
    (packet.payload_type == wanted).then(|| payload.to_vec())
}

/// RMCP+ Open Session: both sides name the session and agree on a cipher suite.
async fn propose(
    link: &Link,
    login: &Login<'_>,
    deadline: Instant,
) -> Result<OpenedSession, Refused> {
    let [tag] = random();
    let console_session = u32::from_le_bytes(random()).max(1);
    let request = OpenSession::encode(tag, login.privilege as u8, console_session, login.suite);
    let request = wrap(PayloadType::OpenSessionRequest, &request);
    let answered = link
        .ask(
            "opening an IPMI 2.0 session",
            PATIENT,
            deadline,
            || request.clone(),
            |datagram| {
                let payload = before_session(datagram, PayloadType::OpenSessionResponse)?;
                OpenedSession::decode(&payload, tag)
            },
        )
        .await?;
    match answered.value {
        Ok(opened) if opened.console_session != console_session || opened.bmc_session == 0 => {
            Err(nonsense(login, "its answer names another session").into())
        }
        Ok(opened) if opened.algorithms != login.suite.algorithms() => Err(Refused::Suite),
        Ok(opened) => Ok(opened),
        Err(status) => Err(refusal(login, status)),
    }
}

/// RAKP messages 1 and 2: the BMC proves that it knows the password. Also whether the question was
/// repeated, so that the BMC may have drawn another random number meanwhile.
async fn identify(
    link: &Link,
    login: &Login<'_>,
    opened: OpenedSession,
    deadline: Instant,
) -> Result<(Exchange, bool), Refused> {
    let [tag] = random();
    let message = Rakp1 {
        tag,
        bmc_session: opened.bmc_session,
        console_random: random(),
        role: NAME_ONLY | login.privilege as u8,
        username: login.credentials.username().as_bytes().to_vec(),
    };
    let request = wrap(PayloadType::Rakp1, &message.encode());
    let answered = link
        .ask(
            "naming the account (RAKP message 1)",
            IMPATIENT,
            deadline,
            || request.clone(),
            |datagram| Rakp2::decode(&before_session(datagram, PayloadType::Rakp2)?, tag),
        )
        .await;
    let answered = or_out_of_step(answered)?;
    let again = answered.tries > 1;
    let answer = match answered.value {
        Ok(answer) => answer,
        Err(RakpStatus::INVALID_SESSION) if again => return Err(Refused::OutOfStep),
        Err(status) => return Err(refusal(login, status)),
    };
    let exchange = Exchange {
        suite: login.suite,
        console_session: opened.console_session,
        bmc_session: opened.bmc_session,
        console_random: message.console_random,
        bmc_random: answer.bmc_random,
        guid: answer.guid,
        role: message.role,
        username: message.username,
    };
    let expected = exchange.code_of_message_2(login.credentials.password().as_bytes());
    if !same(&expected, &answer.code) {
        return Err(wrong_credentials(login).into());
    }
    Ok((exchange, again))
}

/// RAKP messages 3 and 4: we prove that we know the password, and the BMC that it has the keys.
async fn prove(
    link: &Link,
    login: &Login<'_>,
    exchange: &Exchange,
    again: bool,
    deadline: Instant,
) -> Result<SessionKeys, Refused> {
    let [tag] = random();
    let password = login.credentials.password().as_bytes();
    let message = Rakp3 {
        tag,
        status: RakpStatus::OK,
        bmc_session: exchange.bmc_session,
        code: exchange.code_of_message_3(password),
    };
    let request = wrap(PayloadType::Rakp3, &message.encode());
    let answered = link
        .ask(
            "proving the password (RAKP message 3)",
            IMPATIENT,
            deadline,
            || request.clone(),
            |datagram| Rakp4::decode(&before_session(datagram, PayloadType::Rakp4)?, tag),
        )
        .await;
    let answered = or_out_of_step(answered)?;
    let again = again || answered.tries > 1;
    let answer = match answered.value {
        Ok(answer) => answer,
        Err(_) if again => return Err(Refused::OutOfStep),
        Err(status) => return Err(refusal(login, status)),
    };
    let (keys, expected) = exchange.keys(login.key.map_or(password, |key| key));
    if !same(&expected, &answer.code) {
        return Err(Refused::Other(Error::Unusable {
            bmc: login.bmc.to_string(),
            field: "BMC key (K_g)",
            problem: "is not the one that the BMC has: clear K_g on the BMC, or give the same here",
        }));
    }
    Ok(keys)
}

/// Silence in the middle of it: whoever answered the message before is there, but may answer a
/// message once only.
fn or_out_of_step<T>(answered: Result<Answered<T>, Error>) -> Result<Answered<T>, Refused> {
    answered.map_err(|error| match error {
        Error::Unreachable { .. } => Refused::OutOfStep,
        error => Refused::Other(error),
    })
}

/// What a status other than "no errors" means for us.
fn refusal(login: &Login<'_>, status: RakpStatus) -> Refused {
    match status {
        status if status.refuses_algorithms() => Refused::Suite,
        RakpStatus::UNAUTHORIZED_ROLE | RakpStatus::INVALID_ROLE => match login.privilege {
            Privilege::Administrator => Refused::Privilege,
            Privilege::Operator => Refused::Other(forbidden(login)),
        },
        RakpStatus::UNAUTHORIZED_NAME | RakpStatus::INVALID_INTEGRITY => {
            Refused::Other(wrong_credentials(login))
        }
        status => Refused::Other(Error::SessionRefused {
            bmc: login.bmc.to_string(),
            status: status.0,
            meaning: status.meaning(),
        }),
    }
}

fn wrong_credentials(login: &Login<'_>) -> Error {
    Error::WrongCredentials {
        bmc: login.bmc.to_string(),
        username: login.credentials.username().to_owned(),
    }
}

fn forbidden(login: &Login<'_>) -> Error {
    Error::Forbidden {
        bmc: login.bmc.to_string(),
        username: login.credentials.username().to_owned(),
        request: "open an IPMI session as operator".to_owned(),
        messages: String::new(),
    }
}

fn nonsense(login: &Login<'_>, detail: &str) -> Error {
    Error::Protocol {
        bmc: login.bmc.to_string(),
        detail: detail.to_owned(),
    }
}
