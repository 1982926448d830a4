//! What is on a simulated machine's disk, looked at from outside.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bessemer_sim::agent::zeros;
use serde_json::Value;

use super::image::{SMALL, run, small, text};

/// Blocks of 512 bytes that a partition table takes at either end of a disk.
const TABLE: usize = 34 * 512;

/// What is compared at once.
const PIECE: usize = 4096;

/// Leaves a former tenant's data in every MiB that an image covers, and in some that none does.
pub(crate) fn soil(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let dirt = vec![0xaa; 64 << 10];
    let inside = (0..SMALL).step_by(1 << 20);
    let outside = [SMALL, size / 2, size - dirt.len() as u64];
    for offset in inside.chain(outside) {
        file.write_all_at(&dirt, offset).unwrap();
    }
}

#[track_caller]
pub(crate) fn assert_erased(path: &Path) {
    let found = zeros::first_nonzero(path).unwrap();
    assert_eq!(found, None, "something is left on the disk");
}

/// Checks that the disk begins with the image, but for its partition table.
#[track_caller]
pub(crate) fn assert_has_image(path: &Path) {
    let image = small();
    let mut disk = vec![0; image.len()];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut disk, 0)
        .unwrap();
    let inner = TABLE..image.len() - TABLE;
    // Whole pieces are compared by one instruction each; what a debug build does byte by byte
    // would be most of the time of a test.
    for at in inner.clone().step_by(PIECE) {
        let piece = at..(at + PIECE).min(inner.end);
        assert!(
            disk[piece.clone()] == image[piece.clone()],
            "the disk differs from the image somewhere in {piece:?}"
        );
    }
    run("/usr/sbin/sgdisk", &["--verify", text(path)]);
}

/// The files of the config drive under `openstack/latest`, as other people's tools read them.
pub(crate) struct ConfigDrive {
    pub(crate) meta_data: Value,
    pub(crate) network_data: Value,
    pub(crate) vendor_data: Option<Value>,
    pub(crate) user_data: Option<String>,
}

impl ConfigDrive {
    /// Reads it from the partition named `config-2`.
    pub(crate) fn read(disk: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("iso");
        std::fs::write(&iso, config_partition(disk)).unwrap();
        let out = folder.path().join("out");
        let (iso, out_text) = (text(&iso), text(&out));
        let restore = ["-osirrox", "on", "-indev", iso, "-extract", "/", out_text];
        run("xorriso", &restore);
        let latest = out.join("openstack/latest");
        let optional = |name: &str| -> Option<Value> {
            let content = std::fs::read(latest.join(name)).ok()?;
            serde_json::from_slice(&content).unwrap()
        };
        let json = |name: &str| -> Value { optional(name).unwrap() };
        Self {
            meta_data: json("meta_data.json"),
            network_data: json("network_data.json"),
            vendor_data: optional("vendor_data.json"),
            user_data: std::fs::read_to_string(latest.join("user_data")).ok(),
        }
    }
}

fn config_partition(disk: &Path) -> Vec<u8> {
    let table = run("/usr/sbin/sgdisk", &["--print", text(disk)]);
    let line = table.lines().find(|line| line.ends_with(" config-2"));
    let line = line.unwrap_or_else(|| panic!("no config drive: {table}"));
    let start: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut drive = vec![0; 1 << 20];
    File::open(disk)
        .unwrap()
        .read_exact_at(&mut drive, start * 512)
        .unwrap();
    drive
}
