//! The real agent's word for what goes wrong on its machine is the cause that people are shown: what
//! simulated agents say elsewhere in here is told by heart.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bessemer_core::lifecycle::HandOver;
use bessemer_server::config::ImageTransport;
use bessemer_wire::api::FlavorCreate;

use super::expect_failed;
use crate::harness::{SimNode, Site, eager, order, says};

/// A fault of a machine, the cause that it is, and some of the agent's words.
type Case = (&'static str, fn(&SimNode), &'static str);

const CASES: [Case; 4] = [
    (
        "disk-locked",
        |node| node.shown().write("sys/block/nvme0n1/ro", "1"),
        "it is write-protected",
    ),
    (
        "disk-error",
        |node| {
            let disk = OpenOptions::new().write(true).open(node.disk()).unwrap();
            disk.set_len(1 << 20).unwrap();
        },
        "bytes at the beginning and has 1048576 now",
    ),
    (
        "disk-missing",
        |node| node.shown().hide_disk("nvme0n1"),
        "no disk is visible",
    ),
    (
        "nic-missing",
        |node| node.shown().hide_nic(),
        "the machine has no NIC",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_agent_finds_on_its_machine() {
    let site = Site::start().await;
    let mut nodes = Vec::new();
    for (code, plant, words) in CASES {
        let node = site.machine_with_the_real_agent().await;
        plant(&node);
        site.api.create_node(&node.request()).await.unwrap();
        nodes.push((code, words, node));
    }
    for (code, words, node) in &nodes {
        let explained = expect_failed(&site, node, code).await;
        says(&explained.standing.reason, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_agent_finds_in_an_image() {
    // Chunks in the clear are given to the leased address only, which the agent's PID 1 would have set.
    let site = Site::start_as(eager(), None, |config| {
        let provisioning = config.provisioning.as_mut().unwrap();
        provisioning.image_transport = ImageTransport::Https;
    });
    let site = site.await;
    let node = site.machine_with_the_real_agent().await;
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;

    // It is written, and there is nothing on it that could be started.
    let by_kexec = FlavorCreate {
        name: "by-kexec".into(),
        hardware: None,
        from_node: Some(node.name.clone()),
        standby: false,
        hand_over: HandOver::Kexec,
        root_disk_hint: None,
    };
    site.api.create_flavor(&by_kexec).await.unwrap();
    let mut request = order("one");
    request.flavor = "by-kexec".into();
    site.api.create_server(&request, "one").await.unwrap();
    let explained = expect_failed(&site, &node, "image-unusable").await;
    says(
        &explained.standing.reason,
        &["no kernel to start was found on disk nvme0n1"],
    );
    site.release("one", &node).await;

    damage_chunks(&site.data().join("images/.chunks"));
    site.order("two").await;
    let explained = expect_failed(&site, &node, "image-not-fetched").await;
    says(&explained.standing.reason, &["arrived damaged"]);
}

/// What lies in the store is not what was imported, as after a disk of the server has failed.
fn damage_chunks(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            damage_chunks(&entry.path());
        } else if entry.metadata().unwrap().len() > 0 {
            let chunk = OpenOptions::new()
                .read(true)
                .write(true)
                .open(entry.path())
                .unwrap();
            let mut byte = [0];
            chunk.read_exact_at(&mut byte, 0).unwrap();
            chunk.write_all_at(&[!byte[0]], 0).unwrap();
        }
    }
}
