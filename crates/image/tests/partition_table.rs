//! Partition tables as `sgdisk`, which we did not write, sees them before and after.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bessemer_image::Error;
use bessemer_image::gpt::{CONFIG_PARTITION_SIZE, RESERVED_SIZE, add_config_partition};
use bessemer_image::write::Disk;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x6f1c_23a1_0000_4000_8000_0000_0000_0001);
const MEBIBYTE: u64 = 1 << 20;

fn sgdisk(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("/usr/sbin/sgdisk")
        .args(arguments)
        .arg(path)
        .output()
        .expect("sgdisk (package gdisk) is needed for this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// An "image" of 8 MiB with two partitions, the second up to its end. Made once: sgdisk sleeps.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, vec![0; 8 * MEBIBYTE as usize]).unwrap();
        sgdisk(
            &path,
            &[
                "-n",
                "14:2048:4095",
                "-t",
                "14:ef02",
                "-n",
                "1:4096:0",
                "-c",
                "1:root",
            ],
        );
        std::fs::read(&path).unwrap()
    })
}

/// The image on a disk of `size` bytes.
fn written_disk(path: &Path, size: u64) {
    std::fs::write(path, image()).unwrap();
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(size)
        .unwrap();
}

fn assert_sound(path: &Path) {
    let verdict = sgdisk(path, &["-v"]);
    assert!(verdict.contains("No problems found"), "{verdict}");
}

fn digest(path: &Path) -> blake3::Hash {
    blake3::hash(&std::fs::read(path).unwrap())
}

#[test]
fn the_config_partition_is_the_last_mebibyte_and_root_can_grow_up_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    // A size that is no multiple of a MiB, as real disks have.
    let size = 32 * MEBIBYTE + 123 * 512;
    written_disk(&path, size);
    let partition = add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap();
    assert_eq!(partition.offset, 31 * MEBIBYTE);
    assert_eq!(
        (partition.number, partition.length),
        (2, CONFIG_PARTITION_SIZE)
    );
    assert_sound(&path);
    let shown = sgdisk(&path, &["-i", "2"]).to_lowercase();
    assert!(
        shown.contains(&ID.to_string()) && shown.contains("'config-2'"),
        "{shown}"
    );
    assert!(
        shown.contains("0fc63daf-8483-4772-8e79-3d69d8477de4"),
        "{shown}"
    );

    // What growpart does.
    let end = (partition.offset / 512 - 1).to_string();
    sgdisk(
        &path,
        &["-d", "1", "-n", &format!("1:4096:{end}"), "-c", "1:root"],
    );
    assert_sound(&path);
}

#[test]
fn the_reserved_size_is_enough_for_any_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    for more in [0, 1, 33, 1024, 2015, 2047] {
        written_disk(&path, 8 * MEBIBYTE + RESERVED_SIZE + more * 512);
        add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap();
        assert_sound(&path);
    }
}

#[test]
fn doing_it_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    written_disk(&path, 16 * MEBIBYTE);
    let first = add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap();
    let before = digest(&path);
    let second = add_config_partition(&Disk::open(&path).unwrap(), Uuid::nil()).unwrap();
    assert_eq!(first, second);
    assert_eq!(before, digest(&path));
}

#[test]
fn the_backup_alone_is_enough_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    written_disk(&path, 16 * MEBIBYTE);
    add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 33 * 512], 512).unwrap();
    let shown = sgdisk(&path, &["-i", "2"]);
    assert!(shown.contains("config-2"), "{shown}");
}

#[test]
fn the_protective_record_spans_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    written_disk(&path, 16 * MEBIBYTE);
    add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap();
    let mbr = std::fs::read(&path).unwrap();
    assert_eq!(mbr[450], 0xee);
    assert_eq!(
        u32::from_le_bytes(mbr[458..462].try_into().unwrap()),
        (16 * 2048) - 1
    );
}

#[test]
fn refusals_leave_the_disk_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let refuse = |what: &str| {
        let before = digest(&path);
        let error = add_config_partition(&Disk::open(&path).unwrap(), ID).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(before, digest(&path), "{what}");
        error
    };

    // The disk is exactly as large as the image: root reaches into the last MiB.
    written_disk(&path, 8 * MEBIBYTE);
    assert!(matches!(refuse("last MiB"), Error::NoRoomForConfigDrive(_)));

    written_disk(&path, 16 * MEBIBYTE);
    sgdisk(&path, &["-e", "-n", "3:0:+1M", "-c", "3:config-2"]);
    refuse("of its own");

    let damage = |offset: u64| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    };
    damage(1024 + 32);
    refuse("entries is wrong");
    damage(1024 + 32);
    damage(512 + 40);
    refuse("header is wrong");
    damage(512);
    assert!(matches!(refuse("no GPT"), Error::PartitionTable(_)));
}
