//! The image that all servers are made of: a partition table, a little data, and much nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Bytes of the disk that it makes.
const SIZE: u64 = 5 << 20;

/// A raw image in a file, and its SHA-256. Made once: it takes a program.
pub(crate) fn image() -> (&'static Path, &'static str) {
    static IMAGE: OnceLock<(PathBuf, String, TempDir)> = OnceLock::new();
    let (path, digest, _) = IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let file = File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        let made = Command::new("/usr/sbin/sgdisk")
            .args(["-n", "1:2048:0"])
            .arg(&path)
            .output()
            .expect("sgdisk is needed for this test (Debian: gdisk)");
        assert!(made.status.success(), "{made:?}");
        let data: Vec<u8> = (0..100_000).map(|at| (at * 7 % 251) as u8 | 1).collect();
        file.write_all_at(&data, 3 << 20).unwrap();
        let digest = Sha256::digest(std::fs::read(&path).unwrap());
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (path, digest, folder)
    });
    (path, digest)
}
