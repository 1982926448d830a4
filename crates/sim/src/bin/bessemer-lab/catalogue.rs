//! What the lab's operators offer: the same image and the same tenants' network in every story.

use std::path::Path;

use anyhow::Result;

use crate::demo::USER;

/// The command that makes the network that tenants are on: VLAN 100, as the rack has it.
pub(crate) const TENANT_NETWORK: [&str; 11] = [
    "network",
    "create",
    "tenant",
    "--vlan",
    "100",
    "--subnet",
    "192.168.100.0/24",
    "--gateway",
    "192.168.100.1",
    "--pool",
    "192.168.100.10-192.168.100.99",
];

/// The command that adds the image of the folder `os_image`, as `lab/os-image/build` makes it.
pub(crate) fn add_image(os_image: &Path) -> Result<Vec<String>> {
    let file = |name: &str| os_image.join(name).canonicalize();
    let image = file("debian-12.qcow2")?;
    let sum = file("debian-12.qcow2.sha256")?;
    let words = [
        "image",
        "add",
        "debian-12",
        "--source",
        &image.to_string_lossy(),
        "--checksum-file",
        &sum.to_string_lossy(),
        "--default-user",
        USER,
    ];
    Ok(words.map(str::to_owned).to_vec())
}
