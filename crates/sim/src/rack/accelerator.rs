//! Does KVM really work here?
//!
//! That `/dev/kvm` opens proves nothing: under some nested hypervisors a few instructions run and
//! then the guest hangs, or QEMU aborts while it sets up the processor. So the probe boots what the
//! nodes boot, the real firmware on the same virtual processor, and waits for its first words on the
//! serial line. The answer holds until the host is booted anew.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::directory::{StateDirectory, write_private};
use super::layout::FIRMWARE_CODE;
use crate::Error;
use crate::machine::Accelerator;

/// With working KVM the firmware speaks within two seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(8);
/// Changes at every boot of the host.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Serialize, Deserialize)]
struct Finding {
    boot_id: String,
    accelerator: Accelerator,
}

/// The fastest accelerator that works, from memory if it was probed since the host booted.
pub(super) async fn best(directory: &StateDirectory) -> Result<Accelerator, Error> {
    let path = directory.accelerator();
    let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let known = std::fs::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(Finding {
        boot_id: then,
        accelerator,
    }) = known
        && then == boot_id
    {
        return Ok(accelerator);
    }
    let accelerator = if kvm_works().await {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    tracing::info!(accelerator = accelerator.name(), "probed for KVM");
    let finding = serde_json::to_string(&Finding {
        boot_id,
        accelerator,
    })
    .map_err(|source| Error::Damaged {
        path: path.clone(),
        source,
    })?;
    write_private(&path, &finding)?;
    Ok(accelerator)
}

async fn kvm_works() -> bool {
    if !Path::new("/dev/kvm").exists() {
        return false;
    }
    let probe = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-accel",
            "kvm",
            "-cpu",
            "max",
            "-m",
            "256",
            "-nodefaults",
        ])
        .args([
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
            "-drive",
        ])
        .arg(format!(
            "if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE_CODE}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut qemu) = probe else { return false };
    let Some(mut serial) = qemu.stdout.take() else {
        return false;
    };
    let spoke = timeout(PROBE_LIMIT, serial.read_u8()).await;
    // An error means that it has ended by itself, which is no way for firmware to behave either.
    let running = qemu.start_kill().is_ok();
    let _ = qemu.wait().await;
    running && matches!(spoke, Ok(Ok(_)))
}
