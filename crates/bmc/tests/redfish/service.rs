//! A Redfish service on loopback: sessions, reset and boot override over a tree of resources,
//! with rules that come before all of it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bessemer_bmc::Credentials;
use bessemer_bmc::redfish::{Endpoint, Limits, RedfishBmc, RedfishConfig, Security};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub(crate) const USERNAME: &str = "root";
pub(crate) const PASSWORD: &str = "correct-horse";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Long enough never to pass in a test that works.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// For calls that must run into their deadline: after the first look, on a busy machine too.
pub(crate) fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(1500)
}

/// A request as the service saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn is(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path == path
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Answers a request instead of the service, or leaves it alone.
pub(crate) type Rule = Box<dyn FnMut(&Seen, &mut World) -> Option<Response> + Send>;

/// What the service serves.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) resources: HashMap<String, Value>,
    pub(crate) sessions: Vec<String>,
    pub(crate) seen: Vec<Seen>,
    logins: usize,
}

impl World {
    /// The only system's resource.
    pub(crate) fn system(&mut self) -> &mut Value {
        let path = self.resources["/redfish/v1/Systems"]["Members"][0]["@odata.id"].clone();
        self.resources.get_mut(path.as_str().unwrap()).unwrap()
    }
}

struct Shared {
    world: Mutex<World>,
    rules: Mutex<Vec<Rule>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// A running service, ended when dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A service with one small machine that is off.
pub(crate) fn small_tree() -> HashMap<String, Value> {
    let tree = json!({
        "/redfish/v1": {
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Links": {"Sessions": {"@odata.id": SESSIONS}},
        },
        "/redfish/v1/Systems": {"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]},
        "/redfish/v1/Systems/1": {
            "Id": "1", "SerialNumber": "S1", "PowerState": "Off",
            "Boot": {
                "BootSourceOverrideEnabled": "Disabled",
                "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "UefiHttp"],
            },
            "Actions": {"#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            }},
        },
    });
    from_json(&tree)
}

pub(crate) fn from_json(tree: &Value) -> HashMap<String, Value> {
    tree.as_object()
        .unwrap()
        .iter()
        .map(|(path, value)| (path.clone(), value.clone()))
        .collect()
}

impl Service {
    pub(crate) async fn start(resources: HashMap<String, Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener.local_addr().unwrap(), listener, resources)
    }

    /// Serves by any listener: TCP or TLS.
    pub(crate) fn serve<L>(
        address: SocketAddr,
        listener: L,
        resources: HashMap<String, Value>,
    ) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let shared = Arc::new(Shared {
            world: Mutex::new(World {
                resources,
                ..World::default()
            }),
            rules: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Adds a rule that comes before the service's own answers.
    pub(crate) fn rule(
        &self,
        rule: impl FnMut(&Seen, &mut World) -> Option<Response> + Send + 'static,
    ) {
        self.shared.rules.lock().unwrap().push(Box::new(rule));
    }

    pub(crate) fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.shared.world.lock().unwrap())
    }

    pub(crate) fn count(&self, method: &Method, path: &str) -> usize {
        self.world(|world| {
            world
                .seen
                .iter()
                .filter(|seen| seen.is(method, path))
                .count()
        })
    }

    pub(crate) fn resets(&self) -> Vec<String> {
        self.world(|world| {
            let resets = world
                .seen
                .iter()
                .filter(|seen| seen.path.ends_with("ComputerSystem.Reset"));
            resets
                .map(|seen| seen.body["ResetType"].as_str().unwrap().to_owned())
                .collect()
        })
    }

    pub(crate) fn logins(&self) -> usize {
        self.count(&Method::POST, SESSIONS)
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn config(&self) -> RedfishConfig {
        config(
            &format!("http://{}", self.address),
            Security::UnencryptedHttp,
        )
    }

    pub(crate) fn client(&self) -> RedfishBmc {
        RedfishBmc::new(self.config()).unwrap()
    }
}

pub(crate) fn config(address: &str, security: Security) -> RedfishConfig {
    RedfishConfig {
        endpoint: Endpoint::new(address, security).unwrap(),
        credentials: Credentials::new(USERNAME, PASSWORD),
        ipmi_key: None,
        system: None,
        limits: Limits {
            retry_pause: Duration::from_millis(5),
            ..Limits::default()
        },
    }
}

/// An error answer with one message for people.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let info = json!([{"MessageId": "Base.1.8.GeneralError", "Message": message}]);
    let body = json!({"error": {"code": "x", "message": "y", "@Message.ExtendedInfo": info}});
    (status, body.to_string()).into_response()
}

pub(crate) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    // Gives a second request, if the client sent one, the time to arrive.
    tokio::task::yield_now().await;
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen {
        method: parts.method,
        path,
        headers: parts.headers,
        body,
    };
    let response = {
        let mut world = shared.world.lock().unwrap();
        world.seen.push(seen.clone());
        let mut rules = shared.rules.lock().unwrap();
        let ruled = rules.iter_mut().find_map(|rule| rule(&seen, &mut world));
        ruled.unwrap_or_else(|| serve(&seen, &mut world))
    };
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    response
}

fn serve(seen: &Seen, world: &mut World) -> Response {
    if seen.is(&Method::POST, SESSIONS) {
        return log_in(seen, world);
    }
    if seen.path != "/redfish/v1" && !is_logged_in(seen, world) {
        return refusal(StatusCode::UNAUTHORIZED, "Who are you?");
    }
    match seen.method {
        Method::GET => match world.resources.get(&seen.path) {
            Some(resource) => resource.to_string().into_response(),
            None => refusal(StatusCode::NOT_FOUND, "There is no such resource."),
        },
        Method::PATCH => patch(seen, world),
        Method::POST if seen.path.ends_with("/Actions/ComputerSystem.Reset") => reset(seen, world),
        Method::POST => match seen.path.split_once("/Actions/VirtualMedia.") {
            Some((drive, _)) => change_media(seen, drive, world),
            None => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        },
        Method::DELETE => {
            let token = seen.path.rsplit('/').next().unwrap();
            world.sessions.retain(|session| session != token);
            done()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn log_in(seen: &Seen, world: &mut World) -> Response {
    if seen.body["UserName"] != USERNAME || seen.body["Password"] != PASSWORD {
        return refusal(StatusCode::UNAUTHORIZED, "Unable to log in.");
    }
    world.logins += 1;
    let token = format!("token{}", world.logins);
    world.sessions.push(token.clone());
    let location = format!("{SESSIONS}/{token}");
    (
        StatusCode::CREATED,
        [("X-Auth-Token", token), ("Location", location)],
        "{}",
    )
        .into_response()
}

fn is_logged_in(seen: &Seen, world: &World) -> bool {
    // "root:correct-horse" in Base64 (RFC 7617).
    let basic = seen.header("authorization") == Some("Basic cm9vdDpjb3JyZWN0LWhvcnNl");
    let token = seen.header("x-auth-token");
    basic || token.is_some_and(|token| world.sessions.iter().any(|session| session == token))
}

fn patch(seen: &Seen, world: &mut World) -> Response {
    let Some(resource) = world.resources.get_mut(&seen.path) else {
        return refusal(StatusCode::NOT_FOUND, "There is no such resource.");
    };
    let etag = resource
        .get("@odata.etag")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let (Some(wanted), Some(etag)) = (seen.header("if-match"), etag)
        && wanted != etag
    {
        return refusal(StatusCode::PRECONDITION_FAILED, "It has changed.");
    }
    merge(resource, &seen.body);
    done()
}

/// RFC 7396, but that null is a value.
fn merge(resource: &mut Value, change: &Value) {
    let Some(members) = change.as_object() else {
        *resource = change.clone();
        return;
    };
    for (name, value) in members {
        match resource.get_mut(name) {
            Some(present) if value.is_object() => merge(present, value),
            _ => resource[name] = value.clone(),
        }
    }
}

/// Inserts or ejects an image by an action of the drive's.
fn change_media(seen: &Seen, drive: &str, world: &mut World) -> Response {
    let inserted = seen.path.ends_with("InsertMedia");
    let Some(drive) = world.resources.get_mut(drive) else {
        return refusal(StatusCode::NOT_FOUND, "There is no such drive.");
    };
    drive["Inserted"] = inserted.into();
    drive["Image"] = seen.body["Image"].clone();
    drive["ConnectedVia"] = if inserted { "URI" } else { "NotConnected" }.into();
    done()
}

fn reset(seen: &Seen, world: &mut World) -> Response {
    let state = match seen.body["ResetType"].as_str() {
        Some("On" | "ForceOn") => "On",
        Some("ForceOff" | "GracefulShutdown") => "Off",
        _ => return refusal(StatusCode::BAD_REQUEST, "Not a reset type."),
    };
    world.system()["PowerState"] = state.into();
    done()
}

/// A TCP peer that is no HTTP server: plays `script` with each connection in turn.
pub(crate) async fn raw_peer<F, R>(mut script: F) -> (SocketAddr, JoinHandle<()>)
where
    F: FnMut(usize, TcpStream) -> R + Send + 'static,
    R: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            // The client may break off; that is what is being tested.
            let _ = script(number, stream).await;
        }
    });
    (address, task)
}

