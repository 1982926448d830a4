//! Planted secrets and processes: what the real server, the commands and the programs that they start show
//! of themselves to anybody on the machine, or to the programs' authors, has none of them. So it is with
//! what the server logs and stores, while its key comes from the environment and is changed there.

#[path = "bad_states/place.rs"]
mod place;

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bessemer_client::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use place::{LIMIT, LOOK_AGAIN, Place};

const BMC_PASSWORD: &str = "planted-bmc-password";
const IMAGE_PASSWORD: &str = "planted-image-password";

/// `reader:planted-image-password`, as HTTP tells it.
const BASIC: &str = "Basic cmVhZGVyOnBsYW50ZWQtaW1hZ2UtcGFzc3dvcmQ=";

/// Two keys.
const KEY: &str = "6b1f5c7de0a94b3382d6f0c41e97aa550d3c8be2719f4e06b5a8d21c7f60e394";
const NEW_KEY: &str = "c2e8417fa05d4b96938e7b1d60f2a45c8e19d7b3046f4ac2b1d05e7f93a86c41";

/// Stands before the real `qemu-img`: keeps what it is shown, and becomes it.
const TRAP: &str = r#"#!/bin/sh
tr '\0' '\n' < /proc/$$/environ > "SHOWN/environ.$$"
tr '\0' '\n' < /proc/$$/cmdline > "SHOWN/cmdline.$$"
PATH=${PATH#*:}
exec qemu-img "$@"
"#;

/// The server's place, and where what `qemu-img` is shown is kept.
struct Site {
    place: Place,
    trap: PathBuf,
}

impl Site {
    fn new() -> Self {
        let place = Place::new();
        let trap = place.folder.path().join("trap");
        std::fs::create_dir(&trap).unwrap();
        let program = trap.join("qemu-img");
        std::fs::write(&program, TRAP.replace("SHOWN", trap.to_str().unwrap())).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        Self { place, trap }
    }

    fn log(&self) -> PathBuf {
        self.place.folder.path().join("log")
    }

    /// The server, which tells everything that it does.
    fn serve(&self, keys: &str) -> Command {
        let mut path = self.trap.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut options = std::fs::OpenOptions::new();
        let log = options.append(true).create(true).open(self.log()).unwrap();
        let mut command = self.place.serve();
        command
            .env("PATH", path)
            .env("BESSEMER_KEY", keys)
            .env("BESSEMER_LOG", "trace")
            .stderr(log);
        command
    }

    /// A file with a secret, for its owner's eyes only.
    fn file(&self, name: &str, secret: &str) -> PathBuf {
        use std::io::Write as _;
        let path = self.place.folder.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&path).unwrap();
        file.write_all(secret.as_bytes()).unwrap();
        path
    }

    /// A command of somebody with this token.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
        command
            .args(arguments.split_whitespace())
            .env("BESSEMER_API", format!("http://{}", self.place.address))
            .env("HOME", self.place.folder.path())
            .env_remove("BESSEMER_TOKEN")
            .env_remove("BESSEMER_KEY")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Waits until the log says so.
    async fn says(&self, words: &str) {
        let looking = async {
            while !std::fs::read_to_string(self.log()).unwrap().contains(words) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, looking).await;
        found.unwrap_or_else(|_| panic!("the log never says `{words}`"));
    }

    /// Files of the server and its log, and what `qemu-img` was shown.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = vec![("the log".to_owned(), std::fs::read(self.log()).unwrap())];
        for folder in [self.place.data(), self.trap.clone()] {
            files_in(&folder, &mut found);
        }
        found
    }
}

