//! A PostgreSQL of our own for as long as the test process lives.
//!
//! A shell keeps it: it makes the cluster, starts it, says so, and then reads from a pipe that
//! only this process holds. However this process ends, by success, panic or `kill -9`, the pipe
//! closes, and the shell stops the cluster and removes its folder.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The user and group `nobody` on Linux. PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

const KEEPER: &str = r#"
trap '' INT
"$BIN/initdb" --pgdata="$DIR/data" --auth=trust --username=bessemer --no-sync --locale=C \
    --encoding=UTF8 >"$DIR/log" 2>&1 &&
"$BIN/pg_ctl" --pgdata="$DIR/data" --log="$DIR/log" --wait --timeout=60 --options="-F \
    -c listen_addresses= -c unix_socket_directories=$DIR -c max_connections=400 \
    -c shared_buffers=64MB" start >/dev/null 2>&1 &&
echo ready && read -r _
"$BIN/pg_ctl" --pgdata="$DIR/data" --mode=immediate stop >/dev/null 2>&1
rm -rf "$DIR"
"#;

struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    /// Holds the pipe that keeps the cluster alive.
    _keeper: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The URL of a new, empty database.
pub(crate) async fn new_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(start))
        .await
        .expect("PostgreSQL starts");
    let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let made = tokio::process::Command::new(cluster.programs.join("createdb"))
        .arg("--host")
        .arg(&cluster.folder)
        .args(["--username=bessemer", &name])
        .status();
    assert!(made.await.expect("createdb runs").success(), "no database");
    format!(
        "postgres://bessemer@localhost/{name}?host={}",
        cluster.folder.display()
    )
}

fn start() -> Cluster {
    let programs = find_programs().expect(
        "these tests need PostgreSQL: no `initdb` and `pg_ctl` on the PATH nor in \
         /usr/lib/postgresql; on Debian, `apt-get install postgresql`",
    );
    let folder = tempfile::Builder::new().prefix("bessemer-pg-").tempdir();
    let folder = folder.expect("a temporary folder").keep();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", KEEPER])
        .env("BIN", &programs)
        .env("DIR", &folder);
    // A group of its own: Ctrl-C in a terminal ends the tests, and by that the pipe.
    shell.process_group(0).current_dir("/");
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if is_root(&folder) {
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).expect("gives it away");
        shell.uid(NOBODY).gid(NOBODY);
    }
    let mut keeper = shell.spawn().expect("starts a shell");
    let mut answer = String::new();
    let stdout = keeper.stdout.take().expect("is piped");
    BufReader::new(stdout)
        .read_line(&mut answer)
        .expect("reads the shell's answer");
    assert_eq!(answer, "ready\n", "PostgreSQL did not start");
    Cluster {
        folder,
        programs,
        _keeper: keeper,
    }
}

/// Whether this process is root: what it makes belongs to it.
fn is_root(made: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(made).expect("is there").uid() == 0
}

/// The folder with PostgreSQL's programs: on the PATH, or the newest of Debian's.
fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<_> = debian.map(|entry| entry.path()).collect();
    versions.sort();
    folders.extend(versions.iter().rev().map(|version| version.join("bin")));
    folders.into_iter().find(|folder| {
        ["createdb", "initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}
