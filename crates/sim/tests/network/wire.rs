//! A wire with two ends, each in a network namespace of its own: the near one is this program's.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;

const NEAR: &str = "near";

/// The interface at the far end.
pub(crate) const FAR: &str = "far";

/// Puts this program, which must have one thread only, into a network namespace of its own.
pub(crate) fn enter_namespace() {
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).expect("run as root, or allow unprivileged user namespaces");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    // The one that is mounted shows the interfaces of another namespace.
    let (sysfs, none) = (Some("sysfs"), MsFlags::empty());
    mount(sysfs, "/sys", sysfs, none, None::<&str>).unwrap();
    ip("link set lo up");
}

/// A wire. Taken away when dropped, with the namespace at its far end.
pub(crate) struct Wire {
    namespace: File,
}

impl Wire {
    /// A wire at whose near end this address is.
    pub(crate) fn new(near: Ipv4Addr) -> Self {
        // Only the thread that asks for it is moved.
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let wire = Self {
            namespace: made.join().unwrap(),
        };
        let namespace = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            wire.namespace.as_raw_fd()
        );
        ip(&format!("link add {NEAR} type veth peer name {FAR}"));
        ip(&format!("link set {FAR} netns {namespace}"));
        ip(&format!("address add {near}/24 dev {NEAR}"));
        ip(&format!("link set {NEAR} up"));
        let up = wire.far(|| ip(&format!("link set {FAR} up")));
        up.join().unwrap();
        wire
    }

    /// The interface at the near end.
    pub(crate) fn near(&self) -> &str {
        NEAR
    }

    /// Does something at the far end: sockets and programs that are opened there stay there.
    pub(crate) fn far<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.namespace.try_clone().unwrap();
        std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        ip(&format!("link del {NEAR}"));
    }
}

/// Runs `ip` with these words, in the namespace of the calling thread.
pub(crate) fn ip(words: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new("ip")
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(words.split(' '))
        .status()
        .expect("install iproute2");
    assert!(status.success(), "ip {words}");
}
