//! `bessemer config`: the server's configuration.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use bessemer_server::config::{Config, reference};
use clap::{Args, Subcommand};

/// The configuration of a server.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer config reference
  bessemer config check /etc/bessemer/bessemer.toml")]
pub(super) enum Command {
    Reference(Reference),
    Check(Check),
}

/// Print every key with its default and meaning, as Markdown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer config reference > configuration.md")]
pub(super) struct Reference {}

/// Check a configuration file without starting anything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer config check /etc/bessemer/bessemer.toml")]
pub(super) struct Check {
    /// The file.
    file: PathBuf,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    let text = match command {
        Command::Reference(Reference {}) => reference(),
        Command::Check(Check { file }) => {
            Config::load(&file)?;
            format!("{} is a configuration\n", file.display())
        }
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("the output cannot be written")
}
