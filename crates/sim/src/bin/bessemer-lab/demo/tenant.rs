//! What the tenant does: a key, the first login, a look around. All from the tenant's namespace.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_sim::rack::{RackDescription, StateDirectory};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::shell::Shell;
use super::{Scene, USER};

/// The longest from the order to a login.
const LOGIN_LIMIT: Duration = Duration::from_secs(1200);
/// What a new tenant looks at.
const COMMANDS: [&str; 5] = [
    "hostname",
    "uname -a",
    "cloud-init status --wait",
    "ip -br addr",
    "lsblk",
];

/// The tenant's key, made once.
pub(crate) async fn make_key(directory: &StateDirectory) -> Result<PathBuf> {
    let key = directory.path().join("demo-key");
    if !key.exists() {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"])
            .arg(&key)
            .status()
            .await?;
        ensure!(status.success(), "ssh-keygen ended with {status}");
    }
    Ok(key)
}

/// The first login.
pub(super) struct Login {
    /// Seconds since the order.
    pub(super) seconds: f64,
    /// Seconds since the kernel was started.
    pub(super) uptime: f64,
}

/// Tries to log in from the moment the server has an address.
pub(super) fn first_login(
    shell: Shell,
    directory: &StateDirectory,
    rack: &RackDescription,
    server: &'static str,
    started: Instant,
) -> JoinHandle<Result<Login>> {
    let (directory, rack) = (directory.clone(), rack.clone());
    tokio::spawn(async move {
        while started.elapsed() < LOGIN_LIMIT {
            if let Ok(address) = address(&shell, server).await {
                let output = ssh(&directory, &rack, &address, "cat /proc/uptime")
                    .output()
                    .await?;
                if output.status.success() {
                    return Ok(Login {
                        seconds: started.elapsed().as_secs_f64(),
                        uptime: uptime(&String::from_utf8_lossy(&output.stdout))?,
                    });
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
        bail!("no login within {} s of the order", LOGIN_LIMIT.as_secs())
    })
}

/// The first number of `/proc/uptime`: seconds since the kernel was started.
fn uptime(text: &str) -> Result<f64> {
    let first = text.split_whitespace().next().unwrap_or_default();
    first
        .parse()
        .with_context(|| format!("/proc/uptime says `{}`", text.trim()))
}

/// Runs one command on the server, quietly.
pub(super) async fn run(scene: &Scene<'_>, server: &str, line: &str) -> Result<Output> {
    let address = address(&scene.shell, server).await?;
    let mut command = ssh(scene.directory, scene.rack, &address, line);
    Ok(command.output().await?)
}

/// Runs what a new tenant looks at, for everybody to see.
pub(super) async fn look_around(scene: &Scene<'_>, server: &str) -> Result<()> {
    let (directory, rack) = (scene.directory, scene.rack);
    let address = address(&scene.shell, server).await?;
    for command in COMMANDS {
        println!("\n\x1b[36m$ ssh {USER}@{address} {command}\x1b[0m");
        let status = ssh(directory, rack, &address, command).status().await?;
        ensure!(
            status.success(),
            "`{command}` on the server ended with {status}"
        );
    }
    let name = ssh(directory, rack, &address, "hostname").output().await?;
    let name = String::from_utf8_lossy(&name.stdout).trim().to_owned();
    ensure!(
        name == server,
        "the server calls itself `{name}`, not `{server}`"
    );
    Ok(())
}

/// Bytes of the disk that are not zero, read from outside of the machine.
pub(super) async fn bytes_left(disk: &Path) -> Result<u64> {
    let disk = disk.to_owned();
    tokio::task::spawn_blocking(move || count_data(&disk)).await?
}

fn count_data(disk: &Path) -> Result<u64> {
    let mut file = File::open(disk)?;
    let zeros = vec![0; 1 << 20];
    let mut buffer = zeros.clone();
    let mut left = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(left);
        }
        // Comparing whole pieces is many times quicker than counting, and the rule.
        if buffer[..length] != zeros[..length] {
            left += buffer[..length].iter().filter(|byte| **byte != 0).count() as u64;
        }
    }
}

async fn address(shell: &Shell, server: &str) -> Result<String> {
    let server = shell.json(&["server", "show", server]).await?;
    Ok(server["address"]
        .as_str()
        .context("the server has no address")?
        .to_owned())
}

/// Runs one command on the machine with this address, from the tenant's network.
pub(crate) fn ssh(
    directory: &StateDirectory,
    rack: &RackDescription,
    address: &str,
    line: &str,
) -> Command {
    ssh_from(&rack.namespaces.tenant, directory, address, line)
}

/// The same from another network.
pub(crate) fn ssh_from(
    namespace: &str,
    directory: &StateDirectory,
    address: &str,
    line: &str,
) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace, "ssh", "-i"])
        .arg(directory.path().join("demo-key"))
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=3",
            "-o",
            "LogLevel=ERROR",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-F", "none"])
        .arg(format!("{USER}@{address}"))
        .arg(line)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
