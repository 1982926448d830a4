//! The floor: what no order can be quicker than on the same machine, in the same run.
//!
//! The bytes of the image that are not zero have to be written, and the operating system has to
//! start. The first is measured with `dd oflag=direct` inside the rented machine, to space that is
//! allocated already; the second is the machine's own uptime at the first login.

use anyhow::{Context, Result, ensure};

use super::{Scene, tenant};

/// Seconds that `dd` takes to write `bytes` to the disk of `server`, rounded up to whole MiB. The
/// data is random and comes from memory, so that neither side can leave zeros out.
pub(super) async fn write_seconds(scene: &Scene<'_>, server: &str, bytes: u64) -> Result<f64> {
    let mebibytes = bytes.div_ceil(1 << 20);
    let script = format!(
        "set -e; cd /root; \
         head -c 16M /dev/urandom >/dev/shm/piece; \
         for i in $(seq {pieces}); do cat /dev/shm/piece; done >/dev/shm/data; \
         fallocate -l {mebibytes}MiB floor; sync; \
         LC_ALL=C dd if=/dev/shm/data of=floor bs=1M count={mebibytes} conv=notrunc oflag=direct \
         2>&1; rm floor /dev/shm/data /dev/shm/piece",
        pieces = mebibytes.div_ceil(16)
    );
    let line = format!("sudo sh -c '{script}'");
    let output = tenant::run(scene, server, &line).await?;
    ensure!(
        output.status.success(),
        "the floor could not be measured: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let told = String::from_utf8_lossy(&output.stdout);
    seconds(&told).with_context(|| format!("dd said: {}", told.trim()))
}

/// The seconds in dd's last line, `… bytes (…) copied, 1.9 s, 200 MB/s`.
fn seconds(told: &str) -> Option<f64> {
    let after = told.rsplit_once(" copied, ")?.1;
    after.split_once(" s,")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seconds_are_read_from_what_dd_says() {
        let told = "369+0 records in\n369+0 records out\n\
                    386924544 bytes (387 MB, 369 MiB) copied, 1.90123 s, 204 MB/s\n";
        assert_eq!(seconds(told), Some(1.90123));
        assert_eq!(seconds("dd: failed to open"), None);
    }
}
