//! Images: importing and showing them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::ImageId;

/// A request to import an image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageCreate {
    /// Unique name, 1 to 63 characters.
    pub name: String,
    /// Where it is: an `http://` or `https://` URL, or the absolute path of a file on the
    /// server's host. Raw or qcow2, told by content.
    pub source: String,
    /// SHA-256 of the file as it is at its source, in hexadecimal.
    pub sha256: String,
    /// The account to log in to, as the image makes it; shown to whoever rents a server.
    #[serde(default)]
    pub default_user: Option<String>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageStatus {
    /// Being fetched and checked.
    Importing,
    /// Ready to be written.
    Ready,
    /// Did not work; `message` says why. Nothing of it is kept.
    Failed,
}

/// An image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// How far its import is.
    pub status: ImageStatus,
    /// Why its import failed.
    #[serde(default)]
    pub message: Option<String>,
    /// Bytes fetched so far.
    pub fetched_bytes: u64,
    /// Bytes of the file at its source, where known.
    #[serde(default)]
    pub source_bytes: Option<u64>,
    /// Where it came from.
    pub source: String,
    /// SHA-256 of the file at its source.
    pub sha256: String,
    /// Size of the disk it makes, in bytes.
    #[serde(default)]
    pub virtual_size: Option<u64>,
    /// Bytes of it that are not zero, and so are written.
    #[serde(default)]
    pub data_bytes: Option<u64>,
    /// The account to log in to.
    #[serde(default)]
    pub default_user: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
