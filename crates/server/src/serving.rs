//! How HTTP connections are carried: bounded in number, in time and in size.
//!
//! Most of our ports can be reached by machines that nobody trusts: whatever is plugged into the
//! provisioning network, and tenants' systems that phone home. One of them that opens connections and says
//! nothing, or a byte now and then, must not keep the others from being served. So the headers of a request
//! must come in time, which also ends connections that idle; so must a small body; a peer that does not take
//! its answer is cut off by the kernel; and no peer has more than its share of connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::Extensions;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::Listener;
use bessemer_tasks::Supervisor;
use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// How long a body of at most a MiB may take to come in.
const SMALL_BODY: Duration = Duration::from_secs(30);

/// How long what we have sent may go without the peer's kernel taking it (RFC 5482).
const UNTAKEN: Duration = Duration::from_secs(60);

/// What a port allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long the headers of a request may take to come in; also how long a connection may idle.
    pub(crate) headers: Duration,
    /// How long a body may take to come in, where none is large.
    pub(crate) body: Option<Duration>,
    /// Bytes of the headers of a request, and of what is read ahead of a body.
    pub(crate) buffer: usize,
    /// Connections at the same time; more wait in the kernel's queue.
    pub(crate) connections: usize,
    /// Connections of one peer at the same time; more are closed. Our own host, where proxies are, has no
    /// such bound.
    pub(crate) of_one_peer: usize,
}

impl Bounds {
    /// For the API: whoever uses it has a token, but may come through one proxy with everybody else.
    /// Images are uploaded there.
    pub(crate) const API: Self = Self {
        headers: Duration::from_secs(60),
        body: None,
        buffer: 256 << 10,
        connections: 4096,
        of_one_peer: 2048,
    };

    /// For the ports of the provisioning network: an agent has two connections, firmware a few; agents
    /// that idle keep one each.
    pub(crate) const MACHINES: Self = Self {
        headers: Duration::from_secs(30),
        body: Some(SMALL_BODY),
        buffer: 64 << 10,
        connections: 32 << 10,
        of_one_peer: 32,
    };

    /// For phone-home: many systems may be behind one address.
    pub(crate) const TENANTS: Self = Self {
        headers: Duration::from_secs(20),
        body: Some(SMALL_BODY),
        buffer: 16 << 10,
        connections: 2048,
        of_one_peer: 128,
    };
}

/// Settings of a connection that has just been accepted; that one cannot be set costs time and no more.
pub(crate) fn prepare(stream: &TcpStream) {
    // Small answers should not wait for more.
    let _ = stream.set_nodelay(true);
    let patience = UNTAKEN.as_millis() as u32;
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &patience);
}

/// Where the connection of a request comes from.
pub(crate) fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| peer.ip())
}

/// A listener without TLS.
pub(crate) struct PlainListener(pub(crate) TcpListener);

impl Listener for PlainListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        // axum's accept waits and goes on after errors such as too many open files.
        let (stream, peer) = Listener::accept(&mut self.0).await;
        prepare(&stream);
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves `router` on `listener` until `stop`, and then until the requests under way have ended.
pub(crate) async fn serve<L>(
    listener: L,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
    supervisor: Supervisor,
) where
    L: Listener<Addr = SocketAddr>,
{
    let router = match bounds.body {
        Some(limit) => router.layer(from_fn(move |request: Request, next: Next| {
            body_in_time(request, next, limit)
        })),
        None => router,
    };
    let door = Door {
        listener: tokio::sync::Mutex::new(listener),
        router,
        bounds,
        stop: stop.clone(),
        places: Arc::new(Semaphore::new(bounds.connections)),
        peers: Peers::default(),
        carried: TaskTracker::new(),
    };
    let accepting = supervisor.keep_until(&stop, "accepting connections", || door.accept());
    accepting.await;
    // Whoever comes next may have the port.
    drop(door.listener);
    door.carried.close();
    door.carried.wait().await;
}

/// Where connections come in, and those that have.
struct Door<L> {
    listener: tokio::sync::Mutex<L>,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
    places: Arc<Semaphore>,
    peers: Peers,
    carried: TaskTracker,
}

