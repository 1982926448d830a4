//! One site: servers on one database, a switch, and machines that are cabled to it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::{Standby, Timing};
use bessemer_server::config::{
    Api, BootMedia, Config, DatabaseUrl, DhcpMode, Fabric, ImageTransport, PhoneHome, Provisioning,
};
use bessemer_sim::agent::{Firmware, Host, Link};
use bessemer_sim::machine::{
    Inventory, InventoryDrive, InventoryNic, Machine as _, SimulatedMachine,
};
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Transport};
use bessemer_sim::switch::SimulatedSwitch;
use bessemer_wire::api::{BmcCreate, BmcTrust, NodeCreate, NodePortCreate};
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::Clock;
use crate::database::Database;
use crate::dice::Dice;
use crate::faults::MachineFault;
use crate::firmware::{make_ramdisk, offered};
use crate::judge::{Judge, PARKED, POOL};
use crate::offer::{self, SWITCHES};
use crate::process::Slot;

const USERNAME: &str = "operator";
const PASSWORD: &str = "a bmc's password";

/// The VLAN of agents.
pub(crate) const PROVISIONING: u16 = 10;

/// Between two questions of somebody who got no answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long firmware waits for one server before it listens to another one (PXE 2.1 begins with 4 s).
const UNANSWERED: Duration = Duration::from_secs(4);

/// How often an answer is waited for: minutes.
pub(crate) const TRIES: u32 = 300;

/// What kind of site a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) on_postgres: bool,
    /// Whether that is a cluster of its own, which may be stopped.
    pub(crate) has_own_cluster: bool,
    pub(crate) servers: usize,
    /// Whether its switches forget what they carry when nothing else goes wrong any more.
    pub(crate) forgets_at_the_end: bool,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) judge: Arc<Judge>,
    pub(crate) servers: Vec<Slot>,
    /// As many as [`SWITCHES`], with the machines cabled to them in turn.
    pub(crate) switches: Vec<SimulatedSwitch>,
    pub(crate) machines: Vec<Machine>,
    /// Its database, if it is PostgreSQL.
    pub(crate) database: Option<Database>,
    /// Faults of the site that have struck so far.
    pub(crate) site_faults: AtomicU32,
    clients: Vec<Client>,
    dice: Mutex<Dice>,
    _folder: TempDir,
}

/// One machine with its controller and its inside.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) machine: Arc<SimulatedMachine>,
    pub(crate) host: Arc<Host>,
    pub(crate) bmc: Arc<Bmc>,
    /// Whether it is booted by virtual media.
    pub(crate) medium: bool,
    /// Seconds that its firmware takes when nothing is wrong.
    pub(crate) post: u32,
    /// Faults that are counted and have not struck yet, and how often they were to strike.
    pub(crate) awaited: Mutex<Vec<(MachineFault, u32)>>,
    server: BmcServer,
    inside: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.inside.abort();
    }
}

/// Hardware that takes its time, but not all day.
fn timing() -> Timing {
    Timing {
        bmc_deadline: 60,
        agent_boot_deadline: 150,
        agent_silence: 60,
        prove_deadline: 20,
        inspect_deadline: 60,
        erase_deadline: 90,
        write_deadline: 120,
        os_boot_deadline: 120,
        os_boot_deadline_kexec: 60,
        retry_pause: 2,
        ..Timing::default()
    }
}

impl World {
    /// A site with `machines` that nobody has registered yet.
    pub(crate) async fn start(
        seed: u64,
        kind: Kind,
        machines: usize,
        clock: &'static Clock,
    ) -> Self {
        let folder = in_memory_if_possible();
        let judge = Judge::new(clock);
        let _making = clock.waits_outside();
        let database = match kind.on_postgres {
            true => Some(Database::new(kind.has_own_cluster, clock).await),
            false => None,
        };
        make_ramdisk_once(&folder);
        let mut servers = Vec::new();
        let mut token = None;
        for number in 0..kind.servers {
            let config = configuration(&folder, database.as_ref());
            let slot = Slot::new(number, config, clock, judge.clone());
            token = slot.start().await.or(token);
            servers.push(slot);
        }
        let token = token.expect("a first start");
        let clients = servers.iter().map(|slot| {
            let listen = slot.config.lock().unwrap().api.listen;
            Client::new(&format!("http://{listen}"), Some(&token)).unwrap()
        });
        let clients: Vec<_> = clients.collect();
        let any_port = SocketAddr::from((own_address(), 0));
        let mut switches = Vec::new();
        for number in 0..SWITCHES.len() {
            let cabled = (number..machines).step_by(SWITCHES.len());
            let ports: Vec<_> = cabled.map(name_of).collect();
            let switch = SimulatedSwitch::start(any_port, &ports, PARKED).await;
            let (switch, told) = (switch.unwrap(), judge.clone());
            switch.observe(Box::new(move |port, vlan| told.moved(port, vlan)));
            switches.push(switch);
        }
        let mut world = Self {
            kind,
            judge,
            servers,
            switches,
            machines: Vec::new(),
            database,
            site_faults: AtomicU32::new(0),
            clients,
            dice: Mutex::new(Dice::of(seed, 1)),
            _folder: folder,
        };
        offer::offer(&world.clients[0], &world.switches).await;
        for number in 0..machines {
            let machine = world.machine(number, any_port).await;
            world.machines.push(machine);
        }
        world
    }

