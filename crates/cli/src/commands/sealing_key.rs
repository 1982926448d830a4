//! `bessemer sealing-key`: the key by which the server's secrets are sealed. On the server's own
//! machine, and not by the API: the key never travels.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bessemer_server::commands::{ServeOptions, rotate_sealing_key};
use clap::{Args, Subcommand};

/// The key by which passwords and user data in the database are sealed.
///
/// These commands run on the server's machine, as the server's user.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer sealing-key rotate          a new key, while the server runs or not")]
pub(super) enum Command {
    Rotate(Rotate),
}

/// Make a new key and seal every secret with it.
///
/// Servers may run meanwhile. If it is interrupted, run it again, or let a server go on with it. The
/// old key stays in the key file, after the new one, for an hour at least; a server removes it then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer sealing-key rotate
  bessemer sealing-key rotate --config site.toml
  bessemer sealing-key rotate --data ~/bessemer")]
pub(super) struct Rotate {
    /// The server's configuration [default: /etc/bessemer/bessemer.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The server's data folder, instead of the one configured.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    let Command::Rotate(rotate) = command;
    let options = ServeOptions {
        config: rotate.config,
        data: rotate.data,
        json_logs: false,
    };
    let runtime = tokio::runtime::Runtime::new().context("the runtime does not start")?;
    let done = runtime.block_on(rotate_sealing_key(options))?;
    match done.is_new {
        true => println!("a new key is in use"),
        false => println!("the key was being changed already: going on with that"),
    }
    println!("{} secrets are sealed with the new key", done.sealed.values);
    if !done.sealed.unreadable.is_empty() {
        bail!(
            "no key opens these, enter them again: {}",
            done.sealed.unreadable.join(", ")
        );
    }
    println!("back the key up; a server removes the old one in an hour");
    Ok(())
}
