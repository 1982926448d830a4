//! One request after the other, under a login that is kept.
//!
//! DSP0266, section 13.3: a session is made once and its token sent with every request. Basic
//! authentication, which costs many BMCs a key derivation for every request, is the fallback for
//! those without sessions.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::endpoint::{Endpoint, LONGEST_REFERENCE};
use super::quirks::NO_SESSION_LEFT;
use super::resource::{Resource, link, messages, parse};
use super::transport::{Answer, Authentication, Limits, Request, Transport};
use crate::governor::{End, Governor};
use crate::{Credentials, Error, Exchange};

/// DSP0266, section 6.3: where every service begins.
const SERVICE_ROOT: &str = "/redfish/v1/";

/// Pages of one collection that are read.
const MOST_PAGES: usize = 32;

/// Members of one collection that are read.
const MOST_MEMBERS: usize = 1024;

pub(super) struct Client {
    transport: Transport,
    credentials: Credentials,
    /// Also what keeps a second request from being sent while one is in flight.
    state: Mutex<State>,
    logged_in: AtomicBool,
}

#[derive(Default)]
struct State {
    root: Option<Root>,
    login: Login,
}

/// What of the service root is used.
#[derive(Clone)]
struct Root {
    systems: Option<String>,
    sessions: Option<String>,
}

