//! What PID 1 does first and last: the folders a program expects, and the way out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::console::say;
use crate::machine::Machine;
use crate::{Error, Result};

/// How long a last message stays to be read before the power goes off.
const READING_TIME: Duration = Duration::from_secs(10);

/// Mounts what the kernel leaves to PID 1, and lets it reap orphans by itself.
pub fn prepare() -> Result<()> {
    let kernel = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    for (kind, target, flags) in [
        ("proc", "/proc", kernel),
        ("sysfs", "/sys", kernel),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID),
        ("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV),
        ("tmpfs", "/tmp", MsFlags::MS_NOSUID | MsFlags::MS_NODEV),
    ] {
        mount_at(kind, Path::new(target), flags)?;
    }
    // SAFETY: SIG_IGN installs no handler that could run at a wrong moment. A process that
    // ignores SIGCHLD has its children reaped by the kernel.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.map_err(|errno| Error::File {
        action: "set up the signals of",
        path: "PID 1".into(),
        source: errno.into(),
    })?;
    without_ipv6();
    Ok(())
}

fn mount_at(kind: &str, target: &Path, flags: MsFlags) -> Result<()> {
    let failed = |source| Error::File {
        action: "mount",
        path: target.to_owned(),
        source,
    };
    fs::create_dir_all(target).map_err(failed)?;
    match mount(Some(kind), target, Some(kind), flags, None::<&str>) {
        // The kernel may have mounted /dev already.
        Ok(()) | Err(nix::errno::Errno::EBUSY) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The agent uses IPv4 only; without IPv6 there is one way less to talk to an idling machine.
/// A kernel without IPv6 has nothing to switch off.
fn without_ipv6() {
    for scope in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
}

/// Says why and powers the machine off, once the message could be read. Never returns.
pub fn power_off(why: &str) -> ! {
    say(format_args!("powering off: {why}"));
    std::thread::sleep(READING_TIME);
    nix::unistd::sync();
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    say(format_args!("the machine does not power off: {errno}"));
    // PID 1 must not end.
    loop {
        std::thread::park();
    }
}

/// Starts the loaded kernel. Never returns; if the kernel refuses, powers the machine off.
pub fn start_kernel(machine: &Machine) -> ! {
    say("starting the kernel of the image");
    nix::unistd::sync();
    // Nobody may write into memory that the next kernel believes to be its own.
    crate::network::take_down(machine);
    let Err(errno) = reboot(RebootMode::RB_KEXEC);
    power_off(&format!("the loaded kernel does not start: {errno}"))
}

/// Powers off when the program has a bug: a PID 1 that ends makes the kernel panic and the machine
/// stand still, without a word that a person could use.
pub fn power_off_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("bug in the agent: {panic}"));
        power_off("the agent cannot go on after a bug in itself; please report the lines above");
    }));
}
