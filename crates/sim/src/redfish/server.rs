//! A controller on the wire.
//!
//! Written on hyper instead of `axum::serve` because a controller can refuse connections on demand
//! (its listener goes away and comes back on the same port) and because its peers are not trusted:
//! connections are bounded in number and must finish their handshake and headers in time.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use bessemer_tls::{Fingerprint, SelfSigned};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::router::router;
use super::{Bmc, Faults};
use crate::Error;

/// Simultaneous connections; real controllers manage fewer.
const CONNECTION_LIMIT: usize = 32;
/// Time for a TLS handshake, and again for a request's headers.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed `accept` or `bind`, which only passing shortages cause.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How a controller is reached.
#[derive(Debug)]
pub enum Transport {
    /// Plain HTTP, for tests.
    Http,
    /// HTTPS with this certificate.
    Https(SelfSigned),
}

/// A running controller; it stops when dropped.
#[derive(Debug)]
pub struct BmcServer {
    address: SocketAddr,
    fingerprint: Option<Fingerprint>,
    /// Dropping it aborts the accept loop and with it every connection.
    _tasks: JoinSet<()>,
}

impl BmcServer {
    /// Serves `bmc` on `listen`; port 0 takes any free port.
    ///
    /// # Errors
    /// When the address cannot be had or the certificate is unusable.
    pub async fn start(
        bmc: Arc<Bmc>,
        listen: SocketAddr,
        transport: Transport,
    ) -> Result<Self, Error> {
        let (tls, fingerprint) = match transport {
            Transport::Http => (None, None),
            Transport::Https(certificate) => {
                let mut config = certificate.server_config()?;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                (
                    Some(TlsAcceptor::from(Arc::new(config))),
                    Some(certificate.fingerprint()),
                )
            }
        };
        let cannot_listen = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let accept = AcceptLoop {
            address,
            faults: bmc.faults().watch(),
            tls,
            bmc,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept.run(listener));
        Ok(Self {
            address,
            fingerprint,
            _tasks: tasks,
        })
    }

    /// Where the controller listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint of its certificate, if it has one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Its base URL, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.fingerprint.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }
}

struct AcceptLoop {
    address: SocketAddr,
    faults: watch::Receiver<Faults>,
    tls: Option<TlsAcceptor>,
    bmc: Arc<Bmc>,
}

impl AcceptLoop {
    /// Serves until the controller is gone.
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            if let Some(open) = listener.take() {
                self.accept_until_refusing(open).await;
            }
            if self
                .faults
                .wait_for(|faults| !faults.refuse_connections)
                .await
                .is_err()
            {
                return;
            }
            match TcpListener::bind(self.address).await {
                Ok(open) => listener = Some(open),
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot listen again");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Accepts until connections are to be refused; then drops the listener and every connection.
    async fn accept_until_refusing(&mut self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        let mut connections = JoinSet::new();
        let mut faults = self.faults.clone();
        let refusing = faults.wait_for(|faults| faults.refuse_connections);
        tokio::pin!(refusing);
        loop {
            let accepted = tokio::select! {
                _ = &mut refusing => return,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(RETRY_PAUSE).await;
                continue;
            };
            // Beyond the limit a connection is closed at once.
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let (tls, bmc) = (self.tls.clone(), self.bmc.clone());
                connections.spawn(async move {
                    answer(stream, tls, bmc, HANDSHAKE_LIMIT).await;
                    drop(place);
                });
            }
        }
    }
}

/// Answers the requests of one connection as `bmc` does, until there has been none for `patience`.
pub(crate) async fn answer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    bmc: Arc<Bmc>,
    patience: Duration,
) {
    match tls {
        None => serve(stream, bmc, patience).await,
        Some(acceptor) => match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, bmc, patience).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        },
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    bmc: Arc<Bmc>,
    patience: Duration,
) {
    static ROUTER: LazyLock<Router> = LazyLock::new(router);
    let router = TowerToHyperService::new(ROUTER.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(bmc.clone());
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}
