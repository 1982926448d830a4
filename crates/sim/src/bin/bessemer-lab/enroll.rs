//! Making the rack's switches known, registering its nodes, quietly, and waiting for them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bessemer_sim::rack::{
    NicDescription, NodeDescription, RackDescription, StateDirectory, SwitchDescription,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::demo::server::write_secret;
use crate::demo::shell::Shell;

/// The longest that a node may take to be for rent. Emulated machines are slow.
const NODE_LIMIT: Duration = Duration::from_secs(600);

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The command that makes a switch of the rack known.
pub(crate) fn switch_command(switch: &SwitchDescription) -> Vec<String> {
    let address = format!("unix:{}", switch.ovsdb_socket.display());
    let words = [
        "switch",
        "create",
        &switch.name,
        "--driver",
        "ovsdb",
        "--address",
        &address,
    ];
    let mut words = words.map(str::to_owned).to_vec();
    if let Some(address) = switch.tunnel_address {
        words.extend(["--tunnel-address".to_owned(), address.to_string()]);
    }
    words
}

/// Makes the rack's switches known, unless they are.
pub(crate) async fn know_switches(shell: &Shell, rack: &RackDescription) -> Result<()> {
    for switch in &rack.switches {
        if shell.find("switch", &switch.name).await?.is_none() {
            let command = switch_command(switch);
            let command: Vec<_> = command.iter().map(String::as_str).collect();
            shell.json(&command).await?;
        }
    }
    Ok(())
}

/// Registers `node`, which is then inspected and erased by an agent that is booted this way.
pub(crate) async fn enroll(
    shell: &Shell,
    directory: &StateDirectory,
    node: &NodeDescription,
    method: &str,
) -> Result<()> {
    let password = directory.path().join(format!("{}-bmc-password", node.name));
    write_secret(&password, node.bmc_password.expose())?;
    let password = password.to_string_lossy();
    let fingerprint = node.bmc_fingerprint.to_string();
    let nics: Vec<_> = node.nics.iter().map(NicDescription::enrolled).collect();
    let mut arguments = vec![
        "node",
        "enroll",
        &node.name,
        "--bmc",
        &node.bmc_url,
        "--bmc-user",
        &node.bmc_username,
        "--bmc-password-file",
        &password,
        "--bmc-fingerprint",
        &fingerprint,
        "--boot-method",
        method,
    ];
    for nic in &nics {
        arguments.extend(["--mac", nic]);
    }
    shell.json(&arguments).await.map(drop)
}

/// Waits until `node` is as it is to be.
pub(crate) async fn wait_for(
    shell: &Shell,
    node: &NodeDescription,
    is_there: impl Fn(&Value) -> bool,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let seen = shell.json(&["node", "show", &node.name]).await?;
        if is_there(&seen) {
            return Ok(());
        }
        if seen["state"]["phase"] == "failed" || started.elapsed() > NODE_LIMIT {
            bail!(
                "{} is `{}`: {}",
                node.name,
                seen["provision_state"],
                seen["state"]["reason"]
            );
        }
        sleep(LOOK_INTERVAL).await;
    }
}
