//! What the operator does: the machine, the image, the flavor, the network.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bessemer_sim::rack::{NodeDescription, RackDescription, StateDirectory};
use tokio::time::sleep;

use super::shell::Shell;
use super::{SERVERS, heading, server, tenant, text};
use crate::catalogue::{TENANT_NETWORK, add_image};
use crate::enroll::switch_command;

/// The longest that a node may take to be for rent. Emulated machines are slow.
const NODE_LIMIT: Duration = Duration::from_secs(900);

/// What an operator does once: machine, image, flavor, network, key.
pub(super) async fn prepare(
    shell: &Shell,
    directory: &StateDirectory,
    rack: &RackDescription,
    node: &NodeDescription,
    os_image: &Path,
) -> Result<()> {
    heading("The operator: a switch, a machine, an image, a flavor, a network");
    let key = tenant::make_key(directory).await?;
    clear_old_orders(shell).await?;
    for switch in &rack.switches {
        let command = switch_command(switch);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        shell
            .show_unless_there("switch", &switch.name, &command)
            .await?;
    }
    enroll(shell, directory, node).await?;
    if let Some(known) = shell.find("image", "debian-12").await? {
        let wanted = std::fs::read_to_string(os_image.join("debian-12.qcow2.sha256"))?;
        let known = known["checksum"].as_str().unwrap_or("?");
        if !wanted.contains(known.trim_start_matches("sha256:")) {
            shell.show(&["image", "delete", "debian-12"]).await?;
        }
    }
    let add_image = add_image(os_image)?;
    let add_image: Vec<_> = add_image.iter().map(String::as_str).collect();
    shell
        .show_unless_there("image", "debian-12", &add_image)
        .await?;
    let flavor = ["flavor", "create", "metal", "--from-node", &node.name];
    shell.show_unless_there("flavor", "metal", &flavor).await?;
    shell
        .show_unless_there("network", "tenant", &TENANT_NETWORK)
        .await?;
    let key = key.with_extension("pub");
    shell
        .show_unless_there(
            "key",
            "demo",
            &["key", "add", "demo", &key.to_string_lossy()],
        )
        .await?;
    shell.show(&["node", "list"]).await
}

/// Removes the orders of a demo that was interrupted.
async fn clear_old_orders(shell: &Shell) -> Result<()> {
    for server in SERVERS {
        if shell.find("server", server).await?.is_some() {
            shell.show(&["server", "delete", server, "--wait"]).await?;
        }
    }
    Ok(())
}

/// Registers the node if it is not known yet, and sees it for rent.
async fn enroll(shell: &Shell, directory: &StateDirectory, node: &NodeDescription) -> Result<()> {
    match shell.find("node", &node.name).await? {
        None => {
            let password = directory.path().join("bmc-password");
            server::write_secret(&password, node.bmc_password.expose())?;
            let nic = node.nics.first().context("the node has no NIC")?;
            let port = nic.enrolled();
            let fingerprint = node.bmc_fingerprint.to_string();
            shell
                .show(&[
                    "node",
                    "enroll",
                    &node.name,
                    "--bmc",
                    &node.bmc_url,
                    "--bmc-user",
                    &node.bmc_username,
                    "--bmc-password-file",
                    &password.to_string_lossy(),
                    "--bmc-fingerprint",
                    &fingerprint,
                    "--mac",
                    &port,
                    "--wait",
                ])
                .await
        }
        Some(known) => {
            let state = known["provision_state"].as_str().unwrap_or_default();
            if state.ends_with("failed") || matches!(state, "error" | "held" | "enroll") {
                shell.show(&["node", "provide", &node.name]).await?;
            }
            available(shell, &node.name).await
        }
    }
}

/// Waits until the node is for rent.
pub(super) async fn available(shell: &Shell, name: &str) -> Result<()> {
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let node = shell
            .find("node", name)
            .await?
            .context("the node is gone")?;
        let state = node["provision_state"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if state == "available" {
            return Ok(());
        }
        if state.ends_with("failed") || started.elapsed() > NODE_LIMIT {
            bail!("{name} is `{state}`: {}", node["state"]["reason"]);
        }
        let doing = format!("{state}: {}", text(&node["state"]["reason"]["summary"]));
        if doing != last {
            println!("  {name}  {doing}");
            last = doing;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Says whether the node idles in the agent while it is for rent: `always` or `never`.
pub(super) async fn standby(shell: &Shell, node: &NodeDescription, standby: &str) -> Result<()> {
    let line = ["node", "set", &node.name, "--standby", standby];
    shell.show(&line).await
}
