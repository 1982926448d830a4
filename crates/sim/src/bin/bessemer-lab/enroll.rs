//! Registering a node of the rack, quietly.

use anyhow::Result;
use bessemer_sim::rack::{NodeDescription, StateDirectory};

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
    let nic = format!("{},switch=rack,port={}", node.mac, node.switch_port);
    let fingerprint = node.bmc_fingerprint.to_string();
    let arguments = [
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
        &nic,
        "--boot-method",
        method,
    ];
    shell.json(&arguments).await.map(drop)
}
