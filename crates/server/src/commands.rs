//! `bessemer serve`: configuration, logs, signals, and a clean end; and what is done beside it on the
//! server's own machine.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use bessemer_store::{Store, StoreOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError};
use crate::data_folder;
use crate::sealing::{self, Rotation};
use crate::server::{Server, StartError, StartOptions, open_store};

/// The configuration file that is read if it exists and none is named.
const DEFAULT_CONFIG: &str = "/etc/bessemer/bessemer.toml";

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The data folder, instead of the configured one.
    pub data: Option<PathBuf>,
    /// Whether logs are JSON lines instead of text.
    pub json_logs: bool,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// If the server does not start.
pub async fn serve(options: ServeOptions) -> Result<(), StartError> {
    start_logs(options.json_logs);
    let config = configuration(&options)?;
    let (mut interrupt, mut terminate) = signals(&config)?;
    let server = Server::start(config, StartOptions::default()).await?;
    info!(api = %server.api_address, "serving");
    if let Some(token) = &server.first_token {
        show(token);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping");
    server.stop().await;
    Ok(())
}

/// Changes the key by which secrets are sealed, and seals all of them anew. Servers may run
/// meanwhile. Run again after it was interrupted, it goes on.
///
/// # Errors
/// If the data folder or the database cannot be used, or the key is not in a file of the server's.
pub async fn rotate_sealing_key(options: ServeOptions) -> Result<Rotation, StartError> {
    let config = configuration(&options)?;
    config.check()?;
    data_folder::has_been_used(&config)?;
    let store = open_store(&config, StoreOptions::default()).await?;
    let done = rotate(&config, &store).await;
    store.close().await;
    done
}

async fn rotate(config: &Config, store: &Store) -> Result<Rotation, StartError> {
    let keyring = sealing::keyring_for(store, &config.data).await?;
    Ok(Rotation {
        is_new: keyring.rotate()?,
        sealed: sealing::seal_anew(store, &keyring).await?,
    })
}

/// Shows the first token: on standard output and not in the log, which others may read and keep.
/// In one write, so that whoever reads only as far as the token may close the pipe.
fn show(token: &str) {
    let text = format!(
        "This is the first start. Your admin token, which is not shown again:\n\n  {token}\n\n\
         Use it as BESSEMER_TOKEN, or put it into ~/.config/bessemer/token (mode 600).\n"
    );
    if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
        error!(
            %error,
            "the admin token could not be shown on standard output; stop the server, remove its \
             data folder (nothing is in it yet) and start it again"
        );
    }
}

fn configuration(options: &ServeOptions) -> Result<Config, ConfigError> {
    let default = PathBuf::from(DEFAULT_CONFIG);
    let mut config = match &options.config {
        Some(path) => Config::load(path)?,
        None if default.exists() => Config::load(&default)?,
        None => Config::default(),
    };
    if let Some(data) = &options.data {
        config.data = data.clone();
    }
    Ok(config)
}

fn signals(
    config: &Config,
) -> Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal), StartError> {
    let failed = |source| StartError::Folder {
        path: config.data.clone(),
        source,
    };
    Ok((
        signal(SignalKind::interrupt()).map_err(failed)?,
        signal(SignalKind::terminate()).map_err(failed)?,
    ))
}

/// Logs go to standard error; `BESSEMER_LOG` filters them (default `info`).
fn start_logs(json: bool) {
    let filter = EnvFilter::try_from_env("BESSEMER_LOG").unwrap_or_else(|_| "info".into());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first one's logs.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
}
