//! Everything that can go wrong with an image, in words for the person who must act on it.

use std::io;
use std::path::PathBuf;

/// What went wrong. The text says what was found and what to do; `source` has the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a digest.
    #[error("`{0}` is not a checksum: a SHA-256 has 64 hexadecimal digits, a SHA-512 has 128")]
    Digest(String),
    /// A block map that contradicts itself.
    #[error("the block map is not valid: {0}")]
    Map(String),

    /// Refused before anything was written.
    #[error(
        "the image needs {needed} bytes and the disk has only {available}: use a larger disk or a smaller image"
    )]
    TooLargeForTarget {
        /// The image's virtual size.
        needed: u64,
        /// The target's size.
        available: u64,
    },
    /// Refused before anything was written.
    #[error(
        "the disk has logical blocks of {found} bytes and images are made for {expected}: use a disk formatted for {expected}"
    )]
    BlockSize {
        /// What the image needs.
        expected: u32,
        /// What the disk has.
        found: u32,
    },
    /// The chunk number does not exist in the map.
    #[error("there is no chunk {0} in this image")]
    NoSuchChunk(usize),
    /// The bytes are not those of the chunk; it must be fetched again.
    #[error("chunk {0} arrived damaged: its length or BLAKE3 differs from the block map")]
    ChunkDamaged(usize),
    /// The bytes are those of the chunk, but do not unpack to its length: the import was at fault.
    #[error("chunk {0} of the image does not unpack: import the image again")]
    ChunkMalformed(usize),
    /// The writer stopped because of an earlier error, which `finish` gives.
    #[error("the writer has stopped: finish it to learn why")]
    WriterStopped,
    /// `finish` was called before every chunk was accepted.
    #[error("{missing} of {total} chunks were never written")]
    Incomplete {
        /// Chunks not written.
        missing: usize,
        /// All chunks of the image.
        total: usize,
    },
    /// Reading, writing or zeroing the disk failed.
    #[error("cannot {action} {length} bytes of the disk at offset {offset}")]
    Disk {
        /// `read`, `write`, `zero` or `flush`.
        action: &'static str,
        /// Where, in bytes from the start of the disk.
        offset: u64,
        /// How much, in bytes.
        length: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or device could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },

    /// The partition table on the disk cannot be worked with.
    #[error("the partition table is not usable: {0}")]
    PartitionTable(String),
    /// There is no place for the config drive's partition.
    #[error("there is no room for a config drive at the end of the disk: {0}")]
    NoRoomForConfigDrive(String),
    /// A part of the config drive is larger than allowed.
    #[error("{part} has {found} bytes and at most {limit} fit the config drive: make it smaller")]
    ConfigDrivePart {
        /// Which file.
        part: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The bound in bytes.
        limit: usize,
    },

    /// The source is no image in a known format.
    #[error("not a disk image: {0}")]
    NotADiskImage(String),
    /// The source is an image that is refused on purpose.
    #[error("the image is refused: {0}")]
    Refused(String),
    /// The bytes are not those that were promised.
    #[error("the image has {found}, expected {expected}: check the source and the checksum")]
    WrongChecksum {
        /// What the operator or the publisher said.
        expected: Box<crate::digest::Checksum>,
        /// What arrived.
        found: Box<crate::digest::Checksum>,
    },
    /// The file of checksums does not say what this image's is.
    #[error("no checksum for the image: {0}")]
    NoChecksum(String),
    /// The source is larger than the limit.
    #[error("the image is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// There is no room to unpack the image.
    #[error(
        "no room for the image: only {available} bytes are free at {}, and {reserve} are left alone", path.display()
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes that are free there.
        available: u64,
        /// Bytes that are not touched.
        reserve: u64,
    },
    /// The import is not wanted any more.
    #[error("the import was stopped")]
    Stopped,
    /// An import or upload of this image is at work already.
    #[error("the image is being imported or uploaded at this moment")]
    Busy,
    /// An upload that does not go on where the last one ended.
    #[error("{expected} bytes are here: send what comes after them, not after {found}")]
    WrongOffset {
        /// Bytes that are here.
        expected: u64,
        /// Where the upload began.
        found: u64,
    },
    /// The download failed.
    #[error("cannot download the image: {0}")]
    Download(
        String,
        #[source] Option<Box<dyn std::error::Error + Send + Sync>>,
    ),
    /// The converter failed.
    #[error("cannot convert the image: {0}")]
    Convert(String),
    /// There is an image of this name already.
    #[error("there is an image named {0} in the store already")]
    AlreadyStored(String),
}

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
