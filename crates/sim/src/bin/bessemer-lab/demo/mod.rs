//! `bessemer-lab demo`: a powered-off machine becomes a login, and is erased again.
//!
//! The story is told with the commands an operator and a tenant type: each is shown and then run,
//! `bessemer` in the conductor's namespace, `ssh` in the tenant's. What was expensive to get to
//! (image, enrolled nodes) is kept in the rack's folder, so that the next demo starts at once.
//! With `--kill-server-in` the same story is the test that a killed server goes on.

mod crash;
mod report;
mod server;
mod shell;
mod tenant;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_sim::rack::{self, NodeDescription, RackDescription, StateDirectory, UpOptions};
use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use server::BessemerServer;
use shell::Shell;

/// The server that is ordered.
const SERVER: &str = "web1";
/// Its address: the first of the network's pool, as the pool is empty.
const POOL: &str = "192.168.100.10-192.168.100.99";
/// The account that the image makes.
const USER: &str = "debian";
/// Enough for cloud-init's Python.
const MEMORY_MIB: u32 = 2048;
/// The longest that a node may take to be for rent. Emulated machines are slow.
const NODE_LIMIT: Duration = Duration::from_secs(900);

/// What the demo works with.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The `bessemer` program
    #[arg(long)]
    bessemer: PathBuf,
    /// Folder with the RAM disk, as `ramdisk/build` makes it
    #[arg(long)]
    ramdisk: PathBuf,
    /// Folder with the operating system, as `lab/os-image/build` makes it
    #[arg(long)]
    os_image: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    report: PathBuf,
    /// Kill -9 the server in the middle of this step of the deployment, and start it again
    #[arg(long, value_name = "STEP")]
    kill_server_in: Option<String>,
}

impl Demo {
    pub(crate) async fn run(self, directory: &StateDirectory) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let told = tokio::select! {
            told = self.tell(directory) => told,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        };
        // Whatever happened, nothing stays behind.
        let down = rack::down(directory)
            .await
            .context("the rack could not be taken down");
        told.and(down)?;
        println!("\ndemo ok");
        Ok(())
    }

    async fn tell(&self, directory: &StateDirectory) -> Result<()> {
        heading("A rack: machines with UEFI firmware, BMCs and a switch");
        // An earlier demo may have been killed: its server would be in the way.
        rack::down(directory).await?;
        let options = UpOptions {
            nodes: 1,
            memory_mib: MEMORY_MIB,
        };
        let program = std::env::current_exe()?;
        let rack = rack::up(directory, &options, &program).await?;
        let node = rack.nodes.first().context("the rack has no node")?;
        println!(
            "{}: serial {}, BMC {}, NIC {} on switch port {}; accelerator {}",
            node.name,
            node.serial,
            node.bmc_url,
            node.mac,
            node.switch_port,
            rack.accelerator.name()
        );

        heading("Bessemer: one program");
        let server = BessemerServer::start(&self.bessemer, directory, &rack, &self.ramdisk).await?;
        let shell = Shell::new(&self.bessemer, &rack, server.token());
        self.prepare(&shell, directory, node).await?;
        let (order, server) = self.order(&shell, directory, &rack, server).await?;
        release(&shell, node).await?;
        server.stop().await?;
        order.write(&self.report)
    }

    /// What an operator does once: machine, image, flavor, network, key.
    async fn prepare(
        &self,
        shell: &Shell,
        directory: &StateDirectory,
        node: &NodeDescription,
    ) -> Result<()> {
        heading("The operator: a machine, an image, a flavor, a network");
        let key = tenant::make_key(directory).await?;
        clear_old_order(shell).await?;
        enroll(shell, directory, node).await?;
        let image = self.os_image.join("debian-12.qcow2").canonicalize()?;
        let sum = self
            .os_image
            .join("debian-12.qcow2.sha256")
            .canonicalize()?;
        let (image, sum) = (image.to_string_lossy(), sum.to_string_lossy());
        if let Some(known) = shell.find("image", "debian-12").await? {
            let wanted = std::fs::read_to_string(sum.as_ref())?;
            if !wanted.contains(known["sha256"].as_str().unwrap_or("?")) {
                shell.show(&["image", "delete", "debian-12"]).await?;
            }
        }
        let add_image = [
            "image",
            "add",
            "debian-12",
            "--source",
            &image,
            "--sha256-file",
            &sum,
            "--default-user",
            USER,
        ];
        shell
            .show_unless_there("image", "debian-12", &add_image)
            .await?;
        let flavor = ["flavor", "create", "metal", "--from-node", &node.name];
        shell.show_unless_there("flavor", "metal", &flavor).await?;
        let network = [
            "network",
            "create",
            "tenant",
            "--vlan",
            "100",
            "--subnet",
            "192.168.100.0/24",
            "--gateway",
            "192.168.100.1",
            "--pool",
            POOL,
        ];
        shell
            .show_unless_there("network", "tenant", &network)
            .await?;
        let key = key.with_extension("pub");
        shell
            .show_unless_there(
                "key",
                "demo",
                &["key", "add", "demo", &key.to_string_lossy()],
            )
            .await?;
        shell.show(&["node", "list"]).await
    }

    /// What a tenant does: the plan, the order, the login.
    async fn order(
        &self,
        shell: &Shell,
        directory: &StateDirectory,
        rack: &RackDescription,
        server: BessemerServer,
    ) -> Result<(report::Order, BessemerServer)> {
        heading("The tenant: what an order would do");
        let order = [
            "server",
            "create",
            SERVER,
            "--flavor",
            "metal",
            "--image",
            "debian-12",
            "--network",
            "tenant",
            "--key",
            "demo",
        ];
        shell.show(&[&order[..], &["--plan"]].concat()).await?;

        heading("The order: from a powered-off machine to a login");
        let started = Instant::now();
        let login = tenant::first_login(shell.clone(), directory, rack, SERVER, started);
        let crash = crash::Crash::new(self.kill_server_in.clone(), shell.clone(), server);
        let crash = tokio::spawn(crash.run());
        shell.show(&[&order[..], &["--wait"]].concat()).await?;
        let login_seconds = login.await??;
        let server = crash.await?.context("the server was to be killed")?;
        println!("logged in {login_seconds:.1} s after the order");

        heading("Logged in");
        tenant::look_around(shell, directory, rack, SERVER).await?;
        let order = report::Order::of(shell, rack, SERVER, login_seconds).await?;
        ensure!(
            order.posts() == 1 || self.kill_server_in.is_some(),
            "expected exactly 1 POST, counted {}",
            order.posts()
        );
        Ok((order, server))
    }
}

