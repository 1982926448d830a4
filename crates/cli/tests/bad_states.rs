//! The real server when its disk, its folder or its process ends: what it says, and that nothing it
//! has answered is lost and nothing is half done.
//!
//! Full and read-only disks are small ones in a mount namespace of the server's own, so that nothing
//! of the machine is touched; they go with it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_wire::api::KeyPairCreate;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// The longest that anything may take. Nothing takes nearly as long; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A place for a server: a folder with a configuration, and an address.
struct Place {
    folder: TempDir,
    address: SocketAddr,
}

/// A server that runs.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Place {
    /// An address that no other test of this process or of one that runs at the same time has (with
    /// luck).
    fn new() -> Self {
        static PLACES: AtomicU8 = AtomicU8::new(1);
        let place = PLACES.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let address = SocketAddr::from((Ipv4Addr::new(127, high % 80 + 20, low, place), 8480));
        let config = format!(
            "data = '{}'\n[api]\nlisten = '{address}'\n",
            folder.path().join("disk/data").display()
        );
        std::fs::write(folder.path().join("bessemer.toml"), config).unwrap();
        Self { folder, address }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("disk/data")
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
        command.args(["serve", "--config"]);
        command.arg(self.folder.path().join("bessemer.toml"));
        self.piped(command)
    }

    /// Runs `script` by a shell in a mount namespace of its own. `$DISK` is a folder to mount at, and
    /// `$SERVE` starts the server.
    fn with_disk(&self, script: &str) -> Command {
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

    fn piped(&self, mut command: Command) -> Command {
        command
            .env_remove("BESSEMER_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the server for the first time, and waits for its token.
    async fn start(&self, mut command: Command) -> (Running, Client) {
        let mut child = command.spawn().unwrap();
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
        let token = tokio::time::timeout(LIMIT, token).await.unwrap();
        let api = Client::new(&format!("http://{}", self.address), Some(&token)).unwrap();
        let running = Running {
            child,
            address: self.address,
        };
        running.answers(&api).await;
        (running, api)
    }

    /// Starts it again.
    async fn start_again(&self, api: &Client) -> Running {
        let running = Running {
            child: self.serve().spawn().unwrap(),
            address: self.address,
        };
        running.answers(api).await;
        running
    }

    /// What it says when it does not start.
    async fn refuses(&self, mut command: Command) -> String {
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
    async fn answers(&self, api: &Client) {
        let looking = async {
            while api.health().await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, looking).await;
        found.unwrap_or_else(|_| panic!("nobody answers at {}", self.address));
    }

    /// SIGKILL; when this returns, nothing of it is left.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// `path` as the server sees it.
    fn inside(&self, path: &Path) -> PathBuf {
        let process = self.child.id().unwrap();
        let path = path.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{process}/root")).join(path)
    }
}

fn is_root(made: &TempDir) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(made.path()).unwrap().uid() == 0
}

fn key(name: &str) -> KeyPairCreate {
    KeyPairCreate {
        name: name.into(),
        public_key: "ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example"
            .into(),
    }
}

async fn keys(api: &Client) -> BTreeSet<String> {
    let keys = api.keys().await.unwrap();
    keys.iter().map(|key| key.name.clone()).collect()
}

/// Numbers of a seed, the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writes until the server is gone; `answered` has what it said is done.
async fn write(
    api: Client,
    writer: String,
    answered: Arc<Mutex<BTreeSet<String>>>,
    told: Arc<AtomicU64>,
) {
    for number in 0_u32.. {
        let name = format!("{writer}-{number}");
        match api.create_key(&key(&name)).await {
            Ok(_) => {
                answered.lock().unwrap().insert(name);
                told.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_outage() => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_it_has_answered() {
    let place = Place::new();
    let (mut running, api) = place.start(place.serve()).await;
    let answered: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut numbers = Numbers(20_261_121);
    for round in 0..6 {
        let told = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let name = format!("r{round}-w{writer}");
                tokio::spawn(write(api.clone(), name, answered.clone(), told.clone()))
            })
            .collect();
        let until = 1 + numbers.below(60);
        let reached = async {
            while told.load(Ordering::SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap();
        running.kill().await;
        for writer in writers {
            writer.await.unwrap();
        }
        running = place.start_again(&api).await;
        let kept = keys(&api).await;
        let answered = answered.lock().unwrap().clone();
        let lost: Vec<_> = answered.difference(&kept).collect();
        assert!(
            lost.is_empty(),
            "round {round}, killed after {until}: {lost:?}"
        );
        // At most the one request of each writer that had no answer yet.
        assert!(kept.len() <= answered.len() + 4 * (round + 1));
    }
    // Whatever is there has been asked for, and that is written down.
    let asked = api.audit(0, 1000).await.unwrap();
    let asked = asked
        .iter()
        .filter(|entry| entry.path == "/v1/keys")
        .count();
    assert!(
        asked >= keys(&api).await.len().min(1000),
        "{asked} in the audit trail"
    );
    running.kill().await;
}

/// Nodes with a password each that nobody answers to.
async fn make_nodes(api: &Client, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let node = serde_json::json!({
            "name": format!("node{number}"),
            "bmc": { "url": "http://127.0.0.1:1", "username": "u", "password": "planted-password",
                "trust": "insecure" },
            "ports": [{ "mac": format!("52:54:00:00:00:{number:02x}") }],
        });
        let node = serde_json::from_value(node).unwrap();
        api.create_node(&node).await.unwrap();
    }
}

impl Place {
    /// `bessemer sealing-key rotate`, which is killed after so long unless it has ended by then.
    /// What it said.
    async fn rotate(&self, after: Option<Duration>) -> Option<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
        command.args(["sealing-key", "rotate", "--config"]);
        command.arg(self.folder.path().join("bessemer.toml"));
        let running = self.piped(command).stderr(Stdio::inherit()).output();
        let ended = tokio::time::timeout(after.unwrap_or(LIMIT), running)
            .await
            .ok()?;
        let ended = ended.unwrap();
        assert!(ended.status.success(), "{ended:?}");
        Some(String::from_utf8(ended.stdout).unwrap())
    }
}

/// Dropping a child that has not ended kills it: as `kill -9`, in the middle of a rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_goes_on_and_loses_no_secret() {
    const NODES: u8 = 20;
    let place = Place::new();
    let (running, api) = place.start(place.serve()).await;
    make_nodes(&api, 0..NODES).await;
    let key_file = place.data().join("key");
    let first = std::fs::read(&key_file).unwrap();
    let mut numbers = Numbers(7);
    for _ in 0..6 {
        let after = Duration::from_millis(10 + numbers.below(60));
        place.rotate(Some(after)).await;
    }
    place.rotate(None).await.expect("ends");
    let both = std::fs::read(&key_file).unwrap();
    assert_eq!(both.len(), 64, "one rotation, however often it was begun");
    assert_eq!(both[32..], first);
    // What the server seals from now on is under the new key as well.
    make_nodes(&api, NODES..NODES + 1).await;

    // An hour later: the old key leaves the file. All can be opened by the other one alone.
    std::fs::write(&key_file, &both[..32]).unwrap();
    let said = place.rotate(None).await.expect("ends");
    assert!(
        said.starts_with(&format!("{} secrets", NODES + 1)),
        "{said}"
    );
    running.kill().await;
    let running = place.start_again(&api).await;
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_databases_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let (running, api) = place.start(place.serve()).await;
    make_nodes(&api, 0..1).await;
    running.kill().await;
    let key_file = place.data().join("key");
    let key = std::fs::read(&key_file).unwrap();
    let mode = |mode| std::fs::set_permissions(&key_file, PermissionsExt::from_mode(mode)).unwrap();

    std::fs::remove_file(&key_file).unwrap();
    let said = place.refuses(place.serve()).await;
    assert!(
        said.contains("is missing") && said.contains("backup"),
        "{said}"
    );
    assert!(!key_file.exists(), "none is made up");
    for (content, why) in [
        (vec![7; 32], "is not the one"),
        (vec![7; 31], "has 31 bytes"),
    ] {
        std::fs::write(&key_file, content).unwrap();
        mode(0o600);
        let said = place.refuses(place.serve()).await;
        assert!(said.contains(why) && said.contains("backup"), "{said}");
    }
    std::fs::write(&key_file, &key).unwrap();
    mode(0o640);
    let said = place.refuses(place.serve()).await;
    assert!(said.contains("chmod 600"), "{said}");
    mode(0o600);
    place.start_again(&api).await.kill().await;
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_loses_nothing() {
    let place = Place::new();
    let command = place.with_disk("mount -t tmpfs -o size=16m tmpfs $DISK; exec $SERVE");
    let (running, api) = place.start(command).await;
    api.create_key(&key("before")).await.unwrap();
    let filler = running.inside(&place.data().join("filler"));
    fill(&filler);
    let mut answered = BTreeSet::from(["before".to_owned()]);
    let refused = loop {
        let name = format!("key-{}", answered.len());
        match api.create_key(&key(&name)).await {
            Ok(_) => answered.insert(name),
            Err(Error::Problem(problem)) => break problem,
            Err(error) => panic!("{error}"),
        };
        assert!(answered.len() < 5000, "the disk is full, and nobody minds");
    };
    assert_eq!(refused.status, 503);
    assert!(
        refused.detail.contains("disk of the database is full"),
        "{refused:?}"
    );
    assert!(refused.remedy.unwrap().contains("frees space"));
    assert_eq!(keys(&api).await, answered, "reading goes on");

    std::fs::remove_file(&filler).unwrap();
    let after = api.create_key(&key("after")).await;
    after.expect("there is space, and nothing was restarted");
    answered.insert("after".into());
    assert_eq!(keys(&api).await, answered);
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_leaves_nothing_in_the_way_of_the_next() {
    let place = Place::new();
    let said = place.folder.path().join("said");
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs $DISK
         if $SERVE 2>{0}; then exit 9; fi
         mount -o remount,size=16m $DISK
         exec $SERVE",
        said.display()
    );
    let (running, api) = place.start(place.with_disk(&script)).await;
    api.create_key(&key("first")).await.unwrap();
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("error: "), "{said}");
    assert!(
        said.contains("full") || said.contains("No space left"),
        "{said}"
    );
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_is_named() {
    let place = Place::new();
    let first = "mount -t tmpfs -o ro tmpfs $DISK; exec $SERVE";
    let said = place.refuses(place.with_disk(first)).await;
    let data = place.data().display().to_string();
    assert!(said.contains(&data), "{said}");
    assert!(
        said.contains("Read-only file system") && said.contains("--data"),
        "{said}"
    );

    // The same with a database that is there already.
    let (running, api) = place.start(place.serve()).await;
    api.create_key(&key("kept")).await.unwrap();
    running.kill().await;
    let again = "mount --bind $DISK $DISK; mount -o remount,bind,ro $DISK; exec $SERVE";
    let said = place.refuses(place.with_disk(again)).await;
    assert!(
        said.contains(&data) && said.contains("Read-only file system"),
        "{said}"
    );
    let running = place.start_again(&api).await;
    assert_eq!(keys(&api).await, BTreeSet::from(["kept".to_owned()]));
    running.kill().await;
}
