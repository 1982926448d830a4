//! An API on loopback that answers from a script, and the real `bessemer` talking to it.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::process::Command;

/// One answer: an HTTP status and a body.
type Answer = (u16, String);

/// What the API answers: by method and path, one answer after the other, the last one for ever.
#[derive(Default)]
struct Script {
    answers: Vec<(String, VecDeque<Answer>)>,
    requests: Vec<Seen>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Such as `GET /v1/nodes?limit=1000`.
    pub(crate) line: String,
    /// Header lines, lowercase names.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(each, _)| each == name);
        found.map_or("", |(_, value)| value)
    }
}

/// An API that answers from a script, for as long as the test runs.
#[derive(Clone)]
pub(crate) struct Api {
    /// Where it is.
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

impl Api {
    /// Starts with nothing to say.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, script }
    }

    /// Adds an answer to requests with this method and path; queries are not looked at.
    pub(crate) fn on(&self, request: &str, status: u16, body: &Value) -> &Self {
        self.add(request, (status, body.to_string()))
    }

    /// Adds an event stream, which ends after `text`.
    pub(crate) fn on_stream(&self, request: &str, text: String) -> &Self {
        self.add(request, (200, text))
    }

    fn add(&self, request: &str, answer: Answer) -> &Self {
        let answers = &mut self.script.lock().unwrap().answers;
        match answers.iter_mut().find(|(known, _)| known == request) {
            Some((_, queue)) => queue.push_back(answer),
            None => answers.push((request.to_owned(), [answer].into())),
        }
        self
    }

    /// All requests so far that begin so.
    pub(crate) fn seen(&self, request: &str) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        let fitting = script
            .requests
            .iter()
            .filter(|seen| seen.line.starts_with(request));
        fitting.cloned().collect()
    }

    /// The real command, set to talk to this API, with an empty home folder.
    pub(crate) fn command(&self, home: &Path, arguments: &str) -> Command {
        let mut command = bessemer(home, arguments);
        command
            .env("BESSEMER_API", &self.url)
            .env("BESSEMER_TOKEN", "from-variable");
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &str) -> Ran {
        let home = tempfile::tempdir().unwrap();
        Ran::of(self.command(home.path(), arguments).output().await.unwrap())
    }
}

/// The real command with nothing set.
pub(crate) fn bessemer(home: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
    command
        .args(arguments.split_whitespace())
        .env_clear()
        .env("HOME", home)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) output: String,
    /// Standard error.
    pub(crate) errors: String,
}

impl Ran {
    /// From what the library gives.
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let headers = head.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let seen = Seen {
        line: format!("{} {}", head.method, head.uri),
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut script = script.lock().unwrap();
    script.requests.push(seen);
    let asked = format!("{} {}", head.method, head.uri.path());
    let queue = script.answers.iter_mut().find(|(known, _)| *known == asked);
    let Some((_, queue)) = queue else {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    };
    let next = match queue.len() {
        1 => queue.front().cloned(),
        _ => queue.pop_front(),
    };
    let (status, body) = next.expect("queues are never empty");
    let media_type = if body.starts_with('{') {
        "application/json"
    } else {
        "text/event-stream"
    };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", media_type)], Body::from(body)).into_response()
}

/// The id with this number.
pub(crate) fn id(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02}")
}

/// A server of node 6.
pub(crate) fn server(status: &str) -> Value {
    let step = |step: &str| {
        json!({ "phase": "deploying", "step": step, "irreversible": step == "write_image",
            "posts": 0, "expected_seconds": 20 })
    };
    let active_at = (status == "active").then_some("2026-11-21T10:01:23Z");
    json!({
        "id": id(1), "name": "web-1", "project": id(2), "status": status,
        "reason": { "summary": "no call came", "expected": "a call within 600 s", "seen": "nothing",
            "remedy": "look at the console" },
        "flavor": id(3), "image": id(4), "address": "192.168.100.10",
        "networks": [{ "network": id(5),
            "addresses": [{ "address": "192.168.100.10", "subnet": id(7) }] }],
        "default_user": "debian", "node": id(6),
        "plan": { "steps": [step("await_agent"), step("write_image")], "posts": 1,
            "expected_seconds": 40 },
        "posts": 1, "created_at": "2026-11-21T10:00:00Z", "active_at": active_at,
        "grown_later": { "z": 1, "a": 1.50 },
    })
}

/// Node 6 at a step, for a wish of generation 2.
pub(crate) fn node(phase: &str, step: &str, generation: u64) -> Value {
    json!({
        "id": id(6), "name": "rack1-u07", "provision_state": phase, "generation": 2,
        "state": { "phase": phase, "step": step, "generation": generation, "attempt": 1,
            "tries": 1, "boots": 1, "since": "2026-11-21T10:00:00Z",
            "step_since": "2026-11-21T10:00:10Z", "deadline": null, "retry_at": null,
            "cleanliness": "clean", "came_from": null,
            "reason": { "summary": format!("{step} goes on") } },
        "bmc": { "url": "https://10.0.0.7", "username": "root", "trust": "system" },
        "ports": [], "created_at": "2026-11-21T09:00:00Z",
    })
}

/// A problem document.
pub(crate) fn problem(status: u16, detail: &str) -> Value {
    json!({ "type": "urn:bessemer:problem:x", "title": "That is not possible now", "status": status,
        "detail": detail, "field": "ports[0].mac", "remedy": "Use another.", "request_id": "r-1" })
}
