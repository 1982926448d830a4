//! What a server costs before anybody has asked it anything.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::figure::figure;
use crate::figures::{percentile, progress};
use crate::process::{Folder, Server};

/// Starts of each kind; their median is told.
const STARTS: usize = 9;

/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(1);

/// Measures starts in fresh and in existing data folders, and the memory of an idle server.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    progress("starting in fresh folders");
    let mut folder = Folder::new()?;
    let mut starts = Starts::default();
    for _ in 0..STARTS {
        folder = Folder::new()?;
        starts
            .add(Server::start(program, &folder, false).await?)
            .await?;
    }
    starts.tell("start_up_fresh");

    progress("starting in an existing folder");
    let mut starts = Starts::default();
    for _ in 0..STARTS {
        starts
            .add(Server::start(program, &folder, false).await?)
            .await?;
    }
    starts.tell("start_up_existing");

    for (name, provisioning) in [("rss_idle", false), ("rss_idle_provisioning", true)] {
        progress("idling");
        let folder = Folder::new()?;
        let server = Server::start(program, &folder, provisioning).await?;
        sleep(IDLE).await;
        figure(name, server.resident()?, "MB");
        server.stop().await?;
    }
    Ok(())
}

/// How long servers took to start. (CPU time is told in whole 10 ms, which a start does not fill.)
#[derive(Default)]
struct Starts(Vec<Duration>);

impl Starts {
    /// Notes a server that has just answered, and stops it.
    async fn add(&mut self, server: Server) -> anyhow::Result<()> {
        self.0.push(server.start_up);
        server.stop().await
    }

    fn tell(&self, name: &str) {
        figure(name, percentile(&self.0, 0.5).as_secs_f64(), "s");
        let slowest = percentile(&self.0, 1.0).as_secs_f64();
        figure(&format!("{name}_slowest"), slowest, "s");
    }
}
