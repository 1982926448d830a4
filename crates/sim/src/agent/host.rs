//! The machine's inside over time: firmware finds the agent, the agent works, the OS calls home.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bessemer_core::hardware::{
    Cpu, Disk, DiskIdentity, FirmwareMode, Inventory, MachineIdentity, Nic, Transport,
};
use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;
use bessemer_core::reason::Failure;
use bessemer_tls::Fingerprint;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::AgentError;
use super::config_drive::Home;
use super::link::Link;
use super::work::{Agent, Ending, system_on};
use crate::machine::{self, BootTarget, Machine, MachineEvent, SerialPort, SimulatedMachine};

/// Between two questions of the firmware, and two calls of the OS, that were in vain.
const PAUSE: Duration = Duration::from_millis(20);

/// Between two markers on the serial console.
const MARK_AGAIN: Duration = Duration::from_millis(100);

/// How often the OS calls home in vain before it gives up.
const CALLS: usize = 1000;

/// What one boot of the agent is told on its kernel command line.
#[derive(Clone)]
pub struct Parameters {
    /// URLs of the conductors: of the first, and of those to call when it does not answer.
    pub conductors: Vec<String>,
    /// The fingerprint of their certificate.
    pub pin: Fingerprint,
    /// Which boot.
    pub boot: BootId,
    /// The one-time token.
    pub token: String,
    /// The address that was leased to it.
    pub address: Ipv4Addr,
}

/// How firmware finds out what to boot: DHCP and the boot file, put into one question.
pub type Firmware = Arc<dyn Fn(MacAddress) -> BoxFuture<'static, Option<Parameters>> + Send + Sync>;

/// Faults of the machine's inside; each counter is used up by one once it has struck.
#[derive(Debug, Default)]
pub struct HostFaults {
    /// How many more times the agent vanishes in the middle of writing an image.
    pub vanish_in_write: AtomicU32,
    /// How many more times the agent's machine reports a disk error when erasing.
    pub fail_erase: AtomicU32,
    /// How many more times the disk fails in the middle of writing an image.
    pub fail_write: AtomicU32,
    /// How many more times the OS never calls home.
    pub silent_os: AtomicU32,
    /// How many more times a kernel that is started by `kexec` hangs.
    pub kexec_hangs: AtomicU32,
    /// Notified, the agent is gone without a word, while its machine stays on.
    pub crash_agent: Notify,
    /// While true, the tenant's network does not reach the phone-home service.
    pub no_way_home: AtomicBool,
    /// While true, the agent stays in the middle of writing an image.
    pub hold_in_write: watch::Sender<bool>,
    /// While true, a system that has started does not say so.
    pub hold_system: watch::Sender<bool>,
    /// Serial number of a disk that has been pulled out.
    pub pulled_disk: Mutex<Option<String>>,
    /// Seconds that the firmware takes before it looks for something to start.
    pub post_seconds: AtomicU32,
    /// How many more times the firmware starts what is on the disk, whatever it was told.
    pub boot_disk_instead: AtomicU32,
    /// Seconds that each chunk of an image takes to be written.
    pub seconds_a_chunk: AtomicU32,
    /// Seconds that erasing the disks takes.
    pub seconds_to_erase: AtomicU32,
    /// While true, the agent's requests do not reach the conductor.
    pub cut_off: AtomicBool,
    /// How many more times the agent says what it has to say twice.
    pub duplicate: AtomicU32,
    /// How many more times the agent first says again what it said before that.
    pub replay: AtomicU32,
    /// How many more times the agent calls as if from another machine.
    pub other_identity: AtomicU32,
    /// A command, by the name of its step, that the agent does not carry out but reports as failed so.
    pub fails_at: Mutex<Option<(&'static str, Failure)>>,
}

impl HostFaults {
    /// Uses up one of `counter`, if any is left.
    pub(super) fn strikes(counter: &AtomicU32) -> bool {
        counter
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }
}

/// What runs on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Nothing: it is off, or what ran has ended.
    Nothing,
    /// Its firmware.
    Firmware,
    /// The agent, which speaks with the conductor.
    Agent,
    /// The agent, which goes as soon as its network has vanished.
    ArmedAgent,
    /// A tenant's system.
    System,
}

