//! A conductor that speaks the agent protocol over real TLS on loopback, with faults on demand,
//! and a machine made of files.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bessemer_agent::client::Client;
use bessemer_agent::clock::Clock;
use bessemer_agent::drivers::Drivers;
use bessemer_agent::machine::Machine;
use bessemer_agent::network::Witnesses;
use bessemer_agent::network::lldp::Neighbors;
use bessemer_agent::random;
use bessemer_agent::session::{self, Ending, Patience};
use bessemer_agent::work::Context;
use bessemer_core::hardware::{DiskIdentity, MachineIdentity};
use bessemer_core::id::{BootId, Generation};
use bessemer_core::lifecycle::IntentKey;
use bessemer_core::network_data::ConfigurationFile;
use bessemer_tls::{Fingerprint, SelfSigned};
use bessemer_wire::agent::{
    AgentStatus, ChunkUrl, Command, Hello, POLL_SECONDS, Poll, PollAnswer, Welcome, Work,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) mod image;

/// The longest that anything in a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const TOKEN: &str = "one-time-token";

/// What the conductor knows and is asked to do wrong.
#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) session: Option<String>,
    pub(crate) hellos: Vec<Hello>,
    pub(crate) command: Option<Command>,
    pub(crate) statuses: Vec<AgentStatus>,
    pub(crate) generation: u64,
    /// The newest generation, if polls are told.
    pub(crate) newest: Option<u64>,
    pub(crate) served: Vec<u8>,
    pub(crate) config_drive: Vec<u8>,
    /// What config drives were asked for with.
    pub(crate) config_drive_queries: Vec<Option<String>>,
    pub(crate) report_script: Vec<u8>,
    pub(crate) network_files: Vec<ConfigurationFile>,
    pub(crate) map: Option<serde_json::Value>,
    /// How often chunks were asked for without TLS.
    pub(crate) in_clear_requests: u32,
    /// How often each chunk was asked for.
    pub(crate) chunk_requests: HashMap<usize, u32>,
    /// Chunks to damage, or to refuse for now, that many more times.
    pub(crate) damage: HashMap<usize, u32>,
    pub(crate) refuse: HashMap<usize, u32>,
    /// From this chunk on, answers wait until the gate opens.
    pub(crate) closed_from: Option<usize>,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Rings when there is a command or a status.
    news: Notify,
    gate: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// A conductor. Dropping it closes every connection.
