//! A FAT16 file system with one file in it, as far as its bytes differ from the file's.
//!
//! The file's clusters follow each other, so that it lies in the volume as one piece. UEFI takes
//! FAT16 on removable media (UEFI Specification 2.10, §13.3). Source: Microsoft's "FAT: General
//! Overview of On-Disk Format", 1.03.

use super::LABEL;

const SECTOR: u64 = 512;
const SECTORS_PER_CLUSTER: u64 = 8;
const CLUSTER: u64 = SECTOR * SECTORS_PER_CLUSTER;

/// What makes it FAT16 is the number of clusters alone: 4,085 to 65,524. A little away from both
/// ends, where implementations are known to err.
const FEWEST_CLUSTERS: u64 = 4_200;
const MOST_CLUSTERS: u64 = 65_500;

/// Sectors before the first FAT, so many that clusters begin at 4 KiB.
const RESERVED: u64 = 8;
const FATS: u64 = 2;
/// Entries of 32 bytes in the root folder: 32 sectors.
const ROOT_ENTRIES: u64 = 512;
const ROOT_SECTORS: u64 = ROOT_ENTRIES * 32 / SECTOR;

/// Clusters are numbered from 2; the folders `EFI` and `EFI\BOOT` have the first two.
const EFI_FOLDER: u16 = 2;
const BOOT_FOLDER: u16 = 3;
const FILE: u16 = 4;
const FOLDERS: u64 = 2;

/// The largest file, in bytes.
pub(super) const LARGEST_FILE: u64 = (MOST_CLUSTERS - FOLDERS) * CLUSTER;

/// Fixed-disk media descriptor.
const MEDIA: u8 = 0xf8;

/// 1 January 2024, as folders have it: the same image for the same boot.
const DATE: u16 = (2024 - 1980) << 9 | 1 << 5 | 1;

const FOLDER: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;

/// A volume around a file.
pub(super) struct Volume {
    file: u64,
    clusters: u64,
}

impl Volume {
    /// The volume for a file of so many bytes; `None` if it holds no such file.
    pub(super) fn around(file: u64) -> Option<Self> {
        if !(1..=LARGEST_FILE).contains(&file) {
            return None;
        }
        let clusters = (FOLDERS + file.div_ceil(CLUSTER)).max(FEWEST_CLUSTERS);
        Some(Self { file, clusters })
    }

    /// Sectors of one FAT, in whole clusters.
    fn fat_sectors(&self) -> u64 {
        ((self.clusters + 2) * 2)
            .div_ceil(SECTOR)
            .next_multiple_of(SECTORS_PER_CLUSTER)
    }

    fn data_start(&self) -> u64 {
        (RESERVED + FATS * self.fat_sectors() + ROOT_SECTORS) * SECTOR
    }

    /// Bytes of the volume.
    pub(super) fn length(&self) -> u64 {
        self.data_start() + self.clusters * CLUSTER
    }

    /// Bytes from the end of the file to the end of the volume.
    pub(super) fn after_file(&self) -> u64 {
        (self.clusters - FOLDERS) * CLUSTER - self.file
    }

    /// Everything before the file.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = self.boot_sector();
        head.resize((RESERVED * SECTOR) as usize, 0);
        for _ in 0..FATS {
            head.extend(self.fat());
        }
        let root = [
            entry(LABEL, VOLUME_LABEL, 0, 0),
            entry(b"EFI        ", FOLDER, EFI_FOLDER, 0),
        ];
        head.extend(padded(&root, ROOT_SECTORS * SECTOR));
        let efi = [
            entry(b".          ", FOLDER, EFI_FOLDER, 0),
            // The root folder is 0 here.
            entry(b"..         ", FOLDER, 0, 0),
            entry(b"BOOT       ", FOLDER, BOOT_FOLDER, 0),
        ];
        head.extend(padded(&efi, CLUSTER));
        let boot = [
            entry(b".          ", FOLDER, BOOT_FOLDER, 0),
            entry(b"..         ", FOLDER, EFI_FOLDER, 0),
            entry(b"BOOTX64 EFI", ARCHIVE, FILE, self.file as u32),
        ];
        head.extend(padded(&boot, CLUSTER));
        head
    }

    fn boot_sector(&self) -> Vec<u8> {
        let sectors = self.length() / SECTOR;
        let (small, large) = match u16::try_from(sectors) {
            Ok(small) => (small, 0),
            Err(_) => (0, sectors as u32),
        };
        let mut sector = vec![0xeb, 0x3c, 0x90];
        sector.extend(b"BESSEMER");
        sector.extend((SECTOR as u16).to_le_bytes());
        sector.push(SECTORS_PER_CLUSTER as u8);
        sector.extend((RESERVED as u16).to_le_bytes());
        sector.push(FATS as u8);
        sector.extend((ROOT_ENTRIES as u16).to_le_bytes());
        sector.extend(small.to_le_bytes());
        sector.push(MEDIA);
        sector.extend((self.fat_sectors() as u16).to_le_bytes());
        // A geometry that nobody uses any more, and no sectors before the volume.
        sector.extend(32_u16.to_le_bytes());
        sector.extend(64_u16.to_le_bytes());
        sector.extend(0_u32.to_le_bytes());
        sector.extend(large.to_le_bytes());
        // Drive number, nothing, and the mark that serial number, label and type follow.
        sector.extend([0x80, 0, 0x29]);
        sector.extend(0xbe55_0001_u32.to_le_bytes());
        sector.extend(LABEL);
        sector.extend(b"FAT16   ");
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector
    }

    fn fat(&self) -> Vec<u8> {
        const END: u16 = 0xffff;
        let mut entries = vec![0xff00 | u16::from(MEDIA), END, END, END];
        let clusters = self.file.div_ceil(CLUSTER) as u16;
        entries.extend((1..clusters).map(|number| FILE + number));
        entries.push(END);
        let mut fat: Vec<u8> = entries.into_iter().flat_map(u16::to_le_bytes).collect();
        fat.resize((self.fat_sectors() * SECTOR) as usize, 0);
        fat
    }
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

fn padded(entries: &[[u8; 32]], length: u64) -> Vec<u8> {
    let mut folder = entries.concat();
    folder.resize(length as usize, 0);
    folder
}
