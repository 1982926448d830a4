//! Finding and ending what an earlier rack left behind.
//!
//! Whatever was killed (the daemon, the switch, a QEMU, `up` itself), what remains is of two kinds:
//! processes in our namespaces, and processes outside them that work on our folder. Nothing else on
//! the host is ever touched.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::directory::{StateDirectory, remove};
use super::layout::NAMESPACES;
use super::namespace;
use crate::Error;

/// Notes on this host's rack; emptied by a reboot, as the rack is.
const NOTES: &str = "/run/bessemer-lab";
/// How long processes have to end when asked, and again when killed.
const END_LIMIT: Duration = Duration::from_secs(4);
/// How long the host's first process may take to bury what others have ended.
const BURIAL_LIMIT: Duration = Duration::from_secs(4);
/// How often to look whether they have.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Programs of ours that may outlive their namespace.
const PROGRAMS: [&str; 4] = [
    "qemu-system-x86_64",
    "ovsdb-server",
    "ovs-vswitchd",
    "bessemer-lab",
];

/// Keeps every other `up`, `down` and `reset` on this host waiting outside.
#[derive(Debug)]
pub(super) struct HostLock {
    _file: Flock<File>,
}

impl HostLock {
    /// # Errors
    /// When another one holds it.
    pub(super) fn take() -> Result<Self, Error> {
        fs::create_dir_all(NOTES).map_err(Error::file("create", NOTES))?;
        let path = Path::new(NOTES).join("lock");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(Error::file("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(Error::Busy),
            Err((_, error)) => Err(Error::file("lock", path)(error.into())),
        }
    }
}

fn owner_note() -> PathBuf {
    Path::new(NOTES).join("owner")
}

/// Notes whose namespaces they are, before there are any.
pub(super) fn note_owner(directory: &StateDirectory) -> Result<(), Error> {
    let path = owner_note();
    fs::write(&path, directory.path().as_os_str().as_bytes()).map_err(Error::file("write", path))
}

/// # Errors
/// When processes run in our namespaces and belong to a rack of another folder, or to nobody known.
pub(super) async fn refuse_other_rack(directory: &StateDirectory) -> Result<(), Error> {
    let owner = fs::read(owner_note())
        .ok()
        .map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes)));
    if owner.as_deref() == Some(directory.path()) {
        return Ok(());
    }
    for namespace in NAMESPACES {
        if namespace::processes(namespace).await?.is_empty() {
            continue;
        }
        return Err(match owner {
            Some(directory) => Error::OtherRack { directory },
            None => Error::ForeignNamespace { namespace },
        });
    }
    Ok(())
}

/// Ends and removes everything of a rack but what its folder keeps. Gives the ended processes.
pub(super) async fn remove_rack(directory: &StateDirectory) -> Result<BTreeSet<i32>, Error> {
    let mut remains = strays(directory);
    for namespace in NAMESPACES {
        remains.extend(namespace::processes(namespace).await?);
    }
    for pid in ourselves_and_ancestors() {
        remains.remove(&pid);
    }
    end(&remains).await?;
    namespace::remove_all().await?;
    remove(&directory.run())?;
    remove(&directory.description())?;
    remove(&owner_note())?;
    Ok(remains)
}

/// Waits a little until ended processes have left the process list, so that who looks at it next
/// finds nothing. In a container the first process may bury them late, which is no error.
pub(super) async fn wait_for_burial(pids: &BTreeSet<i32>) {
    let deadline = Instant::now() + BURIAL_LIMIT;
    while pids.iter().any(|pid| status_field(*pid, 0).is_some()) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Processes of our programs that name our folder, wherever they run.
fn strays(directory: &StateDirectory) -> BTreeSet<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            works_on(&line, directory.path())
        })
        .collect()
}

/// Whether a command line (its words end in zero bytes) is one of our programs at work on `folder`.
fn works_on(line: &[u8], folder: &Path) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let program = Path::new(OsStr::from_bytes(words.next().unwrap_or_default()));
    let Some(name) = program.file_name().and_then(OsStr::to_str) else {
        return false;
    };
    let mut folder = folder.as_os_str().as_bytes().to_vec();
    if name == "bessemer-lab" {
        // Only the daemon: a console or a second command is not ours to end.
        let words: Vec<_> = words.collect();
        return words.contains(&b"daemon".as_slice()) && words.contains(&folder.as_slice());
    }
    folder.push(b'/');
    PROGRAMS.contains(&name) && words.any(|word| word.windows(folder.len()).any(|at| at == folder))
}

/// A `down` started from within a namespace must not end itself or the shell it was typed into.
fn ourselves_and_ancestors() -> Vec<i32> {
    let mut pids = Vec::new();
    let mut pid = Pid::this().as_raw();
    while pid > 1 && !pids.contains(&pid) {
        pids.push(pid);
        pid = status_field(pid, 1)
            .and_then(|parent| parent.parse().ok())
            .unwrap_or(0);
    }
    pids
}

/// A field of `/proc/PID/stat`, counted after the program's name.
fn status_field(pid: i32, index: usize) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = status.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_owned)
}

/// Asks, waits, then kills.
async fn end(pids: &BTreeSet<i32>) -> Result<(), Error> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for pid in pids.iter().filter(|pid| is_running(**pid)) {
            // It may have ended in between.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        let deadline = Instant::now() + END_LIMIT;
        while pids.iter().any(|pid| is_running(*pid)) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    let left: Vec<_> = pids
        .iter()
        .filter(|pid| is_running(**pid))
        .map(i32::to_string)
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::TimedOut {
        what: format!("the end of processes {}", left.join(", ")),
        limit: END_LIMIT,
        remedy: "they do not react to SIGKILL; look at them with ps".to_owned(),
    })
}

/// A process that only waits to be reaped has ended.
fn is_running(pid: i32) -> bool {
    status_field(pid, 0).is_some_and(|state| state != "Z" && state != "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_programs_on_our_folder_are_strays() {
        let folder = Path::new("/srv/lab");
        let qemu = b"/usr/bin/qemu-system-x86_64\0-blockdev\0file,filename=/srv/lab/nodes/disk\0";
        assert!(works_on(qemu, folder));
        assert!(works_on(b"bessemer-lab\0--dir\0/srv/lab\0daemon\0", folder));
        assert!(!works_on(
            b"bessemer-lab\0--dir\0/srv/lab\0console\0node1\0",
            folder
        ));
        assert!(!works_on(
            b"bessemer-lab\0--dir\0/srv/lab2\0daemon\0",
            folder
        ));
        assert!(!works_on(
            b"qemu-system-x86_64\0-hda\0/srv/lab2/disk\0",
            folder
        ));
        assert!(!works_on(
            b"less\0/srv/lab/nodes/node1/serial.log\0",
            folder
        ));
        assert!(!works_on(b"", folder));
    }
}
