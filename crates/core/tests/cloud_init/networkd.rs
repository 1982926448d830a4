//! Our files for systemd-networkd, read by systemd-networkd.
//!
//! It runs in namespaces of its own, on a network without any NIC, and its log tells what it made
//! of each file. What it would do to NICs is not seen here: bonds and VLANs need a kernel that has
//! them, and many a build machine's has not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bessemer_core::network_data::{NetworkConfiguration, Tag};

use crate::cases::{self, Case};
use crate::own_files;

/// Ample for a program that needs a tenth of a second.
const DEADLINE: Duration = Duration::from_secs(120);

/// What it runs in: an empty `/run` with our files, and a `/sys` that cannot be written, so that it
/// waits for no udev.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd/network
cp "$1"/etc/systemd/network/* /run/systemd/network/
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console exec /lib/systemd/systemd-networkd
"#;

struct Networkd(Child);

impl Drop for Networkd {
    fn drop(&mut self) {
        // Everything that was run was run in its place, by `exec`.
        self.0.kill().expect("it is a child of this process");
        self.0.wait().expect("it was killed");
    }
}

fn start(folder: &Path) -> (Networkd, Receiver<String>) {
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(folder)
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare is part of util-linux");
    let log = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    (Networkd(child), lines)
}

/// What it says until it has read everything.
fn log_of(case: &Case) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in own_files(case, NetworkConfiguration::Networkd) {
        let path = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (_networkd, lines) = start(folder.path());
    let deadline = Instant::now() + DEADLINE;
    let mut log = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => log.push(line),
            Err(_) => panic!("no end of it (is this root?):\n{}", log.join("\n")),
        }
        if log
            .last()
            .is_some_and(|line| line.contains("Enumeration completed"))
        {
            return log;
        }
    }
}

#[test]
fn real_networkd_understands_every_setting() {
    let cases = cases::all();
    // One of each kind of link, with several sorts of addresses, and the unusual ones.
    let wanted = |case: &&Case| {
        let name = &case.name;
        name.contains("two_tagged subnets") || name.contains("native dhcpv6") || !name.contains('/')
    };
    for case in cases.iter().filter(wanted) {
        let log = log_of(case);
        let complaint = log
            .iter()
            .find(|line| line.contains("10-bessemer-") && line.contains("ignoring"));
        assert_eq!(complaint, None, "{}", case.name);
        let networking = case.networking.get();
        for number in 0..networking.bonds.len() {
            assert_loaded(&log, &format!("bond{number}: loaded \"bond\""));
        }
        let vlans = networking.attachments.iter();
        for vlan in vlans.filter(|attachment| attachment.tag != Tag::Native) {
            let Tag::Vlan { id, .. } = vlan.tag else {
                continue;
            };
            assert_loaded(&log, &format!(".{id}: loaded \"vlan\""));
        }
    }
}

fn assert_loaded(log: &[String], words: &str) {
    assert!(
        log.iter().any(|line| line.contains(words)),
        "{words}:\n{}",
        log.join("\n")
    );
}
