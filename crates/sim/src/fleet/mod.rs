//! Thousands of machines in one process, for a server that is a process of its own.
//!
//! What a site of that size does to a server (its memory, its database, its timers, its way with
//! thousands of management controllers) shows only with a site of that size. Each machine here is a
//! few variables with real Redfish before it and the real agent protocol behind it; nothing is
//! shared with the server but sockets on loopback, so whatever works here works by the wire.
//!
//! A machine's controller has an address of its own in 127.77.0.0/16 and the same port as all
//! others, so that it is found again after a restart; all share one listening socket
//! ([`controllers`]). Machines boot the agent by virtual media: that needs no DHCP and no root. A
//! restart of the fleet is a power failure of the hall: disks keep what is on them (they are sparse
//! files), machines are off.
//!
//! * [`Fleet`]: the machines; [`registration`]: making them known to a server;
//! * [`site`]: a configuration for such a server, and a RAM disk that only simulated machines boot;
//! * [`open_files`]: what so many connections need.

mod controllers;
mod open_files;
mod registration;
pub mod site;

use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessemer_core::lifecycle::Standby;
use bessemer_tls::{Fingerprint, SelfSigned};
use bessemer_wire::api::{BmcCreate, BmcTrust, NodeCreate, NodePortCreate};
use futures_util::FutureExt;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use registration::{RegistrationError, register};

use crate::Error;
use crate::agent::{Firmware, Host};
use crate::machine::{Machine, SimulatedMachine};
use crate::redfish::{Bmc, Credentials};

/// The account of every controller. It is no secret: it opens nothing but this imitation.
const ACCOUNT: (&str, &str) = ("operator", "simulated");

/// Images that are written at the same time. Each writer has threads and some megabytes of its own,
/// and more than this few make two processors no faster.
const WRITERS: usize = 8;

/// What a fleet is to be.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Number of the first machine, from 1.
    pub first: u16,
    /// How many machines; the last number is at most [`u16::MAX`].
    pub nodes: u16,
    /// Port of all controllers; 0 takes any free one.
    pub port: u16,
    /// Whether controllers speak TLS.
    pub tls: bool,
    /// Folder for disks and certificate; made if it does not exist.
    pub folder: PathBuf,
}

/// One machine with its controller.
struct Enclosure {
    machine: Arc<SimulatedMachine>,
    host: Arc<Host>,
    bmc: Arc<Bmc>,
}

/// A running fleet. Dropped, all its machines are without power.
pub struct Fleet {
    first: u16,
    enclosures: Arc<[Enclosure]>,
    port: u16,
    fingerprint: Option<Fingerprint>,
    /// Ends with this value, and every connection and machine with it.
    _tasks: JoinSet<()>,
    _lock: Flock<File>,
}

