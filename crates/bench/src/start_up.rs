//! What a server costs before anybody has asked it anything.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::figures::{figure, milliseconds, percentile, progress};
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

/// How long servers took to start, and how much of that they worked.
#[derive(Default)]
struct Starts {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Starts {
    /// Notes a server that has just answered, and stops it.
    async fn add(&mut self, server: Server) -> anyhow::Result<()> {
        self.wall.push(server.start_up);
        self.cpu.push(server.cpu()?);
        server.stop().await
    }

    fn tell(&self, name: &str) {
        figure(name, percentile(&self.wall, 0.5).as_secs_f64(), "s");
        let slowest = percentile(&self.wall, 1.0).as_secs_f64();
        figure(&format!("{name}_slowest"), slowest, "s");
        // The mean, because the clock of CPU time ticks only every 10 ms.
        let cpu = self.cpu.iter().sum::<Duration>() / STARTS as u32;
        figure(&format!("{name}_cpu"), milliseconds(cpu), "ms");
    }
}