    /// Leaves nothing of it.
    pub(crate) async fn end(self) {
        for server in &self.servers {
            server.kill().await;
        }
        if let Some(database) = self.database {
            database.end().await;
        }
    }

    async fn machine(&self, number: usize, listen: SocketAddr) -> Machine {
        let name = name_of(number);
        let machine = Arc::new(SimulatedMachine::new(hardware(number)));
        let disk = self._folder.path().join(format!("disk-{number}"));
        let size = machine.inventory().drives[0].capacity_bytes;
        File::create(&disk).unwrap().set_len(size).unwrap();
        let host = Arc::new(Host::new(&machine, vec![disk]).expect("a NIC and a drive"));
        let vlan = self.switch_of(number).vlan(&name).expect("a port");
        let link = Link::new(vlan.clone(), PROVISIONING, PARKED);
        host.plug_in(link.clone());
        let post = number as u32 + 1;
        host.faults.post_seconds.store(post, Ordering::SeqCst);
        self.judge.watch_machine(&name, &host, vlan);
        let credentials = Credentials {
            username: USERNAME.into(),
            password: PASSWORD.into(),
        };
        let bmc = Bmc::new(machine.clone(), credentials);
        let server = BmcServer::start(bmc.clone(), listen, Transport::Http).await;
        Machine {
            inside: host.clone().inhabit(&machine, self.firmware(link)),
            server: server.unwrap(),
            name,
            machine,
            host,
            bmc,
            medium: number % 4 == 3,
            post,
            awaited: Mutex::default(),
        }
    }

    /// The switch that a machine is cabled to.
    pub(crate) fn switch_of(&self, machine: usize) -> &SimulatedSwitch {
        &self.switches[machine % self.switches.len()]
    }

