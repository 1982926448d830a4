//! Images: what is known of them. Their bytes are elsewhere.

use bessemer_core::id::ImageId;

use crate::Error;
use crate::database::Row;
use crate::nodes::{as_id, by_id_first};
use crate::records::{ImageRecord, ImportedImage};
use crate::store::Store;
use crate::value::{name, sealed, values};

/// A query for whole images, whose rows [`image_record`] reads.
macro_rules! select_image {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, status, message, source, upload_size, checksum, checksum_url, \
             credentials, format, virtual_size, data_bytes, default_user, \
             network_configuration, created_at FROM image ",
            $rest
        )
    };
}

impl Store {
    /// Writes down a new image.
    ///
    /// [`Error::Conflict`] if there is one of this name.
    pub async fn create_image(&self, image: &ImageRecord) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO image (id, name, status, message, source, upload_size,
            checksum, checksum_url, credentials, format, virtual_size, data_bytes, default_user,
            network_configuration, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let size = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let values = values![
            image.id,
            &image.name,
            name("status", &image.status)?,
            image.message.clone(),
            &image.source,
            size(image.upload_size),
            &image.checksum,
            image.checksum_url.clone(),
            image.credentials_sealed.as_deref().map(sealed),
            image.format.clone(),
            size(image.virtual_size),
            size(image.data_bytes),
            image.default_user.clone(),
            name("network_configuration", &image.network_configuration)?,
            image.created_at
        ];
        self.insert_named("create_image", SQL, values, ("image", &image.name))
            .await
    }

    /// Writes down that all of an image has been uploaded, and is being imported.
    ///
    /// [`Error::NotFound`] if none is waited for.
    pub async fn image_uploaded(&self, id: ImageId) -> Result<(), Error> {
        const SQL: &str = "UPDATE image SET status = 'importing'
            WHERE id = $1 AND status = 'uploading'";
        let mut write = self.write("image_uploaded").await?;
        if write.execute(SQL, values![id]).await? == 0 {
            return Err(Error::not_found("image that waits for its upload", id));
        }
        write.commit().await
    }

    /// Writes down how an import ended: what was found out, or why it failed. The credentials for
    /// its source are of no more use, and are forgotten.
    pub async fn finish_image(
        &self,
        id: ImageId,
        end: Result<ImportedImage, String>,
    ) -> Result<(), Error> {
        const READY: &str = "UPDATE image SET status = 'ready', message = NULL, credentials = NULL,
            virtual_size = $2, data_bytes = $3, checksum = $4, format = $5
            WHERE id = $1 AND status = 'importing'";
        const FAILED: &str = "UPDATE image SET status = 'failed', message = $2, credentials = NULL
            WHERE id = $1 AND status = 'importing'";
        let mut write = self.write("finish_image").await?;
        let changed = match end {
            Ok(image) => {
                let values = values![
                    id,
                    image.virtual_size,
                    image.data_bytes,
                    image.checksum,
                    image.format
                ];
                write.execute(READY, values).await?
            }
            Err(message) => write.execute(FAILED, values![id, message]).await?,
        };
        if changed == 0 {
            return Err(Error::not_found("image that is being imported", id));
        }
        write.commit().await
    }

    /// The image with this name or id.
    pub async fn image(&self, name_or_id: &str) -> Result<ImageRecord, Error> {
        const SQL: &str = select_image!("WHERE name = $1 OR id = $2");
        let values = values![name_or_id, as_id(name_or_id)];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        image_record(&row.ok_or_else(|| Error::not_found("image", name_or_id))?)
    }

    /// Every image, oldest first.
    pub async fn images(&self) -> Result<Vec<ImageRecord>, Error> {
        const SQL: &str = select_image!("ORDER BY created_at, id");
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(image_record).collect()
    }

    /// Images whose import or upload had not ended when it was last heard of: after a start, all
    /// of them were interrupted.
    pub async fn unfinished_images(&self) -> Result<Vec<ImageRecord>, Error> {
        const SQL: &str =
            select_image!("WHERE status IN ('importing', 'uploading') ORDER BY created_at, id");
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(image_record).collect()
    }

    /// Forgets an image.
    ///
    /// [`Error::Conflict`] while a server uses it.
    pub async fn delete_image(&self, id: ImageId) -> Result<(), Error> {
        const USER: &str = "SELECT name FROM server WHERE image = $1 ORDER BY name LIMIT 1";
        const DELETE: &str = "DELETE FROM image WHERE id = $1";
        self.delete_unused("delete_image", (DELETE, USER), ("image", id.to_string()))
            .await
    }
}

fn image_record(row: &Row) -> Result<ImageRecord, Error> {
    Ok(ImageRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        status: row.name("status")?,
        message: row.optional_text("message")?,
        source: row.text("source")?,
        upload_size: row.optional_number("upload_size")?,
        checksum: row.text("checksum")?,
        checksum_url: row.optional_text("checksum_url")?,
        credentials_sealed: row.optional_sealed("credentials")?,
        format: row.optional_text("format")?,
        virtual_size: row.optional_number("virtual_size")?,
        data_bytes: row.optional_number("data_bytes")?,
        default_user: row.optional_text("default_user")?,
        network_configuration: row.name("network_configuration")?,
        created_at: row.time("created_at")?,
    })
}
