//! Killing the server in the middle of a step, as a power cut would.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::server::BessemerServer;
use super::shell::Shell;

/// A crash that is to happen, or not.
pub(super) struct Crash {
    step: Option<String>,
    shell: Shell,
    /// The rented server that is being deployed.
    rented: &'static str,
    server: BessemerServer,
}

impl Crash {
    pub(super) fn new(
        step: Option<String>,
        shell: Shell,
        rented: &'static str,
        server: BessemerServer,
    ) -> Self {
        Self {
            step,
            shell,
            rented,
            server,
        }
    }

    /// Waits for the step, kills the server in its middle and starts it again; gives the running
    /// server back.
    pub(super) async fn run(mut self) -> Result<BessemerServer> {
        let Some(step) = self.step.take() else {
            return Ok(self.server);
        };
        while !self.in_the_middle_of(&step).await.unwrap_or(false) {
            sleep(Duration::from_millis(200)).await;
        }
        println!("\n  (kill -9 of the server, in the middle of `{step}`)");
        self.server.crash_and_restart().await?;
        println!("  (the server is back)");
        Ok(self.server)
    }

    /// Whether the deployment is in this step, and, where there are bytes to count, a fifth of it
    /// is done.
    async fn in_the_middle_of(&self, step: &str) -> Result<bool> {
        let server = self.shell.json(&["server", "show", self.rented]).await?;
        let node = server["node"].as_str().context("the server has no node")?;
        let node = self.shell.json(&["node", "show", node]).await?;
        let progress = &node["progress"];
        let (bytes, total) = (progress["bytes"].as_u64(), progress["total"].as_u64());
        let under_way = match (bytes, total) {
            (Some(bytes), Some(total)) => total > 0 && bytes * 5 > total,
            _ => false,
        };
        Ok(node["state"]["step"] == step && under_way)
    }
}
