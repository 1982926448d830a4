//! The HTTP half of the agent protocol: one peer at a time, one pinned certificate, every answer bounded.
//!
//! Conductors on one database have the same certificate and know the same sessions, so any of them can be
//! asked; the conversation turns to the next one when one does not answer.
//!
//! Chunks of images may come without TLS, where the conductor says so over TLS: they are compared
//! with the block map, which never does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_core::id::ImageId;
use bessemer_core::network_data::ConfigurationFile;
use bessemer_core::report::ReportWay;
use bessemer_image::map::BlockMap;
use bessemer_tls::{Fingerprint, Trust};
use bessemer_wire::agent::{ChunkUrl, Hello, MAX_POLL_SECONDS, Poll, PollAnswer, Welcome};
use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long an answer other than to a poll may take, its body included.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long the answer to a poll may take: the conductor holds it back, then the network's share.
const POLL_LIMIT: Duration = Duration::from_secs(MAX_POLL_SECONDS + 10);

/// How soon the kernel asks whether a silent conductor is still there, how often, and how many
/// times in vain: a poll that is open for minutes would otherwise outlive its conductor.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TRIES: u32 = 3;

/// The largest JSON answer but for block maps, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The largest block map, in bytes of JSON: half a million chunks, 500 GB of data.
const MAX_MAP: usize = 64 << 20;

/// The largest part of an error's body that is looked at, in bytes.
const MAX_PROBLEM: usize = 16 << 10;

/// What can go wrong when talking to the conductor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The HTTP client cannot be made.
    #[error("cannot set up TLS")]
    Tls(#[from] bessemer_tls::Error),
    /// No answer, or not a whole one.
    #[error("the conductor at {conductor} gives no answer")]
    NoAnswer {
        /// Its URL.
        conductor: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// It says nothing, or stops in the middle.
    #[error("the conductor at {conductor} has said nothing for {seconds} s")]
    Silent {
        /// Its URL.
        conductor: String,
        /// For how long.
        seconds: u64,
    },
    /// An answer that ends before what was asked for.
    #[error("the conductor's answer ends {missing} bytes too early")]
    Short {
        /// Bytes that are missing.
        missing: usize,
    },
    /// An answer that is not a success.
    #[error("the conductor answers {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What the problem document says.
        message: String,
    },
    /// An answer that is larger than any good one.
    #[error("the conductor's answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// An answer that is not what the protocol says.
    #[error("the conductor's answer cannot be understood")]
    Malformed(#[from] serde_json::Error),
}

impl ClientError {
    /// Whether the conductor does not know (401) or does not want (403) this agent.
    pub fn is_refusal(&self) -> bool {
        use StatusCode as Status;
        matches!(
            self,
            Self::Refused {
                status: Status::UNAUTHORIZED | Status::FORBIDDEN,
                ..
            }
        )
    }

    /// Whether nobody is there to answer, or not any more.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Silent { .. })
    }

    /// Whether asking again is pointless. What only says who we are, or that the conductor is
    /// busy or broken, is not final: it may have been started again in between.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Tls(_) | Self::TooLarge { .. } | Self::Malformed(_) => true,
            Self::NoAnswer { .. } | Self::Silent { .. } | Self::Short { .. } => false,
            Self::Refused { status, .. } => {
                let passing = [
                    StatusCode::REQUEST_TIMEOUT,
                    StatusCode::TOO_EARLY,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                status.is_client_error() && !self.is_refusal() && !passing.contains(status)
            }
        }
    }
}

/// A result with [`ClientError`].
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// The conductor as the agent sees it. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For chunks, where the conductor says so.
    in_clear: reqwest::Client,
    /// Shared by all clones: commands ask whom the conversation asks.
    conductors: Arc<Conductors>,
    session: String,
}

/// Those that can be asked.
struct Conductors {
    /// The one that started this boot, and others.
    urls: Vec<String>,
    /// How often the one that was asked did not answer.
    turns: AtomicUsize,
}

