//! `bessemer-lab fleet`: thousands of simulated machines for a server that runs already.

mod counts;
mod progress;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_client::Client;
use bessemer_core::lifecycle::Phase;
use bessemer_sim::fleet::{self, FleetOptions, site};
use bessemer_tls::{Fingerprint, Trust};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::counts::Counts;
use self::progress::{Output, Progress};

const EXAMPLES: &str = "\
Examples:
  bessemer-lab fleet --prepare /tmp/site             write a configuration for a server on loopback
  bessemer serve --config /tmp/site/bessemer.toml    in another terminal; it shows a token: keep it
  bessemer-lab fleet --nodes 100 --token-file /tmp/site/token
                                                     a hundred machines, until Ctrl-C
  bessemer-lab fleet --nodes 100 --token-file /tmp/site/token --tls --until available -o json
                                                     by HTTPS, until all are for rent; for a script

Machines boot the agent by virtual media, so the server needs `[boot_media]`, and no DHCP. Their BMCs are
at 127.77.0.0/16 of this host's loopback interface: the server must run on this host, too. When the fleet
ends, machines lose their power and the server keeps its nodes; started again with the same numbers, the
fleet is found again, with what was on its disks (in DIR/fleet).";

/// From one look at the server to the next, for fleets that it can count at once, and for others.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_INTERVAL_LARGE: Duration = Duration::from_secs(5);

/// What is counted at once.
const LARGE: u16 = 2000;

/// How long a server that was there may be away.
const OUTAGE_LIMIT: Duration = Duration::from_secs(300);

/// The longest token, in bytes.
const TOKEN_LIMIT: u64 = 4096;

/// Failed nodes whose reasons are shown.
const FAILURES_SHOWN: usize = 5;

/// Run simulated machines and register them with a server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Fleet {
    /// How many machines
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    nodes: u16,
    /// Number of the first machine: another fleet of the same server has others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    first: u16,
    /// What nodes are named, before their numbers
    #[arg(long, default_value = "sim")]
    name: String,
    /// The server's API
    #[arg(long, default_value = bessemer_client::DEFAULT_URL, env = "BESSEMER_SERVER")]
    server: String,
    /// The SHA-256 of the API's certificate, if no authority of this host has signed it
    #[arg(long, value_name = "SHA256")]
    server_fingerprint: Option<Fingerprint>,
    /// File with an admin token of the server
    #[arg(long, value_name = "FILE", required_unless_present = "prepare")]
    token_file: Option<PathBuf>,
    /// BMCs speak HTTPS, each with a certificate that the server pins
    #[arg(long)]
    tls: bool,
    /// Port of all BMCs
    #[arg(long, default_value_t = 8800)]
    bmc_port: u16,
    /// End once all nodes are so; otherwise the fleet runs until it is interrupted
    #[arg(long, value_enum)]
    until: Option<Until>,
    /// How to tell what happens
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Only write a configuration and a RAM disk for a server of such a fleet into this folder
    #[arg(long, value_name = "DIR", exclusive = true)]
    prepare: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    /// Inspected, erased and for rent
    Available,
}

impl Fleet {
    /// Runs with the fleet's disks under `directory`.
    pub(crate) async fn run(self, directory: &Path) -> Result<()> {
        if let Some(folder) = &self.prepare {
            return prepare(folder);
        }
        let last = u32::from(self.first) + u32::from(self.nodes) - 1;
        ensure!(
            last <= u16::MAX.into(),
            "the last machine would have number {last}: lower --first or --nodes, for the last \
             possible number is {}",
            u16::MAX
        );
        let api = self.api()?;
        api.health().await.context("the server is not there")?;
        let options = FleetOptions {
            first: self.first,
            nodes: self.nodes,
            port: self.bmc_port,
            tls: self.tls,
            folder: directory.join("fleet"),
        };
        let fleet = fleet::Fleet::start(&options).await?;
        let mut progress = Progress::new(self.output);
        progress.powered_up(&fleet);
        let ended = tokio::select! {
            ended = self.watch(&fleet, &api, &mut progress) => ended,
            signal = interrupted() => signal.map(|()| false),
        };
        progress.ended(&fleet);
        match (ended?, self.until) {
            (false, Some(_)) => bail!("interrupted before all nodes were as they were to be"),
            _ => Ok(()),
        }
    }

