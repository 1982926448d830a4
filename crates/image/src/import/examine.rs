//! All that an import looks at in a file before another program sees it, for a file in memory.
//!
//! An import goes from file to file, since images are large. What it reads of each is up to whoever
//! made the image: here the same readers are put before any bytes, so that a fuzzer can try them.

use std::io::Read;

use super::archive::find_disk;
use super::checksums::find;
use super::format::{Kind, detect};
use super::unpack::decoder;
use super::{Stop, check_disk};
use crate::digest::Checksum;
use crate::{Error, Result};

/// Recognises `file` and checks it as an import of disks of up to `largest` bytes would: the headers and
/// tables of a qcow2 or VMDK, the entries of an archive, what is compressed up to `unpacked` bytes of
/// what comes out. Gives the kind's name. A raw disk is only recognised: [`crate::gpt`] reads its table.
///
/// # Errors
/// Whatever the import would end with.
pub fn examine(file: &[u8], largest: u64, unpacked: u64) -> Result<&'static str> {
    let stop = Stop::default();
    let size = file.len() as u64;
    let kind = detect(file, size, largest)?;
    match kind {
        Kind::Raw => {}
        Kind::Qcow2 | Kind::Vmdk => {
            check_disk(kind, file, size, largest, &stop, |offset, length| {
                Ok(part(file, offset, length).to_vec())
            })?;
        }
        Kind::Tar => drop(find_disk(|| Ok(file), &stop)?),
        Kind::Packed(compression) => {
            let damaged = |error: std::io::Error| Error::NotADiskImage(error.to_string());
            let decoder = decoder(compression, file).map_err(damaged)?;
            std::io::copy(&mut decoder.take(unpacked), &mut std::io::sink()).map_err(damaged)?;
        }
    }
    Ok(kind.name())
}

/// As much as there is of so many bytes.
fn part(file: &[u8], offset: u64, length: usize) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = file.get(start..).unwrap_or_default();
    &rest[..length.min(rest.len())]
}

/// The checksum of the file `name` in the file `sums`, whose content is `text`.
///
/// # Errors
/// [`Error::NoChecksum`] where there is none, or more than one.
pub fn checksum_in(text: &[u8], sums: &str, name: &str) -> Result<Checksum> {
    find(text, sums, name)
}
