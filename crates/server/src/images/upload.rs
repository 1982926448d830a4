//! Taking an upload in: a body of many gigabytes, straight into the folder of its import.

use std::time::Duration;

use bessemer_core::id::ImageId;
use bessemer_image::Error;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::{ImageLibrary, blocking};

/// How long whoever uploads may send nothing.
const STALL: Duration = Duration::from_secs(60);

/// Pieces that may wait for the disk.
const QUEUE_LENGTH: usize = 32;

impl ImageLibrary {
    /// Adds `body` to the upload of `image`, of which `offset` bytes have arrived of `size` in all.
    /// True if it is complete now. What has arrived when a body breaks is kept.
    ///
    /// # Errors
    /// If the offset is another one, somebody else uploads, or the body is too long or breaks.
    pub async fn upload<E>(
        &self,
        image: ImageId,
        size: u64,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<bool, Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let folder = self.0.folder.clone();
        let upload = blocking(move || folder.upload(&image.to_string(), size, offset)).await?;
        let (queue, mut pieces) = mpsc::channel::<Bytes>(QUEUE_LENGTH);
        let writing = tokio::spawn(blocking(move || {
            let mut upload = upload;
            while let Some(piece) = pieces.blocking_recv() {
                upload.append(&piece)?;
            }
            Ok(upload.is_complete())
        }));
        let sent = send(body, queue).await;
        let written = match writing.await {
            Ok(written) => written?,
            // The runtime ends before it has begun it, and with that whoever waits here.
            Err(error) if error.is_cancelled() => std::future::pending().await,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        sent.map(|()| written)
    }

    /// Bytes of the upload of `image` that have arrived.
    pub fn uploaded(&self, image: ImageId) -> u64 {
        self.0.folder.uploaded(&image.to_string())
    }
}

async fn send<E>(
    body: impl Stream<Item = Result<Bytes, E>> + Send,
    queue: mpsc::Sender<Bytes>,
) -> Result<(), Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut body = std::pin::pin!(body);
    loop {
        let next = tokio::time::timeout(STALL, body.next()).await;
        let next = next.map_err(|_| {
            Error::Download(format!("nothing arrived for {} s", STALL.as_secs()), None)
        })?;
        let Some(piece) = next else {
            return Ok(());
        };
        let piece = piece
            .map_err(|error| Error::Download("the upload broke".into(), Some(error.into())))?;
        // If nobody takes it, writing has failed, and says how.
        if queue.send(piece).await.is_err() {
            return Ok(());
        }
    }
}
