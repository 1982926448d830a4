//! `bessemer`: the server (`bessemer serve`) and every command that talks to one.
//!
//! The command line decides nothing about machines: it asks the API, shows what it says, and
//! follows what goes on. Where to look:
//! - `commands`: one file for each noun, with its arguments beside what they do;
//! - `connection`: where the API is and which token to show it;
//! - `follow`: what `--wait` does: look again and again, and show it;
//! - `output`, `table`, `words`: how answers look to people (tables) and programs (`-o json`).
//!
//! Exit codes are a promise to scripts: 0 done, 1 failed, 2 wrong usage, 130 interrupted while
//! waiting for something that goes on by itself.

mod commands;
mod connection;
mod failure;
mod follow;
mod lookup;
mod output;
mod secret;
mod table;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Cli;

/// For SQLite, too: a fifth of the server's time less, and a fifth of its memory, than with the
/// allocator of the C library (docs/benchmarks.md). Without huge pages, which cost an idle server 13 MB.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
