//! Sending a file of this host, however often the connection breaks.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bessemer_client::{Client, Document};
use bessemer_wire::api::{Image, ImageStatus};
use sha2::{Digest, Sha256};

/// Broken connections that are borne without a byte arriving in between.
const TRIES: u32 = 8;

/// The pause after the first of them; each further one is longer by as much.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes and SHA-256 of a file.
pub(super) fn measure(path: &Path) -> anyhow::Result<(u64, String)> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read `{shown}`"))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read `{shown}`"))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    if size == 0 {
        bail!("`{shown}` is empty");
    }
    let digits = hasher.finalize();
    Ok((
        size,
        digits.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// Sends the file; gives the image once all of it has arrived.
pub(super) async fn send(
    client: &Client,
    image: &Image,
    path: &Path,
) -> anyhow::Result<Document<Image>> {
    let id = image.id.to_string();
    let (mut arrived, mut failures) = (0, 0);
    loop {
        let file = tokio::fs::File::open(path).await;
        let file = file.with_context(|| format!("cannot read `{}`", path.display()))?;
        let error = match client.upload_image(&id, file, arrived).await {
            Ok(image) => return Ok(image),
            // What the API says about the offset is a conflict: it knows what has arrived.
            Err(error) if error.is_outage() || error.status() == Some(409) => error,
            Err(error) => return Err(error.into()),
        };
        failures += 1;
        if failures > TRIES {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE * failures).await;
        let before = arrived;
        match client.image(&id).await {
            Ok(image) if image.status == ImageStatus::Uploading => {
                arrived = image.progress.map_or(0, |progress| progress.bytes);
            }
            // It has all arrived, and only the answer was lost.
            Ok(image) => return Ok(image),
            Err(error) if error.is_outage() => {}
            Err(error) => return Err(error.into()),
        }
        if arrived > before {
            failures = 0;
        }
    }
}
