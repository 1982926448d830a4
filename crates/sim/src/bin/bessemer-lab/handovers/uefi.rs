//! The machine that starts as UEFI: `kexec` that does not report in time, and the power cycle.

use anyhow::{Result, ensure};
use bessemer_sim::machine::BootTarget;
use bessemer_sim::rack::NodeDescription;
use tokio::sync::oneshot;

use super::returns::{self, Answer};
use super::tenant::{self, Asked};
use super::{Figure, Scene};

/// The server on it.
pub(super) const SERVER: &str = "web-uefi";

/// From the order that `ordered` tells of to the last return. `rebuilt` hears when no more orders
/// depend on calls over HTTP.
pub(super) async fn story(
    scene: &Scene<'_>,
    node: &NodeDescription,
    ordered: Asked,
    rebuilt: oneshot::Sender<()>,
) -> Result<Vec<Figure>> {
    let fallen_back = tenant::first_login(
        scene,
        SERVER,
        ordered,
        "try_kexec, not up in time, power cycle",
    )
    .await?;
    let steps = tenant::steps(scene, &node.name, ordered).await?;
    let both = ["hand_over", "prepare_disk_boot", "start_from_disk"];
    ensure!(
        both.iter()
            .all(|step| steps.iter().any(|each| each == step)),
        "kexec first, then a power cycle: {steps:?}"
    );
    is_remembered(scene).await?;

    let asked = Asked::now();
    let rebuild = ["server", "rebuild", SERVER];
    scene.shell.json(&rebuild).await?;
    let again = tenant::first_login(
        scene,
        SERVER,
        asked,
        "rebuild, power cycle at once, as kexec is known to fail",
    )
    .await?;
    let steps = tenant::steps(scene, &node.name, asked).await?;
    ensure!(
        !steps.iter().any(|step| step == "hand_over"),
        "kexec was tried again: {steps:?}"
    );
    // Nobody listens if the other story has failed.
    let _ = rebuilt.send(());

    let told = returns::come_back(
        scene,
        node,
        SERVER,
        BootTarget::Pxe,
        Answer::Exit,
        "back to network boot: PXE, iPXE, exit, HTTP unanswered, disk",
    )
    .await?;
    Ok(vec![fallen_back, again, told])
}

/// What became of `kexec` is known from now on.
async fn is_remembered(scene: &Scene<'_>) -> Result<()> {
    let outcomes = scene.shell.json(&["kexec", "list"]).await?;
    let entries = outcomes.as_array().or_else(|| outcomes["items"].as_array());
    let failed = entries
        .into_iter()
        .flatten()
        .any(|each| each["failed"] == 1 && each["last_worked"] == false);
    ensure!(failed, "the failure is not remembered: {outcomes}");
    Ok(())
}