impl<L: Listener<Addr = SocketAddr>> Door<L> {
    /// Lets connections in until `stop`.
    async fn accept(&self) {
        let mut listener = self.listener.lock().await;
        loop {
            let accepted = async {
                // Never closed, so there is always a place some time.
                let place = self.places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            let (place, (stream, peer)) = tokio::select! {
                accepted = accepted => accepted,
                () = self.stop.cancelled() => return,
            };
            let Some(share) = self.peers.take(peer.ip(), self.bounds.of_one_peer) else {
                tracing::debug!(%peer, "it has too many connections already");
                continue;
            };
            let (router, stop, bounds) = (self.router.clone(), self.stop.clone(), self.bounds);
            self.carried.spawn(async move {
                let _held = (place, share);
                carry(stream, peer, router, bounds, stop).await;
            });
        }
    }
}

/// Carries one connection to its end.
async fn carry(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().call(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.headers)
        .max_buf_size(bounds.buffer)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// How many connections each peer has.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them; given back when dropped.
struct Share(Peers, IpAddr);

impl Peers {
    fn take(&self, peer: IpAddr, most: usize) -> Option<Share> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(peer).or_default();
        if *own >= most && !peer.is_loopback() {
            return None;
        }
        *own += 1;
        Some(Share(self.clone(), peer))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

/// Middleware: a body that has not come in after `limit` ends with an error, for whoever reads it.
async fn body_in_time(request: Request, next: Next, limit: Duration) -> Response {
    let deadline = Instant::now() + limit;
    next.run(request.map(|body| until(body, deadline))).await
}

fn until(body: Body, deadline: Instant) -> Body {
    let parts = Some(body.into_data_stream());
    Body::from_stream(stream::unfold(parts, move |parts| async move {
        let mut parts = parts?;
        match timeout_at(deadline, parts.next()).await {
            Ok(part) => part.map(|part| (part, Some(parts))),
            Err(_) => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the body takes too long");
                Some((Err(axum::Error::new(late)), None))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use nix::sys::socket::getsockopt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        headers: Duration::from_millis(300),
        body: Some(PATIENCE),
        buffer: 8 << 10,
        connections: 4,
        of_one_peer: 2,
    };

    /// Longer than any of these should take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn started(bounds: Bounds) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/slow", post(|body: String| async move { body }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(
            PlainListener(listener),
            router,
            bounds,
            stop.clone(),
            Supervisor::default(),
        ));
        (address, stop, serving)
    }

    /// All that the server says until it closes the connection.
    async fn to_the_end(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        // A connection that is reset has ended, too.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said))
            .await
            .expect("the server closes the connection");
        String::from_utf8_lossy(&said).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_request_is_cut_off() {
        let (address, _stop, _serving) = started(BOUNDS).await;
        for beginning in [
            &b""[..],
            b"GET / HT",
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            let said = to_the_end(&mut stream).await;
            assert!(!said.contains("here"), "{said}");
        }
    }

    /// The classic attack: a header that never ends, so slowly that no single read takes long.
    #[tokio::test]
    async fn who_drips_headers_is_cut_off() {
        let (address, _stop, _serving) = started(BOUNDS).await;
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let dripping = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                if writing.write_all(b"X-A: b\r\n").await.is_err() {
                    return;
                }
            }
        };
        let mut said = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut said) => {}
            () = dripping => {}
            () = tokio::time::sleep(PATIENCE) => panic!("the server takes any number of headers"),
        }
        assert!(!said.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_has_been_served_and_idles_is_let_go() {
        let (address, _stop, _serving) = started(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let said = to_the_end(&mut stream).await;
        assert!(said.ends_with("here"), "{said}");
    }

    #[tokio::test]
    async fn headers_without_end_are_refused() {
        let patient = Bounds {
            headers: PATIENCE,
            ..BOUNDS
        };
        let (address, _stop, _serving) = started(patient).await;
        // What is no longer than allowed is taken, what is longer is not: time has no part in it.
        for (length, taken) in [(4 << 10, true), (64 << 10, false)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let long = "x".repeat(length);
            let request = format!("GET / HTTP/1.1\r\nConnection: close\r\nX-Long: {long}\r\n\r\n");
            // The server may be gone before it has it all.
            let _ = stream.write_all(request.as_bytes()).await;
            let said = to_the_end(&mut stream).await;
            assert_eq!(said.contains("200 OK"), taken, "{length} bytes: {said}");
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let some = stream::iter([Ok::<_, io::Error>("x")]);
        let endless = Body::from_stream(some.chain(stream::pending()));
        let soon = Instant::now() + Duration::from_millis(50);
        let read = axum::body::to_bytes(until(endless, soon), 1 << 20).await;
        assert!(read.unwrap_err().to_string().contains("too long"));
        let later = Instant::now() + PATIENCE;
        let whole = axum::body::to_bytes(until(Body::from("all"), later), 10).await;
        assert_eq!(&whole.unwrap()[..], b"all");
    }

    #[tokio::test]
    async fn who_promises_a_body_and_does_not_send_it_is_cut_off() {
        let hasty = Bounds {
            headers: PATIENCE,
            body: Some(Duration::from_millis(300)),
            ..BOUNDS
        };
        let (address, _stop, _serving) = started(hasty).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha")
            .await
            .unwrap();
        let said = to_the_end(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }

    #[test]
    fn nobody_has_more_than_a_share() {
        let peers = Peers::default();
        let (peer, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let held = [peers.take(peer, 2), peers.take(peer, 2)];
        assert!(held.iter().all(Option::is_some));
        assert!(peers.take(peer, 2).is_none());
        assert!(peers.take(other, 2).is_some());
        drop(held);
        assert!(peers.take(peer, 2).is_some());
        assert!(
            peers.0.lock().unwrap().is_empty(),
            "nothing is kept of who has left"
        );
        let own = [127, 0, 0, 1].into();
        let held: Vec<_> = (0..10).map(|_| peers.take(own, 2)).collect();
        assert!(held.iter().all(Option::is_some));
    }

    #[tokio::test]
    async fn more_connections_than_there_are_places_wait() {
        let bounds = Bounds {
            headers: PATIENCE,
            connections: 1,
            ..BOUNDS
        };
        let (address, _stop, _serving) = started(bounds).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        first.write_all(request).await.unwrap();
        answer(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        // All the while the first one is served, the second is not.
        for _ in 0..50 {
            first.write_all(request).await.unwrap();
            answer(&mut first).await;
            let nothing = second.try_read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
        drop(first);
        assert!(to_the_end(&mut second).await.ends_with("here"));
    }

    /// One whole answer of a connection that goes on.
    async fn answer(stream: &mut TcpStream) {
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\nhere") {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "cut off");
        }
    }

    /// A listener whose connections all seem to come from one peer that is not our own host.
    struct FromElsewhere(PlainListener);

    impl Listener for FromElsewhere {
        type Io = TcpStream;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (TcpStream, SocketAddr) {
            let (stream, peer) = self.0.accept().await;
            (stream, SocketAddr::from(([192, 0, 2, 1], peer.port())))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }
    }

    #[tokio::test]
    async fn who_has_its_share_of_connections_gets_no_more_until_one_ends() {
        let bounds = Bounds {
            headers: PATIENCE,
            connections: 100,
            of_one_peer: 1,
            ..BOUNDS
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = FromElsewhere(PlainListener(listener));
        let router = Router::new().route("/", get(|| async { "here" }));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, bounds, stop, Supervisor::default()));
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(request).await.unwrap();
        answer(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let _ = second.write_all(request).await;
        assert_eq!(to_the_end(&mut second).await, "");
        drop(first);
        // The server learns of that some time.
        let served = async {
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                let _ = next
                    .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .await;
                if to_the_end(&mut next).await.ends_with("here") {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, served).await.unwrap();
    }

    /// A listener that panics once, when the first connection has come.
    struct PanicsOnce(PlainListener, bool);

    impl Listener for PanicsOnce {
        type Io = TcpStream;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (TcpStream, SocketAddr) {
            let accepted = self.0.accept().await;
            assert!(std::mem::replace(&mut self.1, true), "planted");
            accepted
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }
    }

    #[tokio::test]
    async fn a_port_that_panics_listens_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = PanicsOnce(PlainListener(listener), false);
        let router = Router::new().route("/", get(|| async { "here" }));
        let (stop, supervisor) = (CancellationToken::new(), Supervisor::default());
        tokio::spawn(serve(listener, router, BOUNDS, stop, supervisor.clone()));
        let mut lost = TcpStream::connect(address).await.unwrap();
        assert_eq!(to_the_end(&mut lost).await, "");
        assert_eq!(supervisor.panics(), 1);
        // Whoever comes meanwhile waits in the kernel's queue.
        let mut next = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        next.write_all(request).await.unwrap();
        assert!(to_the_end(&mut next).await.ends_with("here"));
        assert!(supervisor.down().is_empty());
    }

    #[tokio::test]
    async fn who_does_not_take_its_answer_is_cut_off_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = PlainListener(listener);
        let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
        connected.unwrap();
        let patience = getsockopt(&accepted.0, sockopt::TcpUserTimeout).unwrap();
        assert_eq!(patience, 60_000);
    }

    #[tokio::test]
    async fn a_server_that_stops_lets_requests_end() {
        let (address, stop, serving) = started(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
                Expect: 100-continue\r\n\r\n",
            )
            .await
            .unwrap();
        // It is asked for the body: the request is under way.
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 100");
        stop.cancel();
        // Nobody is let in any more, so the server has heard of it.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        stream.write_all(b"half").await.unwrap();
        assert!(to_the_end(&mut stream).await.ends_with("half"));
        tokio::time::timeout(PATIENCE, serving)
            .await
            .unwrap()
            .unwrap();
    }
}
