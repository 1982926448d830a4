//! A real Open vSwitch in a folder of its own: `ovsdb-server` and `ovs-vswitchd` with the dummy
//! datapath, which forwards in memory and needs neither privileges nor network devices.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bessemer_fabric::{OvsdbAddress, OvsdbSwitch};
use tempfile::TempDir;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Seconds that Open vSwitch's own tools may take.
const TOOL_TIMEOUT: &str = "--timeout=20";

pub(crate) struct Vswitch {
    folder: TempDir,
    database: Child,
    daemon: Option<Child>,
    /// Which devices are made up.
    dummies: &'static str,
}

impl Drop for Vswitch {
    fn drop(&mut self) {
        self.stop_daemon();
        end(&mut self.database);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; the test then fails for a better reason than this.
    let _ = child.kill();
    let _ = child.wait();
}

fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, folder);
    }
    // Daemons live in sbin, which is not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .current_dir(folder);
    command.stdin(Stdio::null());
    command
}

fn missing(name: &str, error: &std::io::Error) -> String {
    format!("{name} cannot be started ({error}): install Debian's package openvswitch-switch")
}

fn run(mut command: Command, name: &str) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{}", missing(name, &error)));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}{errors}");
    text
}

/// CPU time that all threads of a process have spent so far.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let each = tasks.filter_map(|task| {
        let path = task.ok()?.path().join("schedstat");
        let text = std::fs::read_to_string(path).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(each.sum())
}

fn spawn_database(folder: &Path) -> Child {
    let mut server = program("ovsdb-server", folder);
    server.args(["conf.db", "--remote=punix:db.sock", "--unixctl=ovsdb.ctl"]);
    // Listens further where the database says so.
    server.args([
        "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
        "--private-key=db:Open_vSwitch,SSL,private_key",
        "--certificate=db:Open_vSwitch,SSL,certificate",
        "--ca-cert=db:Open_vSwitch,SSL,ca_cert",
    ]);
    spawn(server, "ovsdb-server")
}

fn spawn(mut command: Command, name: &str) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{}", missing(name, &error)))
}

/// Where a broadcast goes.
pub(crate) const EVERYBODY: [u8; 6] = [0xff; 6];

/// An Ethernet frame of type 0x88b5 (for experiments, IEEE 802) that says `what`.
pub(crate) fn frame(to: [u8; 6], from: u8, what: u8) -> Vec<u8> {
    let mut frame = [to.as_slice(), &[0x52, 0x54, 0, 0, 0, from], &[0x88, 0xb5]].concat();
    frame.resize(64, what);
    frame
}

impl Vswitch {
    /// A switch with the bridge `br0` and its ports `p1` to `p4`, all in VLAN 1. Its tunnels lead
    /// nowhere.
    pub(crate) fn start() -> Self {
        Self::start_as("override")
    }

