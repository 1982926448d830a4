//! A PostgreSQL of our own for as long as the test process lives, or one that a test may stop and
//! start.
//!
//! A shell keeps it: it makes the cluster, starts it, says so, and then reads from a pipe that
//! only this process holds. However this process ends, by success, panic or `kill -9`, the pipe
//! closes, and the shell stops the cluster and removes its folder.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// The user and group `nobody` on Linux. PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// It obeys a word a line: each is a mode in which to stop, `start`, a signal for the processes, or what is
/// to become of its disk. (PostgreSQL takes a log that it cannot go on with for a crash. So that a full disk
/// is met by what is stored, there is a new piece of log before.)
const KEEPER: &str = r#"
trap '' INT
start() {
    "$BIN/pg_ctl" --pgdata="$DIR/data" --log="$DIR/log" --wait --timeout=60 --options="-F \
        -c listen_addresses= -c unix_socket_directories=$DIR -c max_connections=400 \
        -c shared_buffers=64MB $QUICK" start >/dev/null 2>&1
}
"$BIN/initdb" --pgdata="$DIR/data" --auth=trust --username=bessemer --no-sync --locale=C \
    --encoding=UTF8 >"$DIR/log" 2>&1 &&
start && echo ready &&
while read -r word; do
    case $word in
        start) start ;;
        fill) "$BIN/psql" --host="$DIR" --username=bessemer --dbname=postgres --quiet \
                --command='SELECT pg_switch_wal()' --command=CHECKPOINT >/dev/null 2>&1 &&
            ! dd if=/dev/zero of="$DIR/data/filler" bs=64k 2>/dev/null ;;
        free) rm "$DIR/data/filler" ;;
        STOP|CONT) pids=$(head -n 1 "$DIR/data/postmaster.pid") &&
            kill -"$word" "$pids" $(ps -o pid= --ppid "$pids") ;;
        *) "$BIN/pg_ctl" --pgdata="$DIR/data" --mode="$word" --wait stop >/dev/null 2>&1 ;;
    esac && echo ready || echo failed
done
"$BIN/pg_ctl" --pgdata="$DIR/data" --mode=immediate stop >/dev/null 2>&1
rm -rf "$DIR"
"#;

/// Gives the keeper a small disk in a mount namespace of its own, and takes it away after it.
const SMALL_DISK: &str = r#"
mkdir "$DIR/data" && mount -t tmpfs -o size=128m,mode=700 tmpfs "$DIR/data" || exit 1
if [ "$ROOT" = yes ]; then
    chown 65534:65534 "$DIR/data"
    setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$KEEPER"
else
    unshare --user --map-user=1000 --map-group=1000 sh -c "$KEEPER"
fi
umount "$DIR/data"; rm -rf "$DIR"
"#;

/// What saves its processor's time where databases are small and live for seconds. What is safe across a
/// crash of its processes stays so.
const QUICK: &str = "-c plan_cache_mode=force_generic_plan -c jit=off -c autovacuum=off \
    -c update_process_title=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0";

/// A running PostgreSQL. It ends with this value.
pub(crate) struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicU32,
    keeper: Mutex<Keeper>,
}

/// Holds the pipe that keeps the cluster alive.
struct Keeper {
    shell: Child,
    answers: BufReader<ChildStdout>,
}

/// The one that all tests of this process share.
static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The URL of a new, empty database on a cluster that all tests of this process share.
pub(crate) async fn new_database() -> String {
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(|| start(Disk::Shared)));
    cluster
        .await
        .expect("PostgreSQL starts")
        .new_database()
        .await
}

/// The URL of a new database with all that is in the one at `url`, which [`new_database`] made and nobody
/// is connected to.
pub(crate) async fn copy_of(url: &str) -> String {
    let cluster = CLUSTER.get().expect("it has made the database");
    cluster.database(&["--template", name_in(url)]).await
}

/// Cuts everybody's connections to the database at `url`, whatever they are at.
pub(crate) async fn cut_connections(url: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
        name_in(url)
    );
    run_beside(url, "postgres", &sql).await;
}

