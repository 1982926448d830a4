//! What the operator does: machines, the image, a network, a flavor for each way to hand over.

use std::path::Path;

use anyhow::Result;
use bessemer_sim::rack::NodeDescription;

use super::Scene;
use crate::catalogue::{TENANT_NETWORK, add_image};
use crate::demo::tenant;
use crate::enroll::{enroll, know_switches, wait_for};

/// Everything that an order needs, with `first` as the only node.
pub(super) async fn prepare(
    scene: &Scene<'_>,
    first: &NodeDescription,
    os_image: &Path,
) -> Result<()> {
    know_switches(&scene.shell, scene.rack).await?;
    tokio::try_join!(
        available(scene, first, "uefi_http"),
        catalogue(scene, os_image)
    )?;
    for (name, hand_over) in [
        ("kexec", "kexec"),
        ("cycle", "power_cycle"),
        ("try", "try_kexec"),
    ] {
        let flavor = [
            "flavor",
            "create",
            name,
            "--from-node",
            &first.name,
            "--hand-over",
            hand_over,
        ];
        scene.shell.json(&flavor).await?;
    }
    Ok(())
}

async fn catalogue(scene: &Scene<'_>, os_image: &Path) -> Result<()> {
    let key = tenant::make_key(scene.directory).await?;
    let key = key.with_extension("pub");
    let key = ["key", "add", "demo", &key.to_string_lossy()];
    scene.shell.json(&key).await?;
    scene.shell.json(&TENANT_NETWORK).await?;
    let image = add_image(os_image)?;
    let image: Vec<_> = image.iter().map(String::as_str).collect();
    scene.shell.json(&image).await.map(drop)
}

/// Enrolls a node and waits until it is for rent.
pub(super) async fn available(
    scene: &Scene<'_>,
    node: &NodeDescription,
    method: &str,
) -> Result<()> {
    enroll(&scene.shell, scene.directory, node, method).await?;
    wait_for(&scene.shell, node, |node| {
        node["provision_state"] == "available"
    })
    .await
}

/// Waits until the node idles in the agent.
pub(super) async fn standing_by(scene: &Scene<'_>, node: &NodeDescription) -> Result<()> {
    wait_for(&scene.shell, node, |node| {
        node["state"]["step"] == "standby"
    })
    .await
}