    /// The same with `count` more ports, `n0` and so on, in VLAN `vlan`.
    pub(crate) fn with_ports(count: u16, vlan: &str) -> Self {
        let vswitch = Self::start();
        let mut words = Vec::new();
        for number in 0..count {
            let line = format!(
                "-- add-port br0 n{number} tag={vlan} -- set interface n{number} type=dummy"
            );
            words.extend(line.split(' ').map(str::to_owned));
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        vswitch.vsctl(&words);
        vswitch
    }

    /// The same with tunnels that frames go through: see `join`.
    pub(crate) fn with_tunnels() -> Self {
        Self::start_as("system")
    }

    fn start_as(dummies: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut create = program("ovsdb-tool", path);
        create.args(["create", "conf.db", SCHEMA]);
        run(create, "ovsdb-tool");
        let database = spawn_database(path);
        let mut vswitch = Self {
            folder,
            database,
            daemon: None,
            dummies,
        };
        vswitch.wait_for_database();
        vswitch.vsctl(&["--no-wait", "init"]);
        vswitch.start_daemon();
        vswitch.vsctl(&[
            "add-br",
            "br0",
            "--",
            "set",
            "bridge",
            "br0",
            "datapath_type=dummy",
        ]);
        for port in ["p1", "p2", "p3", "p4"] {
            let sent = vswitch.sent_file(port);
            vswitch.vsctl(&[
                "add-port",
                "br0",
                port,
                "tag=1",
                "--",
                "set",
                "interface",
                port,
                "type=dummy",
                &format!("options:tx_pcap={}", sent.display()),
            ]);
        }
        vswitch
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("db.sock")
    }

    /// The file in which the switch notes what it sends out by `port`.
    fn sent_file(&self, port: &str) -> PathBuf {
        self.folder.path().join(format!("{port}.pcap"))
    }

    /// The frames that have left the switch by `port`. (A file of libpcap: 24 bytes, and 16 before
    /// each frame, with its length in the third word, in this machine's order of bytes.)
    pub(crate) fn sent(&self, port: &str) -> Vec<Vec<u8>> {
        let file = std::fs::read(self.sent_file(port)).unwrap();
        let mut rest = file.get(24..).unwrap_or_default();
        let mut frames = Vec::new();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_ne_bytes(length.try_into().unwrap()) as usize;
            // The switch may be writing the last one.
            let Some(frame) = rest.get(16..16 + length) else {
                break;
            };
            frames.push(frame.to_vec());
            rest = &rest[16 + length..];
        }
        frames
    }

    /// Returns once what the switch remembers of earlier frames has been compared with its configuration
    /// (ovs-vswitchd(8)): until then a frame like one before may still go the old way, for a second or so on a
    /// busy machine.
    pub(crate) fn revalidated(&self) {
        self.appctl(&["revalidator/wait"]);
    }

    /// Has a machine at `port` send this frame.
    pub(crate) fn receive(&self, port: &str, frame: &[u8]) {
        let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.appctl(&["netdev-dummy/receive", port, &digits]);
    }

    /// Gives both switches a network between them (frames go through a Unix socket) and addresses in
    /// it, where tunnels end: 10.50.0.1 and 10.50.0.2.
    pub(crate) fn join(&self, other: &Self) {
        let socket = self.folder.path().join("wire.sock");
        let socket = socket.display();
        self.underlay(&format!("pstream=punix:{socket}"), "10.50.0.1");
        other.underlay(&format!("stream=unix:{socket}"), "10.50.0.2");
        // The first frame to a neighbour that is not known yet is lost.
        let own = [(self, "10.50.0.2", other), (other, "10.50.0.1", self)];
        for (switch, neighbour, at) in own {
            let mac = at.vsctl(&["get", "interface", "under", "mac_in_use"]);
            let mac = mac.trim().trim_matches('"');
            switch.appctl(&["tnl/neigh/set", "under", neighbour, mac]);
        }
    }

    fn underlay(&self, wire: &str, address: &str) {
        self.vsctl(&[
            "add-br",
            "under",
            "--",
            "set",
            "bridge",
            "under",
            "datapath_type=dummy",
            "--",
            "add-port",
            "under",
            "wire",
            "--",
            "set",
            "interface",
            "wire",
            "type=dummy",
            &format!("options:{wire}"),
        ]);
        let network = format!("{address}/24");
        self.appctl(&["netdev-dummy/ip4addr", "under", &network]);
        self.appctl(&["ovs/route/add", &network, "under"]);
    }

    pub(crate) fn driver(&self) -> OvsdbSwitch {
        OvsdbSwitch::new("leaf1", OvsdbAddress::Unix(self.socket()))
    }

    /// Has the database listen on a free TCP port with this certificate and key, for clients whom
    /// `authority` vouches for. All are PEM.
    pub(crate) fn listen_with_tls(&self, certificate: &str, key: &str, authority: &str) -> u16 {
        let file = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        self.vsctl(&[
            "set-ssl",
            &file("key.pem", key),
            &file("certificate.pem", certificate),
            &file("authority.pem", authority),
        ]);
        self.vsctl(&["set-manager", "pssl:0:127.0.0.1"]);
        let port = || {
            let status = self.vsctl(&["--if-exists", "get", "manager", ".", "status:bound_port"]);
            status.trim().trim_matches('"').parse::<u16>().ok()
        };
        self.until(|| port().is_some());
        port().unwrap()
    }

