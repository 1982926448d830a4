//! An ISO 9660 image that holds one file system image and boots from it: all that stands before it.
//!
//! ```text
//! 0       partition table, for firmware that sees a USB stick
//! 16      primary volume descriptor (ECMA-119 §8.4)
//! 17      boot record (El Torito §2.0)
//! 18      the end of the descriptors
//! 19      boot catalogue
//! 20, 21  path tables, least and most significant byte first
//! 22      root folder: one file, EFI.IMG
//! 32      the EFI system partition
//! ```

use super::LABEL;

const SECTOR: usize = 2048;

const DESCRIPTORS: usize = 16;
const CATALOGUE: u32 = 19;
const PATH_TABLES: [u32; 2] = [20, 21];
const ROOT: u32 = 22;
const PARTITION: u32 = 32;

/// Of the root folder's record, and of a path table with the root alone.
const ROOT_RECORD: usize = 34;
const PATH_TABLE: u32 = 10;

/// 1 January 2024, midnight, UTC: the seven bytes of a folder's record (ECMA-119 §9.1.5).
const DATE: [u8; 7] = [124, 1, 1, 0, 0, 0, 0];

/// Everything before a partition of `partition` bytes, a multiple of 4096.
pub(super) fn head(partition: u64) -> Vec<u8> {
    let sectors = PARTITION + (partition / SECTOR as u64) as u32;
    let mut image = vec![0; PARTITION as usize * SECTOR];
    let mut put = |sector: u32, content: &[u8]| {
        let start = sector as usize * SECTOR;
        image[start..start + content.len()].copy_from_slice(content);
    };
    put(0, &partition_table(partition));
    put(DESCRIPTORS as u32, &primary_descriptor(sectors));
    put(DESCRIPTORS as u32 + 1, &boot_record());
    put(DESCRIPTORS as u32 + 2, b"\xffCD001\x01");
    put(CATALOGUE, &catalogue());
    for (table, big) in PATH_TABLES.into_iter().zip([false, true]) {
        put(table, &path_table(big));
    }
    put(ROOT, &root(partition as u32));
    image
}

/// One partition of the type that UEFI looks for (UEFI Specification 2.10, §5.2.1).
fn partition_table(partition: u64) -> Vec<u8> {
    const EFI_SYSTEM: u8 = 0xef;
    const NO_GEOMETRY: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut table = vec![0; 446];
    table.push(0);
    table.extend(NO_GEOMETRY);
    table.push(EFI_SYSTEM);
    table.extend(NO_GEOMETRY);
    table.extend((PARTITION * 4).to_le_bytes());
    table.extend(((partition / 512) as u32).to_le_bytes());
    table.resize(510, 0);
    table.extend([0x55, 0xaa]);
    table
}

fn primary_descriptor(sectors: u32) -> Vec<u8> {
    let mut descriptor = b"\x01CD001\x01\x00".to_vec();
    descriptor.resize(40, b' ');
    descriptor.extend(LABEL);
    descriptor.resize(72, b' ');
    descriptor.extend([0; 8]);
    descriptor.extend(both32(sectors));
    descriptor.extend([0; 32]);
    // One volume, of sectors of 2,048 bytes.
    descriptor.extend(both16(1));
    descriptor.extend(both16(1));
    descriptor.extend(both16(SECTOR as u16));
    descriptor.extend(both32(PATH_TABLE));
    descriptor.extend(PATH_TABLES[0].to_le_bytes());
    descriptor.extend([0; 4]);
    descriptor.extend(PATH_TABLES[1].to_be_bytes());
    descriptor.extend([0; 4]);
    descriptor.extend(record(&[0], ROOT, SECTOR as u32, true));
    // Names of people and files: none.
    descriptor.resize(813, b' ');
    for _ in 0..2 {
        descriptor.extend(b"2024010100000000\0");
    }
    for _ in 0..2 {
        descriptor.extend(b"0000000000000000\0");
    }
    descriptor.push(1);
    descriptor.resize(SECTOR, 0);
    descriptor
}

fn boot_record() -> Vec<u8> {
    let mut record = b"\x00CD001\x01EL TORITO SPECIFICATION".to_vec();
    record.resize(71, 0);
    record.extend(CATALOGUE.to_le_bytes());
    record
}

/// A validation entry, and one boot image for EFI without emulation. A sector count of 0 means, to
/// EFI, everything up to the end (UEFI Specification 2.10, §13.3.2.1): the field could count no more
/// than 32 MB.
fn catalogue() -> Vec<u8> {
    const EFI: u8 = 0xef;
    const BOOTABLE: u8 = 0x88;
    let mut validation = [0; 32];
    validation[0] = 1;
    validation[1] = EFI;
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let words = validation.chunks_exact(2);
    let sum = words.fold(0_u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let mut image = [0; 32];
    image[0] = BOOTABLE;
    image[8..12].copy_from_slice(&PARTITION.to_le_bytes());
    [validation, image].concat()
}

/// The root, which is its own parent.
fn path_table(big: bool) -> Vec<u8> {
    let (sector, parent) = if big {
        (ROOT.to_be_bytes(), 1_u16.to_be_bytes())
    } else {
        (ROOT.to_le_bytes(), 1_u16.to_le_bytes())
    };
    let mut table = vec![1, 0];
    table.extend(sector);
    table.extend(parent);
    table.extend([0, 0]);
    table
}

fn root(partition: u32) -> Vec<u8> {
    let own = record(&[0], ROOT, SECTOR as u32, true);
    let parent = record(&[1], ROOT, SECTOR as u32, true);
    let image = record(b"EFI.IMG;1", PARTITION, partition, false);
    [own, parent, image].concat()
}

/// A folder's record (ECMA-119 §9.1).
fn record(name: &[u8], sector: u32, length: u32, folder: bool) -> Vec<u8> {
    let size = (ROOT_RECORD - 1 + name.len()).next_multiple_of(2);
    let mut record = vec![size as u8, 0];
    record.extend(both32(sector));
    record.extend(both32(length));
    record.extend(DATE);
    record.push(if folder { 2 } else { 0 });
    record.extend([0, 0]);
    record.extend(both16(1));
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    record.resize(size, 0);
    record
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn both32(value: u32) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}