/// From now on the database at `url`, and each copy of it, shows the time of its machine and so many seconds
/// more as its [`file_of_time`] says, which has to be there.
pub(crate) async fn show_time_of_file(url: &str) {
    // What is in `public` goes before what PostgreSQL has, which is not so without the first line.
    let sql = format!(
        "ALTER ROLE bessemer SET search_path = public, pg_catalog;
        CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS $$
            SELECT pg_catalog.clock_timestamp() + make_interval(secs =>
                pg_read_file('{}/ahead-' || current_database())::float8) $$",
        folder_in(url)
    );
    run_beside(url, name_in(url), &sql).await;
}

/// Where the database at `url` reads how far its time is ahead ([`show_time_of_file`]).
pub(crate) fn file_of_time(url: &str) -> PathBuf {
    Path::new(folder_in(url)).join(format!("ahead-{}", name_in(url)))
}

/// Runs SQL at a database of the cluster of `url`.
async fn run_beside(url: &str, database: &str, sql: &str) {
    let programs = find_programs().expect("they have made the database");
    let ran = tokio::process::Command::new(programs.join("psql"))
        .args(["--host", folder_in(url), "--username=bessemer"])
        .args(["--dbname", database, "--quiet", "--command", sql])
        .stdout(Stdio::null())
        .status();
    assert!(ran.await.expect("psql runs").success(), "{sql}");
}

/// The folder of the cluster in a URL of [`new_database`].
fn folder_in(url: &str) -> &str {
    let folder = url.split_once("host=").map(|(_, folder)| folder);
    folder.expect("a URL of a cluster of ours")
}

/// The name of the database in a URL of [`new_database`].
fn name_in(url: &str) -> &str {
    let name = url.split(['/', '?']).nth(3);
    name.expect("a URL of new_database")
}

impl Cluster {
    /// One of the caller's own.
    pub(crate) async fn start() -> Arc<Self> {
        let started = tokio::task::spawn_blocking(|| start(Disk::Shared));
        Arc::new(started.await.expect("PostgreSQL starts"))
    }

    /// One of the caller's own, on a disk of its own.
    pub(crate) async fn start_on_small_disk() -> Arc<Self> {
        let started = tokio::task::spawn_blocking(|| start(Disk::Small));
        Arc::new(started.await.expect("PostgreSQL starts"))
    }

    /// Leaves nothing free on its own disk.
    pub(crate) async fn fill_disk(self: &Arc<Self>) {
        self.tell("fill").await;
    }

    /// Lets there be space again.
    pub(crate) async fn free_disk(self: &Arc<Self>) {
        self.tell("free").await;
    }

    /// The URL of a new, empty database.
    pub(crate) async fn new_database(&self) -> String {
        self.database(&[]).await
    }

    /// The URL of a new database, made with these further arguments of `createdb`.
    async fn database(&self, arguments: &[&str]) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        let made = tokio::process::Command::new(self.programs.join("createdb"))
            .arg("--host")
            .arg(&self.folder)
            .args(arguments)
            .args(["--username=bessemer", &name])
            .status();
        assert!(made.await.expect("createdb runs").success(), "no database");
        format!(
            "postgres://bessemer@localhost/{name}?host={}",
            self.folder.display()
        )
    }

    /// Ends it as a crash does: no connection is told.
    pub(crate) async fn crash(self: &Arc<Self>) {
        self.tell("immediate").await;
    }

    /// Ends it as for an upgrade.
    pub(crate) async fn stop(self: &Arc<Self>) {
        self.tell("fast").await;
    }

    /// Starts it again.
    pub(crate) async fn start_again(self: &Arc<Self>) {
        self.tell("start").await;
    }

    /// Lets it stand still: connections stay open, and nobody answers.
    pub(crate) async fn pause(self: &Arc<Self>) {
        self.tell("STOP").await;
    }

    /// Lets it go on.
    pub(crate) async fn go_on(self: &Arc<Self>) {
        self.tell("CONT").await;
    }

    /// Has the keeper do something, and waits until it is done.
    async fn tell(self: &Arc<Self>, word: &'static str) {
        let cluster = self.clone();
        let told = tokio::task::spawn_blocking(move || {
            let mut keeper = cluster.keeper.lock().expect("no test panics with it");
            let stdin = keeper.shell.stdin.as_mut().expect("is piped");
            writeln!(stdin, "{word}").expect("the keeper listens");
            keeper.answer()
        });
        assert_eq!(told.await.expect("is told"), "ready\n", "after `{word}`");
    }
}