/// Told of what runs on a machine, as it changes.
pub type Observer = Box<dyn Fn(Inside) + Send + Sync>;

/// The inside of one simulated machine.
pub struct Host {
    /// What the agent reports.
    pub inventory: Inventory,
    /// The NIC it boots from.
    pub mac: MacAddress,
    /// The files that stand for its disks, each as large as the inventory says, in its order.
    pub disks: Vec<PathBuf>,
    /// Whether images have a root file system in which the agent can place a unit; otherwise
    /// cloud-init is to say that the system is up.
    pub root_is_writable: AtomicBool,
    /// What goes wrong.
    pub faults: HostFaults,
    link: OnceLock<Link>,
    inside: Mutex<Inside>,
    observer: OnceLock<Observer>,
    serial: SerialPort,
    boots: Mutex<Vec<Parameters>>,
    carried_out: Mutex<Vec<String>>,
    let_in_as_another: AtomicU32,
    /// The last URL that an OS has called.
    called: Mutex<Option<String>>,
    /// Who may write an image now, where many machines share a processor.
    writers: Option<Arc<Semaphore>>,
}

impl Host {
    /// The inside of `machine`, whose drives are the files `disks`. `None` if it has no NIC with a
    /// proper address, no drive, or not as many files as drives.
    pub fn new(machine: &SimulatedMachine, disks: Vec<PathBuf>) -> Option<Self> {
        let inventory = inventory(machine.inventory());
        if disks.is_empty() || disks.len() != inventory.disks.len() {
            return None;
        }
        Some(Self {
            mac: inventory.nics.first()?.mac,
            inventory,
            disks,
            root_is_writable: AtomicBool::new(false),
            faults: HostFaults::default(),
            link: OnceLock::new(),
            inside: Mutex::new(Inside::Nothing),
            observer: OnceLock::new(),
            serial: machine.serial(),
            boots: Mutex::default(),
            carried_out: Mutex::default(),
            let_in_as_another: AtomicU32::new(0),
            called: Mutex::default(),
            writers: None,
        })
    }

    /// Cables the NIC that it boots from: from now on it reaches whom its switch port lets it reach.
    /// Without a cable it reaches everybody. Only the first one counts.
    pub fn plug_in(&self, link: Link) {
        let _ = self.link.set(link);
    }

    /// Has `observer` told of what runs here. Only the first one counts.
    pub fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// What runs here.
    pub fn inside(&self) -> Inside {
        *lock(&self.inside)
    }

    pub(super) fn now_runs(&self, inside: Inside) {
        let before = std::mem::replace(&mut *lock(&self.inside), inside);
        if let Some(observer) = self.observer.get().filter(|_| before != inside) {
            observer(inside);
        }
    }

    pub(super) fn link(&self) -> Option<&Link> {
        self.link.get()
    }

    /// Its agents write images only while they have a place of `writers`.
    #[must_use]
    pub fn writing_in_turn(mut self, writers: Arc<Semaphore>) -> Self {
        self.writers = Some(writers);
        self
    }

    pub(super) fn writers(&self) -> Option<&Arc<Semaphore>> {
        self.writers.as_ref()
    }

    /// Which machine it is.
    pub fn identity(&self) -> MachineIdentity {
        self.inventory.identity.clone()
    }

    /// The file of the disk that is meant, if it is there.
    pub(super) fn find(&self, meant: &DiskIdentity) -> Result<&Path, AgentError> {
        let pulled = lock(&self.faults.pulled_disk).clone();
        let known = self.inventory.disks.iter().zip(&self.disks);
        let mut there = known.filter(|(disk, _)| pulled.as_ref() != Some(&disk.serial));
        let found = there.find(|(disk, _)| meant.is(disk));
        let (_, path) = found.ok_or_else(|| {
            let (name, serial) = (meant.name.clone(), meant.serial.clone());
            AgentError::NoSuchDisk { name, serial }
        })?;
        Ok(path)
    }

