//! Leaving the provisioning network, on real packets: a network of two ends in a namespace of its
//! own, one of them the conductor's host.
//!
//! Namespaces must be entered before there are threads, so this program is its own test harness.
//! It needs `ip` (iproute2), and root or unprivileged user namespaces.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bessemer_agent::machine::Machine;
use bessemer_agent::network::interface::Control;
use bessemer_agent::network::{Witnesses, watch_departure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

const CONDUCTOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// More than the second that it takes to be sure.
const PROMPTLY: Duration = Duration::from_secs(4);

fn main() {
    // What test runners ask first.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("departure: test");
        }
        return;
    }
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).expect("run as root, or allow unprivileged user namespaces");
    let folder = tempfile::tempdir().unwrap();
    mount_sysfs(&folder.path().join("sys"));
    // One end is the agent's, the other the conductor's host, which answers for itself.
    ip(&[
        "link", "add", "agent", "type", "veth", "peer", "name", "host",
    ]);
    ip(&["link", "set", "agent", "up"]);
    ip(&["link", "set", "host", "up"]);
    let machine = Machine::under(folder.path());
    let witnesses = Witnesses {
        interface: "agent".into(),
        mac: "52:54:00:77:00:01".parse().unwrap(),
        own: Ipv4Addr::new(192, 0, 2, 9),
        addresses: vec![CONDUCTOR],
    };
    for (name, test) in [
        ("a_host_that_answers_is_there", answering as Test),
        ("a_host_that_falls_silent_is_gone", falling_silent as Test),
        ("of_two_hosts_both_must_be_gone", one_of_two as Test),
        ("a_link_that_is_down_says_nothing", link_down as Test),
        ("who_is_told_to_stop_does_not_leave", stopped as Test),
    ] {
        Control::open()
            .unwrap()
            .set_address("host", CONDUCTOR, 24)
            .unwrap();
        test(&machine, &witnesses);
        println!("test {name} ... ok");
    }
}

type Test = fn(&Machine, &Witnesses);

fn mount_sysfs(target: &Path) {
    std::fs::create_dir(target).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    // The one that is mounted shows the interfaces of another namespace.
    mount(
        Some("sysfs"),
        target,
        Some("sysfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .expect("install iproute2");
    assert!(status.success(), "ip {arguments:?}");
}

fn watch(machine: &Machine, witnesses: &Witnesses, limit: Duration) -> bool {
    watch_departure(machine, witnesses, Instant::now() + limit, || false).unwrap()
}

fn answering(machine: &Machine, witnesses: &Witnesses) {
    assert!(witnesses.answer(machine, PROMPTLY).unwrap());
    assert!(!watch(machine, witnesses, Duration::from_millis(2500)));
}

fn falling_silent(machine: &Machine, witnesses: &Witnesses) {
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(machine, witnesses, Duration::from_secs(20)));
        assert!(witnesses.answer(machine, PROMPTLY).unwrap());
        let begun = Instant::now();
        Control::open()
            .unwrap()
            .set_address("host", Ipv4Addr::new(198, 51, 100, 1), 24)
            .unwrap();
        assert!(watching.join().unwrap());
        let elapsed = begun.elapsed();
        assert!(
            elapsed >= Duration::from_millis(800) && elapsed < PROMPTLY,
            "{elapsed:?}"
        );
    });
    assert!(
        !witnesses
            .answer(machine, Duration::from_millis(300))
            .unwrap()
    );
}

fn one_of_two(machine: &Machine, witnesses: &Witnesses) {
    let both = Witnesses {
        addresses: vec![Ipv4Addr::new(192, 0, 2, 2), CONDUCTOR],
        ..witnesses.clone()
    };
    // The first has lost its power: that is not yet another network.
    assert!(both.answer(machine, PROMPTLY).unwrap());
    assert!(!watch(machine, &both, Duration::from_millis(2500)));
    let control = Control::open().unwrap();
    let elsewhere = Ipv4Addr::new(198, 51, 100, 1);
    control.set_address("host", elsewhere, 24).unwrap();
    assert!(watch(machine, &both, PROMPTLY));
}

fn link_down(machine: &Machine, witnesses: &Witnesses) {
    assert!(witnesses.answer(machine, PROMPTLY).unwrap());
    let control = Control::open().unwrap();
    control.set_down("host").unwrap();
    assert!(!watch(machine, witnesses, Duration::from_millis(2500)));
    control.set_up("host").unwrap();
}

fn stopped(machine: &Machine, witnesses: &Witnesses) {
    Control::open()
        .unwrap()
        .set_address("host", Ipv4Addr::new(198, 51, 100, 1), 24)
        .unwrap();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(20);
    assert!(!watch_departure(machine, witnesses, until, || true).unwrap());
    assert!(begun.elapsed() < PROMPTLY);
}
