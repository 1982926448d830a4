//! Switching the machine of an active server, as its tenant asks.

use std::time::Duration;

use bessemer_bmc::{Bmc, BootDevice, BootMode, PowerAction};
use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{Action, Intent, Outcome};
use bessemer_core::reason::Failure;
use bessemer_store::NodeRecord;
use tokio::time::Instant;
use tracing::warn;

use super::Conductor;
use super::boot::disk_mode;
use super::intents::failure;

/// Switches the machine as `intent` says, unless something else is asked for meanwhile.
pub(super) async fn carry_out(
    conductor: &Conductor,
    node: &NodeRecord,
    intent: &Intent,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let mode = disk_mode(node);
    tokio::select! {
        result = switch(bmc, &intent.action, mode, deadline) => result,
        () = overtaken(conductor, node, intent) => {
            Err(Failure::permanent(
                Cause::Overtaken,
                "it was given up for a newer request",
            ))
        }
    }
}

/// How long the operating system may take to shut down, in seconds, where it is asked to.
pub(super) fn shut_down_seconds(action: &Action) -> u32 {
    match action {
        Action::ShutDown { seconds } => *seconds,
        Action::Restart { shut_down_seconds } => *shut_down_seconds,
        _ => 0,
    }
}

/// Switches the machine off, and for a restart on again, to start what is on its disk.
async fn switch(
    bmc: &dyn Bmc,
    action: &Action,
    mode: BootMode,
    deadline: Instant,
) -> Result<(), Failure> {
    match shut_down_seconds(action) {
        0 => bmc
            .set_power(PowerAction::ForceOff, deadline)
            .await
            .map_err(failure)?,
        seconds => shut_down(bmc, seconds).await?,
    }
    if !matches!(action, Action::Restart { .. }) {
        return Ok(());
    }
    // No boot is prepared for an active server, so the agent cannot be loaded; this only spares
    // the firmware the attempt. Not every BMC can be told.
    if let Err(error) = bmc.set_boot_once(BootDevice::Disk, mode, deadline).await {
        warn!(%error, "restarting without a boot override");
    }
    bmc.set_power(PowerAction::On, deadline)
        .await
        .map_err(failure)
}

/// Asks the operating system to shut down, and sees the machine off.
async fn shut_down(bmc: &dyn Bmc, seconds: u32) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    let asked = bmc.set_power(PowerAction::GracefulOff, deadline).await;
    asked.map_err(|error| match error {
        // Also when the time is up in the middle of reading the power state.
        bessemer_bmc::Error::TimedOut { .. } if Instant::now() >= deadline => {
            did_not_shut_down(seconds)
        }
        bessemer_bmc::Error::NotVerified { .. } => did_not_shut_down(seconds),
        bessemer_bmc::Error::NotOffered { .. } => Failure::operator(
            error.cause(),
            format!("{error}: the operating system cannot be asked to shut down; force it"),
        ),
        error => failure(error),
    })
}

fn did_not_shut_down(seconds: u32) -> Failure {
    Failure::permanent(
        Cause::ShutdownIgnored,
        format!("the operating system did not shut down within {seconds} s; it runs on: force it"),
    )
}

/// Returns once something else is wanted of the machine.
async fn overtaken(conductor: &Conductor, node: &NodeRecord, intent: &Intent) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let outcome = conductor.site.store.outcome(node.id, &intent.key.0).await;
        // A database that is away for a moment says nothing about the request.
        if let Ok(outcome) = outcome
            && outcome != Some(Outcome::Pending)
        {
            return;
        }
    }
}
