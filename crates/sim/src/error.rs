//! What can go wrong while building or running simulated machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why the rack, a machine or its management controller could not be built or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Namespaces, taps and bridges belong to root.
    #[error("the virtual rack needs root (network namespaces, taps): run this with sudo")]
    NotRoot,
    /// The names of the namespaces are fixed, so there is one rack per host.
    #[error(
        "another rack is running on this host, kept in {}: take it down first with \
         `bessemer-lab --dir {} down`",
        directory.display(), directory.display()
    )]
    OtherRack {
        /// The state folder of the rack that runs.
        directory: PathBuf,
    },
    /// Namespaces with our names that no rack of ours has noted down.
    #[error(
        "network namespace {namespace} exists and holds running processes, but no rack has noted \
         it as its own: remove it with `ip netns del {namespace}` if nobody needs it"
    )]
    ForeignNamespace {
        /// The namespace's name under `/run/netns`.
        namespace: &'static str,
    },
    /// Another `up`, `down` or `reset` has not finished.
    #[error("another bessemer-lab is changing the rack right now: wait for it to finish")]
    Busy,
    /// A running rack cannot become another one without losing its machines.
    #[error("the rack is already up with {running}, not {wanted}: run `bessemer-lab down` first")]
    UpDifferently {
        /// Nodes and memory of the running rack.
        running: String,
        /// Nodes and memory asked for.
        wanted: String,
    },
    /// The rack has to be down for this.
    #[error("the rack is up: run `bessemer-lab down` first")]
    Up,
    /// The rack has to be up for this.
    #[error("no rack is up in {}: run `bessemer-lab up` first", directory.display())]
    NotUp {
        /// The state folder looked at.
        directory: PathBuf,
    },
    /// A node that the rack does not have.
    #[error("no node {name:?} in this rack: it has {known}")]
    UnknownNode {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Unix socket addresses hold 107 bytes.
    #[error(
        "{} is too long a folder name: sockets in it would exceed the 107 bytes of a Unix socket \
         address; choose a shorter --dir",
        directory.display()
    )]
    DirectoryTooLong {
        /// The state folder.
        directory: PathBuf,
    },
    /// An external program is missing.
    #[error("program {program} not found: install the Debian package {package}")]
    ProgramMissing {
        /// The program's name.
        program: String,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// A file that comes with a Debian package is missing.
    #[error("{} not found: install the Debian package {package}", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// An external program ran and failed.
    #[error("`{command}` failed ({status}): {output}")]
    CommandFailed {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// What it said, shortened.
        output: String,
    },
    /// Something did not happen within its time.
    #[error("{what} did not happen within {limit:?}: {remedy}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The time it was given.
        limit: Duration,
        /// What a person can do.
        remedy: String,
    },
    /// A file could not be read, written or removed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file of ours does not hold what it should.
    #[error("{} is damaged: remove it and run `bessemer-lab up` again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A thread could not enter a network namespace.
    #[error("cannot enter network namespace {namespace}")]
    EnterNamespace {
        /// The namespace's name.
        namespace: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A management controller cannot have its address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Another process has the fleet's disks.
    #[error(
        "another fleet keeps its disks in {}: end it first, or choose another --dir",
        folder.display()
    )]
    OtherFleet {
        /// The folder of its disks.
        folder: PathBuf,
    },
    /// A simulated machine without a NIC or without a drive.
    #[error("a simulated machine needs a NIC and a drive")]
    NoMachine,
    /// So many connections are more open files than this process may have.
    #[error(
        "{needed} open files are needed and at most {allowed} are allowed: raise the limit (`ulimit -Hn {needed}`, or LimitNOFILE= of a systemd service), or ask for fewer machines with --nodes"
    )]
    OpenFiles {
        /// Files that are needed.
        needed: u64,
        /// The hard limit of this process.
        allowed: u64,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A certificate could not be made or used.
    #[error("management controller's certificate")]
    Tls(#[from] bessemer_tls::Error),
    /// A management controller did not answer as it should.
    #[error("management controller of {node} at {url}")]
    Bmc {
        /// The node's name.
        node: String,
        /// What was asked.
        url: String,
        /// The client's error.
        source: reqwest::Error,
    },
}

impl Error {
    /// A [`Error::File`] maker for `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
