//! Images: importing, uploading and showing them.

use std::io::SeekFrom;
use std::time::Duration;

use bessemer_wire::api::{Image, ImageCreate};
use reqwest::Method;
use tokio::fs::File;
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;

use crate::transport::{Call, bad_answer, with_query};
use crate::{Client, Document, Error};

/// `image` is a name or an id throughout.
impl Client {
    /// Starts an import (`POST /v1/images`): the answer is an image that is still importing.
    ///
    /// # Errors
    /// When it is refused before it begins.
    pub async fn create_image(&self, image: &ImageCreate) -> Result<Document<Image>, Error> {
        self.post(&["images"], image).await
    }

    /// All images.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn images(&self) -> Result<Vec<Document<Image>>, Error> {
        self.list(&["images"], &[]).await
    }

    /// One image.
    ///
    /// # Errors
    /// When there is no such image.
    pub async fn image(&self, image: &str) -> Result<Document<Image>, Error> {
        self.get(&["images", image]).await
    }

    /// Uploads `file` from `offset` on (`PUT /v1/images/{image}/content`), as long as it takes.
    ///
    /// # Errors
    /// When the file cannot be read, the connection breaks, or the API expects another offset. The
    /// image's progress then says how much has arrived.
    pub async fn upload_image(
        &self,
        image: &str,
        mut file: File,
        offset: u64,
    ) -> Result<Document<Image>, Error> {
        file.seek(SeekFrom::Start(offset))
            .await
            .map_err(Error::File)?;
        let offset = offset.to_string();
        let url = with_query(
            self.at(&["images", image, "content"])?,
            &[("offset", &offset)],
        );
        let mut call = Call::new(Method::PUT, url.clone());
        let stream = ReaderStream::with_capacity(file, 1 << 20);
        call.body = Some(reqwest::Body::wrap_stream(stream));
        let response = self.send(call, None).await?;
        let text = response.bytes().await;
        let text = text.map_err(|error| self.failure(error, Duration::ZERO))?;
        serde_json::from_slice(&text)
            .and_then(Document::read)
            .map_err(|source| bad_answer(&url, source))
    }

    /// Deletes an image.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_image(&self, image: &str) -> Result<(), Error> {
        self.delete(&["images", image]).await
    }
}