impl Fleet {
    /// Powers up the controllers; the machines are off.
    ///
    /// # Errors
    /// When the folder is used by another fleet or cannot be written, the port is taken, or this
    /// process may not have as many open files.
    pub async fn start(options: &FleetOptions) -> Result<Self, Error> {
        open_files::allow(options.nodes)?;
        let folder = &options.folder;
        let disks = folder.join("disks");
        std::fs::create_dir_all(&disks).map_err(Error::file("create", &disks))?;
        let lock = lock(folder)?;
        let certificate = match options.tls {
            true => Some(certificate(folder)?),
            false => None,
        };
        let writers = Arc::new(Semaphore::new(WRITERS));
        let numbers = (options.first..=u16::MAX).take(options.nodes.into());
        let enclosures: Result<Arc<[_]>, Error> = numbers
            .map(|number| enclosure(number, &disks, &writers))
            .collect();
        let enclosures = enclosures?;
        let mut tasks = JoinSet::new();
        for each in enclosures.iter() {
            tasks.spawn(each.host.clone().live_in(&each.machine, no_network()));
        }
        let fingerprint = certificate.as_ref().map(SelfSigned::fingerprint);
        let bmcs = enclosures.iter().map(|each| each.bmc.clone()).collect();
        let controllers =
            controllers::listen(options.port, certificate.as_ref(), options.first, bmcs)?;
        let port = controllers.port();
        tasks.spawn(controllers.run());
        Ok(Self {
            first: options.first,
            enclosures,
            port,
            fingerprint,
            _tasks: tasks,
            _lock: lock,
        })
    }

    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.enclosures.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.enclosures.is_empty()
    }

    /// Requests that all controllers have got so far.
    pub fn bmc_requests(&self) -> u64 {
        self.enclosures.iter().map(|each| each.bmc.requests()).sum()
    }

    /// How often machines have been switched on or restarted so far.
    pub fn boots(&self) -> u64 {
        let boots = self.enclosures.iter().map(|each| each.machine.boot_count());
        boots.sum()
    }

    /// How many machines are on.
    pub async fn powered_on(&self) -> usize {
        let mut on = 0;
        for each in self.enclosures.iter() {
            on += usize::from(each.machine.power_state().await == crate::machine::PowerState::On);
        }
        on
    }

    /// The URL of the first and of the last controller.
    pub fn urls(&self) -> (String, String) {
        let last = self.first + (self.enclosures.len().saturating_sub(1)) as u16;
        (self.url(self.first), self.url(last))
    }

    fn url(&self, number: u16) -> String {
        let scheme = match self.fingerprint {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}:{}", controllers::address(number), self.port)
    }

    /// What registers each machine, as a node named `prefix` and its number in five digits.
    pub fn registrations<'f>(&'f self, prefix: &'f str) -> impl Iterator<Item = NodeCreate> + 'f {
        let numbered = (self.first..).zip(self.enclosures.iter());
        numbered.map(move |(number, each)| NodeCreate {
            name: format!("{prefix}{number:05}"),
            rack: None,
            bmc: BmcCreate {
                url: self.url(number),
                username: ACCOUNT.0.into(),
                password: ACCOUNT.1.into(),
                trust: match &self.fingerprint {
                    Some(fingerprint) => BmcTrust::Pinned(fingerprint.to_string()),
                    None => BmcTrust::Insecure,
                },
                ipmi_key: None,
            },
            ports: vec![NodePortCreate::bare(each.host.mac)],
            port_groups: Vec::new(),
            boot_method: None,
            root_disk_hint: None,
            standby: Standby::ByFlavor,
        })
    }
}

/// Two fleets on the same disks would write to each other's.
fn lock(folder: &Path) -> Result<Flock<File>, Error> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::file("create", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::OtherFleet {
        folder: folder.to_owned(),
    })
}

/// One for all controllers: who manages a fleet pins it once. It is kept, so that a server that knows
/// the fleet believes it after a restart.
fn certificate(folder: &Path) -> Result<SelfSigned, Error> {
    let name = Ipv4Addr::LOCALHOST.to_string();
    let file = |end: &str| folder.join(format!("bmc-{end}.pem"));
    let loaded = SelfSigned::load_or_create(&file("certificate"), &file("key"), &[name]);
    Ok(loaded?)
}

fn enclosure(number: u16, disks: &Path, writers: &Arc<Semaphore>) -> Result<Enclosure, Error> {
    let machine = Arc::new(SimulatedMachine::numbered(number));
    let mut files = Vec::new();
    for drive in &machine.inventory().drives {
        let path = disks.join(&drive.serial_number);
        sparse(&path, drive.capacity_bytes).map_err(Error::file("create", &path))?;
        files.push(path);
    }
    let host = Host::new(&machine, files).ok_or(Error::NoMachine)?;
    let credentials = Credentials {
        username: ACCOUNT.0.into(),
        password: ACCOUNT.1.into(),
    };
    let bmc = Bmc::new(machine.clone(), credentials);
    bmc.read_media_on_demand();
    Ok(Enclosure {
        machine,
        host: Arc::new(host.writing_in_turn(writers.clone())),
        bmc,
    })
}

/// Makes the file that stands for a drive, unless there is one with what was written before.
fn sparse(path: &Path, size: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() != size {
        file.set_len(size)?;
    }
    Ok(())
}

/// There is no DHCP: who boots from the network waits for ever.
fn no_network() -> Firmware {
    Arc::new(|_| std::future::pending().boxed())
}
