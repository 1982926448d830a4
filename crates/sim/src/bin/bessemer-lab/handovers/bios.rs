//! The machine that starts as a PC BIOS: the power cycle, coming back, and `kexec` of an idle agent
//! in a tenant's network from which nobody reaches us.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bessemer_sim::machine::BootTarget;
use bessemer_sim::rack::{self, NodeDescription};
use tokio::sync::oneshot;

use super::returns::{self, Answer};
use super::{Figure, Scene, operator, tenant};

/// The servers on it, one after the other.
const FIRST: &str = "web-bios";
const SECOND: &str = "web-idle";

/// `is_rebuilt` tells when nobody else depends on calls over HTTP.
pub(super) async fn story(
    scene: &Scene<'_>,
    node: &NodeDescription,
    is_rebuilt: oneshot::Receiver<()>,
) -> Result<Vec<Figure>> {
    operator::available(scene, node, "pxe").await?;
    let asked = tenant::order(scene, FIRST, "cycle").await?;
    let mut figures = vec![tenant::first_login(scene, FIRST, asked, "power_cycle").await?];
    for (answer, what) in [
        (
            Answer::OutOfReach,
            "back to network boot: nobody answers, disk",
        ),
        (
            Answer::SanBoot,
            "back to network boot: iPXE is told to boot the disk",
        ),
    ] {
        let target = BootTarget::Pxe;
        figures.push(returns::come_back(scene, node, FIRST, target, answer, what).await?);
    }
    figures.push(restart(scene).await?);

    let standby = ["node", "set", &node.name, "--standby", "always"];
    scene.shell.json(&standby).await?;
    let delete = ["server", "delete", FIRST, "--wait"];
    scene.shell.show(&delete).await?;
    operator::standing_by(scene, node).await?;
    is_rebuilt.await.context("the other story has ended")?;
    figures.push(by_serial(scene).await?);
    Ok(figures)
}

/// The tenant has the machine restarted.
async fn restart(scene: &Scene<'_>) -> Result<Figure> {
    let before = tenant::another_boot(scene, FIRST, "").await?;
    let started = Instant::now();
    let restart = ["server", "power", FIRST, "restart", "--wait"];
    scene.shell.json(&restart).await?;
    let after = tenant::another_boot(scene, FIRST, &before.id).await?;
    let figure = Figure {
        what: "server power restart: shut down, disk override, disk",
        firmware: after.firmware,
        seconds: started.elapsed().as_secs_f64(),
        posts: None,
    };
    figure.show();
    Ok(figure)
}

/// An order of the idle machine, whose system cannot call us over the network.
async fn by_serial(scene: &Scene<'_>) -> Result<Figure> {
    rack::set_tenant_uplink(false).await?;
    let asked = tenant::order(scene, SECOND, "kexec").await?;
    let what = "idle agent, kexec, heard of by the serial console alone";
    let figure = tenant::first_login(scene, SECOND, asked, what).await?;
    ensure!(figure.posts == Some(0), "POSTs: {:?}", figure.posts);
    let log = std::fs::read_to_string(scene.directory.logs().join("bessemer.log"))?;
    ensure!(
        log.contains("the operating system is up (serial console)"),
        "the marker was not read"
    );
    rack::set_tenant_uplink(true).await?;
    Ok(figure)
}
