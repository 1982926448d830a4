//! `bessemer serve`: the one place where the command line and the server meet.

use std::path::PathBuf;

use anyhow::Context as _;
use bessemer_server::commands::{ServeOptions, serve};
use clap::Args;

/// Run the server: API, conductor, boot services.
///
/// Without a configuration file it serves the API on loopback and boots nothing: enough to look
/// around. The first start prints an admin token, once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer serve                                    with /etc/bessemer/bessemer.toml, if there is one
  bessemer serve --data ~/bessemer                  look around, as an ordinary user
  bessemer serve --config site.toml --log json      for a log collector

The variable BESSEMER_LOG filters the log, such as `debug` or `info,bessemer_bmc=debug`.")]
pub(super) struct Arguments {
    /// The configuration, in TOML [default: /etc/bessemer/bessemer.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the server keeps what must last, instead of the folder configured.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How log lines are written, on standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    log: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Serves until told to stop.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = ServeOptions {
        config: arguments.config,
        data: arguments.data,
        json_logs: arguments.log == LogFormat::Json,
    };
    let runtime = tokio::runtime::Runtime::new().context("the runtime does not start")?;
    Ok(runtime.block_on(serve(options))?)
}
