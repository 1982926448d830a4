//! The provisioning network, on real packets: the real server at one end of a wire, and at the
//! other one strangers, other people's DHCP servers and clients.
//!
//! Namespaces must be entered before there are threads, so this program is its own test harness.
//! It needs `ip` (iproute2), and root or unprivileged user namespaces.

#[path = "../site/harness/mod.rs"]
mod harness;
#[path = "../../../store/tests/store/postgres.rs"]
mod postgres;
mod wire;

use std::ffi::OsString;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_core::lifecycle::Timing;
use bessemer_server::config::{Config, DatabaseUrl, Provisioning};
use bessemer_store::{ConductorRecord, Location, Outages, Store, StoreOptions, When};
use bessemer_wire::event::Event;
use nix::sys::socket::{setsockopt, sockopt};

use harness::{SimNode, Site, eager, says};
use wire::{FAR, Wire};

/// Our server on that network.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The last byte of the first address that nodes are given.
const POOL_FIRST: u8 = 50;

type Test = fn(Wire) -> Pin<Box<dyn Future<Output = ()>>>;

const TESTS: [(&str, Test); 6] = [
    ("another_dhcp_server_is_told", |wire| {
        Box::pin(another_dhcp_server_is_told(wire))
    }),
    ("another_server_of_ours_is_no_stranger", |wire| {
        Box::pin(another_server_of_ours_is_no_stranger(wire))
    }),
    ("a_storm_of_strangers_takes_nothing", |wire| {
        Box::pin(a_storm_of_strangers_takes_nothing(wire))
    }),
    ("what_machines_ask_for_is_the_cause", |wire| {
        Box::pin(what_machines_ask_for_is_the_cause(wire))
    }),
    ("what_machines_load_by_tftp_is_explained", |wire| {
        Box::pin(what_machines_load_by_tftp_is_explained(wire))
    }),
    ("what_machines_boot_by_goes_on_after_panics", |wire| {
        Box::pin(what_machines_boot_by_goes_on_after_panics(wire))
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What test runners ask first.
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("network: test");
        }
        return;
    }
    wire::enter_namespace();
    plant_in_silence();
    let wanted = arguments.iter().find(|each| !each.starts_with('-'));
    let wanted = wanted.filter(|each| *each != "network");
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| name.contains(wanted.as_str()));
    for (name, test) in TESTS.into_iter().filter(|(name, _)| is_wanted(name)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(test(Wire::new(OWN)));
        println!("test {name} ... ok");
    }
}

/// A site with DHCP on the near end of `wire`.
async fn site_on(wire: &Wire) -> Site {
    site_with(wire, eager()).await
}

/// The same with this timing.
async fn site_with(wire: &Wire, timing: Timing) -> Site {
    site_as(wire, StoreOptions::default(), timing, PathBuf::new()).await
}

/// The same with this store, and with the loaders in this folder for PXE.
async fn site_as(wire: &Wire, store: StoreOptions, timing: Timing, loaders: PathBuf) -> Site {
    Site::start_on(store, timing, |config| {
        let provisioning = on_wire(config, wire);
        provisioning.ipxe = loaders;
    })
    .await
}

/// Its boot services are on the near end of `wire`.
fn on_wire<'c>(config: &'c mut Config, wire: &Wire) -> &'c mut Provisioning {
    let provisioning = config.provisioning.as_mut().unwrap();
    provisioning.interface = Some(wire.near().to_owned());
    provisioning.address = OWN;
    provisioning.ipxe = PathBuf::new();
    provisioning.subnet = "10.77.0.0/24".parse().unwrap();
    provisioning.pool_first = Ipv4Addr::new(10, 77, 0, POOL_FIRST);
    provisioning.pool_last = Ipv4Addr::new(10, 77, 0, 99);
    provisioning
}

