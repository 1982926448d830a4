//! Commands to one BMC, one at a time, in a session that is opened when it is needed and again
//! when the BMC has lost it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::endpoint::IpmiEndpoint;
use super::link::{Link, timed_out};
use super::session::{Login, Privilege, Refused, Session};
use super::suites;
use super::wire::{CipherSuite, MAX_PASSWORD, MAX_USERNAME};
use crate::exchange::ExchangeLog;
use crate::governor::{End, Governor, Tempo};
use crate::{Credentials, Error, Exchange, ExchangeEnd, Patience};

/// Sessions tried for one command before the BMC is taken for unreachable.
const MOST_SESSIONS: u32 = 3;

/// How often opening a session is begun anew: once for each suite and privilege, and a few times
/// because messages were lost at a bad moment.
const MOST_BEGINNINGS: u32 = 8;

/// How often a command is sent to a BMC that is busy, and the first pause between.
pub(super) const MOST_BUSY: u32 = 4;
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// How fast these BMCs are asked. Ironic's `[ipmi] min_command_interval` (5 s between any two commands,
/// since with less some BMCs crash) is for a process and a session for each; in one session it is
/// power commands that need time to have an effect.
const TEMPO: Tempo = Tempo {
    per_second: 20,
    burst: 40,
    between_power: Duration::from_secs(2),
};

/// A command: what it is for people, and its numbers (appendix G).
#[derive(Debug, Clone, Copy)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) network_function: u8,
    pub(super) number: u8,
}

/// What a BMC answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) data: Vec<u8>,
}

/// Talks to one BMC.
#[derive(Debug)]
pub(super) struct Client {
    bmc: Arc<str>,
    endpoint: IpmiEndpoint,
    credentials: Credentials,
    key: Option<Zeroizing<Vec<u8>>>,
    requests: Arc<AtomicU64>,
    log: ExchangeLog,
    governor: Governor,
    state: Mutex<State>,
}

/// What is remembered between commands.
#[derive(Debug)]
struct State {
    session: Option<Session>,
    /// The suite that works, once known.
    suite: Option<CipherSuite>,
    privilege: Privilege,
}

