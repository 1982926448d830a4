//! The converter: QEMU's own, since its reading of qcow2 is the definition and that of VMDK the one
//! in use, on a short leash.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Limits;
use super::sparse::check_space;
use crate::{Error, Result};

const PROGRAM: &str = "qemu-img";

/// Address space of the converter: plenty for any image that a distribution publishes, nothing
/// for one that is made to fill the memory.
const MEMORY: u64 = 2 << 30;

/// How much of what the converter says is read.
const MAX_COMPLAINT: u64 = 4096;

/// How often the output is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Writes the disk in the file `from`, checked and in the format `driver`, to a new sparse file
/// `to`, which is watched while it grows: not every way to make much of little shows beforehand.
///
/// Both paths must be absolute, so that QEMU takes neither for a URL.
pub(super) async fn to_raw(
    from: &Path,
    driver: &str,
    to: &Path,
    virtual_size: u64,
    limits: &Limits,
) -> Result<()> {
    let deadline = limits.conversion;
    // Said this way, QEMU opens no backing file whatever the image names.
    let source = serde_json::json!({
        "driver": driver,
        "file": { "driver": "file", "filename": from },
        "backing": null,
    });
    let mut command = Command::new(PROGRAM);
    // What reads strangers' bytes gets nothing of our environment, in which there may be secrets.
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .args(["convert", "-O", "raw", &format!("json:{source}")])
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
    let (status, text) = tokio::select! {
        ended = tokio::time::timeout(deadline, run) => ended
            .map_err(|_| Error::Convert(format!("it took longer than {} s", deadline.as_secs())))?
            .map_err(|error| Error::Convert(format!("{PROGRAM}: {error}")))?,
        error = watch(to, limits) => return Err(error),
    };
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
    check_output(to, limits)?;
    if found != virtual_size {
        return Err(Error::Convert(format!(
            "{found} bytes came out, expected {virtual_size}"
        )));
    }
    Ok(())
}

/// Returns when the output holds more than it may, or the disk is full.
async fn watch(output: &Path, limits: &Limits) -> Error {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if let Err(error) = check_output(output, limits) {
            return error;
        }
    }
}

fn check_output(output: &Path, limits: &Limits) -> Result<()> {
    // Blocks of 512 bytes, as stat(2) counts them; before QEMU has made it there are none.
    let data = std::fs::metadata(output).map_or(0, |metadata| metadata.blocks() * 512);
    if data > limits.data_size {
        return Err(Error::TooLarge {
            limit: limits.data_size,
        });
    }
    check_space(output, limits.reserve)
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
