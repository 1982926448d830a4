//! Single requests of the agent protocol (`bessemer_wire::agent`), to a conductor whose certificate is
//! pinned; after one that does not answer, to the next one. Asking again is the caller's business.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_tls::{Trust, client_config};
use bessemer_wire::agent::{ChunkUrl, Hello, MAX_POLL_SECONDS, Poll};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};

use super::{AgentError, Parameters};

/// A conductor that keeps a poll open for longer than this is gone.
const LIMIT: Duration = Duration::from_secs(MAX_POLL_SECONDS + 30);

/// A way to the conductors.
pub struct Protocol {
    http: reqwest::Client,
    conductors: Vec<String>,
    /// Which of them is asked, counted round and round.
    asked: AtomicUsize,
}

/// What the conductor answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Protocol {
    /// The way that a boot's parameters name.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(boot: &Parameters) -> Result<Self, AgentError> {
        let tls = client_config(&Trust::Pinned(boot.pin))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .local_address(IpAddr::V4(boot.address))
            .no_proxy()
            .timeout(LIMIT)
            .build()?;
        Ok(Self {
            http,
            conductors: boot.conductors.clone(),
            asked: AtomicUsize::new(0),
        })
    }

    /// `POST hello`.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn hello(&self, hello: &Hello) -> Result<Answer, AgentError> {
        self.send(self.request(Method::POST, "hello").json(hello))
            .await
    }

    /// `POST poll` under a session.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn poll(&self, session: &str, poll: &Poll) -> Result<Answer, AgentError> {
        let request = self.request(Method::POST, "poll").bearer_auth(session);
        self.send(request.json(poll)).await
    }

    /// `GET` of `path`, such as `config-drive`, under a session.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get(&self, session: &str, path: &str) -> Result<Answer, AgentError> {
        self.send(self.request(Method::GET, path).bearer_auth(session))
            .await
    }

    /// Chunks of an image, without TLS, from where the conductor says.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn chunks_in_clear(
        &self,
        url: &ChunkUrl,
        first: usize,
        count: usize,
    ) -> Result<Answer, AgentError> {
        let url = format!("{}/{first}/{count}", url.0);
        Self::answer(self.http.get(url)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let asked = self.asked.load(Ordering::SeqCst) % self.conductors.len();
        let conductor = &self.conductors[asked];
        self.http
            .request(method, format!("{conductor}/agent/v1/{path}"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, AgentError> {
        let answer = Self::answer(request).await;
        if !answer.as_ref().is_ok_and(|answer| answer.status != 503) {
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
        answer
    }

    async fn answer(request: RequestBuilder) -> Result<Answer, AgentError> {
        let answer = request.send().await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body: answer.bytes().await?,
        })
    }
}
