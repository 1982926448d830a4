//! Loads the drivers of the devices that are there, as udev and modprobe would, without either.
//!
//! Devices present at the start are found below `/sys/bus`, later ones (a driver makes new
//! devices: a virtio bus, a disk behind a controller) by the kernel's own announcements, so
//! nothing has to be polled or guessed. Loading waits for the driver's first look at its devices,
//! which takes seconds for a storage controller; so it happens in a thread of its own, network
//! controllers first, and whoever needs a device waits for it.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::utsname::uname;

use crate::console::{causes, say};
use crate::machine::Machine;
use crate::{Error, Result};

mod announcements;
mod index;
mod pending;

pub use announcements::Announcements;
pub use index::Index;

/// How long no device may have appeared for the machine to count as settled.
const QUIET: Duration = Duration::from_millis(300);

/// What the threads share about the state of loading.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whether the devices present at the start have their drivers.
    first_round_over: bool,
    /// When a device last appeared or got its driver.
    last_change: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn touch(&self) {
        self.state().last_change = Instant::now();
        self.changed.notify_all();
    }
}

/// The loading that goes on in the background.
#[derive(Clone, Debug)]
pub struct Drivers {
    shared: Arc<Shared>,
    /// Where disks may be on their way; `None` where there are none to wait for.
    machine: Option<Machine>,
}

impl Drivers {
    /// Starts to load what `machine` needs and goes on for as long as the program runs.
    pub fn start(machine: &Machine) -> Result<Self> {
        let state = State {
            first_round_over: false,
            last_change: Instant::now(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        // Before the first look, or a device that appears in between would be missed.
        let announcements = Announcements::listen()?;
        let release = uname().map_err(errno("find the release of", "the kernel"))?;
        let folder = machine.path("lib/modules").join(release.release());
        let loader = Loader {
            machine: machine.clone(),
            index: Index::read(&folder)?,
            folder,
            shared: shared.clone(),
            loaded: BTreeSet::new(),
        };
        std::thread::Builder::new()
            .name("drivers".into())
            .spawn(move || loader.run(announcements))
            .map_err(|source| Error::File {
                action: "start the thread of",
                path: "drivers".into(),
                source,
            })?;
        Ok(Self {
            shared,
            machine: Some(machine.clone()),
        })
    }

    /// Drivers of a machine whose kernel has loaded them all.
    pub fn none_needed() -> Self {
        let state = State {
            first_round_over: true,
            last_change: Instant::now() - QUIET,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            machine: None,
        }
    }

    /// Waits until `found` gives something, asking again whenever a device has appeared, for at
    /// most `limit`.
    pub fn wait_for<T>(&self, limit: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(thing) = found() {
                return Some(thing);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            // A device's files may lag behind its announcement: ask again after a moment anyway.
            let pause = left.min(Duration::from_millis(100));
            drop(self.shared.changed.wait_timeout(self.shared.state(), pause));
        }
    }

    /// Waits until the devices present at the start have their drivers, no further one has appeared
    /// for a moment, and no disk is on its way; at most `limit`. Says whether that came about.
    pub fn wait_until_settled(&self, limit: Duration) -> bool {
        let settled = self.wait_for(limit, || self.is_settled().then_some(()));
        if settled.is_none() {
            let waited_for = self.machine.iter().flat_map(pending::pending);
            let names: Vec<String> = waited_for.collect();
            say(format_args!("not ready yet: {}", names.join(" ")));
        }
        settled.is_some()
    }

    fn is_settled(&self) -> bool {
        let state = self.shared.state();
        let quiet = state.first_round_over && state.last_change.elapsed() >= QUIET;
        drop(state);
        quiet
            && self
                .machine
                .iter()
                .all(|machine| pending::pending(machine).is_empty())
    }

    /// Waits until `found` succeeds, or until all disks are there and it still does not; at most
    /// `limit`.
    pub fn wait_for_disk<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            // In this order: what settles after the look may be what was looked for.
            let last = self.is_settled() || Instant::now() >= deadline;
            match found() {
                Err(_) if !last => std::thread::sleep(Duration::from_millis(20)),
                outcome => return outcome,
            }
        }
    }
}

/// The thread's own part.
struct Loader {
    machine: Machine,
    index: Index,
    folder: std::path::PathBuf,
    shared: Arc<Shared>,
    loaded: BTreeSet<String>,
}

