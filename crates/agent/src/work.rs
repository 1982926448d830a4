//! The commands: what a machine can be told to do.
//!
//! Each is *check, act, verify*: it looks whether it can be done before anything is changed, and
//! reads back what it did. Each can be stopped between two steps, and none leaves behind anything
//! that would keep it from being done again from the start.

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::lifecycle::Leave;
use bessemer_wire::agent::{CommandResult, Work};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::clock::Clock;
use crate::drivers::Drivers;
use crate::inventory::disks;
use crate::machine::Machine;
use crate::network::Witnesses;
use crate::network::lldp::Neighbors;
use crate::progress::Tracker;
use crate::{Error, Result, inventory};

pub mod boot_entry;
mod config_drive;
mod device;
mod erase;
mod filesystem;
mod kernel;
mod network_files;
mod nvme;
mod patience;
mod report;
mod root_file_system;
mod verify;
mod write_image;

/// How long devices may go on appearing before a command that looks at disks begins anyway: a disk
/// that stands still takes up to 100 s to spin up.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);

/// How long the neighbour may take to answer when the hand-over is prepared.
const NEIGHBOR_LIMIT: Duration = Duration::from_secs(3);

/// What commands work with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The machine.
    pub machine: Machine,
    /// Its drivers.
    pub drivers: Drivers,
    /// What switches say.
    pub lldp: Neighbors,
    /// The conductor.
    pub client: Client,
    /// Its clock.
    pub clock: Clock,
    /// Whose silence at layer 2 means that the machine has left the provisioning network.
    pub witnesses: Witnesses,
}

/// One command's progress, and the wish to stop it.
#[derive(Debug)]
pub struct Job {
    /// How far it is.
    pub tracker: Tracker,
    /// Cancelled when it is to stop.
    pub stop: CancellationToken,
}

impl Job {
    /// A command that begins.
    pub fn new(step: &str) -> Self {
        Self {
            tracker: Tracker::new(step),
            stop: CancellationToken::new(),
        }
    }

    /// An error if the command is to stop; asked between any two steps.
    pub fn check(&self) -> Result<()> {
        if self.stop.is_cancelled() {
            Err(Error::Superseded)
        } else {
            Ok(())
        }
    }
}

/// What a command does, for people.
pub fn name(work: &Work) -> &'static str {
    match work {
        Work::Prove { .. } => "proving to be alive",
        Work::Inspect => "inspecting",
        Work::Erase => "erasing",
        Work::WriteImage { .. } => "writing image",
        Work::WriteConfigDrive { .. } => "writing config drive",
        Work::LoadKernel { .. } => "loading kernel",
        Work::HandOver { .. } => "preparing hand-over",
    }
}

/// Carries a command out. For [`Work::HandOver`] that means: makes sure that it can be done. The
/// session does it, once the conductor knows.
pub async fn carry_out(context: Context, work: Work, job: Arc<Job>) -> Result<CommandResult> {
    match work {
        Work::Prove { nonce } => {
            // Read anew: what was true at the start of a long wait may not be at its end.
            let identity = inventory::identity(&context.machine);
            Ok(CommandResult::Proven { nonce, identity })
        }
        Work::Inspect => blocking(move || inspect(&context)).await,
        Work::Erase => {
            blocking(move || {
                context.drivers.wait_until_settled(SETTLE_LIMIT);
                erase::erase_all(&context.machine, &job)
            })
            .await
        }
        Work::WriteImage {
            image,
            disk,
            chunks_in_clear,
        } => {
            let source = write_image::Source {
                image,
                in_clear: chunks_in_clear,
            };
            let (waiting, meant) = (context.clone(), disk.clone());
            blocking(move || wait_for_disk(&waiting, &meant)).await?;
            let written = write_image::write_image(context, source, disk.clone(), job).await;
            written.map_err(|error| error.of_device(&disk))
        }
        Work::WriteConfigDrive { disk } => {
            let (waiting, meant) = (context.clone(), disk.clone());
            blocking(move || wait_for_disk(&waiting, &meant)).await?;
            network_files::place(&context, &disk, &job)
                .await
                .map_err(|error| error.of_device(&disk))?;
            // Before the config drive, which is another one where it does not work.
            let report = report::place(&context, &disk, &job).await?;
            let written =
                config_drive::write_config_drive(context, disk.clone(), &report, job).await;
            written.map_err(|error| error.of_device(&disk))?;
            Ok(CommandResult::ConfigDriveWritten { report })
        }
        Work::LoadKernel { disk } => {
            let release = blocking(move || {
                wait_for_disk(&context, &disk)?;
                kernel::load(&context.machine, &disk)
            })
            .await?;
            Ok(CommandResult::KernelLoaded { release })
        }
        Work::HandOver { leave, .. } => {
            blocking(move || prepare_hand_over(&context, leave)).await?;
            Ok(CommandResult::Nothing)
        }
    }
}

/// Runs what blocks where that is allowed.
async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let task = tokio::task::spawn_blocking(work);
    task.await
        .unwrap_or_else(|error| Err(Error::Bug(error.to_string())))
}

/// Waits until the disk is there: the first command may arrive before the drivers of storage are
/// loaded, as the network comes first.
fn wait_for_disk(context: &Context, meant: &DiskIdentity) -> Result<()> {
    context
        .drivers
        .wait_for_disk(SETTLE_LIMIT, || disks::select(&context.machine, meant))?;
    device::be_patient(&context.machine);
    Ok(())
}

fn inspect(context: &Context) -> Result<CommandResult> {
    context.drivers.wait_until_settled(SETTLE_LIMIT);
    Ok(CommandResult::Inspected {
        inventory: Box::new(inventory::take(&context.machine, &context.lldp)),
    })
}

/// A kernel must be loaded, and one of the neighbours whose silence is waited for must be heard: from
/// those that were never there, silence would mean nothing.
fn prepare_hand_over(context: &Context, leave: Leave) -> Result<()> {
    if context.machine.text("sys/kernel/kexec_loaded").as_deref() != Some("1") {
        return Err(Error::NothingLoaded);
    }
    let witnesses = &context.witnesses;
    if leave == Leave::WhenUnreachable && !witnesses.answer(&context.machine, NEIGHBOR_LIMIT)? {
        return Err(Error::NeighborsSilent {
            witnesses: witnesses.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::cause::Cause;

    /// PID 1 switches the machine off at a panic before this is reported; anywhere else it is.
    #[tokio::test]
    async fn a_command_that_panics_is_our_own_fault() {
        let ended: Result<()> = blocking(|| panic!("for this test")).await;
        let failure = ended.unwrap_err().failure();
        assert_eq!(failure.cause, Some(Cause::InternalError));
        assert!(
            failure.message.starts_with("bug in the agent: "),
            "{}",
            failure.message
        );
    }
}
