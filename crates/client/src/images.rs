//! Images: importing and showing them.

use bessemer_wire::api::{Image, ImageCreate};

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

    /// Deletes an image.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_image(&self, image: &str) -> Result<(), Error> {
        self.delete(&["images", image]).await
    }
}
