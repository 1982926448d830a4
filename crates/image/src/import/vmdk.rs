//! What a VMDK may be before a QEMU program sees it: one file, complete in itself.
//!
//! After VMware's "Virtual Disk Format 5.0", and QEMU's `block/vmdk.c` for what QEMU does beyond:
//! it opens other files that a text descriptor names, as extents or as the parent of a snapshot.

use super::format::check_size;
use crate::{Error, Result};

/// What a sparse extent begins with.
pub(super) const MAGIC: &[u8] = b"KDMV";

/// What a descriptor in a file of its own begins with.
pub(super) const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

const SECTOR: u64 = 512;

/// Bytes of the descriptor that QEMU reads (`DESC_SIZE`).
const MOST_DESCRIPTOR: u64 = 20 * SECTOR;

/// Kinds whose one extent is the file itself.
const KINDS: [&str; 2] = ["monolithicSparse", "streamOptimized"];

/// Checks the header and the descriptor; `read` reads from the file. Gives the virtual size.
pub(super) fn check(
    header: &[u8],
    largest: u64,
    read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
) -> Result<u64> {
    let number = |at: usize, length: usize| -> Result<u64> {
        let bytes = header
            .get(at..at + length)
            .ok_or_else(|| Error::NotADiskImage("the VMDK header is cut off".into()))?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if !(1..=3).contains(&number(4, 4)?) {
        return refuse("the VMDK version is not 1 to 3");
    }
    let sectors = number(12, 8)?;
    // QEMU takes such a header for a reason to open what the descriptor names.
    if sectors == 0 {
        return refuse("the VMDK header has no capacity");
    }
    let (offset, size) = (number(28, 8)?, number(36, 8)?);
    if offset == 0 || size == 0 {
        return refuse("the VMDK has no descriptor of its own: it is a part of another one");
    }
    let start = offset.checked_mul(SECTOR).filter(|start| *start < 1 << 40);
    let start = start.ok_or_else(|| Error::Refused("the VMDK descriptor is far off".into()))?;
    let length = size.saturating_mul(SECTOR).clamp(1, MOST_DESCRIPTOR);
    let text = read(start, MOST_DESCRIPTOR as usize).map_err(|error| {
        Error::NotADiskImage(format!("the VMDK descriptor cannot be read ({error})"))
    })?;
    check_descriptor(&text, length as usize)?;
    let virtual_size = sectors
        .checked_mul(SECTOR)
        .ok_or(Error::TooLarge { limit: largest })?;
    check_size(virtual_size, largest)?;
    Ok(virtual_size)
}

/// `read` is all that QEMU would look at, of which `length` bytes are the descriptor.
fn check_descriptor(read: &[u8], length: usize) -> Result<()> {
    let everything = String::from_utf8_lossy(read);
    if everything.contains("parentFileNameHint") {
        return refuse(
            "the VMDK is a snapshot of another disk: merge them with `qemu-img convert` first",
        );
    }
    let text = String::from_utf8_lossy(&read[..length.min(read.len())]);
    let text = text.split('\0').next().unwrap_or_default();
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let kind = value("createType").unwrap_or_default();
    if !KINDS.contains(&kind.as_str()) {
        return Err(Error::Refused(format!(
            "the VMDK is of kind `{}`, and only {} are a disk in one file: convert it with \
             `qemu-img convert` first",
            kind.chars().take(40).collect::<String>(),
            KINDS.join(" and ")
        )));
    }
    if value("parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff")) {
        return refuse(
            "the VMDK is a snapshot of another disk: merge them with `qemu-img convert` first",
        );
    }
    let extents = text
        .lines()
        .filter(|line| {
            ["RW ", "RDONLY ", "NOACCESS "]
                .iter()
                .any(|word| line.starts_with(word))
        })
        .count();
    match extents {
        1 => Ok(()),
        _ => refuse("the VMDK is not one extent"),
    }
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Error::Refused(what.into()))
}
