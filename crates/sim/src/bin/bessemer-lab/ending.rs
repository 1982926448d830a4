//! How a run on a rack ends: by itself, by Ctrl-C or by SIGTERM, and nothing stays behind.

use anyhow::{Context, Result, anyhow};
use bessemer_sim::rack::{self, StateDirectory};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `story` to its end, or until somebody wants it to stop, and takes the rack down.
pub(crate) async fn with_rack_down_after(
    directory: &StateDirectory,
    story: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let told = tokio::select! {
        told = story => told,
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    };
    let down = rack::down(directory)
        .await
        .context("the rack could not be taken down");
    told.and(down)
}
