//! Running the host's own tools: `ip`, `ethtool`, Open vSwitch.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::Error;

/// These tools work in milliseconds; only a stuck switch keeps one waiting.
const LIMIT: Duration = Duration::from_secs(15);
/// As much of a tool's complaint as an error message repeats.
const OUTPUT_LIMIT: usize = 600;

/// The programs the rack needs and the Debian packages they are in.
pub(super) const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("ovsdb-tool", "openvswitch-common"),
    ("ovsdb-server", "openvswitch-common"),
    ("ovs-appctl", "openvswitch-common"),
    ("ovs-vsctl", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Runs a program and gives its standard output.
///
/// # Errors
/// When it is missing, fails, or takes longer than [`LIMIT`].
pub(super) async fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, Error> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let shown = shown(&command);
    let output = match timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(program));
        }
        Ok(Err(error)) => return Err(Error::file("run", program)(error)),
        Err(_) => {
            return Err(Error::TimedOut {
                what: format!("the end of `{shown}`"),
                limit: LIMIT,
                remedy: "run it by hand to see where it hangs".to_owned(),
            });
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::CommandFailed {
        command: shown,
        status: output.status.to_string(),
        output: complaint.trim().chars().take(OUTPUT_LIMIT).collect(),
    })
}

/// Runs a line of words separated by spaces, for commands without user-chosen parts.
pub(super) async fn run_words(line: &str) -> Result<String, Error> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    run(program, words).await
}

/// # Errors
/// When one of [`PROGRAMS`] cannot be found.
pub(super) fn require_programs() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, _) in PROGRAMS {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            return Err(missing(program));
        }
    }
    Ok(())
}

fn missing(program: &str) -> Error {
    let known = PROGRAMS.iter().find(|(name, _)| *name == program);
    Error::ProgramMissing {
        program: program.to_owned(),
        package: known.map_or("that contains it", |(_, package)| package),
    }
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}
