//! One HTTP request to a BMC, bounded in every direction.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bessemer_tls::{
    Fingerprint, Trust, certificate_refusal, client_config, handshake_failure, peer_fingerprint,
    pin_mismatch, rustls,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, IF_MATCH,
    LOCATION, RETRY_AFTER,
};
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::connection::{Connection, Connector, Failure, Resting};
use super::endpoint::{Endpoint, Security};
use super::quirks::STANDARD_TEMPO;
use crate::exchange::ExchangeLog;
use crate::governor::{End, Governor};
use crate::random::jitter;
use crate::{Credentials, Error, Exchange, ExchangeEnd, Patience};

/// DSP0266, section 13.3: the session's token.
const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// DSP0266, section 7.2: which protocol the client speaks.
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// Redirects followed, on the same BMC only, before giving up.
const MOST_REDIRECTS: usize = 3;

/// TLS tickets kept of one BMC: all that rustls takes of one peer. Its own default has room for
/// hundreds of peers, in each client.
const TLS_TICKETS: usize = 8;

/// Bounds on single requests. Whole calls are bounded by their deadline.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time for TCP and TLS to come about.
    pub connect: Duration,
    /// Time for one request with its answer; slow BMCs take ten seconds and more.
    pub request: Duration,
    /// How long a connection without requests is kept: longer than from one look at the power state
    /// to the next, since making one costs many BMCs more than the request. BMCs may close it sooner.
    pub idle: Duration,
    /// Bytes of an answer; longer ones are not read to the end.
    pub body_bytes: usize,
    /// How often reading is repeated after a refused or broken connection or a "503 Service
    /// Unavailable". Writing is repeated only where the BMC says when to come again.
    pub retries: u32,
    /// Pause before the first repetition, doubled for each further one, and lengthened by up to a
    /// quarter at random. A BMC's `Retry-After`
    /// lengthens it, to ten times this at most.
    pub retry_pause: Duration,
    /// When the BMC is left alone.
    pub patience: Patience,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            body_bytes: 4 << 20,
            retries: 2,
            retry_pause: Duration::from_millis(500),
            patience: Patience::default(),
        }
    }
}

impl Limits {
    /// How long to wait where a BMC may have said how long and we would wait for `pause`.
    pub(super) fn wait(&self, retry_after: Option<Duration>, pause: Duration) -> Duration {
        let longest = self.retry_pause * 10;
        retry_after
            .unwrap_or(pause)
            .clamp(pause.min(longest), longest)
    }
}

/// As whom a request is made.
pub(super) enum Authentication<'a> {
    Nobody,
    Session(&'a str),
    Basic(&'a Credentials),
}

pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) reference: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) if_match: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn get(reference: &'a str) -> Self {
        Self {
            method: Method::GET,
            reference,
            body: None,
            if_match: None,
        }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.reference)
    }
}

/// An answer as it came: the status may be any.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) body: Bytes,
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    fn of(answer: Response<Bytes>) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            status: head.status,
            etag: header(&head.headers, &ETAG),
            location: header(&head.headers, &LOCATION),
            token: header(&head.headers, &X_AUTH_TOKEN).map(Zeroizing::new),
            retry_after: header(&head.headers, &RETRY_AFTER)
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
            body,
        }
    }

    /// Whether the BMC has done nothing yet, and says when to ask again: "Conflict", "Too Many
    /// Requests" or "Service Unavailable" with `Retry-After` (RFC 9110, section 10.2.3).
    fn says_when_to_come_again(&self) -> bool {
        self.retry_after.is_some() && matches!(self.status.as_u16(), 409 | 429 | 503)
    }
}