#[derive(Default)]
enum Login {
    #[default]
    None,
    Session {
        token: Zeroizing<String>,
        location: Option<String>,
    },
    /// The BMC has no sessions, or none left.
    Basic,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("transport", &self.transport)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        endpoint: Endpoint,
        credentials: Credentials,
        limits: Limits,
    ) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(endpoint, limits)?,
            credentials,
            state: Mutex::default(),
            logged_in: AtomicBool::new(false),
        })
    }

    pub(super) fn bmc(&self) -> &str {
        self.transport.bmc()
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.transport.exchanges()
    }

    pub(super) fn governor(&self) -> &Governor {
        self.transport.governor()
    }

    pub(super) fn keep_connection(&self, keep: bool) {
        self.transport.keep_connection(keep);
    }

    pub(super) fn requests(&self) -> u64 {
        self.transport.requests()
    }

    pub(super) fn nonsense(&self, detail: String) -> Error {
        self.transport.nonsense(detail)
    }

    /// Path of the collection of computer systems.
    pub(super) async fn systems_path(&self, deadline: Instant) -> Result<String, Error> {
        let mut state = self.lock(&Request::get(SERVICE_ROOT), deadline).await?;
        let root = self.root(&mut state, deadline).await?;
        root.systems
            .ok_or_else(|| self.nonsense("the service root names no Systems".to_owned()))
    }

    /// Reads one resource.
    pub(super) async fn get(&self, path: &str, deadline: Instant) -> Result<Resource, Error> {
        let request = Request::get(path);
        let answer = self.exchange(&request, deadline).await?;
        self.resource(&request, &answer)
    }

    /// Starts an action (DSP0266, section 7.11).
    pub(super) async fn act(
        &self,
        target: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.write(Method::POST, target, body, None, deadline).await
    }

    /// Changes a resource, or starts an action.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        if_match: Option<&str>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let request = Request {
            method,
            reference: path,
            body: Some(body),
            if_match,
        };
        let answer = self.exchange(&request, deadline).await?;
        match answer.status {
            StatusCode::ACCEPTED => self.see_through(&request, &answer, deadline).await,
            _ => Ok(()),
        }
    }

    /// Paths of all members of a collection, over all its pages (DSP0266, section 9.4).
    pub(super) async fn members(
        &self,
        path: &str,
        deadline: Instant,
    ) -> Result<Vec<String>, Error> {
        let mut members = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..MOST_PAGES {
            let page = self.get(&next, deadline).await?.value;
            let Some((listed, following)) = page_of(&page) else {
                return Err(self.nonsense(format!("{path} has no Members")));
            };
            members.extend(listed);
            if members.len() > MOST_MEMBERS {
                break;
            }
            match following {
                Some(link) => next = link,
                None => return Ok(members),
            }
        }
        Err(self.nonsense(format!(
            "{path} has more than {MOST_MEMBERS} members or {MOST_PAGES} pages"
        )))
    }

    pub(super) fn may_be_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }

    /// Ends the session, if there is one.
    pub(super) async fn log_out(&self, deadline: Instant) {
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            return;
        };
        self.logged_in.store(false, Ordering::Relaxed);
        let Login::Session {
            token,
            location: Some(location),
        } = std::mem::take(&mut state.login)
        else {
            return;
        };
        let request = Request {
            method: Method::DELETE,
            reference: &location,
            body: None,
            if_match: None,
        };
        let answer = self
            .transport
            .send(&request, &Authentication::Session(&token), deadline)
            .await;
        match answer {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                tracing::debug!(
                    bmc = self.bmc(),
                    status = answer.status.as_u16(),
                    "logout refused"
                );
            }
            Err(error) => tracing::debug!(bmc = self.bmc(), %error, "logout failed"),
        }
    }

    async fn lock(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<MutexGuard<'_, State>, Error> {
        timeout_at(deadline, self.state.lock())
            .await
            .map_err(|_| self.transport.timed_out(request))
    }

    /// Sends `request` under a login. The answer is one that says yes.
    async fn exchange(&self, request: &Request<'_>, deadline: Instant) -> Result<Answer, Error> {
        let answer = self.ask(request, deadline).await?;
        self.accepted(request, answer)
    }

    /// Sends `request` under a login, made anew once if the BMC has forgotten it.
    pub(super) async fn ask(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut state = self.lock(request, deadline).await?;
        let kept = matches!(state.login, Login::Session { .. });
        if matches!(state.login, Login::None) {
            self.log_in(&mut state, deadline).await?;
        }
        let answer = self.send(&state.login, request, deadline).await?;
        if !(kept && answer.status == StatusCode::UNAUTHORIZED) {
            return Ok(answer);
        }
        self.log_in(&mut state, deadline).await?;
        self.send(&state.login, request, deadline).await
    }

    async fn send(
        &self,
        login: &Login,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let authentication = match login {
            Login::None => Authentication::Nobody,
            Login::Session { token, .. } => Authentication::Session(token),
            Login::Basic => Authentication::Basic(&self.credentials),
        };
        self.transport
            .send(request, &authentication, deadline)
            .await
    }

    async fn log_in(&self, state: &mut State, deadline: Instant) -> Result<(), Error> {
        state.login = Login::None;
        let root = self.root(state, deadline).await?;
        state.login = match root.sessions {
            Some(sessions) => self.open_session(&sessions, deadline).await?,
            None => Login::Basic,
        };
        self.logged_in.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn open_session(&self, sessions: &str, deadline: Instant) -> Result<Login, Error> {
        let body = json!({
            "UserName": self.credentials.username(),
            "Password": self.credentials.password(),
        });
        let request = Request {
            method: Method::POST,
            reference: sessions,
            body: Some(&body),
            if_match: None,
        };
        let answer = self
            .transport
            .send(&request, &Authentication::Nobody, deadline)
            .await?;
        let no_sessions = matches!(
            answer.status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );
        // All sessions are taken, perhaps by a crashed client.
        let none_left = NO_SESSION_LEFT.iter().any(|id| contains(&answer.body, id));
        if no_sessions || none_left {
            return Ok(Login::Basic);
        }
        let answer = self.accepted(&request, answer)?;
        let location = answer.location.or_else(|| {
            let value = parse(&answer.body)?;
            link(&value).map(str::to_owned)
        });
        match answer.token {
            Some(token) => Ok(Login::Session { token, location }),
            None => Err(self.nonsense(format!("{} gives no X-Auth-Token", request.name()))),
        }
    }

    /// The service root, which may be read without a login.
    async fn root(&self, state: &mut State, deadline: Instant) -> Result<Root, Error> {
        if let Some(root) = &state.root {
            return Ok(root.clone());
        }
        let request = Request::get(SERVICE_ROOT);
        let answer = self
            .transport
            .send(&request, &Authentication::Nobody, deadline)
            .await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(self.nonsense(format!("there is no Redfish service at {SERVICE_ROOT}")));
        }
        let answer = self.accepted(&request, answer)?;
        let value = self.resource(&request, &answer)?.value;
        let root = Root {
            systems: value.get("Systems").and_then(link).map(str::to_owned),
            sessions: value
                .pointer("/Links/Sessions")
                .and_then(link)
                .map(str::to_owned),
        };
        state.root = Some(root.clone());
        Ok(root)
    }

    fn resource(&self, request: &Request<'_>, answer: &Answer) -> Result<Resource, Error> {
        match parse(&answer.body) {
            Some(value) => Ok(Resource::new(
                request.reference,
                value,
                answer.etag.as_deref(),
            )),
            None => Err(self.nonsense(format!(
                "{} is not answered by a JSON object",
                request.name()
            ))),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        self.transport.limits()
    }

    /// What a BMC said, without the password.
    pub(super) fn messages(&self, value: &Value) -> String {
        self.credentials.scrub(&messages(value))
    }

    /// The answer, if the BMC did what it was asked.
    fn accepted(&self, request: &Request<'_>, answer: Answer) -> Result<Answer, Error> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let error = self.refusal(request, &answer);
        if let Error::WrongCredentials { .. } = &error {
            let end = End::Denied(&error);
            self.transport.governor().ended(&end, Duration::ZERO);
        }
        Err(error)
    }

    /// What an answer that says no means.
    pub(super) fn refusal(&self, request: &Request<'_>, answer: &Answer) -> Error {
        let bmc = self.bmc().to_owned();
        let username = self.credentials.username().to_owned();
        let messages = parse(&answer.body).map(|value| self.messages(&value));
        let messages = messages.unwrap_or_default();
        match answer.status {
            StatusCode::UNAUTHORIZED => Error::WrongCredentials { bmc, username },
            StatusCode::FORBIDDEN => Error::Forbidden {
                bmc,
                username,
                request: request.name(),
                messages,
            },
            status => Error::Refused {
                bmc,
                request: request.name(),
                status: status.as_u16(),
                messages,
            },
        }
    }
}

/// The members that one page of a collection lists, and the page after it.
pub(super) fn page_of(page: &Value) -> Option<(Vec<String>, Option<String>)> {
    let listed = page.get("Members")?.as_array()?.iter().filter_map(link);
    let members = listed.take(MOST_MEMBERS + 1).map(reference).collect();
    let next = page.get("Members@odata.nextLink").and_then(Value::as_str);
    Some((members, next.map(reference)))
}

/// Where something is said to be. What is too long is cut, and so found to lead nowhere.
fn reference(path: &str) -> String {
    path.chars().take(LONGEST_REFERENCE + 1).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
