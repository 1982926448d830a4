//! `bessemer man`: the manual pages, made from the very definitions that parse the arguments.
//! Hidden: packages run it, people read its pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};

use super::Cli;

/// Write the manual pages into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer man target/man")]
pub(super) struct Arguments {
    /// The folder, which is made if it does not exist.
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    let wrong = || format!("cannot write manual pages into `{}`", folder.display());
    std::fs::create_dir_all(folder).with_context(wrong)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(wrong)
}