fn files_in(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// What a process shows of itself: its arguments, and its environment to whoever runs it. The kernel lets go of
/// who has started it before it has put these there (`begin_new_exec` in its fs/exec.c), so they are waited for.
async fn shown_by(what: &str, process: &Child) -> [(String, Vec<u8>); 2] {
    let id = process.id().expect("it runs");
    let read = |file| std::fs::read(format!("/proc/{id}/{file}")).unwrap();
    let looking = async {
        while read("cmdline").is_empty() || read("environ").is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| panic!("{what} has gone"));
    ["cmdline", "environ"].map(|file| (format!("{file} of {what}"), read(file)))
}

/// Where which of these is found.
fn found<'a>(secrets: &[&'a str], places: &'a [(String, Vec<u8>)]) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for (name, content) in places {
        let text = String::from_utf8_lossy(content);
        let here = secrets.iter().filter(|secret| text.contains(**secret));
        found.extend(here.map(|secret| (*secret, name.as_str())));
    }
    found
}

/// A disk with a partition table, as qcow2.
fn disk(folder: &Path) -> Vec<u8> {
    let (raw, qcow2) = (folder.join("disk.raw"), folder.join("disk.qcow2"));
    std::fs::File::create(&raw)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let run = |program: &str, arguments: &[&str], files: &[&Path]| {
        let mut command = std::process::Command::new(program);
        command.args(arguments).args(files).stdout(Stdio::null());
        assert!(command.status().expect(program).success(), "{program}");
    };
    run("/usr/sbin/sgdisk", &["--clear", "--new=1:2048:0"], &[&raw]);
    let to_qcow2 = ["convert", "-f", "raw", "-O", "qcow2"];
    run("qemu-img", &to_qcow2, &[&raw, &qcow2]);
    std::fs::read(qcow2).unwrap()
}

/// A web server that gives `content` to who knows the password, once it may.
async fn source(content: Vec<u8>) -> (String, Arc<Semaphore>) {
    let may = Arc::new(Semaphore::new(0));
    let state = (Arc::new(content), may.clone());
    let router = Router::new()
        .route("/disk.qcow2", get(give))
        .with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/disk.qcow2", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, may)
}