    /// What DHCP and the boot file tell a machine whose port is in the provisioning network.
    fn firmware(&self, link: Link) -> Firmware {
        let slots: Vec<_> = self.servers.iter().map(Slot::view).collect();
        Arc::new(move |mac| {
            let (link, slots) = (link.clone(), slots.clone());
            async move {
                loop {
                    link.until_with_conductor().await;
                    for slot in &slots {
                        let Some((server, runtime)) = slot.server() else {
                            continue;
                        };
                        let site = server.site.clone();
                        let pin = server.agent_fingerprint.expect("boot services");
                        drop(server);
                        // In the server's own runtime: a question to a server that is killed has no
                        // answer, and one that stands still gives none for a while.
                        let asked = runtime.spawn(async move { offered(&site, pin, mac).await });
                        if let Ok(Ok(Some(found))) = timeout(UNANSWERED, asked).await {
                            return Some(found);
                        }
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
            .boxed()
        })
    }

    /// What registers a machine.
    pub(crate) fn registration(&self, machine: usize, standby: Standby) -> NodeCreate {
        let switch = SWITCHES[machine % SWITCHES.len()];
        let machine = &self.machines[machine];
        NodeCreate {
            name: machine.name.clone(),
            bmc: BmcCreate {
                url: machine.server.url(),
                username: USERNAME.into(),
                password: PASSWORD.into(),
                trust: BmcTrust::Insecure,
                ipmi_key: None,
            },
            ports: vec![NodePortCreate {
                switch: Some(switch.into()),
                switch_port: Some(machine.name.clone()),
                ..NodePortCreate::bare(machine.host.mac)
            }],
            port_groups: vec![],
            rack: None,
            boot_method: machine.medium.then_some(BootMethod::VirtualMedia),
            standby,
            root_disk_hint: None,
        }
    }

    /// Asks one of the servers, and again while there is no answer. `None` if there never is one, or
    /// the answer is a refusal.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        ask: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Option<T> {
        for _ in 0..TRIES {
            let which = self.dice.lock().unwrap().below(self.clients.len() as u64);
            match ask(&self.clients[which as usize]).await {
                Ok(answer) => {
                    self.judge.tell(format!("{what}: accepted"));
                    return Some(answer);
                }
                Err(error) if error.is_outage() => tokio::time::sleep(ASK_AGAIN).await,
                Err(error) => {
                    self.judge.tell(format!("{what}: {error}"));
                    if error.status().is_none_or(|status| status >= 500) {
                        self.judge.object(format!("{what}: {error}"));
                    }
                    return None;
                }
            }
        }
        self.judge.object(format!("{what}: nobody answers"));
        None
    }
}

/// A folder for a site. Whether a commit survives a loss of power is nothing that a run finds out, so
/// nothing waits for a disk where there is a file system in memory.
fn in_memory_if_possible() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

fn name_of(machine: usize) -> String {
    format!("m{machine}")
}

fn hardware(number: usize) -> Inventory {
    Inventory {
        manufacturer: "Bessemer".into(),
        model: "Simulated Server".into(),
        serial_number: format!("RUN{number:04}"),
        uuid: Uuid::from_u128(0x5e55_0000_0000_4000_8000_0000_0000_0000 | number as u128),
        bios_version: "1.0".into(),
        processor_model: "Simulated Processor".into(),
        processor_cores: 4,
        memory_mib: 16 << 10,
        nics: vec![InventoryNic {
            id: "NIC1".into(),
            mac: format!("52:54:00:53:{:02x}:{:02x}", number >> 8, number & 0xff),
            speed_mbps: 10_000,
        }],
        drives: vec![InventoryDrive {
            id: "Drive1".into(),
            model: "Simulated NVMe".into(),
            serial_number: format!("RUNDISK{number:04}"),
            capacity_bytes: 1 << 30,
        }],
    }
}

fn make_ramdisk_once(folder: &TempDir) {
    static MADE: std::sync::OnceLock<TempDir> = std::sync::OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        make_ramdisk(folder.path()).unwrap();
        folder
    });
    std::os::unix::fs::symlink(made.path(), folder.path().join("ramdisk")).unwrap();
}

/// Servers on one PostgreSQL database share a data folder, as their keys and images are the same.
fn configuration(folder: &TempDir, database: Option<&Database>) -> Config {
    let address = own_address();
    let any_port = SocketAddr::from((address, 0));
    Config {
        data: folder.path().join("data"),
        database_url: database.map(|database| DatabaseUrl(database.url.clone())),
        api: Api {
            listen: any_port,
            ..Api::default()
        },
        provisioning: Some(Provisioning {
            interface: None,
            address,
            subnet: "127.0.0.0/8".parse().unwrap(),
            pool_first: Ipv4Addr::new(127, 0, 1, 1),
            pool_last: Ipv4Addr::new(127, 0, 1, 250),
            vlan: Some(PROVISIONING),
            standby_vlan: None,
            ramdisk: folder.path().join("ramdisk"),
            agent_port: 0,
            boot_port: 0,
            dhcp: DhcpMode::Full,
            image_transport: ImageTransport::default(),
            ipxe: std::path::PathBuf::new(),
            relayed: Vec::new(),
            kernel_arguments: String::new(),
        }),
        phone_home: Some(PhoneHome {
            listen: any_port,
            url: None,
        }),
        parked_vlan: PARKED,
        // A server that starts again is where it was.
        boot_media: Some(BootMedia {
            listen: SocketAddr::from((address, own_port())),
            url: None,
        }),
        fabric: Fabric {
            vlan_pool: Some(format!("{}-{}", POOL.start(), POOL.end()).parse().unwrap()),
            vni_pool: Some("5000-5001".parse().unwrap()),
            ..Fabric::default()
        },
        timing: timing(),
        ..Config::default()
    }
}

/// A port that other processes of these tests do not take, nor anybody who takes any.
fn own_port() -> u16 {
    10_000 + (std::process::id() % 20_000) as u16
}

/// A loopback address that nobody else of this process has.
fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let octet = |number: u32| (number % 200 + 20) as u8;
    Ipv4Addr::new(127, octet(process), octet(number / 200), octet(number))
}