/// Events of this kind.
async fn told(site: &Site, kind: &str) -> Vec<Event> {
    let mut events = site.events().await;
    events.retain(|event| event.kind == kind);
    events
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn another_dhcp_server_is_told(wire: Wire) {
    let other = wire.far(move || {
        wire::ip(&format!("address add 10.77.0.66/24 dev {FAR}"));
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq
            .args(["--no-daemon", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--leasefile-ro", "--pid-file="])
            .args(["--bind-interfaces", "--except-interface=lo", "--no-ping"])
            .arg(format!("--interface={FAR}"))
            .arg("--dhcp-range=10.77.0.200,10.77.0.220,2m");
        wait_for_line(dnsmasq, "sockets bound")
    });
    let _other = other.join().unwrap();
    let mut site = site_on(&wire).await;
    let event = site
        .wait("the other server to be told", async || {
            told(&site, "boot.other_dhcp_server").await.pop()
        })
        .await;
    says(
        &event.message,
        &["10.77.0.66", "turn it off", "provisioning.dhcp"],
    );
    assert_eq!(event.data["server"], "10.77.0.66");
    site.stop().await;
}

/// Two of our servers may share a provisioning network, each with DHCP.
async fn another_server_of_ours_is_no_stranger(wire: Wire) {
    const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
    let url = postgres::new_database().await;
    let store = Store::open(&Location::Postgres(url.clone()), StoreOptions::default()).await;
    let ours = ConductorRecord {
        id: "another".into(),
        agent_url: Some(format!("https://{OURS}:8443")),
        ..ConductorRecord::default()
    };
    let (store, now) = (store.unwrap(), Timestamp::now());
    store.conductor_lives(&ours, 1000, now).await.unwrap();
    let mut site = Site::start_on(StoreOptions::default(), eager(), |config| {
        config.database_url = Some(DatabaseUrl(url));
        on_wire(config, &wire);
    })
    .await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "inspect wait").await;
    let mac = node.host.mac.octets();
    let spoken = wire.far(move || {
        wire::ip(&format!("address add 10.77.0.200/24 dev {FAR}"));
        let socket = speaks_dhcp();
        for server in [OURS, STRANGER] {
            let accepts = dhcp([1, 1, 6, 0], mac, 3, Some(server));
            socket.send_to(&accepts, EVERY_DHCP_SERVER).unwrap();
            let offers = dhcp([2, 1, 6, 0], [2, 0, 0, 0, 0, 1], 2, Some(server));
            socket.send_to(&offers, "255.255.255.255:68").unwrap();
        }
    });
    joined(spoken).await;
    let stranger = STRANGER.to_string();
    site.wait("the stranger to be told", async || {
        let explained = site.api.explain_node(&node.name).await.unwrap();
        let seen = serde_json::to_string(&explained.into_value()).unwrap();
        let told = !told(&site, "boot.other_dhcp_server").await.is_empty();
        (told && seen.contains(&stranger)).then_some(())
    })
    .await;
    let ours = format!("\"{OURS}\"");
    let all = site.events().await;
    let of_ours = all
        .iter()
        .filter(|event| event.data.to_string().contains(&ours));
    assert_eq!(of_ours.count(), 0);
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let seen = serde_json::to_string(&explained.into_value()).unwrap();
    assert!(!seen.contains(&format!("server, {OURS}")), "{seen}");
    site.stop().await;
    store.close().await;
}

/// Starts a program and waits until it says `words`.
fn wait_for_line(mut program: Command, words: &str) -> Running {
    let name = program.get_program().to_string_lossy().into_owned();
    // Daemons live in sbin, which is not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    program.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    program.stdin(Stdio::null()).stdout(Stdio::null());
    let child = program.stderr(Stdio::piped()).spawn();
    let mut running =
        Running(child.unwrap_or_else(|error| panic!("{name} is needed for this test: {error}")));
    let mut said = String::new();
    let mut lines = BufReader::new(running.0.stderr.take().unwrap());
    while lines.read_line(&mut said).unwrap() > 0 {
        if said.contains(words) {
            // Read on, so that it can.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return running;
        }
    }
    panic!("{name} ended: {said}");
}

async fn a_storm_of_strangers_takes_nothing(wire: Wire) {
    let mut site = site_on(&wire).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let leased = site.boot_of(&node).await.address;
    assert_eq!(leased.octets()[3], POOL_FIRST, "the first of the pool");

    let storm = Storm::default();
    let raging = {
        let storm = storm.clone();
        wire.far(move || storm.rage())
    };
    site.wait("the storm to be told", async || {
        told(&site, "boot.flood").await.pop()
    })
    .await;
    let lease = firmware_asks(&wire, &node, &["-x", "0x5d:0010", "-V", "HTTPClient"]);
    let lease = joined(lease).await;
    storm.over.store(true, Ordering::SeqCst);
    raging.join().unwrap();
    let sent = storm.sent.load(Ordering::SeqCst);
    println!("{sent} packets of strangers");

    says(&lease, &[&format!("lease of {leased} obtained")]);
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let seen: Vec<_> = explained.boot.iter().map(|each| &each.what).collect();
    says(format!("{seen:?}"), &[&format!("got address {leased}")]);
    assert_eq!(
        storm.answered.load(Ordering::SeqCst),
        0,
        "strangers were answered"
    );
    assert_eq!(told(&site, "boot.flood").await.len(), 1);
    let flood = &told(&site, "boot.flood").await[0];
    says(&flood.message, &["invents MAC addresses", "switch port"]);
    let strangers = told(&site, "boot.unknown").await.len();
    assert!((1..=256).contains(&strangers), "{strangers} told");
    let garbage = told(&site, "boot.refused").await;
    let garbage: Vec<_> = garbage.iter().map(|event| &event.message).collect();
    says(format!("{garbage:?}"), &["not a DHCP request"]);

    // No address was lost to them: the next node gets the next one.
    let second = site.machine().await;
    second.machine.set_stuck_in_firmware(true);
    site.api.create_node(&second.request()).await.unwrap();
    let next = site.boot_of(&second).await.address;
    assert_eq!(next.octets()[3], POOL_FIRST + 1);
    site.stop().await;
}

/// What a machine asks for by DHCP is why its agent does not come.
async fn what_machines_ask_for_is_the_cause(wire: Wire) {
    let timing = Timing {
        expected_agent_boot: 0,
        ..eager()
    };
    let mut site = site_with(&wire, timing).await;
    for (asks_for, code) in [
        // A system on its disk, which boots nothing any more.
        (vec!["-t", "1"], "wrong-boot-device"),
        // 32-bit UEFI (option 93 is 6).
        (vec!["-t", "1", "-x", "0x5d:0006"], "dhcp-refused"),
        (
            vec!["-t", "20", "-x", "0x5d:0010", "-V", "HTTPClient"],
            "dhcp-but-no-boot-file",
        ),
    ] {
        let node = site.machine().await;
        node.machine.set_stuck_in_firmware(true);
        site.api.create_node(&node.request()).await.unwrap();
        site.wait_for_state(&node, "inspect wait").await;
        let asking = firmware_asks(&wire, &node, &asks_for);
        joined(asking).await;
        site.wait(code, async || {
            let explained = site.api.explain_node(&node.name).await.unwrap();
            (explained.standing.cause.code == code).then_some(())
        })
        .await;
    }
    site.stop().await;
}

/// What a machine that boots by PXE loads, and what it cannot have, is told to who asks why its agent does
/// not come.
async fn what_machines_load_by_tftp_is_explained(wire: Wire) {
    let loaders = loaders();
    let store = StoreOptions::default();
    let mut site = site_as(&wire, store, eager(), loaders.path().into()).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let leased = site.boot_of(&node).await.address;
    let loaded = wire.far(move || {
        wire::ip(&format!("address add {leased}/24 dev {FAR}"));
        ["missing.efi", LOADERS[1]].map(|name| {
            let url = format!("tftp://{OWN}/{name}");
            let output = Command::new("curl").args(["-s", &url]).output();
            output.expect("curl is needed for this test").stdout
        })
    });
    assert_eq!(joined(loaded).await, [b"", LOADERS[1].as_bytes()]);
    let expected = [
        format!("{leased} did not get its file by TFTP: there is no file \"missing.efi\""),
        format!("{leased} loaded {} by TFTP", LOADERS[1]),
    ];
    site.wait("what was loaded", async || {
        let explained = site.api.explain_node(&node.name).await.unwrap();
        let told = |what: &String| explained.boot.iter().any(|each| each.what == *what);
        expected.iter().all(told).then_some(())
    })
    .await;
    site.stop().await;
}

/// How often firmware asks for its loader, a second after the other.
const LOADER_TRIES: u32 = 60;

/// What a panic says that a test has planted.
const PLANTED: &str = "planted";

/// Panics that are planted are not shown: among their backtraces, nobody would find what has failed.
fn plant_in_silence() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&PLANTED) {
            show(panic);
        }
    }));
}