    /// The URL that a system on its disks calls first when it is up, if there is such a system; empty if it
    /// calls none.
    pub fn home_url(&self) -> Option<String> {
        let home = system_on(self).ok()?;
        Some(home.urls.into_iter().next().unwrap_or_default())
    }

    /// What every boot of the agent was told, oldest first: all that a replay would need.
    pub fn boots(&self) -> Vec<Parameters> {
        lock(&self.boots).clone()
    }

    /// The commands that were carried out, oldest first.
    pub fn carried_out(&self) -> Vec<String> {
        lock(&self.carried_out).clone()
    }

    /// How often a conductor has let an agent in that called as if from another machine.
    pub fn let_in_as_another(&self) -> u32 {
        self.let_in_as_another.load(Ordering::SeqCst)
    }

    pub(super) fn is_let_in_as(&self, identity: &MachineIdentity) {
        let other = u32::from(*identity != self.inventory.identity);
        self.let_in_as_another.fetch_add(other, Ordering::SeqCst);
    }

    /// How this command is to fail, if it is one that does.
    pub(super) fn failure_at(&self, command: &str) -> Option<Failure> {
        let fails_at = lock(&self.faults.fails_at);
        let (step, failure) = fails_at.as_ref()?;
        let is_meant = command.split('.').any(|part| part == *step);
        is_meant.then(|| failure.clone())
    }

    pub(super) fn note(&self, command: &str) {
        lock(&self.carried_out).push(command.to_owned());
    }

    /// Lives inside `machine` until the returned task is aborted.
    pub fn inhabit(
        self: Arc<Self>,
        machine: &SimulatedMachine,
        firmware: Firmware,
    ) -> JoinHandle<()> {
        tokio::spawn(self.live_in(machine, firmware))
    }

