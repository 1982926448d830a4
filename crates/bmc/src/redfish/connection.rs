//! The one connection to a BMC: made when something is asked, kept for what is asked next, and closed
//! when that does not come.
//!
//! A BMC is asked one thing at a time, so whoever asks also drives the connection: neither a pool nor
//! a task of its own stands between the two, and a request wakes nobody else. What a BMC does
//! to a connection meanwhile, such as closing it, is found when it is taken up again.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use bessemer_tls::rustls::ClientConfig;
use bessemer_tls::rustls::pki_types::ServerName;
use bytes::Bytes;
use futures_util::future::{Either, FutureExt, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

use super::endpoint::{Endpoint, Security};
use crate::Error;

/// How long a kept connection is silent before the kernel asks whether the BMC is still there, and
/// how long and how often it asks. A BMC that has lost power, or a firewall that has forgotten the
/// connection, is noticed so before the next request is sent into nothing.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// TCP and TLS did not come about in time.
    #[error("no connection in time")]
    ConnectTimedOut,
    /// No connection.
    #[error("no connection")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection is lost, or what came is no HTTP.
    #[error("the connection is lost")]
    Lost(#[source] Box<dyn StdError + Send + Sync>),
    /// What the BMC gave us to say cannot be said in HTTP.
    #[error("no HTTP request")]
    Unsayable(#[source] hyper::http::Error),
    /// The answer is longer than is read.
    #[error("the answer is too long")]
    TooLong,
}

/// How connections to one BMC are made.
pub(super) struct Connector {
    address: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Time for TCP and TLS to come about.
    limit: Duration,
}

impl Connector {
    pub(super) fn new(
        endpoint: &Endpoint,
        tls: ClientConfig,
        limit: Duration,
    ) -> Result<Self, Error> {
        let bad = |problem| Error::BadAddress {
            address: endpoint.name(),
            problem,
        };
        let address = endpoint.name().parse();
        let name = ServerName::try_from(endpoint.host_and_port().0);
        let tls = match endpoint.security() {
            Security::UnencryptedHttp => None,
            Security::Tls(_) => Some((
                TlsConnector::from(Arc::new(tls)),
                name.map_err(|_| bad("names a host that no certificate can be of"))?,
            )),
        };
        Ok(Self {
            address: address.map_err(|_| bad("is not one that can be asked by HTTP"))?,
            tls,
            limit,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        match timeout(self.limit, self.connect_at_leisure()).await {
            Ok(result) => result,
            Err(_) => Err(Failure::ConnectTimedOut),
        }
    }

    async fn connect_at_leisure(&self) -> Result<Connection, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_AFTER));
        tcp.set_keepalive_interval(Some(KEEPALIVE_AGAIN));
        tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        let stream = tcp.oneshot(self.address.clone()).await;
        let stream = stream.map_err(|error| Failure::Connect(error.into()))?;
        match &self.tls {
            None => Connection::over(stream.into_inner()).await,
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream.into_inner()).await;
                Connection::over(stream.map_err(|error| Failure::Connect(error.into()))?).await
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Moves the bytes of a connection.
type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection. It is closed when dropped.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has come to its end.
    driver: Option<Driver>,
}

impl Connection {
    async fn over(stream: impl Stream + 'static) -> Result<Self, Failure> {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        Ok(Self {
            sender,
            driver: Some(driver),
        })
    }

    /// Sends `request`; the whole answer, of at most `most` bytes.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Response<Bytes>, Failure> {
        let sender = &mut self.sender;
        let answer = pin!(async move {
            sender.ready().await.map_err(lost)?;
            let (head, body) = sender
                .send_request(request)
                .await
                .map_err(lost)?
                .into_parts();
            let body = Limited::new(body, most).collect().await.map_err(unread)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        });
        let Some(driver) = &mut self.driver else {
            return answer.await;
        };
        match select(answer, driver).await {
            Either::Left((answer, _)) => answer,
            // Whoever waits for an answer is told how the connection ended.
            Either::Right((_, answer)) => {
                self.driver = None;
                answer.await
            }
        }
    }

    /// Whether another request can be sent, as far as the BMC has let us know.
    async fn is_open(&mut self) -> bool {
        let Some(driver) = &mut self.driver else {
            return false;
        };
        let ended = poll_fn(|context| Poll::Ready(driver.poll_unpin(context).is_ready())).await;
        !ended && self.sender.is_ready()
    }

    /// Takes leave of a BMC that has been told that there are no more requests.
    pub(super) fn close(mut self) {
        self.driver.take().map(FutureExt::now_or_never);
    }
}

fn lost(error: hyper::Error) -> Failure {
    Failure::Lost(error.into())
}

fn unread(error: Box<dyn StdError + Send + Sync>) -> Failure {
    match error.is::<LengthLimitError>() {
        true => Failure::TooLong,
        false => Failure::Lost(error),
    }
}

/// Where the connection is while nothing is asked.
pub(super) struct Resting {
    place: Arc<Mutex<Place>>,
    /// How long it is kept there.
    idle: Duration,
}

#[derive(Default)]
struct Place {
    /// With the moment at which it was put there.
    connection: Option<(Connection, Instant)>,
    /// Whether somebody will close it.
    is_watched: bool,
}

impl Resting {
    pub(super) fn new(idle: Duration) -> Self {
        Self {
            place: Arc::default(),
            idle,
        }
    }

    /// The kept connection, if there is one and the BMC has not closed it.
    pub(super) async fn take(&self) -> Option<Connection> {
        let (mut connection, _) = lock(&self.place).connection.take()?;
        connection.is_open().await.then_some(connection)
    }

    /// Keeps `connection` for the next request.
    pub(super) fn put(&self, connection: Connection) {
        let mut place = lock(&self.place);
        place.connection = Some((connection, Instant::now()));
        if !std::mem::replace(&mut place.is_watched, true) {
            tokio::spawn(close_when_idle(Arc::downgrade(&self.place), self.idle));
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    // Its fields are changed by assignments alone.
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the connection in `place` once it has been there for `idle`; ends when there is none.
async fn close_when_idle(place: Weak<Mutex<Place>>, idle: Duration) {
    loop {
        let until = {
            let Some(place) = place.upgrade() else { return };
            let mut place = lock(&place);
            match &place.connection {
                Some((_, since)) if since.elapsed() < idle => *since + idle,
                _ => {
                    *place = Place::default();
                    return;
                }
            }
        };
        sleep_until(until).await;
    }
}
