//! CD images that boot the agent, composed per boot.
//!
//! A management controller fetches one file over HTTP and shows it to the machine as a CD. UEFI
//! looks there for an El Torito boot catalogue with an EFI system partition, and in that FAT file
//! system for `\EFI\BOOT\BOOTX64.EFI`, which here is the boot file of this one boot ([`crate::uki`]).
//! Firmware that sees the image as a USB stick finds the same partition by a partition table in the
//! first sector.
//!
//! The boot file is as large for every boot, so everything around it is laid out once, and a boot
//! costs no copy of it.
//!
//! Sources: ECMA-119 (ISO 9660), the El Torito specification 1.0, and the UEFI Specification 2.10,
//! §13.3.2.1 (El Torito) and §3.5.1.1 (the file's name).

mod fat;
mod iso;

use bytes::Bytes;

use crate::pieces::Pieces;
use crate::{Error, Result};

/// The media type of CD images.
pub const MEDIA_TYPE: &str = "application/x-iso9660-image";

/// The volume's name in both file systems.
const LABEL: &[u8; 11] = b"BESSEMER   ";

/// Zeros to fill up with.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Everything of an image but the boot file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediumTemplate {
    /// From the first sector to where the boot file begins.
    before: Bytes,
    /// The boot file's length, in bytes.
    file: u64,
    /// Zeros behind it, in bytes.
    after: u64,
}

impl MediumTemplate {
    /// The image around a boot file of `file` bytes.
    ///
    /// [`Error::BootFile`] if the file is empty or larger than some 250 MB, which is what the file
    /// system here can hold.
    pub fn new(file: u64) -> Result<Self> {
        let volume = fat::Volume::around(file).ok_or_else(|| {
            Error::BootFile(format!(
                "a boot file of {file} bytes does not fit a boot medium, which holds 1 to {}",
                fat::LARGEST_FILE
            ))
        })?;
        let mut before = iso::head(volume.length());
        before.extend(volume.head());
        Ok(Self {
            before: before.into(),
            file,
            after: volume.after_file(),
        })
    }

    /// The image with this boot file.
    ///
    /// [`Error::BootFile`] if it has another length than the template was made for.
    pub fn compose(&self, file: &Pieces) -> Result<Pieces> {
        if file.len() != self.file {
            return Err(Error::BootFile(format!(
                "the boot file has {} bytes, expected {}",
                file.len(),
                self.file
            )));
        }
        let mut pieces = vec![self.before.clone()];
        pieces.extend(file.pieces().iter().cloned());
        let mut left = self.after;
        while left > 0 {
            let length = left.min(ZEROS.len() as u64);
            pieces.push(Bytes::from_static(&ZEROS[..length as usize]));
            left -= length;
        }
        Ok(Pieces::new(pieces))
    }
}
