//! Disks and stores to test with.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bessemer_image::Error;
use bessemer_image::chunk::Unpacker;
use bessemer_image::digest::{Checksum, Sha256Digest};
use bessemer_image::import::{ChecksumSource, Import, Limits, Source, import};
use bessemer_image::store::{ImageStore, StoredImage};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const SIZE: u64 = 24 << 20;

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A raw disk with a GPT, data here and there, and much nothing. Made once: sgdisk sleeps.
pub(crate) fn raw_disk(path: &Path) {
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    let disk = DISK.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        run("/usr/sbin/sgdisk", &["-n", "1:2048:0", text(&path)]);
        file.write_all_at(&[0xab; 300_000], 3 << 20).unwrap();
        file.write_all_at(&[0xcd; 1], 10 << 20).unwrap();
        file.write_all_at(b"end of the disk", SIZE - 40 * 512)
            .unwrap();
        std::fs::read(&path).unwrap()
    });
    std::fs::write(path, disk).unwrap();
}

pub(crate) fn sha256(content: &[u8]) -> Checksum {
    Checksum::Sha256(Sha256Digest::new(Sha256::digest(content).into()))
}

pub(crate) fn checksum(path: &Path) -> Checksum {
    sha256(&std::fs::read(path).unwrap())
}

/// Impatient enough for a test, and content with a machine whose disk is nearly full.
pub(crate) fn limits() -> Limits {
    Limits {
        reserve: 0,
        stall: Duration::from_secs(10),
        retry_pause: Duration::from_millis(1),
        ..Limits::default()
    }
}

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) store: ImageStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn request(&self, path: &Path) -> Import {
        Import {
            name: "debian-12".into(),
            source: Source::File(path.to_owned()),
            checksum: ChecksumSource::Given(checksum(path)),
            limits: limits(),
        }
    }

    pub(crate) async fn import(&self, request: &Import) -> Result<StoredImage, Error> {
        import(&self.store, request, Arc::new(|_| {})).await
    }

    pub(crate) async fn refused(&self, request: &Import) -> Error {
        let error = self.import(request).await.unwrap_err();
        assert_eq!(self.left(), [""; 0], "after: {error}");
        error
    }

    /// What lies in the store, chunks and images, but for its empty folders.
    pub(crate) fn left(&self) -> Vec<String> {
        let found = Command::new("find")
            .arg(self.path("store"))
            .args(["-mindepth", "1", "-not", "-name", "lock"])
            .args([
                "(",
                "-not",
                "-type",
                "d",
                "-o",
                "-not",
                "-path",
                "*/.chunks*",
                ")",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(found.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn refused_content(&self, content: &[u8]) -> String {
        let path = self.path("source");
        std::fs::write(&path, content).unwrap();
        self.refused(&self.request(&path)).await.to_string()
    }
}

/// The image as its map says it is, put together from its chunks.
pub(crate) fn assemble(image: &StoredImage) -> Vec<u8> {
    let mut disk = vec![0; image.map().virtual_size() as usize];
    let mut unpacker = Unpacker::new().unwrap();
    for (index, chunk) in image.map().chunks().iter().enumerate() {
        let stored = image.read_chunk(index).unwrap();
        assert!(chunk.matches(&stored), "chunk {index}");
        let range = chunk.range().start as usize..chunk.range().end as usize;
        unpacker.unpack(&stored, &mut disk[range]).unwrap();
    }
    disk
}
