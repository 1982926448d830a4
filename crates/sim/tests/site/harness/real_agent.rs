//! The real agent in a simulated machine: what PID 1 of the RAM disk runs, on a folder that shows the
//! machine as a kernel does, with files for disks.
//!
//! What only PID 1 can do is left out: the network is there already, and nothing is started or switched
//! off but the simulated machine. Everything that the agent finds out and says is its own.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bessemer_agent::client::Client;
use bessemer_agent::clock::Clock;
use bessemer_agent::drivers::Drivers;
use bessemer_agent::machine::Machine;
use bessemer_agent::network::Witnesses;
use bessemer_agent::network::lldp::Neighbors;
use bessemer_agent::session::{self, Patience};
use bessemer_agent::work::Context;
use bessemer_agent::{inventory, random};
use bessemer_sim::agent::{Firmware, Host, Parameters};
use bessemer_sim::machine::{BootTarget, MachineEvent, SimulatedMachine};
use bessemer_wire::agent::Hello;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinHandle, JoinSet};

/// Between two questions of the firmware that were in vain.
const PAUSE: Duration = Duration::from_millis(20);

/// No NIC of the machine that tests run on has this name: the agent asks the kernel for addresses.
const NIC: &str = "simulated0";

/// What the kernel shows of a machine, below a folder.
pub(crate) struct Shown(PathBuf);

impl Shown {
    /// Shows `host` below `root`.
    pub(super) fn of(host: &Host, root: PathBuf) -> Self {
        let shown = Self(root);
        let identity = host.identity();
        shown.write("sys/class/dmi/id/product_serial", &identity.serial);
        let uuid = identity.uuid.expect("simulated machines have one");
        shown.write("sys/class/dmi/id/product_uuid", uuid.to_string());
        shown.write("sys/firmware/efi/fw_platform_size", "64");
        let (cpu, memory) = (&host.inventory.cpu, host.inventory.memory_mib);
        let processors = (0..cpu.threads)
            .map(|number| format!("processor: {number}\nmodel name: {}\n\n", cpu.model));
        shown.write("proc/cpuinfo", processors.collect::<String>());
        shown.write("proc/meminfo", format!("MemTotal: {} kB\n", memory * 1024));
        shown.write(&format!("sys/class/net/{NIC}/device/vendor"), "");
        shown.write(
            &format!("sys/class/net/{NIC}/address"),
            host.mac.to_string(),
        );
        shown.write(&format!("sys/class/net/{NIC}/carrier"), "1");
        std::fs::create_dir_all(shown.path("dev")).unwrap();
        for (disk, file) in host.inventory.disks.iter().zip(&host.disks) {
            let says = |what: &str, text: String| {
                shown.write(&format!("sys/block/{}/{what}", disk.name), text);
            };
            says("device/model", disk.model.clone());
            says("serial", disk.serial.clone());
            says("size", (disk.size_bytes / 512).to_string());
            symlink(file, shown.path(&format!("dev/{}", disk.name))).unwrap();
        }
        shown
    }

    /// Has a file say something else.
    pub(crate) fn write(&self, relative: &str, text: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Shows its NIC no more.
    pub(crate) fn hide_nic(&self) {
        std::fs::remove_dir_all(self.path(&format!("sys/class/net/{NIC}"))).unwrap();
    }

    /// Shows a disk no more.
    pub(crate) fn hide_disk(&self, name: &str) {
        std::fs::remove_dir_all(self.path(&format!("sys/block/{name}"))).unwrap();
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.join(relative)
    }
}

/// Lives inside `machine` until the returned task is aborted.
pub(super) fn inhabit(
    machine: Arc<SimulatedMachine>,
    host: Arc<Host>,
    root: PathBuf,
    firmware: Firmware,
) -> JoinHandle<()> {
    let mut events = machine.events();
    tokio::spawn(async move {
        let mut running = JoinSet::new();
        loop {
            match events.recv().await {
                Ok(MachineEvent::Booted { target, .. }) => {
                    running.shutdown().await;
                    if let BootTarget::UefiHttp | BootTarget::Pxe = target {
                        let life = boot(
                            machine.clone(),
                            host.clone(),
                            root.clone(),
                            firmware.clone(),
                        );
                        running.spawn(life);
                    }
                }
                Ok(MachineEvent::PoweredOff) => running.shutdown().await,
                Ok(MachineEvent::ShutdownRequested) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    })
}

async fn boot(machine: Arc<SimulatedMachine>, host: Arc<Host>, root: PathBuf, firmware: Firmware) {
    let told = loop {
        match firmware(host.mac).await {
            Some(told) => break told,
            None => tokio::time::sleep(PAUSE).await,
        }
    };
    live(&host, &root, told).await;
    machine.power_off_from_within();
}

/// The agent's life, from its hello to its end.
async fn live(host: &Host, root: &Path, told: Parameters) {
    let machine = Machine::under(root);
    let secret = random::session_secret().unwrap();
    let hello = Hello {
        boot: told.boot,
        token: told.token,
        session: secret.clone(),
        identity: inventory::identity(&machine),
        mac: host.mac,
        version: "real".into(),
    };
    let context = Context {
        machine,
        drivers: Drivers::none_needed(),
        lldp: Neighbors::default(),
        clock: Clock::left_alone(),
        client: Client::new(&told.conductors, told.pin, secret).unwrap(),
        witnesses: Witnesses {
            interface: "lo".into(),
            mac: host.mac,
            own: told.address,
            addresses: vec![told.address],
        },
    };
    session::run(context, hello, Patience::default()).await;
}