pub(crate) struct Conductor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
    pub(crate) pin: Fingerprint,
    certificate: Arc<SelfSigned>,
    serving: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Conductor {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// One whose certificate is valid in these years.
    pub(crate) async fn valid_in(years: Range<i32>) -> Self {
        Self::start_with(Some(years)).await
    }

    async fn start_with(years: Option<Range<i32>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let names = ["127.0.0.1".to_owned()];
        if let Some(years) = years {
            write_certificate(&certificate, &key, &names, years);
        }
        let certificate = SelfSigned::load_or_create(&certificate, &key, &names).unwrap();
        let shared = Shared {
            inner: Mutex::new(Inner {
                generation: 1,
                ..Inner::default()
            }),
            news: Notify::new(),
            gate: watch::Sender::new(()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut conductor = Self {
            shared: Arc::new(shared),
            address: listener.local_addr().unwrap(),
            pin: certificate.fingerprint(),
            certificate: Arc::new(certificate),
            serving: None,
            _folder: folder,
        };
        conductor.serve(listener);
        conductor
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = self.certificate.server_config().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let router = router(self.shared.clone());
        self.serving = Some(tokio::spawn(async move {
            // Connections end with this task, as they do with a process.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve_connection(acceptor.clone(), stream, router.clone()));
            }
        }));
    }

    /// Goes away as a killed process does.
    pub(crate) async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Comes back at the same place, with the same certificate and memory.
    pub(crate) async fn restart(&mut self) {
        self.come_back_at(self.address).await;
    }

    /// Gives way to another one, which has the same certificate and database, at [`Self::other`].
    pub(crate) async fn give_way(&mut self) {
        self.come_back_at(self.other()).await;
    }

    async fn come_back_at(&mut self, address: SocketAddr) {
        self.kill().await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        self.serve(socket.listen(64).unwrap());
    }

    /// Where there is nobody until this one has given way.
    pub(crate) fn other(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 2], self.address.port()))
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner()
    }

    /// Asks for a command and does not wait.
    pub(crate) fn ask(&self, command: Command) {
        self.inner().command = Some(command);
        self.shared.news.notify_waiters();
    }

    /// Asks for a command and waits for its end.
    pub(crate) async fn command(&self, command: Command) -> AgentStatus {
        self.command_within(LIMIT, command).await
    }

    /// Asks for a command and waits for its end, for at most `limit`.
    pub(crate) async fn command_within(&self, limit: Duration, command: Command) -> AgentStatus {
        let key = command.id.clone();
        self.ask(command);
        self.wait_within(limit, |inner| {
            inner
                .statuses
                .iter()
                .rev()
                .find(|status| ended(status) == Some(&key))
                .cloned()
        })
        .await
    }

    /// Waits until what the conductor has seen fulfils a condition.
    pub(crate) async fn wait_for<T>(&self, condition: impl Fn(&Inner) -> Option<T>) -> T {
        self.wait_within(LIMIT, condition).await
    }

    async fn wait_within<T>(&self, limit: Duration, condition: impl Fn(&Inner) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if let Some(found) = condition(&self.inner()) {
                    return found;
                }
                news.await;
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .expect("the agent does not do what it should")
    }

    /// Serves chunks without TLS as well, until the test ends; where.
    pub(crate) async fn serve_chunks_in_clear(&self) -> ChunkUrl {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/token/{first}/{count}", get(chunks_in_clear))
            .with_state(self.shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ChunkUrl(url)
    }

    /// Lets the chunks through that wait.
    pub(crate) fn open_gate(&self) {
        self.inner().closed_from = None;
        self.shared.gate.send_replace(());
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

fn write_certificate(
    certificate: &std::path::Path,
    key: &std::path::Path,
    names: &[String],
    years: Range<i32>,
) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    parameters.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let signed = parameters.self_signed(&pair).unwrap();
    std::fs::write(certificate, signed.pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(key, private).unwrap();
}

/// The command whose end a status reports.
pub(crate) fn ended(status: &AgentStatus) -> Option<&IntentKey> {
    match status {
        AgentStatus::Done { command, .. } | AgentStatus::Failed { command, .. } => Some(command),
        AgentStatus::Idle | AgentStatus::Running { .. } => None,
    }
}

async fn serve_connection(acceptor: TlsAcceptor, stream: TcpStream, router: Router) {
    if let Ok(stream) = acceptor.accept(stream).await {
        let service = hyper_util::service::TowerToHyperService::new(router);
        let io = hyper_util::rt::TokioIo::new(stream);
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/poll", post(poll))
        .route("/agent/v1/images/{image}/map", get(map))
        .route(
            "/agent/v1/images/{image}/chunks/{first}/{count}",
            get(chunks),
        )
        .route("/agent/v1/report-script", get(report_script))
        .route("/agent/v1/network-files", get(network_files))
        .route("/agent/v1/config-drive", get(config_drive))
        .with_state(shared)
}

fn problem(status: StatusCode, detail: &str) -> Response {
    (status, Json(serde_json::json!({ "detail": detail }))).into_response()
}

async fn hello(State(shared): State<Arc<Shared>>, Json(hello): Json<Hello>) -> Response {
    let mut inner = shared.inner();
    inner.hellos.push(hello.clone());
    let is_replay = inner
        .session
        .as_ref()
        .is_some_and(|session| *session != hello.session);
    let response = if hello.token != TOKEN || is_replay {
        problem(
            StatusCode::UNAUTHORIZED,
            "the token of this boot has been used",
        )
    } else {
        inner.session = Some(hello.session);
        let generation = Generation(inner.generation);
        Json(Welcome {
            node: "n1".into(),
            generation,
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
        })
        .into_response()
    };
    drop(inner);
    shared.news.notify_waiters();
    response
}

fn is_authorised(shared: &Shared, headers: &HeaderMap) -> bool {
    let expected = shared
        .inner()
        .session
        .as_ref()
        .map(|session| format!("Bearer {session}"));
    let found = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    expected.is_some() && expected.as_deref() == found
}

async fn poll(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(poll): Json<Poll>,
) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    {
        let mut inner = shared.inner();
        if ended(&poll.status).is_some()
            && ended(&poll.status) == inner.command.as_ref().map(|command| &command.id)
        {
            inner.command = None;
        }
        inner.statuses.push(poll.status);
    }
    shared.news.notify_waiters();
    let waiting = async {
        loop {
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if poll.hurry || shared.inner().command.is_some() {
                return;
            }
            news.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(POLL_SECONDS), waiting).await;
    let inner = shared.inner();
    let answer = PollAnswer {
        command: inner.command.clone(),
        generation: inner.newest.map(Generation),
    };
    drop(inner);
    Json(answer).into_response()
}

async fn map(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    match shared.inner().map.clone() {
        Some(map) => Json(map).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such image"),
    }
}

async fn chunks(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path((_image, first, count)): Path<(String, usize, usize)>,
) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    stream_chunks(shared, first, count)
}

async fn chunks_in_clear(
    State(shared): State<Arc<Shared>>,
    Path((first, count)): Path<(usize, usize)>,
) -> Response {
    shared.inner().in_clear_requests += 1;
    stream_chunks(shared, first, count)
}

/// Chunks one after the other, until one is refused: the answer then ends too early.
fn stream_chunks(shared: Arc<Shared>, first: usize, count: usize) -> Response {
    if takes_one(&mut shared.inner().refuse, first) {
        *shared.inner().chunk_requests.entry(first).or_default() += 1;
        return problem(StatusCode::SERVICE_UNAVAILABLE, "not now");
    }
    let next = move |index: usize| {
        let shared = shared.clone();
        async move {
            if index == first + count {
                return None;
            }
            let data = chunk(&shared, index, index == first).await?;
            Some((Ok::<_, std::io::Error>(data), index + 1))
        }
    };
    Body::from_stream(stream::unfold(first, next)).into_response()
}

async fn chunk(shared: &Shared, index: usize, is_first: bool) -> Option<Bytes> {
    let mut gate = shared.gate.subscribe();
    let closed = {
        let mut inner = shared.inner();
        *inner.chunk_requests.entry(index).or_default() += 1;
        inner.closed_from.is_some_and(|from| index >= from)
    };
    shared.news.notify_waiters();
    if closed {
        let _ = gate.changed().await;
    }
    let mut inner = shared.inner();
    if !is_first && takes_one(&mut inner.refuse, index) {
        return None;
    }
    let map = inner.map.clone().unwrap();
    let number = |name: &str| map["chunks"][index][name].as_u64().unwrap() as usize;
    let (offset, length) = (number("offset"), number("length"));
    let mut stored = image::pack(&inner.served[offset..offset + length]).to_vec();
    if takes_one(&mut inner.damage, index) {
        let middle = stored.len() / 2;
        stored[middle] ^= 1;
    }
    Some(stored.into())
}

fn takes_one(counts: &mut HashMap<usize, u32>, index: usize) -> bool {
    match counts.get_mut(&index) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

async fn network_files(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    Json(shared.inner().network_files.clone()).into_response()
}

async fn report_script(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    match shared.inner().report_script.clone() {
        none if none.is_empty() => problem(StatusCode::NOT_FOUND, "not known here"),
        script => script.into_response(),
    }
}

async fn config_drive(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !is_authorised(&shared, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "say hello first");
    }
    shared.inner().config_drive_queries.push(query);
    shared.inner().config_drive.clone().into_response()
}

/// A machine made of files: what sysfs shows of it, and one file a disk.
pub(crate) struct Files {
    pub(crate) folder: tempfile::TempDir,
}

impl Files {
    /// A machine whose disks have been used before.
    pub(crate) fn new(disks: &[(&str, u64)]) -> Self {
        let files = Self::sparse_in(&std::env::temp_dir(), disks);
        for (name, size) in disks {
            files.write(&format!("dev/{name}"), vec![0xa5; *size as usize]);
        }
        files
    }

    /// A machine in a folder below `parent`, whose disks take no space until they are written.
    pub(crate) fn sparse_in(parent: &std::path::Path, disks: &[(&str, u64)]) -> Self {
        let files = Self {
            folder: tempfile::tempdir_in(parent).unwrap(),
        };
        files.write("sys/class/dmi/id/product_serial", "S1\n");
        for (name, size) in disks {
            files.write(&format!("sys/block/{name}/device/vendor"), "");
            files.write(
                &format!("sys/block/{name}/serial"),
                format!("serial-{name}"),
            );
            files.write(
                &format!("sys/block/{name}/size"),
                format!("{}\n", size / 512),
            );
            files.write(&format!("dev/{name}"), "");
            files.resize(name, *size);
        }
        files
    }

    /// Makes a disk larger or smaller, which sysfs does not tell.
    pub(crate) fn resize(&self, name: &str, size: u64) {
        let path = self.path(&format!("dev/{name}"));
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(size).unwrap();
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn disk(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("dev/{name}"))).unwrap()
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::under(self.folder.path())
    }
}

/// The selector of a disk of [`Files`].
pub(crate) fn selector(name: &str, size_bytes: u64) -> DiskIdentity {
    DiskIdentity {
        name: name.into(),
        serial: format!("serial-{name}"),
        size_bytes,
        wwn: None,
    }
}

/// A command for the machine of [`Files`].
pub(crate) fn command(id: &str, generation: u64, work: Work) -> Command {
    Command {
        id: IntentKey(id.into()),
        generation: Generation(generation),
        expects: identity(),
        work,
    }
}

pub(crate) fn identity() -> MachineIdentity {
    MachineIdentity {
        serial: "S1".into(),
        uuid: None,
    }
}

/// Impatient enough for a test.
pub(crate) fn impatient() -> Patience {
    Patience {
        unanswered: Duration::from_secs(2),
        refusals: 3,
        after_refusal: Duration::from_millis(10),
        report_interval: Duration::from_millis(50),
    }
}

/// Runs an agent on the machine until its life ends.
pub(crate) fn agent(conductor: &Conductor, files: &Files, pin: Fingerprint) -> JoinHandle<Ending> {
    agent_of(&[conductor.address], files, pin)
}

/// The same of several conductors.
pub(crate) fn agent_of(
    conductors: &[SocketAddr],
    files: &Files,
    pin: Fingerprint,
) -> JoinHandle<Ending> {
    let secret = random::session_secret().unwrap();
    let urls = conductors
        .iter()
        .map(|address| format!("https://{address}"));
    let urls: Vec<_> = urls.collect();
    let hello = Hello {
        boot: BootId(uuid::Uuid::from_u128(1)),
        token: TOKEN.into(),
        session: secret.clone(),
        identity: identity(),
        mac: "52:54:00:77:00:01".parse().unwrap(),
        version: "test".into(),
    };
    let context = Context {
        machine: files.machine(),
        drivers: Drivers::none_needed(),
        lldp: Neighbors::default(),
        clock: Clock::left_alone(),
        client: Client::new(&urls, pin, secret).unwrap(),
        witnesses: Witnesses {
            interface: "lo".into(),
            mac: hello.mac,
            own: [127, 0, 0, 1].into(),
            addresses: vec![[127, 0, 0, 1].into()],
        },
    };
    tokio::spawn(session::run(context, hello, impatient()))
}
