//! Small disk images: a partition table, data here and there, and much nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// Bytes of the disk that [`small`] makes.
pub(crate) const SMALL: u64 = 12 << 20;

/// A raw image. Made once: making a partition table takes its time.
pub(crate) fn small() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(SMALL).unwrap();
        run("/usr/sbin/sgdisk", &["-n", "1:2048:0", text(&path)]);
        for (offset, length) in [(3 << 20, 1_500_000), (7 << 20, 1), (9 << 20, 300_000)] {
            let data: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8 | 1).collect();
            file.write_all_at(&data, offset).unwrap();
        }
        std::fs::read(&path).unwrap()
    })
}

/// A qcow2 image of a disk of `gibibytes`.
pub(crate) fn large(gibibytes: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("raw"), folder.path().join("qcow2"));
    File::create(&raw)
        .unwrap()
        .set_len(gibibytes << 30)
        .unwrap();
    run("/usr/sbin/sgdisk", &["-n", "1:2048:+1M", text(&raw)]);
    run(
        "qemu-img",
        &["convert", "-O", "qcow2", text(&raw), text(&qcow2)],
    );
    std::fs::read(&qcow2).unwrap()
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
