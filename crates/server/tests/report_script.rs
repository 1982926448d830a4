//! The report script, run by a real shell with one real HTTP client at a time. Programs that would
//! touch this machine (its serial consoles, its `/etc`) are replaced by some that note their
//! arguments.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use bessemer_core::report::{DROP_IN_PATH, SCRIPT_PATH, UNIT_PATH, script};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Programs answer in milliseconds; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

const SECRET: &str = "planted-token";
const MARKER: &str = "bessemer-up-planted-marker";

/// What called.
type Calls = Arc<Mutex<Vec<(Method, String)>>>;

/// A phone-home service that is not there at the first call.
async fn serve() -> (String, Calls) {
    let calls = Calls::default();
    let called = async |State(calls): State<Calls>, method: Method, uri: Uri| {
        let mut calls = calls.lock().unwrap();
        calls.push((method, uri.path().to_owned()));
        match calls.len() {
            1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NO_CONTENT,
        }
    };
    let router = Router::new().fallback(called).with_state(calls.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/phone-home/1/{SECRET}",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, calls)
}

fn program(name: &str) -> PathBuf {
    let folders = ["/usr/bin", "/bin"].iter().map(Path::new);
    let mut paths = folders.map(|folder| folder.join(name));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name}; see scripts/install-dependencies"))
}

/// A folder of programs, each of which notes its arguments before it does something.
struct Programs(tempfile::TempDir);

impl Programs {
    fn new() -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        for name in ["sh", "cat"] {
            programs.add(name, &format!("exec {} \"$@\"", program(name).display()));
        }
        for name in ["sleep", "rm", "rmdir"] {
            programs.add(name, "exit 0");
        }
        // Limits the time of bash, and keeps what is written to consoles from being it.
        programs.add("timeout", "shift; [ \"$1\" = bash ] && exec \"$@\"; exit 1");
        programs
    }

    fn add(&self, name: &str, does: &str) {
        let path = self.0.path().join(name);
        let noted = self.noted_in();
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{}\n{does}\n",
            noted.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn noted_in(&self) -> PathBuf {
        self.0.path().join("noted")
    }

    /// Runs the script to its end, and gives the arguments of all that it has run.
    async fn run(&self, script: &str) -> String {
        let path = self.0.path().join("script");
        std::fs::write(&path, script).unwrap();
        let running = Command::new(program("sh"))
            .arg(&path)
            .env_clear()
            .env("PATH", self.0.path())
            .env("BESSEMER_SERVICE", "1")
            .kill_on_drop(true)
            .status();
        let status = tokio::time::timeout(LIMIT, running).await;
        status.expect("it does not end").unwrap();
        std::fs::read_to_string(self.noted_in()).unwrap()
    }
}

#[track_caller]
fn assert_discreet_and_tidy(noted: &str) {
    for secret in [SECRET, MARKER] {
        assert!(!noted.contains(secret), "in arguments: {noted}");
    }
    let removed = format!("rm -f {SCRIPT_PATH} {UNIT_PATH} {DROP_IN_PATH}\n");
    assert!(noted.contains(&removed), "{noted}");
}

#[tokio::test]
async fn every_http_client_calls_until_it_is_heard() {
    for client in ["curl", "wget", "python3", "bash"] {
        let (url, calls) = serve().await;
        // The first server is gone.
        let gone = format!("http://127.0.0.1:1/phone-home/1/{SECRET}");
        let programs = Programs::new();
        let real = program(client).display().to_string();
        programs.add(client, &format!("exec {real} \"$@\""));
        let noted = programs.run(&script(&[gone, url], MARKER)).await;
        let path = format!("/phone-home/1/{SECRET}");
        let call = (Method::POST, path);
        assert_eq!(*calls.lock().unwrap(), [call.clone(), call], "{client}");
        assert!(noted.contains(client), "{noted}");
        assert_discreet_and_tidy(&noted);
    }
}

#[tokio::test]
async fn without_a_url_the_marker_is_written_a_dozen_times() {
    let programs = Programs::new();
    let noted = programs.run(&script(&[], MARKER)).await;
    let pauses = noted.lines().filter(|line| line.starts_with("sleep "));
    assert_eq!(pauses.count(), 12);
    assert!(noted.contains("timeout 5 "), "{noted}");
    assert_discreet_and_tidy(&noted);
}
