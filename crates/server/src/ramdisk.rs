//! Which RAM disk agents are given at present, and having those replaced that idle in another one.
//!
//! An agent that waits for an order may do so for weeks, and must not then write it with the program
//! of weeks ago, nor pin a certificate that is no longer ours. So each boot is stored with a digest
//! of what it was given, and idle agents that were given something else are replaced: a few at a
//! time, as the POSTs of a whole rack at once are a surge, and every node that boots is one that
//! an order would have to wait for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bessemer_core::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::site::Site;

/// How often it is looked whether there is another RAM disk.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// The most nodes that boot into standby at the same time because of a renewal.
const MOST_AT_A_TIME: u32 = 4;

/// The files of which a digest is kept.
#[derive(Clone)]
pub struct Ramdisk(Arc<Inner>);

struct Inner {
    files: Vec<PathBuf>,
    known: Mutex<Option<(Stamp, String)>>,
}

/// Size and time of change of each file: what tells that it need not be read again.
type Stamp = Vec<(u64, SystemTime)>;

impl Ramdisk {
    /// What the digest is of: kernel, initramfs, and the certificate that agents pin.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            files,
            known: Mutex::default(),
        }))
    }

    /// The digest of the files as they are now; `None` while one of them is missing.
    pub async fn digest(&self) -> Option<String> {
        let inner = self.0.clone();
        let digest = tokio::task::spawn_blocking(move || inner.digest()).await;
        digest.ok().flatten()
    }
}

impl Inner {
    fn digest(&self) -> Option<String> {
        let stamp = self.stamp()?;
        // The lock is held while reading, so that the files are read once only.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, digest)) = &*known
            && *before == stamp
        {
            return Some(digest.clone());
        }
        let mut hasher = blake3::Hasher::new();
        for path in &self.files {
            let file = std::fs::File::open(path).ok()?;
            let mut one = blake3::Hasher::new();
            one.update_reader(file).ok()?;
            hasher.update(one.finalize().as_bytes());
        }
        let digest = hasher.finalize().to_hex().to_string();
        *known = Some((stamp, digest.clone()));
        Some(digest)
    }

    fn stamp(&self) -> Option<Stamp> {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        };
        self.files.iter().map(stamp).collect()
    }
}

/// Has idle agents replaced that were given another RAM disk, until `stop` is cancelled.
pub(crate) async fn renew(site: Site, stop: CancellationToken) {
    loop {
        if let Some(digest) = site.ramdisk.digest().await {
            look(&site, &digest, site.now()).await;
        }
        if timeout(LOOK_INTERVAL, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

async fn look(site: &Site, digest: &str, now: Timestamp) {
    match site
        .store
        .replace_idle_agents(digest, MOST_AT_A_TIME, now)
        .await
    {
        Ok(0) => {}
        Ok(count) => {
            info!(count, "idle agents are replaced: there is another RAM disk");
            site.bell.ring();
        }
        Err(error) => warn!(%error, "cannot have idle agents replaced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digest_follows_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (kernel, initramfs) = (folder.path().join("a"), folder.path().join("b"));
        let ramdisk = Ramdisk::new(vec![kernel.clone(), initramfs.clone()]);
        std::fs::write(&kernel, "kernel").unwrap();
        assert_eq!(ramdisk.digest().await, None, "one is missing");
        std::fs::write(&initramfs, "initramfs").unwrap();
        let first = ramdisk.digest().await.unwrap();
        assert_eq!(ramdisk.digest().await.unwrap(), first);
        std::fs::write(&initramfs, "another initramfs").unwrap();
        assert_ne!(ramdisk.digest().await.unwrap(), first);
    }
}
