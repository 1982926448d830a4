//! One request and its answer, with every bound: how long, how much, how many pages.

use std::time::Duration;

use bessemer_tls::{Trust, client_config};
use bessemer_wire::api::Page;
use bessemer_wire::problem::Problem;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{Document, Error};

/// The longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The longest wait for a whole answer, unless an endpoint is known to wait itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The largest answer that is accepted: some pages of nodes with all their inventory.
const MOST_BYTES: usize = 16 << 20;

/// Items asked for on one page of a long list: the most that the API gives.
pub(crate) const MOST_PER_PAGE: &str = "1000";

/// Pages of one list that are read.
const MOST_PAGES: usize = 10_000;

/// A client of one API under one token. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// One request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<reqwest::Body>,
    pub(crate) limit: Duration,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            limit: ANSWER_LIMIT,
        }
    }

    /// With a JSON body. The wire types have nothing that cannot be written as JSON.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).expect("the wire types serialise");
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(bytes.into());
        self
    }
}

impl Client {
    /// A client of the API at `base_url` (such as `http://127.0.0.1:8480`), believing the
    /// certificate authorities of this host if it is an `https` one. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address or the token cannot be used.
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, Error> {
        Self::with_trust(base_url, token, &Trust::System)
    }

    /// The same for an `https` API whose certificate is judged by `trust`.
    ///
    /// # Errors
    /// When the address, the token or the trust cannot be used.
    pub fn with_trust(base_url: &str, token: Option<&str>, trust: &Trust) -> Result<Self, Error> {
        let base = base(base_url)?;
        let authorization = token.map(bearer).transpose()?;
        let secure = base.scheme() == "https";
        // Without TLS there is nothing to verify, and reading this host's authorities takes a while.
        let trust = if secure {
            trust
        } else {
            &Trust::InsecureNoVerification
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(trust).map_err(Error::Tls)?)
            .https_only(secure)
            .connect_timeout(CONNECT_LIMIT)
            // A redirect would take the token to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // No proxy can reach this host's own loopback.
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(Error::Setup)?,
            base,
            authorization,
        })
    }

    /// Where the API is.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the server answers (`GET /healthz`; needs no token).
    ///
    /// # Errors
    /// When it does not, or says that it is not well.
    pub async fn health(&self) -> Result<(), Error> {
        let mut url = self.base.clone();
        url.set_path("/healthz");
        self.answer(Call::new(Method::GET, url)).await.map(drop)
    }

    /// What the server counts, in Prometheus's text format (`GET /metrics`; needs no token).
    ///
    /// # Errors
    /// When it does not answer with it.
    pub async fn metrics(&self) -> Result<String, Error> {
        let mut url = self.base.clone();
        url.set_path("/metrics");
        let answer = self.answer(Call::new(Method::GET, url)).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The address of something under `/v1`; every segment is one name, whatever is in it.
    pub(crate) fn at(&self, segments: &[&str]) -> Result<Url, Error> {
        // The URL standard takes these for steps in a path, so they would name something else.
        if let Some(wrong) = segments
            .iter()
            .find(|segment| matches!(**segment, "" | "." | ".."))
        {
            return Err(Error::BadName((*wrong).to_owned()));
        }
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v1").extend(segments);
        }
        Ok(url)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
    ) -> Result<Document<T>, Error> {
        self.document(Call::new(Method::GET, self.at(segments)?))
            .await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<Document<T>, Error> {
        self.document(Call::new(Method::POST, self.at(segments)?).json(body))
            .await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        changes: &impl Serialize,
    ) -> Result<Document<T>, Error> {
        self.document(Call::new(Method::PATCH, self.at(segments)?).json(changes))
            .await
    }

    /// Asks for a thing to go away; what the answer says about it is of no use to anybody.
    pub(crate) async fn delete(&self, segments: &[&str]) -> Result<(), Error> {
        self.answer(Call::new(Method::DELETE, self.at(segments)?))
            .await
            .map(drop)
    }

    /// All items of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<Document<T>>, Error> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        let url = with_query(self.at(segments)?, query);
        for _ in 0..MOST_PAGES {
            let page = match &cursor {
                Some(cursor) => with_query(url.clone(), &[("cursor", cursor)]),
                None => url.clone(),
            };
            let next = self.page(Call::new(Method::GET, page), &mut items).await?;
            let Some(next) = next else {
                return Ok(items);
            };
            cursor = Some(next);
        }
        Err(Error::Endless {
            url: url.into(),
            pages: MOST_PAGES,
        })
    }

    /// Adds one page to `items`; gives the cursor of the next page, if there is one.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        call: Call,
        items: &mut Vec<Document<T>>,
    ) -> Result<Option<String>, Error> {
        let url = call.url.clone();
        let page = self
            .document::<Page<Box<RawValue>>>(call)
            .await?
            .into_value();
        for item in page.items {
            items.push(Document::read(item).map_err(|source| bad_answer(&url, source))?);
        }
        Ok(page.next)
    }

    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<Document<T>, Error> {
        let url = call.url.clone();
        let body = self.answer(call).await?;
        serde_json::from_slice(&body)
            .and_then(Document::read)
            .map_err(|source| bad_answer(&url, source))
    }

    /// The body of a successful answer.
    pub(crate) async fn answer(&self, call: Call) -> Result<Vec<u8>, Error> {
        let limit = call.limit;
        let response = self.send(call, Some(limit)).await?;
        self.body(response, limit).await
    }

    /// Sends, and gives the successful answer whose body is still to be read. `limit` is for the
    /// whole answer with its body; a stream has none.
    pub(crate) async fn send(
        &self,
        call: Call,
        limit: Option<Duration>,
    ) -> Result<Response, Error> {
        let mut request = self.http.request(call.method, call.url);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !call.headers.contains_key(ACCEPT) {
            request = request.header(ACCEPT, "application/json");
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let sent = request.headers(call.headers).send().await;
        let response = sent.map_err(|error| self.failure(error, call.limit))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response, call.limit).await)
    }

    async fn refusal(&self, response: Response, limit: Duration) -> Error {
        let (status, url) = (response.status(), response.url().to_string());
        match self.body(response, limit).await {
            Ok(body) => refusal(status, url, &body),
            Err(error) => error,
        }
    }

    async fn body(&self, mut response: Response, limit: Duration) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.failure(error, limit))? else {
                return Ok(body);
            };
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(Error::TooLarge {
                    url: response.url().to_string(),
                    limit: MOST_BYTES,
                });
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// What an error of the HTTP library means.
    pub(crate) fn failure(&self, error: reqwest::Error, limit: Duration) -> Error {
        let url = self.url().to_owned();
        let connecting = error.is_connect();
        if error.is_timeout() {
            let limit = if connecting { CONNECT_LIMIT } else { limit };
            return Error::TimedOut { url, limit };
        }
        let source = error.without_url();
        if connecting {
            Error::Unreachable { url, source }
        } else {
            Error::Broken { url, source }
        }
    }
}

pub(crate) fn bad_answer(url: &Url, source: serde_json::Error) -> Error {
    Error::BadAnswer {
        url: url.to_string(),
        source,
    }
}

/// `url` with `query` added to what it already asks.
pub(crate) fn with_query(mut url: Url, query: &[(&str, &str)]) -> Url {
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

fn base(text: &str) -> Result<Url, Error> {
    let wrong = |detail: &str| Error::BadUrl {
        url: text.to_owned(),
        detail: detail.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins neither with http:// nor with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Shown without it: it may hold a password.
        return Err(Error::BadUrl {
            url: url.host_str().unwrap_or_default().to_owned(),
            detail: "an account does not belong into it".to_owned(),
        });
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a path"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::BadToken);
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

fn refusal(status: StatusCode, url: String, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(mut problem) => {
            // The status line is what happened; a body that disagrees is wrong.
            problem.status = status.as_u16();
            Error::Problem(Box::new(problem))
        }
        Err(_) => Error::Status {
            url,
            status: status.as_u16(),
        },
    }
}