impl Client {
    pub(super) fn new(
        endpoint: IpmiEndpoint,
        credentials: Credentials,
        key: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, Error> {
        let unusable = |field, problem| Error::Unusable {
            bmc: endpoint.name(),
            field,
            problem,
        };
        if credentials.username().len() > MAX_USERNAME {
            return Err(unusable("user name", "is longer than IPMI's 16 bytes"));
        }
        let password = credentials.password();
        if password.len() > MAX_PASSWORD {
            return Err(unusable(
                "password",
                "is longer than IPMI's 20 bytes: give the account a shorter one",
            ));
        }
        if password.contains('\0') {
            return Err(unusable(
                "password",
                "holds a zero byte, at which IPMI ends it",
            ));
        }
        if key.as_ref().is_some_and(|key| key.len() > MAX_PASSWORD) {
            return Err(unusable("BMC key (K_g)", "is longer than IPMI's 20 bytes"));
        }
        Ok(Self {
            bmc: endpoint.name().into(),
            endpoint,
            credentials,
            key,
            requests: Arc::new(AtomicU64::new(0)),
            log: ExchangeLog::default(),
            governor: Governor::new(TEMPO, Patience::default()),
            state: Mutex::new(State {
                session: None,
                suite: None,
                privilege: Privilege::Administrator,
            }),
        })
    }

    pub(super) fn bmc(&self) -> &str {
        &self.bmc
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.log.all()
    }

    pub(super) fn governor(&self) -> &Governor {
        &self.governor
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a command that must succeed, and gives its data.
    pub(super) async fn command(
        &self,
        command: Command,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let answer = self.ask(command, data, deadline).await?;
        match answer.code {
            0 => Ok(answer.data),
            code => Err(self.refusal(command, code)),
        }
    }

    /// Sends a command and gives its answer, whatever the completion code. A BMC that says that it
    /// is busy is given a few more chances.
    pub(super) async fn ask(
        &self,
        command: Command,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut pause = BUSY_PAUSE;
        let mut tries = 0;
        loop {
            let answer = self.ask_once(command, data, deadline).await?;
            tries += 1;
            if !is_busy(answer.code) || tries == MOST_BUSY || Instant::now() + pause >= deadline {
                return Ok(answer);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn ask_once(
        &self,
        command: Command,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let result = self.ask_in_session(command, data, deadline).await;
        if let Err(Error::LeftAlone { .. }) = &result {
            return result;
        }
        let (answer, end) = match &result {
            Ok(Answer { code: 0, .. }) => ("done".to_owned(), ExchangeEnd::Answered),
            Ok(Answer { code, .. }) => {
                let end = match *code {
                    INSUFFICIENT_PRIVILEGE => ExchangeEnd::Denied,
                    _ => ExchangeEnd::Refused,
                };
                (format!("{code:#04x}, {}", meaning(*code)), end)
            }
            Err(error) => {
                let denied = matches!(
                    error,
                    Error::WrongCredentials { .. } | Error::Forbidden { .. }
                );
                let end = if denied {
                    ExchangeEnd::Denied
                } else {
                    ExchangeEnd::Silent
                };
                (error.to_string(), end)
            }
        };
        self.log.note(command.name, answer, end);
        result
    }

    async fn ask_in_session(
        &self,
        command: Command,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let waiting = timeout_at(deadline, self.state.lock()).await;
        let mut state = waiting.map_err(|_| timed_out(&self.bmc, command.name))?;
        self.governor.admit(&self.bmc, deadline).await?;
        let began = Instant::now();
        let result = self.send(&mut state, command, data, deadline).await;
        let end = match &result {
            Ok(_) => End::Accepted,
            Err(error) => End::of(error),
        };
        self.governor.ended(&end, began.elapsed());
        result
    }

    /// Sends a command in the session that is open, or in another one.
    async fn send(
        &self,
        state: &mut State,
        command: Command,
        data: &[u8],
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let most = match self.governor.is_probing() {
            true => 1,
            false => MOST_SESSIONS,
        };
        let mut sessions = 0;
        loop {
            let mut session = match state.session.take().filter(Session::is_fresh) {
                Some(session) => session,
                None => self.open(state, deadline).await?,
            };
            sessions += 1;
            let (number, function) = (command.number, command.network_function);
            let answered = session.command(function, number, data, deadline).await;
            match answered {
                Ok(mut answer) => {
                    state.session = Some(session);
                    let code = answer.remove(0);
                    return Ok(Answer { code, data: answer });
                }
                // A BMC that has lost the session, by restarting for instance, says nothing.
                Err(Error::Unreachable { .. }) if sessions < most => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A session beside the one for commands, as a console needs it.
    pub(super) async fn session(&self, deadline: Instant) -> Result<Session, Error> {
        let waiting = timeout_at(deadline, self.state.lock()).await;
        let mut state = waiting.map_err(|_| timed_out(&self.bmc, "opening a session"))?;
        self.open(&mut state, deadline).await
    }

    /// Opens a session with the best suite and the highest privilege there is.
    async fn open(&self, state: &mut State, deadline: Instant) -> Result<Session, Error> {
        let mut last = timed_out(&self.bmc, "opening an IPMI session");
        for _ in 0..MOST_BEGINNINGS {
            let link = Link::connect(&self.endpoint, &self.bmc, &self.requests, deadline).await?;
            let suite = match state.suite {
                Some(suite) => suite,
                None => suites::best(&link, &self.bmc, deadline).await?,
            };
            let login = Login {
                bmc: &self.bmc,
                credentials: &self.credentials,
                key: self.key.as_ref(),
                suite,
                privilege: state.privilege,
            };
            match Session::open(link, &login, deadline).await {
                Ok(session) => {
                    state.suite = Some(suite);
                    return Ok(session);
                }
                Err(Refused::Suite) if suite == CipherSuite::Suite17 => {
                    state.suite = Some(CipherSuite::Suite3);
                }
                Err(Refused::Suite) => return Err(suites::none_in_common(&self.bmc, Vec::new())),
                Err(Refused::Privilege) => state.privilege = Privilege::Operator,
                Err(Refused::OutOfStep) => last = self.out_of_step(),
                Err(Refused::Other(error)) => return Err(error),
            }
        }
        Err(last)
    }

    fn out_of_step(&self) -> Error {
        timed_out(
            &self.bmc,
            "opening an IPMI session (too many messages are lost on the way)",
        )
    }

    /// What a completion code other than 0 means (table 5-2).
    pub(super) fn refusal(&self, command: Command, code: u8) -> Error {
        let bmc = self.bmc.to_string();
        if code == INSUFFICIENT_PRIVILEGE {
            return Error::Forbidden {
                bmc,
                username: self.credentials.username().to_owned(),
                request: command.name.to_owned(),
                messages: String::new(),
            };
        }
        Error::CompletionCode {
            bmc,
            request: command.name.to_owned(),
            code,
            meaning: meaning(code),
        }
    }

    /// An answer that is shorter than it must be, or says what cannot be.
    pub(super) fn nonsense(&self, command: Command) -> Error {
        Error::Protocol {
            bmc: self.bmc.to_string(),
            detail: format!("its answer to {} makes no sense", command.name),
        }
    }

    pub(super) async fn close(&self) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session.filter(Session::is_fresh) {
            session.close().await;
        }
    }

    /// The session that is open, if nobody is using it at this moment.
    pub(super) fn take_session(&self) -> Option<Session> {
        let session = self.state.try_lock().ok()?.session.take();
        session.filter(Session::is_fresh)
    }
}

const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;

/// Node busy, timeout, initialization or firmware update in progress, wrong state just now.
pub(crate) fn is_busy(code: u8) -> bool {
    matches!(code, 0xc0 | 0xc3 | 0xd1 | 0xd2)
}

/// Generic completion codes (table 5-2).
fn meaning(code: u8) -> &'static str {
    match code {
        0xc0 => "node busy",
        0xc1 => "invalid command",
        0xc2 => "command invalid for this unit",
        0xc3 => "timeout while processing the command",
        0xc4 => "out of space",
        0xc5 => "reservation cancelled or invalid",
        0xc6 => "request data truncated",
        0xc7 => "request data length invalid",
        0xc8 => "request data field length limit exceeded",
        0xc9 => "parameter out of range",
        0xca => "cannot return that many bytes",
        0xcb => "requested sensor, data or record not present",
        0xcc => "invalid data field in request",
        0xcd => "command illegal for this sensor or record",
        0xce => "command response could not be provided",
        0xcf => "cannot execute duplicated request",
        0xd0 => "SDR repository in update mode",
        0xd1 => "device in firmware update mode",
        0xd2 => "BMC initialization in progress",
        0xd3 => "destination unavailable",
        0xd4 => "insufficient privilege level",
        0xd5 => "not supported in the present state",
        0xd6 => "command disabled",
        0xff => "unspecified error",
        _ => "a code of this command's or this maker's own",
    }
}
