//! A server as a process of its own: started, asked what it uses, ended.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bessemer_sim::fleet::{Fleet, FleetOptions, site};
use bessemer_store::Location;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::postgres;

/// The longest wait for a server to answer, to print its token or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a server that does not answer yet is asked: what start-up times are exact to.
const POLL: Duration = Duration::from_millis(1);

/// What `/proc/PID/stat` counts CPU time in: USER_HZ, which is 100 wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// A configuration with boot services on loopback, without DHCP.
const PROVISIONING: &str = "[provisioning]
address = '127.0.0.1'
subnet = '127.0.0.0/24'
pool_first = '127.0.0.100'
pool_last = '127.0.0.200'
ramdisk = '/nonexistent'
boot_port = 0
";

/// Where a server keeps what it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In a SQLite file in its folder.
    Sqlite,
    /// In a database of a PostgreSQL that this process has started.
    Postgresql,
}

impl Kept {
    /// What the names of its figures end in.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgresql => "_postgresql",
        }
    }
}

/// The folder of a server: its configuration, data and log. Deleted with this value.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    /// What its configuration says beside where things are.
    more: &'static str,
    database_url: Option<String>,
    /// Whether a fleet boots from this server.
    boots_fleet: bool,
}

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with("")
    }

    /// The same with these further sections in its configuration.
    pub(crate) fn with(more: &'static str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bessemer-bench-").tempdir();
        Ok(Self {
            folder: folder.context("no temporary folder can be made")?,
            more,
            database_url: None,
            boots_fleet: false,
        })
    }

    /// The same of a server with a database of this kind.
    pub(crate) async fn on(kept: Kept, more: &'static str) -> anyhow::Result<Self> {
        let database_url = match kept {
            Kept::Sqlite => None,
            Kept::Postgresql => Some(postgres::new_database().await),
        };
        Ok(Self {
            database_url,
            ..Self::with(more)?
        })
    }

    /// Simulated machines whose controllers speak TLS, with their disks in this folder.
    pub(crate) async fn fleet(&self, nodes: u16) -> anyhow::Result<Fleet> {
        let options = FleetOptions {
            first: 1,
            nodes,
            port: 0,
            tls: true,
            folder: self.path().join("fleet"),
        };
        Ok(Fleet::start(&options).await?)
    }

    /// The same of a server that machines of [`bessemer_sim::fleet`] boot from, by virtual media.
    pub(crate) async fn for_fleet(kept: Kept, more: &'static str) -> anyhow::Result<Self> {
        let folder = Self {
            boots_fleet: true,
            ..Self::on(kept, more).await?
        };
        site::make_ramdisk(&folder.path().join("ramdisk"))?;
        Ok(folder)
    }

    /// Where all of it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the server keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Its database.
    pub(crate) fn database(&self) -> Location {
        match &self.database_url {
            Some(url) => Location::Postgres(url.clone()),
            None => Location::Sqlite(self.data().join("bessemer.db")),
        }
    }

    fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Writes the configuration of the next start.
    fn configure(
        &self,
        api: SocketAddr,
        agents: SocketAddr,
        provisioning: bool,
    ) -> anyhow::Result<PathBuf> {
        let path = self.path().join("bessemer.toml");
        let text = match self.boots_fleet {
            true => self.fleet_configuration(api, agents),
            false => self.configuration(api, provisioning.then_some(agents)),
        };
        fs::write(&path, text + self.more)?;
        Ok(path)
    }

    fn fleet_configuration(&self, api: SocketAddr, agents: SocketAddr) -> String {
        let ports = site::Ports {
            api: api.port(),
            agents: agents.port(),
            boot: 0,
            media: 0,
            phone_home: 0,
        };
        site::configuration(self.path(), ports, self.database_url.as_deref())
    }

    /// With boot services if there is an address for agents.
    fn configuration(&self, api: SocketAddr, agents: Option<SocketAddr>) -> String {
        let provisioning = match agents {
            Some(agents) => format!("{PROVISIONING}agent_port = {}\n", agents.port()),
            None => String::new(),
        };
        let database = match &self.database_url {
            Some(url) => format!("database_url = '{url}'\n"),
            None => String::new(),
        };
        let data = self.data();
        format!(
            "data = '{}'\n{database}[api]\nlisten = '{api}'\n{provisioning}",
            data.display()
        )
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pid: u32,
    /// Where its API is.
    pub(crate) api: SocketAddr,
    /// Where agents call, if there are boot services.
    pub(crate) agents: SocketAddr,
    /// From its start to its first answer of `GET /healthz`.
    pub(crate) start_up: Duration,
}

impl Server {
    /// Starts `program` in `folder`, with or without boot services, and waits until it answers.
    pub(crate) async fn start(
        program: &Path,
        folder: &Folder,
        provisioning: bool,
    ) -> anyhow::Result<Self> {
        let (api, agents) = (free_address()?, free_address()?);
        let config = folder.configure(api, agents, provisioning)?;
        let log = File::create(folder.log())?;
        let begun = Instant::now();
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env_remove("BESSEMER_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        answered(&mut child, api, folder).await?;
        let start_up = begun.elapsed();
        let stdout = child.stdout.take().context("it has no standard output")?;
        Ok(Self {
            stdout: BufReader::new(stdout),
            pid: child.id().context("the server has ended")?,
            child,
            api,
            agents,
            start_up,
        })
    }

    /// The admin token, which a server prints at its very first start.
    pub(crate) async fn first_token(&mut self) -> anyhow::Result<String> {
        let read = async {
            let mut line = String::new();
            while self.stdout.read_line(&mut line).await? > 0 {
                let word = line.trim();
                if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Ok(word.to_owned());
                }
                line.clear();
            }
            bail!("the server printed no token")
        };
        timeout(PATIENCE, read)
            .await
            .context("the server printed no token in time")?
    }

    /// CPU time that all its threads have used since it began, exact to 10 ms (proc(5), `stat`).
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // After the program's name, which may hold anything: utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: Vec<u32> = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "/proc/PID/stat is not what proc(5) says");
        Ok(TICK * ticks.iter().sum())
    }

    /// Its resident memory in MB (10⁶ bytes), shared pages of its program file included.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kib: f64 = kib
            .context("VmRSS is missing in /proc/PID/status")?
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Ends it as an operator would, with SIGTERM, and waits until it has closed its database.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid.try_into()?), Signal::SIGTERM)?;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("the server did not end in time")??;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// A loopback address that nobody listened on a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// Waits until the server answers.
async fn answered(child: &mut Child, api: SocketAddr, folder: &Folder) -> anyhow::Result<()> {
    let ask = async {
        loop {
            if let Ok(mut connection) = Connection::open(api, None).await
                && connection.get("/healthz").await.is_ok()
            {
                return;
            }
            sleep(POLL).await;
        }
    };
    let why = tokio::select! {
        () = ask => return Ok(()),
        status = child.wait() => format!("it ended with {}", status?),
        () = sleep(PATIENCE) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let log = fs::read_to_string(folder.log()).unwrap_or_default();
    bail!("the server did not start: {why}; its log:\n{log}")
}
