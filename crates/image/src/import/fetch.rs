//! From a stream of bytes to a sparse file and the digest of what came.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Limits, Progress, Report, at, blocking};
use crate::digest::Sha256Digest;
use crate::{Error, Result};

/// Zeros are left out of the file in units of this size.
const HOLE: usize = 64 << 10;

/// Pieces that may wait for the disk.
const QUEUE_LENGTH: usize = 32;

/// Starts a download; gives the body and its length, if the server says it.
pub(super) async fn download(
    client: &reqwest::Client,
    url: reqwest::Url,
    limits: &Limits,
) -> Result<(BoxStream<'static, Result<Bytes>>, Option<u64>)> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Download(
            format!("{} is not http or https", url.scheme()),
            None,
        ));
    }
    let answer = tokio::time::timeout(limits.stall, client.get(url).send())
        .await
        .map_err(|_| stalled(limits))?
        .map_err(failed)?;
    if !answer.status().is_success() {
        let what = format!("the server answered {}: check the URL", answer.status());
        return Err(Error::Download(what, None));
    }
    let total = answer.content_length();
    Ok((answer.bytes_stream().map_err(failed).boxed(), total))
}

fn failed(error: reqwest::Error) -> Error {
    // The URL may hold a password.
    Error::Download(
        "the transfer failed".into(),
        Some(error.without_url().into()),
    )
}

fn stalled(limits: &Limits) -> Error {
    Error::Download(
        format!("nothing arrived for {} s", limits.stall.as_secs()),
        None,
    )
}

/// Writes what `stream` gives to a new file at `destination`. Unless it is dropped, it returns
/// only when nothing is written any more.
pub(super) async fn land(
    stream: BoxStream<'_, Result<Bytes>>,
    total: Option<u64>,
    limits: &Limits,
    destination: &Path,
    report: Report,
) -> Result<Sha256Digest> {
    let (queue, pieces) = mpsc::channel(QUEUE_LENGTH);
    let destination = destination.to_owned();
    let landing = tokio::spawn(blocking(move || Landing::new(destination)?.run(pieces)));
    let fetched = pump(stream, total, limits, queue, report).await;
    let landed = match landing.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    fetched.and(landed)
}

/// Moves the stream into the queue, within the limits.
async fn pump(
    mut stream: BoxStream<'_, Result<Bytes>>,
    total: Option<u64>,
    limits: &Limits,
    queue: mpsc::Sender<Bytes>,
    report: Report,
) -> Result<()> {
    let check = |bytes| match bytes > limits.source_size {
        true => Err(Error::TooLarge {
            limit: limits.source_size,
        }),
        false => Ok(()),
    };
    check(total.unwrap_or(0))?;
    let mut done = 0;
    loop {
        let next = tokio::time::timeout(limits.stall, stream.next());
        let Some(piece) = next.await.map_err(|_| stalled(limits))? else {
            return Ok(());
        };
        let piece = piece?;
        done += piece.len() as u64;
        check(done)?;
        report(Progress::Fetching { done, total });
        if queue.send(piece).await.is_err() {
            // The disk failed; the reason is what the landing gives.
            return Ok(());
        }
    }
}

struct Landing {
    path: PathBuf,
    file: File,
    digest: Sha256,
    /// What came and does not make a whole [`HOLE`] yet.
    rest: Vec<u8>,
    written: u64,
}

impl Landing {
    fn new(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(at("create", &path))?;
        Ok(Self {
            path,
            file,
            digest: Sha256::new(),
            rest: Vec::new(),
            written: 0,
        })
    }

    fn run(mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<Sha256Digest> {
        while let Some(piece) = pieces.blocking_recv() {
            self.digest.update(&piece);
            self.rest.extend_from_slice(&piece);
            let whole = self.rest.len() / HOLE * HOLE;
            let rest = self.rest.split_off(whole);
            let ready = std::mem::replace(&mut self.rest, rest);
            self.write(&ready)?;
        }
        let ready = std::mem::take(&mut self.rest);
        self.write(&ready)?;
        self.file
            .set_len(self.written)
            .map_err(at("write", &self.path))?;
        Ok(Sha256Digest::new(self.digest.finalize().into()))
    }

    fn write(&mut self, ready: &[u8]) -> Result<()> {
        for block in ready.chunks(HOLE) {
            if block.iter().any(|byte| *byte != 0) {
                self.file
                    .write_all_at(block, self.written)
                    .map_err(at("write", &self.path))?;
            }
            self.written += block.len() as u64;
        }
        Ok(())
    }
}