impl Loader {
    fn run(mut self, announcements: Announcements) {
        let mut known = BTreeSet::new();
        // A driver may have made devices, and a more urgent one among them: look again after each
        // group, until there is nothing new.
        while let Some(group) = most_urgent(present(&self.machine), &known) {
            for alias in group {
                self.load_for(&alias);
                known.insert(alias);
            }
        }
        for name in listed(&self.machine) {
            self.load(&name);
        }
        let drivers: Vec<&str> = self.loaded.iter().map(String::as_str).collect();
        say(format_args!("drivers: {}", drivers.join(" ")));
        self.shared.state().first_round_over = true;
        self.shared.touch();
        loop {
            let alias = announcements.next_alias();
            self.shared.touch();
            if let Some(alias) = alias {
                self.load_for(&alias);
                self.shared.touch();
            }
        }
    }

    fn load_for(&mut self, alias: &str) {
        for name in self.index.drivers_of(alias) {
            self.load(&name);
        }
    }

    fn load(&mut self, name: &str) {
        for path in self.index.load_order(name) {
            let module = index::module_name(&path);
            if !self.loaded.insert(module.clone()) {
                continue;
            }
            match insert(&self.folder.join(&path), &module) {
                Ok(()) => self.shared.touch(),
                // The driver found that it is not wanted: no device of its kind after all.
                Err(Error::File { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => say(format_args!("driver {module}: {}", causes(&error))),
            }
        }
    }
}

fn insert(path: &std::path::Path, module: &str) -> Result<()> {
    let failed = |action| {
        move |source| Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = File::open(path).map_err(failed("open"))?;
    // Disks are there when their controller's driver is loaded, not some time later.
    let parameters = if module == "scsi_mod" {
        c"scan=sync"
    } else {
        c""
    };
    match finit_module(&file, parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(failed("load")(error.into())),
    }
}

/// The module aliases of every device that is there.
fn present(machine: &Machine) -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    for bus in machine.names("sys/bus") {
        let folder = format!("sys/bus/{bus}/devices");
        for device in machine.names(&folder) {
            aliases.extend(machine.text(format!("{folder}/{device}/modalias")));
        }
    }
    aliases.remove("");
    aliases
}

/// Those of the aliases that are not known yet and most urgent among these; `None` if all are
/// known.
fn most_urgent(present: BTreeSet<String>, known: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut fresh: Vec<String> = present
        .into_iter()
        .filter(|alias| !known.contains(alias))
        .collect();
    let first = fresh.iter().map(|alias| urgency(alias)).min()?;
    fresh.retain(|alias| urgency(alias) == first);
    Some(fresh)
}

/// Network controllers and the buses they may sit behind come before storage, whose drivers take
/// their time: the PCI class (`bc01` is storage, `bc02` network; PCI Code and ID Assignment
/// Specification) and the virtio device type (1 is network; VIRTIO 1.2, clause 5) tell them.
fn urgency(alias: &str) -> u8 {
    if alias.contains("bc02") || alias.starts_with("virtio:d00000001") {
        0
    } else if alias.contains("bc01") || alias.starts_with("scsi:") || alias.starts_with("virtio:") {
        2
    } else {
        1
    }
}

/// Modules that the RAM disk wants loaded although no device asks for them.
fn listed(machine: &Machine) -> Vec<String> {
    let text = machine.text("etc/modules").unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}

fn errno(action: &'static str, path: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::File {
        action,
        path: path.into(),
        source: errno.into(),
    }
}

/// `text` for a C function; one with a NUL inside, which no kernel gives, becomes empty.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_of_all_buses_are_found_network_first() {
        let root = tempfile::tempdir().unwrap();
        for (device, alias) in [
            (
                "pci/devices/0000:00:01.0",
                "pci:v00008086d00002922sv0sd0bc01sc06i01\n",
            ),
            (
                "pci/devices/0000:00:02.0",
                "pci:v00001AF4d00001041sv0sd0bc02sc00i00\n",
            ),
            ("virtio/devices/virtio0", "virtio:d00000002v00001AF4\n"),
            ("platform/devices/none", "\n"),
        ] {
            let folder = root.path().join("sys/bus").join(device);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("modalias"), alias).unwrap();
        }
        let machine = Machine::under(root.path());
        let mut known = BTreeSet::new();
        let mut groups = Vec::new();
        while let Some(group) = most_urgent(present(&machine), &known) {
            known.extend(group.iter().cloned());
            groups.push(group);
        }
        let [network, storage] = &groups[..] else {
            panic!("{groups:?}")
        };
        assert!(
            network.len() == 1 && network[0].contains("bc02"),
            "{groups:?}"
        );
        assert_eq!(storage.len(), 2);
        assert!(listed(&machine).is_empty());
    }

    #[test]
    fn waiting_ends() {
        let drivers = Drivers::none_needed();
        assert!(drivers.wait_until_settled(Duration::from_secs(5)));
        assert_eq!(
            drivers.wait_for(Duration::from_millis(1), || None::<()>),
            None
        );
        assert_eq!(drivers.wait_for(Duration::ZERO, || Some(1)), Some(1));
    }
}
