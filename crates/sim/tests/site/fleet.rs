//! `bessemer-lab fleet` as a process of its own, against a server it shares nothing with but sockets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use bessemer_server::config::{BootMedia, DhcpMode};
use bessemer_sim::fleet::site::make_ramdisk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::harness::{LIMIT, Site, eager, says};

/// A site without DHCP, whose machines boot by virtual media.
async fn site() -> Site {
    let site = Site::start_as(eager(), None, |config| {
        config.boot_media = Some(BootMedia {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            url: None,
        });
        if let Some(provisioning) = &mut config.provisioning {
            provisioning.dhcp = DhcpMode::Off;
        }
    })
    .await;
    make_ramdisk(&site.path("ramdisk")).unwrap();
    site
}

/// A port that no outgoing connection is given (those are from 32768 on), that nobody has, and that no
/// other test of this process asks for.
fn port() -> u16 {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    let first = 20_000 + (std::process::id() % 1000) as u16 * 10;
    let mut ports = std::iter::repeat_with(|| first + ASKED.fetch_add(1, Ordering::Relaxed));
    let port = ports.by_ref().take(1000).find(free);
    port.expect("a free port")
}

fn secret(path: PathBuf, content: &str) -> PathBuf {
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn fleet(site: &Site, token: &Path, arguments: &str) -> Command {
    fleet_of(site.api.url(), site, token, arguments)
}

fn fleet_of(server: &str, site: &Site, token: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer-lab"));
    command
        .args(["--dir", site.path("lab").to_str().unwrap(), "fleet"])
        .args(["--server", server, "-o", "json", "--token-file"])
        .arg(token)
        .args(arguments.split_whitespace())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
async fn run(mut command: Command) -> Output {
    let ended = timeout(LIMIT, command.output()).await;
    ended.expect("it ends in time").unwrap()
}

/// A fleet that goes on until it is told to end.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        let reading = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended before it told {name}"));
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["event"] == name {
                    return event;
                }
            }
        };
        let found = timeout(LIMIT, reading).await;
        found.unwrap_or_else(|_| panic!("it did not tell {name} in time"))
    }

    fn terminate(&self) {
        let pid = self.child.id().expect("it runs").try_into().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_enrolled_and_found_again_when_its_power_is_back() {
    let site = site().await;
    let token = secret(site.path("token"), &site.token);
    let arguments = format!("--nodes 3 --first 258 --tls --bmc-port {}", port());
    let until = format!("{arguments} --until available");
    let enrolled = run(fleet(&site, &token, &until)).await;
    let told = String::from_utf8_lossy(&enrolled.stdout).into_owned();
    assert!(enrolled.status.success(), "{enrolled:?}");
    says(&told, &["\"event\":\"available\"", "https://127.77.1.2:"]);
    let nodes = site.api.nodes(None, false).await.unwrap();
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        assert_eq!(node.provision_state, "available", "{}", node.name);
    }

    let mut running = Running::start(fleet(&site, &token, &arguments));
    let registered = running.event("registered").await;
    assert_eq!(
        (&registered["nodes"], &registered["known_before"]),
        (&3.into(), &3.into())
    );
    site.offer_like("sim00259").await;
    site.deploy("web1").await;
    let counted = running.event("counted").await;
    assert!(counted["nodes"]["available"].is_u64(), "{counted}");
    site.api.delete_server("web1").await.unwrap();
    site.wait("all nodes to be available again", async || {
        let nodes = site.api.nodes(None, false).await.unwrap();
        let free = |state: &str| state == "available";
        nodes
            .iter()
            .all(|node| free(&node.provision_state))
            .then_some(())
    })
    .await;
    running.terminate();
    // A machine's boots: the order's, and the cleaning's.
    assert_eq!(running.event("ended").await["boots"], 2);
    let ended = timeout(LIMIT, running.child.wait()).await;
    assert!(ended.expect("it ends in time").unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_cannot_do_is_said_with_its_remedy() {
    let site = site().await;
    let token = secret(site.path("token"), &site.token);
    let wrong = secret(site.path("wrong"), &"0".repeat(64));
    let empty = secret(site.path("empty"), "\n");
    let mut other = site.machine().await.request();
    other.name = "sim00007".into();
    site.api.create_node(&other).await.unwrap();
    let port = port();
    let taken = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    for (token, arguments, expected) in [
        (
            &wrong,
            format!("--bmc-port {port}"),
            &["sim00", "token"][..],
        ),
        (
            &empty,
            format!("--bmc-port {port}"),
            &["is empty", "bessemer token create"],
        ),
        (
            &token,
            format!("--first 7 --nodes 1 --bmc-port {port}"),
            &["sim00007", "--name", "--first"],
        ),
        (
            &token,
            "--first 60000 --nodes 6000".to_owned(),
            &["65999", "65535"],
        ),
        (
            &token,
            format!("--bmc-port {taken_port}"),
            &["cannot listen", "in use"],
        ),
    ] {
        let output = run(fleet(&site, token, &arguments)).await;
        assert!(!output.status.success(), "{arguments}");
        says(String::from_utf8_lossy(&output.stderr), expected);
    }
    let alone = run(fleet_of("http://127.0.0.1:1", &site, &token, "")).await;
    assert!(!alone.status.success());
    says(
        String::from_utf8_lossy(&alone.stderr),
        &["the server is not there", "127.0.0.1:1"],
    );
    // Nothing of what was refused is left: only the node of before is known.
    assert_eq!(site.api.nodes(None, false).await.unwrap().len(), 1);

    // Two fleets on the same disks.
    let mut first = Running::start(fleet(
        &site,
        &token,
        &format!("--first 20 --nodes 1 --bmc-port {port}"),
    ));
    first.event("registered").await;
    let second = run(fleet(&site, &token, "--nodes 1")).await;
    assert!(!second.status.success());
    says(
        String::from_utf8_lossy(&second.stderr),
        &["another fleet", "--dir"],
    );
}
