//! `bessemer-lab up`.

use std::time::Instant;

use anyhow::{Context, Result};
use bessemer_sim::rack::{self, NODE_LIMIT, RackDescription, StateDirectory, UpOptions};
use clap::Args;

use crate::table::table;

/// Bring the rack up.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// How many racks, each with a switch; with two, the first machine of each has two NICs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    racks: u16,
    /// How many machines
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODE_LIMIT)))]
    nodes: u16,
    /// Memory of each machine, in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(512..=65_536))]
    memory: u32,
}

impl Up {
    pub(crate) async fn run(&self, directory: &StateDirectory) -> Result<()> {
        let options = UpOptions {
            racks: self.racks,
            nodes: self.nodes,
            memory_mib: self.memory,
        };
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let start = Instant::now();
        let rack = rack::up(directory, &options, &program).await?;
        print(&rack);
        println!(
            "\nup after {:.1} s, machines run by {}; details in {}",
            start.elapsed().as_secs_f64(),
            rack.accelerator.name(),
            directory.description().display()
        );
        Ok(())
    }
}

fn print(rack: &RackDescription) {
    let mut table = table(&[
        "node",
        "bmc",
        "user",
        "mac",
        "port",
        "serial",
        "bmc certificate",
    ]);
    for node in &rack.nodes {
        let nics = node.nics.iter();
        let macs: Vec<_> = nics.clone().map(|nic| nic.mac.as_str()).collect();
        let ports: Vec<_> = nics.map(|nic| nic.switch_port.as_str()).collect();
        table.add_row([
            &node.name,
            &node.bmc_url,
            &node.bmc_username,
            &macs.join(" "),
            &ports.join(" "),
            &node.serial,
            &node.bmc_fingerprint.to_string(),
        ]);
    }
    println!("{table}");
}
