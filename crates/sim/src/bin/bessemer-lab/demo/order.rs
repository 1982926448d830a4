//! What a tenant does: look at the plan, order, log in, give back.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::crash::Crash;
use super::server::BessemerServer;
use super::{Scene, floor, heading, operator, report, tenant};

/// An order that is to be placed.
pub(super) struct Order {
    /// The server's name.
    pub(super) server: &'static str,
    /// What is special about it, for people.
    pub(super) title: &'static str,
    /// Firmware POSTs that it must cost.
    pub(super) posts: u64,
}

impl Order {
    /// Shows the plan, orders, logs in and measures what no order can be quicker than. With
    /// `kill_in`, the server is killed in the middle of that step, and started again.
    pub(super) async fn place(
        &self,
        scene: &Scene<'_>,
        server: BessemerServer,
        kill_in: Option<String>,
    ) -> Result<(report::Order, BessemerServer)> {
        let Scene {
            shell,
            directory,
            rack,
            ..
        } = scene;
        heading("The tenant: what an order would do");
        let order = [
            "server",
            "create",
            self.server,
            "--flavor",
            "metal",
            "--image",
            "debian-12",
            "--network",
            "tenant",
            "--key",
            "demo",
        ];
        shell.show(&[&order[..], &["--plan"]].concat()).await?;

        heading(self.title);
        let killed = kill_in.is_some();
        let started = Instant::now();
        let login = tenant::first_login(shell.clone(), directory, rack, self.server, started);
        let crash = Crash::new(kill_in, shell.clone(), self.server, server);
        let crash = tokio::spawn(crash.run());
        shell.show(&[&order[..], &["--wait"]].concat()).await?;
        let login = login.await??;
        let server = crash.await?.context("the server was to be killed")?;
        println!("logged in {:.1} s after the order", login.seconds);

        heading("Logged in");
        tenant::look_around(scene, self.server).await?;
        let order = report::Order::of(shell, rack, self.server, &login).await?;
        ensure!(
            order.posts() == self.posts || killed,
            "expected exactly {} POSTs, counted {}",
            self.posts,
            order.posts()
        );
        let write_seconds = floor::write_seconds(scene, self.server, order.bytes_written()).await?;
        Ok((order.with_floor(write_seconds, login.uptime), server))
    }
}

/// Gives the server back, and sees the node erased and for rent again.
pub(super) async fn release(scene: &Scene<'_>, server: &str) -> Result<()> {
    let (shell, node) = (&scene.shell, scene.node);
    heading("Released: erased, read back, for rent again");
    shell.show(&["server", "delete", server, "--wait"]).await?;
    operator::available(shell, &node.name).await?;
    shell.show(&["node", "list"]).await?;
    let left = tenant::bytes_left(&node.disk).await?;
    ensure!(
        left == 0,
        "{left} bytes of the tenant's are left on {}",
        node.disk.display()
    );
    println!("read from outside of the machine: every byte of its disk is zero");
    Ok(())
}
