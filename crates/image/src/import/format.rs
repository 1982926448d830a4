//! What a file is, by its content, and for what is refused a word that helps.

use super::unpack::Compression;
use super::{qcow2, vmdk};
use crate::{Error, Result};

/// Bytes of the beginning that decide.
pub(super) const BEGINNING: usize = 36 << 10;

const SECTOR: usize = 512;
const GPT_SIGNATURE: &[u8] = b"EFI PART";

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A disk as it is, with a GUID partition table.
    Raw,
    /// A QEMU image.
    Qcow2,
    /// A VMware disk.
    Vmdk,
    /// A tar archive with one of these in it.
    Tar,
    /// One of these, compressed.
    Packed(Compression),
}

impl Kind {
    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Tar => "tar",
            Self::Packed(Compression::Gzip) => "gzip",
            Self::Packed(Compression::Xz) => "xz",
            Self::Packed(Compression::Zstd) => "zstd",
        }
    }
}

/// What is recognised by bytes at one place.
const KNOWN: [(usize, &[u8], Kind); 6] = [
    (0, qcow2::MAGIC, Kind::Qcow2),
    (0, vmdk::MAGIC, Kind::Vmdk),
    (0, b"\x1f\x8b", Kind::Packed(Compression::Gzip)),
    (0, b"\xfd7zXZ\0", Kind::Packed(Compression::Xz)),
    (0, b"\x28\xb5\x2f\xfd", Kind::Packed(Compression::Zstd)),
    (257, b"ustar", Kind::Tar),
];

/// Others that people have, and what to do with them.
const OTHERS: [(usize, &[u8], &str); 7] = [
    (0, b"BZh", "this is a bzip2 archive: unpack it first"),
    (0, b"PK\x03\x04", "this is a zip archive: unpack it first"),
    (
        0,
        vmdk::DESCRIPTOR,
        "this only describes a VMDK whose data is in other files: convert it with `qemu-img convert` first",
    ),
    (0, b"vhdxfile", "this is a VHDX: convert it to qcow2 first"),
    (0, b"conectix", "this is a VHD: convert it to qcow2 first"),
    (
        64,
        b"\x7f\x10\xda\xbe",
        "this is a VDI: convert it to qcow2 first",
    ),
    (
        32769,
        b"CD001",
        "this is an ISO image of an installer: use the distribution's cloud image",
    ),
];

/// Recognises a file of `size` bytes by its `beginning`.
pub(super) fn detect(beginning: &[u8], size: u64, largest: u64) -> Result<Kind> {
    let has = |at: usize, magic: &[u8]| beginning.get(at..).is_some_and(|b| b.starts_with(magic));
    let refuse = |what: &str| Err(Error::NotADiskImage(what.into()));
    if has(SECTOR, GPT_SIGNATURE) {
        return check_size(size, largest).map(|()| Kind::Raw);
    }
    if let Some((_, _, kind)) = KNOWN.iter().find(|(at, magic, _)| has(*at, magic)) {
        return Ok(*kind);
    }
    if let Some((_, _, what)) = OTHERS.iter().find(|(at, magic, _)| has(*at, magic)) {
        return refuse(what);
    }
    if has(4096, GPT_SIGNATURE) {
        return refuse("it is made for disks with sectors of 4096 bytes, only 512 is supported");
    }
    let text: String = beginning
        .iter()
        .take(256)
        .map(|byte| byte.to_ascii_lowercase() as char)
        .collect();
    if text.contains("<!doctype") || text.contains("<html") {
        return refuse("this is a web page: use the URL of the file itself");
    }
    if has(510, &[0x55, 0xaa]) {
        return refuse(
            "it has an MBR partition table or none, and UEFI machines need GPT: \
             use the distribution's UEFI image",
        );
    }
    refuse("neither a qcow2, VMDK or OVA nor a raw disk with a GUID partition table")
}

/// Whether a disk can have this size.
pub(super) fn check_size(size: u64, largest: u64) -> Result<()> {
    if size > largest {
        return Err(Error::TooLarge { limit: largest });
    }
    if size == 0 || !size.is_multiple_of(SECTOR as u64) {
        let what = format!("{size} bytes are not whole sectors of {SECTOR}: it may be cut off");
        return Err(Error::NotADiskImage(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 1 << 40;

    fn verdict(beginning: &[u8]) -> String {
        match detect(beginning, beginning.len() as u64, LARGEST) {
            Ok(format) => format!("{format:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn known_formats_are_recognised() {
        for (at, magic, kind) in KNOWN {
            let mut file = vec![0; 1024];
            file[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(verdict(&file), format!("{kind:?}"));
        }
        let mut raw = vec![0; 4096];
        raw[512..520].copy_from_slice(GPT_SIGNATURE);
        assert_eq!(verdict(&raw), "Raw");
        raw.push(0);
        assert!(verdict(&raw).contains("cut off"));
    }

    #[test]
    fn others_are_named() {
        let with = |at: usize, magic: &[u8]| {
            let mut file = vec![0; BEGINNING];
            file[at..at + magic.len()].copy_from_slice(magic);
            verdict(&file)
        };
        for (at, magic, what) in OTHERS {
            assert!(with(at, magic).ends_with(what), "{what}");
        }
        assert!(with(510, &[0x55, 0xaa]).contains("GPT"));
        assert!(with(4096, GPT_SIGNATURE).contains("4096"));
        assert!(with(0, b"\n<!DOCTYPE html>").contains("web page"));
        assert!(with(0, b"hello").contains("neither"));
        assert!(verdict(b"").contains("neither"));
    }
}