impl Keeper {
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.expect("reads the shell's answer");
        answer
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Not a zombie for as long as the tests go on, nor a folder that outlives them.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Drops a database that [`new_database`] made, whoever is connected to it.
#[allow(dead_code, reason = "only programs that make hundreds of them")]
pub(crate) async fn drop_database(url: &str) {
    let cluster = CLUSTER.get().expect("it has made the database");
    let dropped = tokio::process::Command::new(cluster.programs.join("dropdb"))
        .arg("--host")
        .arg(&cluster.folder)
        .args(["--username=bessemer", "--force", name_in(url)])
        .status();
    assert!(dropped.await.expect("dropdb runs").success(), "is dropped");
}

/// All that is in a database that [`new_database`] made, as `pg_dump` writes it, and what PostgreSQL has logged.
pub(crate) async fn dump_and_log(url: &str) -> (Vec<u8>, Vec<u8>) {
    let cluster = CLUSTER.get().expect("it has made the database");
    let dumped = tokio::process::Command::new(cluster.programs.join("pg_dump"))
        .arg("--host")
        .arg(&cluster.folder)
        .args(["--username=bessemer", name_in(url)])
        .output();
    let dumped = dumped.await.expect("pg_dump runs");
    assert!(dumped.status.success(), "is dumped");
    let log = std::fs::read(cluster.folder.join("log"));
    (dumped.stdout, log.expect("its log is read"))
}

/// Where a cluster is kept.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Shared,
    Small,
}

fn start(disk: Disk) -> Cluster {
    let programs = find_programs().expect(
        "these tests need PostgreSQL: no `initdb` and `pg_ctl` on the PATH nor in \
         /usr/lib/postgresql; on Debian, `apt-get install postgresql`",
    );
    let folder = tempfile::Builder::new().prefix("bessemer-pg-").tempdir();
    let folder = folder.expect("a temporary folder").keep();
    let root = is_root(&folder);
    let mut shell = match disk {
        Disk::Shared => keeper_in(&folder),
        Disk::Small => Command::new("unshare"),
    };
    if disk == Disk::Shared {
        shell.env("QUICK", QUICK);
    }
    if disk == Disk::Small {
        if !root {
            shell.args(["--user", "--map-root-user"]);
        }
        shell.args(["--mount", "sh", "-c", SMALL_DISK]);
        shell.env("KEEPER", KEEPER);
        shell.env("ROOT", if root { "yes" } else { "no" });
    }
    shell.env("BIN", &programs).env("DIR", &folder);
    // A group of its own: Ctrl-C in a terminal ends the tests, and by that the pipe.
    shell.process_group(0).current_dir("/");
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if root {
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).expect("gives it away");
    }
    let mut shell = shell.spawn().expect("starts a shell");
    let answers = BufReader::new(shell.stdout.take().expect("is piped"));
    let mut keeper = Keeper { shell, answers };
    assert_eq!(keeper.answer(), "ready\n", "PostgreSQL did not start");
    Cluster {
        folder,
        programs,
        databases: AtomicU32::new(0),
        keeper: Mutex::new(keeper),
    }
}

/// The keeper as it is, by somebody who is not root.
fn keeper_in(folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", KEEPER]);
    if is_root(folder) {
        shell.uid(NOBODY).gid(NOBODY);
    }
    shell
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
