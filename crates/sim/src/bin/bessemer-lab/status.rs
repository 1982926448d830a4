//! `bessemer-lab status`.

use anyhow::Result;
use bessemer_sim::rack::{self, NodeStatus, StateDirectory};
use clap::{Args, ValueEnum};

use crate::table::table;

/// Show what BMCs and switch say.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Status {
    pub(crate) async fn run(&self, directory: &StateDirectory) -> Result<()> {
        let nodes = rack::status(directory).await?;
        match self.output {
            Output::Table => print(&nodes),
            Output::Json => println!("{}", serde_json::to_string_pretty(&nodes)?),
        }
        Ok(())
    }
}

fn print(nodes: &[NodeStatus]) {
    let mut table = table(&["node", "power", "boots", "boot override", "port", "vlan"]);
    for node in nodes {
        let vlan = node
            .vlan
            .map_or_else(|| "?".to_owned(), |vlan| vlan.to_string());
        let (power, boots, boot) = match &node.bmc {
            Some(bmc) => (
                bmc.power.clone(),
                bmc.boots.to_string(),
                format!("{} {}", bmc.boot_override, bmc.boot_target),
            ),
            None => ("?".to_owned(), "?".to_owned(), "?".to_owned()),
        };
        table.add_row([&node.name, &power, &boots, &boot, &node.switch_port, &vlan]);
    }
    println!("{table}");
    for node in nodes {
        if let Some(error) = &node.bmc_error {
            println!("{}: {error}", node.name);
        }
    }
}