/// What requests to one BMC are sent by.
pub(super) struct Transport {
    connector: Connector,
    resting: Resting,
    endpoint: Endpoint,
    bmc: String,
    limits: Limits,
    requests: AtomicU64,
    /// Whether the connection is to outlast a request.
    keep: AtomicBool,
    log: ExchangeLog,
    governor: Governor,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, limits: Limits) -> Result<Self, Error> {
        let bmc = endpoint.name();
        let tls = tls(&endpoint, &bmc)?;
        Ok(Self {
            connector: Connector::new(&endpoint, tls, limits.connect)?,
            resting: Resting::new(limits.idle),
            endpoint,
            bmc,
            governor: Governor::new(STANDARD_TEMPO, limits.patience.clone()),
            limits,
            requests: AtomicU64::new(0),
            keep: AtomicBool::new(true),
            log: ExchangeLog::default(),
        })
    }

    pub(super) fn bmc(&self) -> &str {
        &self.bmc
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.log.all()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn governor(&self) -> &Governor {
        &self.governor
    }

    pub(super) fn keep_connection(&self, keep: bool) {
        self.keep.store(keep, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends `request`, unless the BMC is left alone, and lets the governor know what came of it.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        authentication: &Authentication<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        self.governor.admit(&self.bmc, deadline).await?;
        let began = Instant::now();
        let result = self.send_again(request, authentication, deadline).await;
        let as_nobody = matches!(authentication, Authentication::Nobody);
        let end = match &result {
            Ok(answer) if as_nobody || answer.status == StatusCode::UNAUTHORIZED => End::Answered,
            Ok(_) => End::Accepted,
            Err(error) => End::of(error),
        };
        self.governor.ended(&end, began.elapsed());
        result
    }

    /// Sends `request`; again after failures that are likely to pass, if it only reads or the BMC
    /// itself asks for that.
    async fn send_again(
        &self,
        request: &Request<'_>,
        authentication: &Authentication<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut pause = jitter(self.limits.retry_pause);
        let mut retries = match self.governor.is_probing() {
            true => 0,
            false => self.limits.retries,
        };
        let reads = request.method == Method::GET;
        loop {
            let result = self.follow(request, authentication, deadline).await;
            let wait = match &result {
                Err(Error::Unreachable { .. }) if reads => pause,
                Ok(answer)
                    if answer.says_when_to_come_again()
                        || reads && answer.status == StatusCode::SERVICE_UNAVAILABLE =>
                {
                    self.limits.wait(answer.retry_after, pause)
                }
                _ => return result,
            };
            if retries == 0 || Instant::now() + wait >= deadline {
                return result;
            }
            tokio::time::sleep(wait).await;
            retries -= 1;
            pause *= 2;
        }
    }

    /// Sends `request` and, if it only reads, follows redirects that stay on this BMC.
    async fn follow(
        &self,
        request: &Request<'_>,
        authentication: &Authentication<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut url = self.resolve(request.reference)?;
        let mut redirects = if request.method == Method::GET {
            MOST_REDIRECTS
        } else {
            0
        };
        loop {
            let answer = self
                .send_once(request, &url, authentication, deadline)
                .await?;
            let Some(target) = answer.location.as_deref().filter(|_| {
                answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED
            }) else {
                return Ok(answer);
            };
            if redirects == 0 {
                let name = request.name();
                return Err(self.nonsense(format!("{name} is redirected, which is not followed")));
            }
            redirects -= 1;
            url = self.resolve(target)?;
        }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authentication: &Authentication<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let began = Instant::now();
        let deadline = deadline.min(began + self.limits.request);
        let exchange = async {
            let kept = self.resting.take().await;
            let is_kept = kept.is_some();
            let result = self.exchange(request, url, authentication, kept).await;
            match result {
                // The BMC has closed it at this very moment, which says nothing about it: at
                // once again, in silence. What writes may have been heard.
                Err(Failure::Lost(_)) if is_kept && request.method == Method::GET => {
                    self.exchange(request, url, authentication, None).await
                }
                result => result,
            }
        };
        let result = match timeout_at(deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(self.failure(request, failure, deadline).await),
            Err(_) => Err(self.timed_out(request)),
        };
        self.note(request, &result);
        tracing::debug!(
            bmc = self.bmc,
            request = request.name(),
            status = result.as_ref().map(|answer| answer.status.as_u16()).ok(),
            milliseconds = began.elapsed().as_millis(),
            "BMC request"
        );
        result
    }

    /// Sends `request` by `connection`, or by a new one.
    async fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
        authentication: &Authentication<'_>,
        connection: Option<Connection>,
    ) -> Result<Answer, Failure> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let keep = self.keep.load(Ordering::Relaxed);
        let message = self.message(request, url, authentication, keep)?;
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        let answer = connection.exchange(message, self.limits.body_bytes).await?;
        match keep {
            true => self.resting.put(connection),
            false => connection.close(),
        }
        Ok(Answer::of(answer))
    }

    /// Keeps what came of a request, for people.
    fn note(&self, request: &Request<'_>, result: &Result<Answer, Error>) {
        let (answer, end) = match result {
            Ok(answer) => {
                let end = match answer.status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ExchangeEnd::Denied,
                    status if status.is_client_error() || status.is_server_error() => {
                        ExchangeEnd::Refused
                    }
                    _ => ExchangeEnd::Answered,
                };
                (answer.status.to_string(), end)
            }
            Err(error) => (error.to_string(), end_of(error)),
        };
        self.log.note(&request.name(), answer, end);
    }

    /// `request` as it is sent (DSP0266, section 7.2: the headers of a client).
    fn message(
        &self,
        request: &Request<'_>,
        url: &Url,
        authentication: &Authentication<'_>,
        keep: bool,
    ) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let mut message = hyper::Request::builder()
            .method(&request.method)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(
                HOST,
                &url[url::Position::BeforeHost..url::Position::AfterPort],
            )
            .header(ODATA_VERSION, "4.0")
            .header(ACCEPT, "application/json");
        message = match authentication {
            Authentication::Nobody => message,
            Authentication::Session(token) => message.header(X_AUTH_TOKEN, *token),
            Authentication::Basic(credentials) => {
                message.header(AUTHORIZATION, basic(credentials).as_str())
            }
        };
        if !keep {
            // RFC 9112, section 9.6: this request is the connection's last.
            message = message.header(CONNECTION, "close");
        }
        if let Some(etag) = request.if_match {
            message = message.header(IF_MATCH, etag);
        }
        let body = match request.body {
            Some(body) => {
                message = message.header(CONTENT_TYPE, "application/json");
                body.to_string().into()
            }
            None => Bytes::new(),
        };
        message.body(Full::new(body)).map_err(Failure::Unsayable)
    }

    /// Why no answer came: whether the peer is not believed, not there, or not a BMC.
    async fn failure(&self, request: &Request<'_>, failure: Failure, deadline: Instant) -> Error {
        let bmc = self.bmc.clone();
        if let Some(mismatch) = pin_mismatch(&failure) {
            let (expected, found) = (mismatch.expected, mismatch.found);
            return Error::CertificateMismatch {
                bmc,
                expected,
                found,
            };
        }
        if let Some(refusal) = certificate_refusal(&failure) {
            let refusal = refusal.to_string();
            let (host, port) = self.endpoint.host_and_port();
            // Leaves time to say what is wrong if the fingerprint does not come.
            let limit = deadline.saturating_duration_since(Instant::now()) / 2;
            let shown = peer_fingerprint(&host, port, limit).await.ok();
            return Error::CertificateRefused {
                bmc,
                refusal,
                shown,
            };
        }
        self.connection_failure(request, failure)
    }

    fn connection_failure(&self, request: &Request<'_>, failure: Failure) -> Error {
        let name = request.name();
        match &failure {
            Failure::ConnectTimedOut => return self.timed_out(request),
            Failure::TooLong => {
                let most = self.limits.body_bytes;
                return self.nonsense(format!("the answer to {name} is longer than {most} bytes"));
            }
            Failure::Unsayable(error) => {
                return self.nonsense(format!("what it said makes no request of {name}: {error}"));
            }
            Failure::Connect(_) | Failure::Lost(_) => {}
        }
        if let Some(failure) = handshake_failure(&failure) {
            return self.nonsense(format!("no TLS connection: {failure}"));
        }
        let is_parse = |source: &&(dyn StdError + 'static)| {
            source
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_parse)
        };
        let chain = chain(&failure);
        if chain.iter().any(is_parse) {
            return self.nonsense(format!("{name} is not answered in HTTP"));
        }
        let detail = chain.last().map(ToString::to_string).unwrap_or_default();
        Error::Unreachable {
            bmc: self.bmc.clone(),
            detail,
            source: Box::new(failure),
        }
    }

    fn resolve(&self, reference: &str) -> Result<Url, Error> {
        self.endpoint.resolve(reference).ok_or_else(|| {
            let start: String = reference.chars().take(200).collect();
            self.nonsense(format!("it refers to {start:?}, which is not on this BMC"))
        })
    }

    pub(super) fn timed_out(&self, request: &Request<'_>) -> Error {
        Error::TimedOut {
            bmc: self.bmc.clone(),
            doing: request.name(),
        }
    }

    pub(super) fn nonsense(&self, detail: String) -> Error {
        Error::Protocol {
            bmc: self.bmc.clone(),
            detail,
        }
    }
}