/// Passes connections on to a service, counts them, and can end them at the worst moment.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    lines: Arc<Lines>,
    task: JoinHandle<()>,
}

/// What a relay and those who pass on for it share.
#[derive(Default)]
struct Lines {
    connections: AtomicUsize,
    cut: AtomicBool,
    /// Connections that are open.
    open: watch::Sender<usize>,
    end: Notify,
}

impl Relay {
    pub(crate) async fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::<Lines>::default();
        let shared = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let lines = Arc::clone(&shared);
                lines.connections.fetch_add(1, Ordering::SeqCst);
                lines.open.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    tokio::select! {
                        // Either end may break off.
                        _ = pass_on(client, service, &lines.cut) => {}
                        () = lines.end.notified() => {}
                    }
                    lines.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self {
            address,
            lines,
            task,
        }
    }

    /// Ends the connection that the next bytes for the service come by, without passing them on: so
    /// looks a request that crosses with the end of an idle connection.
    pub(crate) fn cut_next(&self) {
        self.lines.cut.store(true, Ordering::SeqCst);
    }

    /// Ends all connections.
    pub(crate) async fn end(&self) {
        self.lines.end.notify_waiters();
        self.ended().await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn ended(&self) {
        let mut open = self.lines.open.subscribe();
        let none = open.wait_for(|open| *open == 0);
        let none = timeout_at(soon(), none).await;
        none.expect("connections end soon").unwrap();
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.lines.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(client: TcpStream, service: SocketAddr, cut: &AtomicBool) -> io::Result<()> {
    let mut service = TcpStream::connect(service).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_service, mut to_service) = service.split();
    let requests = async {
        let mut bytes = [0; 4096];
        loop {
            let length = from_client.read(&mut bytes).await?;
            if length == 0 || cut.swap(false, Ordering::SeqCst) {
                return io::Result::Ok(());
            }
            to_service.write_all(&bytes[..length]).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = tokio::io::copy(&mut from_service, &mut to_client) => ended.map(drop),
    }
}
