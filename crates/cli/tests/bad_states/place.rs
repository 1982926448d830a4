//! A place for the real server, and the server that runs there.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bessemer_client::Client;
use bessemer_wire::api::KeyPairCreate;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// The longest that anything may take. Nothing takes nearly as long; the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks at something that has not happened yet.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A place for a server: a folder with a configuration, and an address.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Place {
    /// An address that no other test of this process or of one that runs at the same time has (with
    /// luck).
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with more in its configuration.
    pub(crate) fn with(more: &str) -> Self {
        static PLACES: AtomicU8 = AtomicU8::new(1);
        let place = PLACES.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let address = SocketAddr::from((Ipv4Addr::new(127, high % 80 + 20, low, place), 8480));
        let config = format!(
            "data = '{}'\n{more}[api]\nlisten = '{address}'\n",
            folder.path().join("disk/data").display()
        );
        std::fs::write(folder.path().join("bessemer.toml"), config).unwrap();
        Self { folder, address }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("disk/data")
    }

    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
        command.args(["serve", "--config"]);
        command.arg(self.folder.path().join("bessemer.toml"));
        self.piped(command)
    }

    /// The same by a shell, which has the command as `$0` and `$@`.
    pub(crate) fn serve_by(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_bessemer"),
            "serve",
            "--config",
        ]);
        command.arg(self.folder.path().join("bessemer.toml"));
        self.piped(command)
    }

    /// Runs `script` by a shell in a mount namespace of its own. `$DISK` is a folder to mount at, and
    /// `$SERVE` starts the server.
    pub(crate) fn with_disk(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        if !is_root(&self.folder) {
            command.args(["--user", "--map-root-user"]);
        }
        let serve = format!(
            "{} serve --config {}",
            env!("CARGO_BIN_EXE_bessemer"),
            self.folder.path().join("bessemer.toml").display()
        );
        command.args(["--mount", "sh", "-ec", script]);
        command.env("SERVE", serve);
        command.env("DISK", self.folder.path().join("disk"));
        self.piped(command)
    }

    pub(crate) fn piped(&self, mut command: Command) -> Command {
        command
            .env_remove("BESSEMER_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the server for the first time, and waits for its token.
    pub(crate) async fn start(&self, mut command: Command) -> (Running, Client) {
        let mut child = command.spawn().unwrap();
        let token = printed_token(&mut child).await;
        let api = Client::new(&format!("http://{}", self.address), Some(&token)).unwrap();
        let running = Running {
            child,
            address: self.address,
        };
        running.answers(&api).await;
        (running, api)
    }

    /// Starts it again.
    pub(crate) async fn start_again(&self, api: &Client) -> Running {
        self.answers_again(self.serve(), api).await
    }

    /// The same by a command of the caller's.
    pub(crate) async fn answers_again(&self, mut command: Command, api: &Client) -> Running {
        let running = Running {
            child: command.spawn().unwrap(),
            address: self.address,
        };
        running.answers(api).await;
        running
    }

    /// What it says when it does not start.
    pub(crate) async fn refuses(&self, mut command: Command) -> String {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = child.stderr.take().unwrap();
        let ends = async {
            stderr.read_to_string(&mut said).await.unwrap();
            child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(LIMIT, ends).await.unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }
}

impl Running {
    pub(crate) async fn answers(&self, api: &Client) {
        let looking = async {
            while api.health().await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, looking).await;
        found.unwrap_or_else(|_| panic!("nobody answers at {}", self.address));
    }

    /// SIGKILL; when this returns, nothing of it is left.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// `path` as the server sees it.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        let process = self.child.id().unwrap();
        let path = path.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{process}/root")).join(path)
    }
}

pub(crate) fn is_root(made: &TempDir) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(made.path()).unwrap().uid() == 0
}

pub(crate) fn key(name: &str) -> KeyPairCreate {
    KeyPairCreate {
        name: name.into(),
        public_key: "ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example"
            .into(),
    }
}

pub(crate) async fn keys(api: &Client) -> BTreeSet<String> {
    let keys = api.keys().await.unwrap();
    keys.iter().map(|key| key.name.clone()).collect()
}

/// Numbers of a seed, the same in every run (xorshift).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The token that a server prints at its first start.
pub(crate) async fn printed_token(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let token = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let word = line.trim();
            if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return word.to_owned();
            }
        }
        panic!("the server printed no token");
    };
    tokio::time::timeout(LIMIT, token).await.unwrap()
}