fn tls(endpoint: &Endpoint, bmc: &str) -> Result<rustls::ClientConfig, Error> {
    let trust = match endpoint.security() {
        Security::Tls(Trust::InsecureNoVerification) => {
            tracing::warn!(bmc, "the certificate of this BMC is not verified");
            Trust::InsecureNoVerification
        }
        Security::Tls(trust) => trust.clone(),
        Security::UnencryptedHttp => {
            tracing::warn!(bmc, "the connection to this BMC is not encrypted");
            // Never used; if it were, a pin that no certificate has would refuse everybody.
            Trust::Pinned(Fingerprint::of(&Vec::new().into()))
        }
    };
    let mut config = client_config(&trust).map_err(|source| Error::Trust {
        bmc: bmc.to_owned(),
        source,
    })?;
    config.resumption = rustls::client::Resumption::in_memory_sessions(TLS_TICKETS);
    Ok(config)
}

/// RFC 7617, section 2.
fn basic(credentials: &Credentials) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!(
        "{}:{}",
        credentials.username(),
        credentials.password()
    ));
    Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// An error and all its sources, the innermost last.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut chain = vec![error];
    while let Some(source) = chain[chain.len() - 1].source() {
        chain.push(source);
    }
    chain
}

/// How a BMC is seen by somebody whose request ended so.
fn end_of(error: &Error) -> ExchangeEnd {
    match error {
        Error::CertificateMismatch { .. } | Error::CertificateRefused { .. } => {
            ExchangeEnd::Distrusted
        }
        Error::Protocol { .. } => ExchangeEnd::Refused,
        _ => ExchangeEnd::Silent,
    }
}
