//! Images: importing and showing them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::ImageId;
use bessemer_core::network_data::NetworkConfiguration;

/// A request to import an image: from a `source`, or by an `upload` that follows.
///
/// At most one of `sha256`, `sha512` and `checksum_url` is given. Without any, the checksum is read
/// from a `SHA256SUMS` or `SHA512SUMS` beside the source; an upload has to bring one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageCreate {
    /// Unique name, 1 to 63 characters.
    pub name: String,
    /// Where it is: an `http://` or `https://` URL, or the absolute path of a file on the
    /// server's host. Raw, qcow2, VMDK or OVA, as it is or compressed by gzip, xz or zstd; told by
    /// content.
    #[serde(default)]
    pub source: Option<String>,
    /// Bytes of the file that `PUT /v1/images/{image}/content` will bring instead.
    #[serde(default)]
    pub upload_bytes: Option<u64>,
    /// SHA-256 of the file as it is at its source, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
    /// SHA-512 of the file as it is at its source, in hexadecimal.
    #[serde(default)]
    pub sha512: Option<String>,
    /// URL of a file that lists its checksum, as `sha256sum` or `sha512sum` writes it.
    #[serde(default)]
    pub checksum_url: Option<String>,
    /// User name and password for the host of the source, and for `checksum_url` if that is the
    /// same one. Kept sealed until the import has ended, and never shown.
    #[serde(default)]
    pub credentials: Option<ImageCredentials>,
    /// The account to log in to, as the image makes it; shown to whoever rents a server.
    #[serde(default)]
    pub default_user: Option<String>,
    /// What configures the network at the first boot.
    #[serde(default)]
    pub network_configuration: NetworkConfiguration,
}

/// User name and password for HTTP's basic authentication.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageCredentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for ImageCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ImageCredentials(…)")
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageStatus {
    /// Waiting for (the rest of) its upload.
    Uploading,
    /// Being fetched and checked.
    Importing,
    /// Ready to be written.
    Ready,
    /// Did not work; `message` says why. Nothing of it is kept.
    Failed,
}

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageStep {
    /// The file is being uploaded.
    Uploading,
    /// Its turn comes when other imports have ended.
    Waiting,
    /// The file is being fetched, and its checksum taken.
    Fetching,
    /// What is compressed or archived is being unpacked.
    Unpacking,
    /// It is being converted to raw.
    Converting,
    /// Zeros are left out, and the rest is compressed and stored.
    Storing,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageProgress {
    /// What it is doing.
    pub step: ImageStep,
    /// Bytes that this step is through with.
    pub bytes: u64,
    /// Bytes of this step in all, where that is known.
    #[serde(default)]
    pub total: Option<u64>,
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
    /// How far its upload or import is, while that is under way.
    #[serde(default)]
    pub progress: Option<ImageProgress>,
    /// Where it came from; absent if it was uploaded. A URL is shown without its query.
    #[serde(default)]
    pub source: Option<String>,
    /// What it came in, such as `qcow2` or `raw in xz`, once that is known.
    #[serde(default)]
    pub format: Option<String>,
    /// Checksum of the file at its source, as `sha256:` or `sha512:` and hexadecimal digits; absent
    /// until it has been read from where it is listed.
    #[serde(default)]
    pub checksum: Option<String>,
    /// Size of the disk it makes, in bytes.
    #[serde(default)]
    pub virtual_size: Option<u64>,
    /// Bytes of it that are not zero, and so are written.
    #[serde(default)]
    pub data_bytes: Option<u64>,
    /// The account to log in to.
    #[serde(default)]
    pub default_user: Option<String>,
    /// What configures the network at the first boot.
    #[serde(default)]
    pub network_configuration: NetworkConfiguration,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
