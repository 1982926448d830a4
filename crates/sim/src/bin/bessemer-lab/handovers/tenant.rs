//! What the tenants do: order, and log in.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_core::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::{Figure, Scene};
use crate::demo::tenant::ssh;

/// The longest from an order to an active server, and from there to a login.
const ORDER_LIMIT: Duration = Duration::from_secs(600);

/// The longest from a reset to a login, firmware that waits for answers from the network included.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// When something was asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// By the clock of this program.
    pub(super) started: Instant,
    /// By the clock of histories.
    pub(super) at: Timestamp,
}

impl Asked {
    pub(super) fn now() -> Self {
        Self {
            started: Instant::now(),
            at: Timestamp::now(),
        }
    }
}

/// Orders a server.
pub(super) async fn order(scene: &Scene<'_>, server: &str, flavor: &str) -> Result<Asked> {
    let asked = Asked::now();
    let order = [
        "server",
        "create",
        server,
        "--flavor",
        flavor,
        "--image",
        "debian-12",
        "--network",
        "tenant",
        "--key",
        "demo",
    ];
    scene.shell.json(&order).await?;
    Ok(asked)
}

/// Waits until the server is active, and logs in.
pub(super) async fn first_login(
    scene: &Scene<'_>,
    server: &str,
    asked: Asked,
    what: &'static str,
) -> Result<Figure> {
    let active = active(scene, server, asked).await?;
    let boot = another_boot(scene, server, "").await?;
    let figure = Figure {
        what,
        firmware: boot.firmware,
        seconds: asked.started.elapsed().as_secs_f64(),
        posts: active["posts"].as_u64(),
    };
    figure.show();
    Ok(figure)
}

async fn active(scene: &Scene<'_>, server: &str, asked: Asked) -> Result<Value> {
    loop {
        let seen = scene.shell.json(&["server", "show", server]).await?;
        match seen["status"].as_str() {
            Some("active") => return Ok(seen),
            Some("error") => bail!("{server} failed: {}", seen["reason"]),
            _ => {}
        }
        ensure!(
            asked.started.elapsed() < ORDER_LIMIT,
            "{server} is still `{}`: {}",
            seen["status"],
            seen["reason"]
        );
        sleep(LOOK_INTERVAL).await;
    }
}

/// One boot of a server's operating system.
pub(super) struct Boot {
    /// The kernel's own name for it.
    pub(super) id: String,
    /// How its firmware started it, or the firmware before a `kexec`.
    pub(super) firmware: &'static str,
}

/// Waits until one can log in to `server`, and not to the boot of that name.
pub(super) async fn another_boot(scene: &Scene<'_>, server: &str, before: &str) -> Result<Boot> {
    const LOOK: &str = "hostname; cat /proc/sys/kernel/random/boot_id; \
                        if [ -d /sys/firmware/efi ]; then echo uefi; else echo bios; fi";
    let seen = scene.shell.json(&["server", "show", server]).await?;
    let address = seen["address"].as_str().context("no address")?;
    let started = Instant::now();
    while started.elapsed() < BOOT_LIMIT {
        let output = ssh(scene.directory, scene.rack, address, LOOK)
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if let [name, id, firmware] = told.lines().collect::<Vec<_>>()[..]
            && id != before
        {
            ensure!(name == server, "{server} calls itself `{name}`");
            let firmware = if firmware == "uefi" { "uefi" } else { "bios" };
            let id = id.to_owned();
            return Ok(Boot { id, firmware });
        }
        sleep(LOOK_INTERVAL).await;
    }
    bail!("no login to {server} within {} s", BOOT_LIMIT.as_secs())
}

/// Has the system of `server` write what it holds in memory. Without it, a machine that loses its
/// power seconds after its first boot has host keys of no length, and nobody can log in ever again.
pub(super) async fn flush(scene: &Scene<'_>, server: &str) -> Result<()> {
    let seen = scene.shell.json(&["server", "show", server]).await?;
    let address = seen["address"].as_str().context("no address")?;
    let mut flush = ssh(scene.directory, scene.rack, address, "sync");
    let status = flush.status().await?;
    ensure!(status.success(), "{server} cannot flush its disk: {status}");
    Ok(())
}

/// The steps that the node of a server went through since then.
pub(super) async fn steps(scene: &Scene<'_>, node: &str, since: Asked) -> Result<Vec<String>> {
    let history = scene.shell.json(&["node", "history", node]).await?;
    let entries = history.as_array().or_else(|| history["items"].as_array());
    let mut steps = Vec::new();
    for entry in entries.into_iter().flatten() {
        let at: Timestamp = entry["at"].as_str().unwrap_or_default().parse()?;
        if at >= since.at {
            steps.push(
                entry["state"]["step"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    Ok(steps)
}
