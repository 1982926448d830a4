//! Images: what is known of them. Their bytes are elsewhere.

use bessemer_core::id::ImageId;

use crate::Error;
use crate::database::Row;
use crate::nodes::{as_id, by_id_first};
use crate::records::ImageRecord;
use crate::store::Store;
use crate::value::{name, values};

/// A query for whole images, whose rows [`image_record`] reads.
macro_rules! select_image {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, status, message, source, sha256, virtual_size, data_bytes, \
             default_user, created_at FROM image ",
            $rest
        )
    };
}

impl Store {
    /// Writes down a new image.
    ///
    /// [`Error::Conflict`] if there is one of this name.
    pub async fn create_image(&self, image: &ImageRecord) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO image (id, name, status, message, source, sha256,
            virtual_size, data_bytes, default_user, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let size = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let values = values![
            image.id,
            &image.name,
            name("status", &image.status)?,
            image.message.clone(),
            &image.source,
            &image.sha256,
            size(image.virtual_size),
            size(image.data_bytes),
            image.default_user.clone(),
            image.created_at
        ];
        self.insert_named("create_image", SQL, values, ("image", &image.name))
            .await
    }

    /// Writes down how an import ended: sizes of the disk and of what is not zero in it, in bytes,
    /// or why it failed.
    pub async fn finish_image(
        &self,
        id: ImageId,
        end: Result<(u64, u64), String>,
    ) -> Result<(), Error> {
        const READY: &str = "UPDATE image SET status = 'ready', message = NULL,
            virtual_size = $2, data_bytes = $3 WHERE id = $1 AND status = 'importing'";
        const FAILED: &str = "UPDATE image SET status = 'failed', message = $2
            WHERE id = $1 AND status = 'importing'";
        let mut write = self.write("finish_image").await?;
        let changed = match end {
            Ok((virtual_size, data_bytes)) => {
                let values = values![id, virtual_size, data_bytes];
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

    /// Images whose import had not ended when it was last heard of: after a start, all of them
    /// were interrupted.
    pub async fn importing_images(&self) -> Result<Vec<ImageRecord>, Error> {
        const SQL: &str = select_image!("WHERE status = 'importing' ORDER BY created_at, id");
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
        sha256: row.text("sha256")?,
        virtual_size: row.optional_number("virtual_size")?,
        data_bytes: row.optional_number("data_bytes")?,
        default_user: row.optional_text("default_user")?,
        created_at: row.time("created_at")?,
    })
}