/// What PXE loads (`provisioning.ipxe`).
const LOADERS: [&str; 2] = ["undionly.kpxe", "snponly.efi"];

/// A folder with them; each holds its name.
fn loaders() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in LOADERS {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

/// DHCP and TFTP are started again, and serve machines as before.
async fn what_machines_boot_by_goes_on_after_panics(wire: Wire) {
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    // Both read who it is that asks; so do others, which go on as well.
    let outages: Outages = Arc::new(move |point| {
        let reads = point.when == When::Reading;
        if reads && breaks.load(Ordering::SeqCst) {
            std::panic::panic_any(PLANTED);
        }
        false
    });
    let store = StoreOptions {
        outages: Some(outages),
        ..StoreOptions::default()
    };
    let loaders = loaders();
    let mut site = site_as(&wire, store, eager(), loaders.path().into()).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let leased = site.boot_of(&node).await.address;
    // Its turn is over then: nothing happens to it meanwhile.
    site.wait_for_state(&node, "inspect wait").await;

    broken.store(true, Ordering::SeqCst);
    let breaks = broken.clone();
    let asking = wire.far(move || {
        wire::ip(&format!("address add {leased}/24 dev {FAR}"));
        let dhcp = speaks_dhcp();
        while breaks.load(Ordering::SeqCst) {
            dhcp.send_to(&discover(1), EVERY_DHCP_SERVER).unwrap();
            ask_for_loader(leased);
            // As firmware does, but with less patience.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    site.wait_for_down("the DHCP server").await;
    site.wait_for_down("the TFTP server").await;
    broken.store(false, Ordering::SeqCst);
    joined(asking).await;
    site.wait_for_none_down().await;

    let lease = firmware_asks(&wire, &node, &["-x", "0x5d:0010", "-V", "HTTPClient"]);
    says(
        joined(lease).await,
        &[&format!("lease of {leased} obtained")],
    );
    let loaded = wire.far(move || {
        let mut packet = [0; 600];
        // What was asked for while the server was down may have all places of this address at first.
        let heard = (0..LOADER_TRIES).find_map(|_| {
            let answer = ask_for_loader(leased).recv_from(&mut packet);
            answer.ok().map(|(length, _)| packet[..length].to_vec())
        });
        heard.expect("an answer")
    });
    let block = [b"\0\x03\0\x01", LOADERS[1].as_bytes()].concat();
    assert_eq!(joined(loaded).await, block);
    site.stop().await;
}

/// What a thread at the far end came to.
async fn joined<T: Send + 'static>(thread: std::thread::JoinHandle<T>) -> T {
    let joined = tokio::task::spawn_blocking(move || thread.join().unwrap());
    joined.await.unwrap()
}

/// Asks for a loader by TFTP (RFC 1350) from this address; where the answer comes in.
fn ask_for_loader(from: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let request = format!("\0\x01{}\0octet\0", LOADERS[1]);
    socket.send_to(request.as_bytes(), (OWN, 69)).unwrap();
    socket
}

/// Somebody else's DHCP client with the node's MAC address; option 93 says what it boots (16 is UEFI's
/// HTTP boot).
fn firmware_asks(
    wire: &Wire,
    node: &SimNode,
    asks_for: &[&str],
) -> std::thread::JoinHandle<String> {
    let mac = node.host.mac.to_string();
    let asks_for: Vec<_> = asks_for.iter().map(|&word| word.to_owned()).collect();
    wire.far(move || {
        wire::ip(&format!("link set {FAR} address {mac}"));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("udhcpc")
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["-i", FAR, "-f", "-q", "-n", "-t", "20", "-T", "1"])
            .args(["-s", "/bin/true"])
            .args(asks_for)
            .output()
            .expect("udhcpc is needed for this test");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    })
}

/// Strangers that ask for addresses, each under a MAC address of its own, and talk nonsense.
#[derive(Clone, Default)]
struct Storm {
    sent: Arc<AtomicUsize>,
    /// Answers that were meant for them.
    answered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

/// What their transaction ids begin with.
const STORM: u8 = 0x57;

/// More than any server keeps up with, and an end.
const MOST_PACKETS: usize = 200_000;

impl Storm {
    /// Goes on until it is over.
    fn rage(&self) {
        wire::ip(&format!("address add 10.77.0.200/24 dev {FAR}"));
        let socket = speaks_dhcp();
        let mut buffer = [0; 2048];
        for number in 0..MOST_PACKETS {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let number = number as u32;
            let packet = match number % 10 {
                0 => nonsense(number),
                _ => discover(number),
            };
            // The queue may be full: it is a storm.
            if socket.send_to(&packet, EVERY_DHCP_SERVER).is_ok() {
                self.sent.fetch_add(1, Ordering::SeqCst);
            }
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                // The transaction id (RFC 2131, figure 1).
                if buffer[..length].get(4) == Some(&STORM) {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                }
            }
            if number.is_multiple_of(50) {
                // A thousand packets a second or several: much, and not all of this machine.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

const EVERY_DHCP_SERVER: &str = "255.255.255.255:67";

/// A client's socket at the far end, which does not wait.
fn speaks_dhcp() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
    socket.set_broadcast(true).unwrap();
    // Without a route, this is what says where broadcasts go.
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(FAR)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A DHCPDISCOVER of UEFI's HTTP boot, under the MAC address of this number.
fn discover(number: u32) -> Vec<u8> {
    let [a, b, c, d] = number.to_be_bytes();
    dhcp([1, 1, 6, 0], [0x02, 0x99, a, b, c, d], 1, None)
}

/// A DHCP message (RFC 2131, figure 1) of UEFI's HTTP boot that begins with `head`, of type `kind`; with the
/// `server` that is meant.
fn dhcp(head: [u8; 4], mac: [u8; 6], kind: u8, server: Option<Ipv4Addr>) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..4].copy_from_slice(&head);
    packet[4..8].copy_from_slice(&[STORM, mac[3], mac[4], mac[5]]);
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac);
    packet.extend([99, 130, 83, 99]);
    packet.extend([53, 1, kind, 93, 2, 0, 16, 60, 10]);
    packet.extend(b"HTTPClient");
    if let Some(server) = server {
        packet.extend([54, 4]);
        packet.extend(server.octets());
    }
    packet.push(255);
    packet
}

/// Bytes that mean nothing, some of which begin as a request would.
fn nonsense(number: u32) -> Vec<u8> {
    let length = number as usize * 37 % 1400;
    let mut state = number | 1;
    let random = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    let mut packet: Vec<u8> = random.take(length).collect();
    if number.is_multiple_of(20) && length > 240 {
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
    }
    packet
}