impl Conductors {
    /// Every other time it is the first's turn: the others may be out of this machine's reach, and
    /// should not hold it up for long when the first one is only started again.
    fn current(&self) -> &str {
        let turns = self.turns.load(Ordering::Relaxed);
        let current = match self.urls.len() {
            all @ 2.. if turns % 2 == 1 => 1 + turns / 2 % (all - 1),
            _ => 0,
        };
        self.urls.get(current).map_or("", String::as_str)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("conductor", &self.conductors.current())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the conductors at these URLs, at least one, that have this certificate, with this session
    /// secret. The first is asked first.
    pub fn new(conductors: &[String], pin: Fingerprint, session: String) -> Result<Self> {
        let urls = conductors.iter().map(|url| url.trim_end_matches('/'));
        let conductors = Conductors {
            urls: urls.map(str::to_owned).collect(),
            turns: AtomicUsize::new(0),
        };
        let tls = bessemer_tls::client_config(&Trust::Pinned(pin))?;
        let build = |https_only| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .https_only(https_only)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_LIMIT)
                .tcp_keepalive(KEEP_ALIVE_AFTER)
                .tcp_keepalive_interval(KEEP_ALIVE_INTERVAL)
                .tcp_keepalive_retries(KEEP_ALIVE_TRIES)
                .tcp_nodelay(true)
                .build()
                .map_err(|source| ClientError::NoAnswer {
                    conductor: conductors.current().to_owned(),
                    source,
                })
        };
        Ok(Self {
            http: build(true)?,
            in_clear: build(false)?,
            conductors: Arc::new(conductors),
            session,
        })
    }

    /// Asks the next conductor from now on, if there are several.
    pub fn turn_to_next(&self) {
        self.conductors.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Trades the token of this boot for the session.
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome> {
        let request = self
            .request(Method::POST, "hello", ANSWER_LIMIT)
            .json(hello);
        self.json(request, MAX_ANSWER).await
    }

    /// Reports and asks for the next command.
    pub async fn poll(&self, poll: &Poll) -> Result<PollAnswer> {
        let request = self.request(Method::POST, "poll", POLL_LIMIT).json(poll);
        self.json(request.bearer_auth(&self.session), MAX_ANSWER)
            .await
    }

    /// The block map of an image, checked.
    pub async fn map(&self, image: ImageId) -> Result<BlockMap> {
        let request = self.request(Method::GET, &format!("images/{image}/map"), ANSWER_LIMIT);
        self.json(request.bearer_auth(&self.session), MAX_MAP).await
    }

    /// Chunks of an image, in their stored form, one after the other: `count` of them from `first`
    /// on. `in_clear` is where the conductor says they are to be had without TLS, if it does.
    pub async fn chunks(
        &self,
        image: ImageId,
        in_clear: Option<&ChunkUrl>,
        first: usize,
        count: usize,
    ) -> Result<ChunkStream> {
        let request = match in_clear {
            // The agent proves nothing there: the URL itself is good for this boot only.
            Some(ChunkUrl(base)) => self.in_clear.get(format!("{base}/{first}/{count}")),
            None => {
                let path = format!("images/{image}/chunks/{first}/{count}");
                let url = format!("{}/agent/v1/{path}", self.conductors.current());
                self.http.get(url).bearer_auth(&self.session)
            }
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, request.send()).await;
        let answer = answer.map_err(|_| self.silent())?;
        let response = answer.map_err(|source| self.no_answer(source))?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        Ok(ChunkStream {
            client: self.clone(),
            response,
            buffer: BytesMut::new(),
        })
    }

    /// The script by which the server being deployed says that it is up, of at most `limit` bytes.
    pub async fn report_script(&self, limit: usize) -> Result<Bytes> {
        let request = self.request(Method::GET, "report-script", ANSWER_LIMIT);
        self.body(request.bearer_auth(&self.session), limit).await
    }

    /// The files that the image needs for its network, if any; of at most `limit` bytes.
    pub async fn network_files(&self, limit: usize) -> Result<Vec<ConfigurationFile>> {
        let request = self.request(Method::GET, "network-files", ANSWER_LIMIT);
        self.json(request.bearer_auth(&self.session), limit).await
    }

    /// The config drive of the server being deployed, of at most `limit` bytes; with the script for
    /// its cloud-init if the report is left to that.
    pub async fn config_drive(&self, way: &ReportWay, limit: usize) -> Result<Bytes> {
        let path = match way {
            ReportWay::Unit { .. } => "config-drive?report=unit",
            ReportWay::VendorData { .. } => "config-drive",
        };
        let request = self.request(Method::GET, path, ANSWER_LIMIT);
        self.body(request.bearer_auth(&self.session), limit).await
    }

    fn request(&self, method: Method, path: &str, limit: Duration) -> RequestBuilder {
        let url = format!("{}/agent/v1/{path}", self.conductors.current());
        self.http.request(method, url).timeout(limit)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder, limit: usize) -> Result<T> {
        Ok(serde_json::from_slice(&self.body(request, limit).await?)?)
    }

    async fn body(&self, request: RequestBuilder, limit: usize) -> Result<Bytes> {
        let no_answer = |source| self.no_answer(source);
        let mut response = request.send().await.map_err(no_answer)?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let expected = response.content_length().unwrap_or(0).min(limit as u64);
        let mut body = BytesMut::with_capacity(expected as usize);
        while let Some(part) = response.chunk().await.map_err(no_answer)? {
            if body.len() + part.len() > limit {
                return Err(ClientError::TooLarge { limit });
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    fn no_answer(&self, source: reqwest::Error) -> ClientError {
        ClientError::NoAnswer {
            conductor: self.conductors.current().to_owned(),
            source: source.without_url(),
        }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent {
            conductor: self.conductors.current().to_owned(),
            seconds: ANSWER_LIMIT.as_secs(),
        }
    }
}

/// Chunks on their way. What is not asked for yet stays with the conductor, beyond what the
/// kernel and one read hold.
pub struct ChunkStream {
    client: Client,
    response: Response,
    buffer: BytesMut,
}

impl ChunkStream {
    /// The next chunk, which has `length` bytes in its stored form; not yet compared with its hash.
    pub async fn next(&mut self, length: usize) -> Result<Bytes> {
        while self.buffer.len() < length {
            let part = tokio::time::timeout(ANSWER_LIMIT, self.response.chunk()).await;
            let part = part.map_err(|_| self.client.silent())?;
            match part.map_err(|source| self.client.no_answer(source))? {
                Some(part) if self.buffer.is_empty() && part.len() == length => return Ok(part),
                Some(part) => {
                    self.buffer
                        .reserve(length.saturating_sub(self.buffer.len()));
                    self.buffer.extend_from_slice(&part);
                }
                None => {
                    return Err(ClientError::Short {
                        missing: length - self.buffer.len(),
                    });
                }
            }
        }
        Ok(self.buffer.split_to(length).freeze())
    }
}

/// What an answer that is no success says: the `detail` or `title` of a problem document (RFC
/// 9457), or `error`, or nothing.
async fn refused(mut response: Response) -> ClientError {
    let status = response.status();
    let mut body = Vec::new();
    // Whatever goes wrong from here on, the status is the news.
    while let Ok(Some(part)) = response.chunk().await {
        body.extend_from_slice(&part);
        if body.len() > MAX_PROBLEM {
            break;
        }
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let texts = ["detail", "error", "title"];
    let text = texts.iter().find_map(|name| problem[*name].as_str());
    let message = text.map_or_else(
        || "it does not say why".to_owned(),
        crate::console::printable,
    );
    ClientError::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_conductor_is_asked_every_other_time() {
        for (urls, asked) in [
            (&["a"][..], "aaaaaa"),
            (&["a", "b"], "ababab"),
            (&["a", "b", "c"], "abacab"),
            (&[], ""),
        ] {
            let conductors = Conductors {
                urls: urls.iter().map(|&url| url.to_owned()).collect(),
                turns: AtomicUsize::new(0),
            };
            let in_turn = (0..6).map(|_| {
                let current = conductors.current().to_owned();
                conductors.turns.fetch_add(1, Ordering::Relaxed);
                current
            });
            assert_eq!(in_turn.collect::<String>(), asked);
        }
    }

    fn refused(status: u16) -> ClientError {
        ClientError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            message: String::new(),
        }
    }

    #[test]
    fn only_what_will_not_change_is_final() {
        for status in [400, 404, 410, 413, 422] {
            assert!(
                refused(status).is_final() && !refused(status).is_refusal(),
                "{status}"
            );
        }
        for status in [408, 429, 500, 502, 503] {
            assert!(
                !refused(status).is_final() && !refused(status).is_refusal(),
                "{status}"
            );
        }
        for status in [401, 403] {
            assert!(
                !refused(status).is_final() && refused(status).is_refusal(),
                "{status}"
            );
        }
    }
}
