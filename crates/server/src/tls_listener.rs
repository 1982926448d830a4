//! A TCP listener whose connections have their TLS handshake behind them when axum gets them.
//!
//! Handshakes run beside each other with a time limit, so that a peer that connects and says
//! nothing holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_tasks::Supervisor;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serving::prepare;

/// The longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes under way at the same time; further connections wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 256;

/// A listener for TLS connections.
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: AbortHandle,
}

impl TlsListener {
    /// Accepts on `listener` with `config` from now on.
    pub(crate) fn new(
        listener: TcpListener,
        config: ServerConfig,
        supervisor: Supervisor,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(MAX_HANDSHAKES);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn(async move {
            let listener = Mutex::new(listener);
            let start = || accept(&listener, &acceptor, &sender);
            supervisor.keep("accepting TLS connections", start).await;
        });
        Ok(Self {
            address,
            ready,
            accepting: accepting.abort_handle(),
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: &Mutex<TcpListener>,
    acceptor: &TlsAcceptor,
    sender: &mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let mut listener = listener.lock().await;
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Ok(place) = places.clone().acquire_owned().await {
        // axum's accept waits and goes on after errors such as too many open files.
        let (stream, peer) = axum::serve::Listener::accept(&mut *listener).await;
        prepare(&stream);
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // The receiver is gone only when the server stops.
                let _ = sender.send((stream, peer)).await;
            }
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only with this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