    /// CPU time that the database, and the switch itself, have spent so far.
    pub(crate) fn cpu(&self) -> [Duration; 2] {
        let daemon = self.daemon.as_ref().map(Child::id);
        [
            cpu_of(self.database.id()),
            daemon.map_or(Duration::ZERO, cpu_of),
        ]
    }

    /// Ends the database where it stands: the switch forwards as before.
    pub(crate) fn stop_database(&mut self) {
        end(&mut self.database);
    }

    pub(crate) fn start_database(&mut self) {
        self.database = spawn_database(self.folder.path());
        self.wait_for_database();
    }

    pub(crate) fn start_daemon(&mut self) {
        let mut daemon = program("ovs-vswitchd", self.folder.path());
        daemon.args(["unix:db.sock", "--disable-system"]);
        daemon.arg(format!("--enable-dummy={}", self.dummies));
        daemon.arg("--unixctl=vswitchd.ctl");
        self.daemon = Some(spawn(daemon, "ovs-vswitchd"));
    }

    /// Leaves the database up and nobody to follow it.
    pub(crate) fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            end(&mut daemon);
        }
    }

    pub(crate) fn vsctl(&self, arguments: &[&str]) -> String {
        run(self.vsctl_command(arguments), "ovs-vsctl")
    }

    fn vsctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = program("ovs-vsctl", self.folder.path());
        command
            .args(["--db=unix:db.sock", TOOL_TIMEOUT])
            .args(arguments);
        command
    }

    /// Like `vsctl`, for what the switch stores but cannot carry out.
    pub(crate) fn vsctl_whatever_comes_of_it(&self, arguments: &[&str]) -> String {
        let output = self.vsctl_command(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits for something that the switch does by itself.
    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < limit, "the switch does not get there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a tool that asks `ovs-vswitchd` itself says.
    pub(crate) fn appctl(&self, arguments: &[&str]) -> String {
        let mut command = program("ovs-appctl", self.folder.path());
        let control = self.folder.path().join("vswitchd.ctl");
        command.arg("-t").arg(control).args(arguments);
        run(command, "ovs-appctl")
    }

    /// Where `ovs-vswitchd` itself would send an untagged broadcast that comes in by `port`: the
    /// ports among `p1` to `p4`.
    pub(crate) fn flooded_from(&self, port: &str) -> Vec<String> {
        self.flooded(port, None)
    }

    /// The same for a broadcast that is tagged with `vlan`.
    pub(crate) fn flooded_from_tagged(&self, port: &str, vlan: u16) -> Vec<String> {
        self.flooded(port, Some(vlan))
    }

    fn flooded(&self, port: &str, vlan: Option<u16>) -> Vec<String> {
        let mut flow = format!("in_port={port},dl_src=52:54:00:00:00:05,dl_dst=ff:ff:ff:ff:ff:ff");
        if let Some(vlan) = vlan {
            flow.push_str(&format!(",dl_vlan={vlan},dl_vlan_pcp=0"));
        }
        let trace = self.appctl(&["ofproto/trace", "--names", "br0", &flow]);
        let actions = trace
            .lines()
            .find_map(|line| line.strip_prefix("Datapath actions: "));
        let actions = actions.unwrap_or_else(|| panic!("{trace}"));
        let ports = actions
            .split(',')
            .filter(|action| action.starts_with('p') && action.len() == 2);
        let mut ports: Vec<_> = ports.map(str::to_owned).collect();
        ports.sort();
        ports
    }

    fn wait_for_database(&self) {
        let limit = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < limit, "ovsdb-server does not come up");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
