//! `bessemer completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::output;

/// Print shell completions.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer completions bash > /etc/bash_completion.d/bessemer
  bessemer completions zsh > ~/.zfunc/_bessemer
  bessemer completions fish > ~/.config/fish/completions/bessemer.fish")]
pub(super) struct Arguments {
    /// Which shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "bessemer",
        &mut script,
    );
    let script = String::from_utf8(script)?;
    Ok(output::line(script.trim_end())?)
}