/// Removes the order of a demo that was interrupted.
async fn clear_old_order(shell: &Shell) -> Result<()> {
    if shell.find("server", SERVER).await?.is_some() {
        shell.show(&["server", "delete", SERVER, "--wait"]).await?;
    }
    Ok(())
}

/// Registers the node if it is not known yet, and sees it for rent.
async fn enroll(shell: &Shell, directory: &StateDirectory, node: &NodeDescription) -> Result<()> {
    match shell.find("node", &node.name).await? {
        None => {
            let password = directory.path().join("bmc-password");
            server::write_secret(&password, node.bmc_password.expose())?;
            let port = format!("{},switch=rack,port={}", node.mac, node.switch_port);
            let fingerprint = node.bmc_fingerprint.to_string();
            shell
                .show(&[
                    "node",
                    "enroll",
                    &node.name,
                    "--bmc",
                    &node.bmc_url,
                    "--bmc-user",
                    &node.bmc_username,
                    "--bmc-password-file",
                    &password.to_string_lossy(),
                    "--bmc-fingerprint",
                    &fingerprint,
                    "--mac",
                    &port,
                    "--wait",
                ])
                .await
        }
        Some(known) => {
            let state = known["provision_state"].as_str().unwrap_or_default();
            if state.ends_with("failed") || matches!(state, "error" | "held" | "enroll") {
                shell.show(&["node", "provide", &node.name]).await?;
            }
            available(shell, &node.name).await
        }
    }
}

/// Waits until the node is for rent.
async fn available(shell: &Shell, name: &str) -> Result<()> {
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let node = shell
            .find("node", name)
            .await?
            .context("the node is gone")?;
        let state = node["provision_state"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if state == "available" {
            return Ok(());
        }
        if state.ends_with("failed") || started.elapsed() > NODE_LIMIT {
            bail!("{name} is `{state}`: {}", node["state"]["reason"]);
        }
        let doing = format!("{state}: {}", text(&node["state"]["reason"]["summary"]));
        if doing != last {
            println!("  {name}  {doing}");
            last = doing;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Gives the server back, and sees the node erased and for rent again.
async fn release(shell: &Shell, node: &NodeDescription) -> Result<()> {
    heading("Released: erased, read back, for rent again");
    shell.show(&["server", "delete", SERVER, "--wait"]).await?;
    available(shell, &node.name).await?;
    shell.show(&["node", "list"]).await?;
    let left = tenant::bytes_left(&node.disk).await?;
    ensure!(
        left == 0,
        "{left} bytes of the tenant's are left on {}",
        node.disk.display()
    );
    println!("read from outside of the machine: every byte of its disk is zero");
    Ok(())
}

fn heading(title: &str) {
    println!("\n\x1b[1m== {title}\x1b[0m");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
