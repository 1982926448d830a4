//! `bessemer-lab demo`: a machine becomes a login, and is erased again; twice: first switched off,
//! then idling in the agent.
//!
//! The story is told with the commands an operator and a tenant type: each is shown and then run,
//! `bessemer` in the conductor's namespace, `ssh` in the tenant's. What was expensive to get to
//! (image, enrolled nodes) is kept in the rack's folder, so that the next demo starts at once.
//! With `--kill-server-in` the same story is the test that a killed server goes on.

mod crash;
mod floor;
mod operator;
mod order;
mod report;
pub(crate) mod server;
pub(crate) mod shell;
pub(crate) mod tenant;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bessemer_sim::rack::{self, StateDirectory, UpOptions};
use clap::Args;
use serde_json::Value;

use order::Order;
use server::BessemerServer;
use shell::Shell;

use crate::ending::with_rack_down_after;

/// The servers that are ordered, one after the other: of a machine that is off, of one that idles.
const SERVERS: [&str; 2] = ["web1", "web2"];
/// The account that the image makes.
pub(crate) const USER: &str = "debian";
/// Enough for cloud-init's Python.
pub(crate) const MEMORY_MIB: u32 = 2048;

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
        with_rack_down_after(directory, self.tell(directory)).await?;
        println!("\ndemo ok");
        Ok(())
    }

    async fn tell(&self, directory: &StateDirectory) -> Result<()> {
        heading("A rack: machines with UEFI firmware, BMCs and a switch");
        // An earlier demo may have been killed: its server would be in the way.
        rack::down(directory).await?;
        let options = UpOptions {
            racks: 1,
            nodes: 1,
            memory_mib: MEMORY_MIB,
        };
        let program = std::env::current_exe()?;
        let rack = rack::up(directory, &options, &program).await?;
        let node = rack.nodes.first().context("the rack has no node")?;
        let nic = node.nics.first().context("the node has no NIC")?;
        println!(
            "{}: serial {}, BMC {}, NIC {} on switch port {}; accelerator {}",
            node.name,
            node.serial,
            node.bmc_url,
            nic.mac,
            nic.switch_port,
            rack.accelerator.name()
        );

        heading("Bessemer: one program");
        let server = BessemerServer::start(&self.bessemer, directory, &rack, &self.ramdisk).await?;
        let shell = Shell::new(&self.bessemer, &rack, server.token());
        operator::prepare(&shell, directory, &rack, node, &self.os_image).await?;

        let [first, second] = SERVERS;
        let scene = Scene {
            shell,
            directory,
            rack: &rack,
            node,
        };
        let order = Order {
            server: first,
            title: "The order: from a powered-off machine to a login",
            posts: 1,
        };
        let (off, server) = order
            .place(&scene, server, self.kill_server_in.clone())
            .await?;
        // Once it is erased, the machine stays in the agent and waits for its next order there.
        operator::standby(&scene.shell, node, "always").await?;
        order::release(&scene, first).await?;

        let order = Order {
            server: second,
            title: "The order: from a machine that idles in the agent to a login",
            posts: 0,
        };
        let (idle, server) = order.place(&scene, server, None).await?;
        operator::standby(&scene.shell, node, "never").await?;
        order::release(&scene, second).await?;
        server.stop().await?;
        report::write(&self.report, &[off, idle])
    }
}

/// Where the story plays.
struct Scene<'a> {
    shell: Shell,
    directory: &'a StateDirectory,
    rack: &'a rack::RackDescription,
    node: &'a rack::NodeDescription,
}

fn heading(title: &str) {
    println!("\n\x1b[1m== {title}\x1b[0m");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