    fn api(&self) -> Result<Client> {
        let file = self.token_file.as_deref();
        let file = file.context("--token-file is missing")?;
        let token = token(file)?;
        let trust = match self.server_fingerprint {
            Some(fingerprint) => Trust::Pinned(fingerprint),
            None => Trust::System,
        };
        Ok(Client::with_trust(&self.server, Some(&token), &trust)?)
    }

    /// Registers the machines and tells how they fare. Returns true once all nodes are as they were
    /// to be, and never if nothing was asked for.
    async fn watch(
        &self,
        fleet: &fleet::Fleet,
        api: &Client,
        progress: &mut Progress,
    ) -> Result<bool> {
        let begun = Instant::now();
        let mut known = 0;
        let registering = fleet::register(api, fleet.registrations(&self.name), |before| {
            known += usize::from(before);
            progress.registered(before);
        });
        registering.await?;
        progress.all_registered(begun.elapsed(), known);
        let interval = match self.nodes {
            ..=LARGE => LOOK_INTERVAL,
            _ => LOOK_INTERVAL_LARGE,
        };
        let (mut heard, mut failed) = (Instant::now(), 0);
        loop {
            match api.metrics().await {
                Ok(text) => {
                    heard = Instant::now();
                    let counts = Counts::read(&text);
                    progress.counted(&counts, fleet).await;
                    if counts.of("failed") > failed {
                        failed = counts.of("failed");
                        self.tell_failures(api, progress).await?;
                    }
                    if self.until.is_some() && self.all_available(&counts, api).await? {
                        progress.all_available(begun.elapsed());
                        return Ok(true);
                    }
                }
                Err(error) if error.is_outage() && heard.elapsed() < OUTAGE_LIMIT => {
                    progress.outage(&error);
                }
                Err(error) => return Err(error).context("the server is gone"),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Whether all nodes of this fleet are available. Other nodes of the server are in the counts, so
    /// only when there are enough of them is it worth to ask for the names.
    async fn all_available(&self, counts: &Counts, api: &Client) -> Result<bool> {
        if counts.of("available") < u64::from(self.nodes) {
            return Ok(false);
        }
        let available = api.nodes(Some(Phase::Available), false).await?;
        let ours = available.iter().filter(|node| self.is_ours(&node.name));
        let at_rest = ours.filter(|node| node.provision_state == "available");
        Ok(at_rest.count() >= usize::from(self.nodes))
    }

    fn is_ours(&self, node: &str) -> bool {
        let number = node.strip_prefix(&self.name).map(str::parse::<u16>);
        let Some(Ok(number)) = number else {
            return false;
        };
        number
            .checked_sub(self.first)
            .is_some_and(|index| index < self.nodes)
    }

    async fn tell_failures(&self, api: &Client, progress: &mut Progress) -> Result<()> {
        let failed = api.nodes(Some(Phase::Failed), false).await?;
        let ours: Vec<_> = failed
            .iter()
            .filter(|node| self.is_ours(&node.name))
            .collect();
        for node in ours.iter().take(FAILURES_SHOWN) {
            let reason = serde_json::to_value(&node.state.reason)?;
            progress.failure(&node.name, &reason);
        }
        progress.failures(ours.len());
        Ok(())
    }
}

fn prepare(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    site::prepare(&folder, site::Ports::default())?;
    let shown = folder.display();
    println!(
        "{shown}/bessemer.toml and {shown}/ramdisk are there. Next:\n  \
         bessemer serve --config {shown}/bessemer.toml\n\
         and put the token that it shows into {shown}/token (chmod 600), for\n  \
         bessemer-lab fleet --token-file {shown}/token"
    );
    Ok(())
}

/// Reads the token, with a warning if others can, too.
fn token(path: &Path) -> Result<String> {
    let shown = path.display();
    let cannot = || format!("cannot read the token file {shown}");
    let file = std::fs::File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        eprintln!("warning: others can read {shown}, which holds a token: chmod 600 {shown}");
    }
    let mut text = String::new();
    file.take(TOKEN_LIMIT)
        .read_to_string(&mut text)
        .with_context(cannot)?;
    let token = text.trim();
    ensure!(
        !token.is_empty(),
        "{shown} is empty: put the token into it that `bessemer serve` has shown at its first start, \
         or one of `bessemer token create`"
    );
    Ok(token.to_owned())
}

/// Returns when somebody wants this to end.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
