//! `bessemer-lab`: a rack of virtual machines on this host, or a fleet of simulated ones, to try and to
//! test Bessemer with.
//!
//! Each command has a file of its own; what they do is in the library's `rack` and `fleet` modules.

mod boots;
mod catalogue;
mod console;
mod demo;
mod ending;
mod enroll;
mod fleet;
mod handovers;
mod neighbors;
mod networks;
mod status;
mod table;
mod up;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bessemer_sim::rack::{self, StateDirectory};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  bessemer-lab up                  two powered-off machines, their BMCs and their switch
  bessemer-lab up --nodes 4        four of them
  bessemer-lab up --racks 2 --nodes 4    in two racks, two with bonded NICs
  bessemer-lab status              power, boot override and VLAN of every machine
  bessemer-lab console node1       its serial console; Ctrl-] leaves
  bessemer-lab down                everything ends; disks and logs are kept
  bessemer-lab reset               forgets the disks, too
  bessemer-lab fleet --help        thousands of simulated machines, without root

  ip netns exec bessemer-control bessemer serve     Bessemer, where it can reach the BMCs
  jq -r '.nodes[].bmc_url' target/lab/rack.json     what a script needs to know";

/// A rack of virtual machines with real firmware, BMCs and a switch; or a fleet of simulated ones.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// Folder for disks, certificates and logs
    #[arg(
        long,
        global = true,
        env = "BESSEMER_LAB_DIR",
        default_value = "target/lab"
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the rack up; remove what is left of one that was killed
    Up(up::Up),
    /// Take the rack down; disks, certificates and logs are kept
    Down,
    /// Show power, boot override and VLAN of every node
    Status(status::Status),
    /// Attach to a node's serial console
    Console(console::Console),
    /// Run up to ten thousand simulated machines and register them with a server
    Fleet(fleet::Fleet),
    /// Forget the disks and firmware variables of a rack that is down
    Reset,
    /// Carry two orders to an SSH login and back: of a machine that is off, and of one that idles
    Demo(demo::Demo),
    /// Boot the agent once in every way, and say how long each takes
    Boots(boots::Boots),
    /// Hand machines over in every way, and have them come back to the network
    Handovers(handovers::Handovers),
    /// Have two tenants on two racks, with bonds and tagged networks, and see what passes between them
    Networks(networks::Networks),
    /// Serve the BMCs (started by `up`)
    #[command(hide = true)]
    Daemon,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What a fleet's controllers are asked for is no news.
    let usual = match arguments.command {
        Command::Fleet(_) => "warn",
        _ => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bessemer-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<()> {
    let directory = StateDirectory::new(&arguments.dir)?;
    match arguments.command {
        Command::Up(up) => up.run(&directory).await,
        Command::Down => Ok(rack::down(&directory).await?),
        Command::Status(status) => status.run(&directory).await,
        Command::Console(console) => console.run(&directory).await,
        Command::Demo(demo) => demo.run(&directory).await,
        Command::Boots(boots) => boots.run(&directory).await,
        Command::Handovers(handovers) => handovers.run(&directory).await,
        Command::Networks(networks) => networks.run(&directory).await,
        Command::Fleet(fleet) => fleet.run(directory.path()).await,
        Command::Reset => Ok(rack::reset(&directory).await?),
        Command::Daemon => {
            // Away from the terminal `up` was typed into, which may close. An error means that
            // this process already leads a group, and so a closing terminal does not end it.
            let _ = nix::unistd::setsid();
            rack::serve(&directory).await.context("the rack's daemon")
        }
    }
}