    /// Lives inside `machine` for as long as this is polled. What happens to the machine from the
    /// call on is not missed.
    pub fn live_in(
        self: Arc<Self>,
        machine: &SimulatedMachine,
        firmware: Firmware,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut events = machine.events();
        let drive = machine.drive();
        async move {
            let mut running = Running(None);
            loop {
                match events.recv().await {
                    Ok(MachineEvent::Booted { target, .. }) => {
                        running.stop().await;
                        self.now_runs(Inside::Firmware);
                        let boot = self.clone().boot(target, drive.medium(), firmware.clone());
                        running.0 = Some(tokio::spawn(boot));
                    }
                    Ok(MachineEvent::PoweredOff) => {
                        running.stop().await;
                        self.now_runs(Inside::Nothing);
                    }
                    Ok(MachineEvent::ShutdownRequested) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    async fn boot(self: Arc<Self>, target: BootTarget, medium: Option<Bytes>, firmware: Firmware) {
        let post = self.faults.post_seconds.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(u64::from(post))).await;
        if HostFaults::strikes(&self.faults.boot_disk_instead) {
            return self.boot_disk().await;
        }
        let parameters = match target {
            BootTarget::UefiHttp | BootTarget::Pxe => Some(offered(&firmware, self.mac).await),
            BootTarget::Cd => medium.as_deref().and_then(on_medium),
            BootTarget::None | BootTarget::Hdd => return self.boot_disk().await,
        };
        let Some(parameters) = parameters else { return };
        lock(&self.boots).push(parameters.clone());
        let ended = match Agent::connect(self.clone(), parameters).await {
            Ok(agent) => tokio::select! {
                ended = agent.run() => ended,
                () = self.faults.crash_agent.notified() => Ok(Ending::Vanished),
            },
            Err(error) => Err(error),
        };
        match ended {
            Ok(Ending::OperatingSystem { home }) => self.say_home(&home).await,
            Ok(Ending::Vanished) => self.now_runs(Inside::Nothing),
            Err(error) => {
                tracing::debug!(%error, "simulated agent ended");
                self.now_runs(Inside::Nothing);
            }
        }
    }

    /// The firmware starts what is on the disk, if there is a system.
    async fn boot_disk(&self) {
        if let Ok(home) = system_on(self) {
            self.say_home(&home).await;
        }
    }

    /// The tenant's OS says that it is up, as the report script does: on its serial console
    /// and by HTTP; at the first start of each instance, and not when it is started again.
    async fn say_home(&self, home: &Home) {
        self.now_runs(Inside::System);
        if lock(&self.called).as_ref() == home.urls.first() && !home.urls.is_empty() {
            return;
        }
        if HostFaults::strikes(&self.faults.silent_os) {
            return;
        }
        let mut held = self.faults.hold_system.subscribe();
        // Its sender is as old as this host.
        let _ = held.wait_for(|held| !held).await;
        let marking = async {
            loop {
                self.serial.write(format!("\r\n{}\r\n", home.marker));
                tokio::time::sleep(MARK_AGAIN).await;
            }
        };
        if home.urls.is_empty() || self.faults.no_way_home.load(Ordering::SeqCst) {
            return marking.await;
        }
        tokio::select! {
            () = self.call_home(&home.urls) => {}
            () = marking => {}
        }
    }

    async fn call_home(&self, urls: &[String]) {
        let Ok(client) = home_client() else { return };
        for url in urls.iter().cycle().take(CALLS) {
            if let Some(link) = &self.link.get() {
                link.until_with_tenants().await;
            }
            let answer = client.post(url).body("instance_id=simulated").send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                *lock(&self.called) = urls.first().cloned();
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A client for plain HTTP; its TLS is only there because reqwest asks for one.
fn home_client() -> Result<reqwest::Client, super::AgentError> {
    let trust = bessemer_tls::Trust::InsecureNoVerification;
    let tls = bessemer_tls::client_config(&trust)?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    Ok(client)
}

/// What the kernel command line on a boot medium says.
fn on_medium(medium: &[u8]) -> Option<Parameters> {
    let line = machine::command_line(medium)?;
    let told = bessemer_boot::parameters::Parameters::parse(&line).ok()?;
    let pin: String = told.pin.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Parameters {
        conductors: told.conductors,
        pin: pin.parse().ok()?,
        boot: told.boot,
        token: told.token.reveal().to_owned(),
        address: told.address,
    })
}

/// Firmware asks until it is answered, or switched off.
async fn offered(firmware: &Firmware, mac: MacAddress) -> Parameters {
    loop {
        if let Some(parameters) = firmware(mac).await {
            return parameters;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What runs on the machine.
struct Running(Option<JoinHandle<()>>);

impl Running {
    /// Cuts the power. When this returns, nothing writes to the disk any more.
    async fn stop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an agent would find on a machine that a controller describes so.
fn inventory(machine: &machine::Inventory) -> Inventory {
    let nics = machine.nics.iter().enumerate().filter_map(|(index, nic)| {
        Some(Nic {
            name: format!("eth{index}"),
            mac: nic.mac.parse().ok()?,
            link: true,
            speed_mbps: Some(nic.speed_mbps),
            driver: "simulated".into(),
            lldp: None,
        })
    });
    let disks = machine
        .drives
        .iter()
        .enumerate()
        .map(|(index, drive)| Disk {
            name: format!("nvme{index}n1"),
            size_bytes: drive.capacity_bytes,
            model: drive.model.clone(),
            serial: drive.serial_number.clone(),
            wwn: None,
            rotational: false,
            transport: Transport::Nvme,
        });
    Inventory {
        identity: MachineIdentity {
            serial: machine.serial_number.clone(),
            uuid: Some(machine.uuid),
        },
        manufacturer: machine.manufacturer.clone(),
        product: machine.model.clone(),
        firmware_version: machine.bios_version.clone(),
        firmware_mode: FirmwareMode::Uefi,
        cpu: Cpu {
            model: machine.processor_model.clone(),
            architecture: "x86_64".into(),
            sockets: 1,
            cores: machine.processor_cores,
            threads: machine.processor_cores,
        },
        memory_mib: u64::from(machine.memory_mib),
        disks: disks.collect(),
        nics: nics.collect(),
    }
}
