//! The converter: QEMU's own, since its reading of qcow2 is the definition, on a short leash.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::{Error, Result};

const PROGRAM: &str = "qemu-img";

/// Address space of the converter: plenty for any image that a distribution publishes, nothing
/// for one that is made to fill the memory.
const MEMORY: u64 = 2 << 30;

/// How much of what the converter says is read.
const MAX_COMPLAINT: u64 = 4096;

/// Writes the disk in the checked qcow2 file `from` to a new sparse file `to`.
///
/// Both paths must be absolute, so that QEMU takes neither for a URL.
pub(super) async fn to_raw(
    from: &Path,
    to: &Path,
    virtual_size: u64,
    deadline: Duration,
) -> Result<()> {
    let mut command = Command::new(PROGRAM);
    command
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .arg(from)
        .arg(to);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // SAFETY: between fork and exec only setrlimit is called, which is async-signal-safe.
    unsafe { command.pre_exec(move || Ok(limit(virtual_size, deadline)?)) };
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Convert(format!("{PROGRAM} is not installed: install qemu-utils"))
        }
        _ => Error::Convert(format!("cannot start {PROGRAM}: {error}")),
    })?;
    let complaint = child.stderr.take();
    let run = async {
        let mut text = Vec::new();
        if let Some(complaint) = complaint {
            complaint.take(MAX_COMPLAINT).read_to_end(&mut text).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, text))
    };
    let (status, text) = tokio::time::timeout(deadline, run)
        .await
        .map_err(|_| Error::Convert(format!("it took longer than {} s", deadline.as_secs())))?
        .map_err(|error| Error::Convert(format!("{PROGRAM}: {error}")))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&text);
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        return Err(Error::Convert(format!(
            "{PROGRAM} failed ({status}): {last}"
        )));
    }
    let found = std::fs::metadata(to).map_err(super::at("read", to))?.len();
    if found != virtual_size {
        return Err(Error::Convert(format!(
            "{found} bytes came out, expected {virtual_size}"
        )));
    }
    Ok(())
}

fn limit(virtual_size: u64, deadline: Duration) -> nix::Result<()> {
    let seconds = deadline.as_secs().max(1);
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CPU, seconds),
        (Resource::RLIMIT_FSIZE, virtual_size),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}
