//! A disk that fails in the middle of a write: a file in a file system that runs full, so that it is
//! the kernel that refuses, at a place nobody has chosen.
//!
//! The file system is mounted in a namespace, which must be entered before there are threads, so
//! this program is its own test harness. It needs root or unprivileged user namespaces.

mod rig;

use std::path::Path;

use bessemer_core::cause::Cause;
use bessemer_core::id::ImageId;
use bessemer_core::reason::FailureClass;
use bessemer_wire::agent::{AgentStatus, Work};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use rig::{Conductor, Files, agent, command, image, selector};

const DISK: u64 = 16 << 20;

fn main() {
    // What test runners ask first.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("full: test");
        }
        return;
    }
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).expect("run as root, or allow unprivileged user namespaces");
    let folder = tempfile::tempdir().unwrap();
    mount_with_room(folder.path(), "1m", MsFlags::empty());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(a_disk_that_fails_in_mid_write(folder.path()));
    println!("test a_disk_that_fails_in_mid_write_is_tried_again_and_named ... ok");
}

fn mount_with_room(target: &Path, room: &str, flags: MsFlags) {
    let options = format!("size={room}");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let options = Some(options.as_str());
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, options).unwrap();
}

async fn a_disk_that_fails_in_mid_write(parent: &Path) {
    let conductor = Conductor::start().await;
    let served = image::bytes();
    conductor.inner().map = Some(serde_json::to_value(image::map(&served)).unwrap());
    conductor.inner().served = served;
    let files = Files::sparse_in(parent, &[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let write = Work::WriteImage {
        image: ImageId(uuid::Uuid::from_u128(2)),
        disk: selector("vda", DISK),
        chunks_in_clear: None,
    };
    let failed = match conductor.command(command("1", 1, write.clone())).await {
        AgentStatus::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed.class, FailureClass::Transient);
    assert_eq!(failed.cause, Some(Cause::DiskError));
    for part in [
        "disk vda (serial number serial-vda)",
        "write",
        "No space left",
    ] {
        assert!(failed.message.contains(part), "{}", failed.message);
    }
    // The next attempt, on a disk that works.
    mount_with_room(parent, "64m", MsFlags::MS_REMOUNT);
    match conductor.command(command("2", 1, write)).await {
        AgentStatus::Done { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());
    agent.abort();
}
