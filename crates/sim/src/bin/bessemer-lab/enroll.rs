//! Registering a node of the rack, quietly.

use anyhow::Result;
use bessemer_sim::rack::{NicDescription, NodeDescription, StateDirectory};

use crate::demo::server::write_secret;
use crate::demo::shell::Shell;

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