async fn give(
    State((content, may)): State<(Arc<Vec<u8>>, Arc<Semaphore>)>,
    headers: HeaderMap,
) -> Response {
    let _may = may.acquire().await;
    let authorization = headers.get(header::AUTHORIZATION);
    match authorization.is_some_and(|given| given == BASIC) {
        true => content.to_vec().into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn ends(command: Child) -> Output {
    let ended = tokio::time::timeout(LIMIT, command.wait_with_output()).await;
    ended.expect("in time").unwrap()
}

fn assert_success(ended: &Output) {
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_shows_a_secret() {
    let site = Site::new();
    let (running, api) = site.place.start(site.serve(KEY)).await;
    let token = api_token(&site, &api).await;
    let mut shown = Vec::from(shown_by("the server", &running.child).await);

    // It waits for its password, and so is there to be looked at.
    let mut enroll = site
        .command(
            "node enroll n1 --bmc http://127.0.0.1:1 --bmc-user root --bmc-insecure \
             --mac 52:54:00:00:00:01 --bmc-password-file -",
        )
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shown.extend(shown_by("node enroll", &enroll).await);
    let mut password = enroll.stdin.take().unwrap();
    password.write_all(BMC_PASSWORD.as_bytes()).await.unwrap();
    drop(password);
    assert_success(&ends(enroll).await);

    let content = disk(site.place.folder.path());
    let sha256: String = {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&content);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let (url, may) = source(content).await;
    let password = site.file("image-password", IMAGE_PASSWORD);
    let add = site
        .command(&format!(
            "image add os --source {url} --sha256 {sha256} --user reader --password-file {}",
            password.display()
        ))
        .spawn()
        .unwrap();
    // It waits for the import, which waits for its source.
    shown.extend(shown_by("image add", &add).await);
    shown.extend(shown_by("the server at work", &running.child).await);
    may.add_permits(100);
    assert_success(&ends(add).await);
    running.kill().await;

    // The operator has put it there; what the server starts does not get it.
    let is_own = |name: &str| name.starts_with("environ of the server");
    let own = shown.iter().filter(|(name, _)| is_own(name));
    assert_eq!(
        own.filter(|place| found(&[KEY], std::slice::from_ref(place)).len() == 1)
            .count(),
        2
    );
    shown.retain(|(name, _)| !is_own(name));
    shown.extend(site.files());
    let converted = |(name, content): &&(String, Vec<u8>)| {
        name.contains("/trap/cmdline.") && content.windows(8).any(|part| part == b"convert\n")
    };
    assert!(
        shown.iter().any(|place| converted(&place)),
        "qemu-img was not seen"
    );
    assert!(shown.iter().any(|(name, _)| name.ends_with("bessemer.db")));
    let secrets = [BMC_PASSWORD, IMAGE_PASSWORD, &BASIC[6..], KEY, &token];
    assert_eq!(found(&secrets, &shown), []);
}

/// The first token, put where commands look for it.
async fn api_token(site: &Site, api: &Client) -> String {
    let made = api
        .create_token(&bessemer_wire::api::TokenCreate {
            name: "planted".into(),
            role: bessemer_wire::api::Role::Admin,
            project: None,
        })
        .await
        .unwrap();
    let folder = site.place.folder.path().join(".config/bessemer");
    std::fs::create_dir_all(&folder).unwrap();
    site.file(".config/bessemer/token", &made.secret);
    made.secret.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_environment_is_changed_there() {
    let site = Site::new();
    let (running, api) = site.place.start(site.serve(KEY)).await;
    let node = serde_json::json!({
        "name": "n1",
        "bmc": { "url": "http://127.0.0.1:1", "username": "u", "password": BMC_PASSWORD,
            "trust": "insecure" },
        "ports": [{ "mac": "52:54:00:00:00:01" }],
    });
    let node = serde_json::from_value(node).unwrap();
    api.create_node(&node).await.unwrap();
    running.kill().await;
    assert!(!site.place.data().join("key").exists(), "one is enough");

    let said = site.place.refuses(site.serve(NEW_KEY)).await;
    assert!(said.contains("BESSEMER_KEY is not the one"), "{said}");
    let said = site.place.refuses(site.serve("5ea1ed")).await;
    assert!(said.contains("64 hexadecimal digits"), "{said}");

    let both = format!("{NEW_KEY} {KEY}");
    let running = site.place.answers_again(site.serve(&both), &api).await;
    site.says("secrets are sealed with the newest key now")
        .await;
    site.says("the older one can leave the variable BESSEMER_KEY")
        .await;
    running.kill().await;
    let said = site.place.refuses(site.serve(KEY)).await;
    assert!(said.contains("is not the one"), "{said}");
    let running = site.place.answers_again(site.serve(NEW_KEY), &api).await;
    running.kill().await;

    // As systemd gives it, which shows a right of the service's user as one of the group's.
    let folder = site.place.folder.path().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    let credential = folder.join("bessemer-key");
    let bytes: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&NEW_KEY[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    std::fs::write(&credential, bytes).unwrap();
    std::fs::set_permissions(&credential, PermissionsExt::from_mode(0o440)).unwrap();
    let mut serve = site.serve("");
    serve.env_remove("BESSEMER_KEY");
    serve.env("CREDENTIALS_DIRECTORY", &folder);
    let running = site.place.answers_again(serve, &api).await;
    running.kill().await;
    let rotate = format!(
        "sealing-key rotate --config {}/bessemer.toml",
        site.place.folder.path().display()
    );
    let mut rotate = site.command(&rotate);
    rotate.env("BESSEMER_KEY", NEW_KEY);
    let refused = ends(rotate.spawn().unwrap()).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("cannot be changed from here"), "{said}");
    let places = site.files();
    assert_eq!(found(&[BMC_PASSWORD, KEY, NEW_KEY], &places), []);
}
