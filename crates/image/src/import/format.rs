//! What a file is, by its content, and for what is refused a word that helps.

use crate::{Error, Result};

/// Bytes of the beginning that decide.
pub(super) const BEGINNING: usize = 36 << 10;

const SECTOR: usize = 512;
const GPT_SIGNATURE: &[u8] = b"EFI PART";
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A disk as it is, with a GUID partition table.
    Raw,
    /// A QEMU image that depends on no other file.
    Qcow2 {
        /// Bytes of the disk in it.
        virtual_size: u64,
    },
}

/// Others that people have, and what to do with them.
const OTHERS: [(usize, &[u8], &str); 10] = [
    (0, b"\x1f\x8b", "this is a gzip archive: unpack it first"),
    (0, b"\xfd7zXZ\0", "this is an xz archive: unpack it first"),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "this is a zstd archive: unpack it first",
    ),
    (0, b"BZh", "this is a bzip2 archive: unpack it first"),
    (0, b"PK\x03\x04", "this is a zip archive: unpack it first"),
    (0, b"KDMV", "this is a VMDK: convert it to qcow2 first"),
    (0, b"vhdxfile", "this is a VHDX: convert it to qcow2 first"),
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
    (
        257,
        b"ustar",
        "this is a tar archive: make a disk image of it",
    ),
];

/// Recognises a file of `size` bytes by its `beginning`.
pub(super) fn detect(beginning: &[u8], size: u64, largest: u64) -> Result<Format> {
    if beginning.starts_with(QCOW2_MAGIC) {
        return check_qcow2(beginning, largest);
    }
    let has = |at: usize, magic: &[u8]| beginning.get(at..).is_some_and(|b| b.starts_with(magic));
    let refuse = |what: &str| Err(Error::NotADiskImage(what.into()));
    if has(SECTOR, GPT_SIGNATURE) {
        return check_size(size, largest).map(|()| Format::Raw);
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
    refuse("neither a qcow2 image nor a raw disk with a GUID partition table")
}

fn check_size(size: u64, largest: u64) -> Result<()> {
    if size > largest {
        return Err(Error::TooLarge { limit: largest });
    }
    if size == 0 || !size.is_multiple_of(SECTOR as u64) {
        let what = format!("{size} bytes are not whole sectors of {SECTOR}: it may be cut off");
        return Err(Error::NotADiskImage(what));
    }
    Ok(())
}

/// The header after QEMU's `docs/interop/qcow2.txt`. What would make the converter read other
/// files or guess is refused.
fn check_qcow2(header: &[u8], largest: u64) -> Result<Format> {
    let cut_off = || Error::NotADiskImage("the qcow2 header is cut off".into());
    let field = |at: usize, length: usize| -> Result<u64> {
        let bytes = header.get(at..at + length).ok_or_else(cut_off)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let refuse = |what: &str| Err(Error::Refused(what.into()));
    let version = field(4, 4)?;
    if !(2..=3).contains(&version) {
        return refuse("the qcow2 version is not 2 or 3");
    }
    if field(8, 8)? != 0 {
        return refuse("it has a backing file: merge them with `qemu-img convert` first");
    }
    if field(32, 4)? != 0 {
        return refuse("it is encrypted: decrypt it first");
    }
    const DIRTY: u64 = 1;
    const CORRUPT: u64 = 2;
    const EXTERNAL_DATA: u64 = 4;
    const COMPRESSION_TYPE: u64 = 8;
    const EXTENDED_L2: u64 = 16;
    let features = if version == 3 { field(72, 8)? } else { 0 };
    if features & CORRUPT != 0 {
        return refuse("it is marked as corrupt: repair it with `qemu-img check -r all` first");
    }
    if features & EXTERNAL_DATA != 0 {
        return refuse("its data is in another file: merge them with `qemu-img convert` first");
    }
    if features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2) != 0 {
        return refuse("it uses features of qcow2 that are not known here");
    }
    let virtual_size = field(24, 8)?;
    check_size(virtual_size, largest)?;
    Ok(Format::Qcow2 { virtual_size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 1 << 40;

    fn qcow2() -> Vec<u8> {
        let mut header = vec![0; 104];
        header[..4].copy_from_slice(QCOW2_MAGIC);
        header[7] = 3;
        header[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        header
    }

    fn verdict(beginning: &[u8]) -> String {
        match detect(beginning, beginning.len() as u64, LARGEST) {
            Ok(format) => format!("{format:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn known_formats_are_recognised() {
        assert_eq!(
            verdict(&qcow2()),
            format!("Qcow2 {{ virtual_size: {} }}", 1u64 << 30)
        );
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

    #[test]
    fn qcow2_that_reaches_outside_of_itself_is_refused() {
        for (at, value, what) in [
            (7, 1, "version"),
            (15, 1, "backing file"),
            (35, 1, "encrypted"),
            (79, 2, "corrupt"),
            (79, 4, "another file"),
            (79, 32, "not known"),
            (31, 1, "cut off"),
            (24, 1, "larger than the limit"),
        ] {
            let mut header = qcow2();
            header[at] = value;
            assert!(
                verdict(&header).contains(what),
                "{what}: {}",
                verdict(&header)
            );
        }
        assert!(verdict(&qcow2()[..40]).contains("cut off"));
    }
}
