//! The table itself: read, checked, changed in memory, written back in an order in which a power
//! cut leaves one sound copy.

use uuid::Uuid;

use crate::write::Target;
use crate::{Error, Result};

/// Code units (UTF-16) of a partition's name.
pub(super) const ENTRY_NAME_LENGTH: usize = 36;

/// What every table made in this world uses; others are refused rather than guessed at.
const ENTRY_SIZE: usize = 128;

/// Four times what partitioning tools make.
const MAX_ENTRIES: usize = 512;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_SIZE: usize = 92;

/// One partition, as its 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry([u8; ENTRY_SIZE]);

impl Entry {
    /// A partition of the blocks `first` to `last`, both included.
    pub(super) fn new(kind: Uuid, id: Uuid, first: u64, last: u64, name: &str) -> Self {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[0..16].copy_from_slice(&kind.to_bytes_le());
        bytes[16..32].copy_from_slice(&id.to_bytes_le());
        put_u64(&mut bytes, 32, first);
        put_u64(&mut bytes, 40, last);
        for (unit, place) in name.encode_utf16().zip(bytes[56..].chunks_exact_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        Self(bytes)
    }

    /// The type of the partition.
    pub(super) fn kind(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[0..16]);
        Uuid::from_bytes_le(bytes)
    }

    fn is_used(&self) -> bool {
        self.0[0..16] != [0; 16]
    }

    /// First block.
    pub(super) fn first(&self) -> u64 {
        get_u64(&self.0, 32)
    }

    /// Last block, included.
    pub(super) fn last(&self) -> u64 {
        get_u64(&self.0, 40)
    }

    /// The name; what is no UTF-16 is replaced.
    pub(super) fn name(&self) -> String {
        let units = self.0[56..]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        String::from_utf16_lossy(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>())
    }
}

/// A GUID partition table with its protective MBR.
#[derive(Debug)]
pub(super) struct Table {
    block_size: u64,
    disk_blocks: u64,
    mbr: Vec<u8>,
    disk_id: [u8; 16],
    entries_start: u64,
    first_usable: u64,
    last_usable: u64,
    entries: Vec<Entry>,
}

impl Table {
    /// Reads and checks the primary table; the backup may be anywhere or missing.
    pub(super) fn read(target: &impl Target) -> Result<Self> {
        let block_size = u64::from(target.logical_block_size());
        let disk_blocks = target.size() / block_size;
        if disk_blocks < 64 {
            return Err(Error::PartitionTable(
                "the disk is too small to have one".into(),
            ));
        }
        let mbr = read_blocks(target, 0, 1)?;
        let header = read_blocks(target, 1, 1)?;
        check_header(&header)?;
        let entry_count = get_u32(&header, 80) as usize;
        let entries_start = get_u64(&header, 72);
        let entry_bytes = entry_count * ENTRY_SIZE;
        let blocks = (entry_bytes as u64).div_ceil(block_size);
        if entries_start < 2
            || entries_start
                .checked_add(blocks)
                .is_none_or(|end| end > disk_blocks)
        {
            return Err(Error::PartitionTable(
                "its entries lie outside of the disk".into(),
            ));
        }
        let bytes = read_blocks(target, entries_start, blocks)?;
        if crc32fast::hash(&bytes[..entry_bytes]) != get_u32(&header, 88) {
            return Err(Error::PartitionTable(
                "the checksum of its entries is wrong".into(),
            ));
        }
        let entries = bytes[..entry_bytes]
            .chunks_exact(ENTRY_SIZE)
            .map(|chunk| {
                let mut entry = [0; ENTRY_SIZE];
                entry.copy_from_slice(chunk);
                Entry(entry)
            })
            .collect();
        let mut disk_id = [0; 16];
        disk_id.copy_from_slice(&header[56..72]);
        let table = Self {
            block_size,
            disk_blocks,
            mbr,
            disk_id,
            entries_start,
            first_usable: get_u64(&header, 40),
            last_usable: get_u64(&header, 48),
            entries,
        };
        table.check_layout(blocks)?;
        Ok(table)
    }

    fn check_layout(&self, entry_blocks: u64) -> Result<()> {
        let wrong = |what: String| Err(Error::PartitionTable(what));
        if protective_record(&self.mbr).is_none() {
            return wrong("there is no protective MBR".into());
        }
        if self.first_usable < self.entries_start + entry_blocks {
            return wrong("its entries lie in the space for partitions".into());
        }
        let mut used: Vec<_> = self
            .used_entries()
            .map(|(i, entry)| (entry.first(), entry.last(), i + 1))
            .collect();
        used.sort_unstable();
        let mut free_from = self.first_usable;
        for (first, last, number) in used {
            if first < free_from || last < first {
                return wrong(format!(
                    "partition {number} overlaps another one or the table"
                ));
            }
            if last >= self.disk_blocks {
                return wrong(format!(
                    "partition {number} ends beyond the end of the disk"
                ));
            }
            free_from = last + 1;
        }
        Ok(())
    }

    /// Bytes per block.
    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// First block that a partition may have.
    pub(super) fn first_usable(&self) -> u64 {
        self.first_usable
    }

    /// Last block that a partition may have.
    pub(super) fn last_usable(&self) -> u64 {
        self.last_usable
    }

    /// The partitions with their indices, from 0 on.
    pub(super) fn used_entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.is_used())
    }

    /// Puts `entry` into the first free place and gives its index, if there is one.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<usize> {
        let index = self.entries.iter().position(|entry| !entry.is_used())?;
        self.entries[index] = entry;
        Some(index)
    }

    fn entry_blocks(&self) -> u64 {
        ((self.entries.len() * ENTRY_SIZE) as u64).div_ceil(self.block_size)
    }

    fn backup_entries_start(&self) -> u64 {
        self.disk_blocks - 1 - self.entry_blocks()
    }

    /// Makes everything up to the backup table at the end of the disk usable.
    pub(super) fn fit_to_disk(&mut self) -> Result<()> {
        self.last_usable = self.backup_entries_start() - 1;
        if let Some((index, _)) = self
            .used_entries()
            .find(|(_, entry)| entry.last() > self.last_usable)
        {
            return Err(Error::NoRoomForConfigDrive(format!(
                "partition {} leaves no room for the backup partition table",
                index + 1
            )));
        }
        Ok(())
    }

    /// Writes backup, then primary, then protective MBR, each on the disk before the next.
    pub(super) fn write(&self, target: &impl Target) -> Result<()> {
        let entries = self.entry_bytes();
        let backup_start = self.backup_entries_start();
        let last = self.disk_blocks - 1;
        self.write_copy(target, &entries, backup_start, last, 1)?;
        self.write_copy(target, &entries, self.entries_start, 1, last)?;
        write_blocks(target, self.block_size, 0, &self.corrected_mbr())?;
        flush(target)
    }

    fn write_copy(
        &self,
        target: &impl Target,
        entries: &[u8],
        entries_start: u64,
        here: u64,
        other: u64,
    ) -> Result<()> {
        write_blocks(target, self.block_size, entries_start, entries)?;
        let header = self.header(entries, entries_start, here, other);
        write_blocks(target, self.block_size, here, &header)?;
        flush(target)
    }

    fn entry_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.entries.iter().flat_map(|entry| entry.0).collect();
        bytes.resize((self.entry_blocks() * self.block_size) as usize, 0);
        bytes
    }

    fn header(&self, entries: &[u8], entries_start: u64, here: u64, other: u64) -> Vec<u8> {
        let mut header = vec![0; self.block_size as usize];
        header[0..8].copy_from_slice(SIGNATURE);
        put_u32(&mut header, 8, 0x0001_0000);
        put_u32(&mut header, 12, HEADER_SIZE as u32);
        put_u64(&mut header, 24, here);
        put_u64(&mut header, 32, other);
        put_u64(&mut header, 40, self.first_usable);
        put_u64(&mut header, 48, self.last_usable);
        header[56..72].copy_from_slice(&self.disk_id);
        put_u64(&mut header, 72, entries_start);
        put_u32(&mut header, 80, self.entries.len() as u32);
        put_u32(&mut header, 84, ENTRY_SIZE as u32);
        put_u32(
            &mut header,
            88,
            crc32fast::hash(&entries[..self.entries.len() * ENTRY_SIZE]),
        );
        let checksum = crc32fast::hash(&header[..HEADER_SIZE]);
        put_u32(&mut header, 16, checksum);
        header
    }

    /// The MBR with the protective partition as long as the disk, up to what 32 bits can say.
    /// Boot code and other records (hybrid MBRs) stay.
    fn corrected_mbr(&self) -> Vec<u8> {
        let mut mbr = self.mbr.clone();
        if let Some(record) = protective_record(&mbr) {
            let start = u64::from(get_u32(&mbr, record + 8));
            let length = u32::try_from(self.disk_blocks.saturating_sub(start)).unwrap_or(u32::MAX);
            put_u32(&mut mbr, record + 12, length);
        }
        mbr
    }
}

fn check_header(header: &[u8]) -> Result<()> {
    let wrong = |what: &str| Err(Error::PartitionTable(what.into()));
    if &header[0..8] != SIGNATURE {
        return wrong("there is no GPT on the disk");
    }
    let size = get_u32(header, 12) as usize;
    if !(HEADER_SIZE..=header.len()).contains(&size) {
        return wrong("its header has a wrong size");
    }
    let mut zeroed = header[..size].to_vec();
    put_u32(&mut zeroed, 16, 0);
    if crc32fast::hash(&zeroed) != get_u32(header, 16) {
        return wrong("the checksum of its header is wrong");
    }
    if get_u64(header, 24) != 1 {
        return wrong("its header belongs somewhere else");
    }
    if get_u32(header, 84) as usize != ENTRY_SIZE {
        return wrong("its entries are not 128 bytes long");
    }
    if !(1..=MAX_ENTRIES).contains(&(get_u32(header, 80) as usize)) {
        return wrong("it has a wrong number of entries");
    }
    Ok(())
}

/// Offset of the MBR's partition record of type 0xEE.
fn protective_record(mbr: &[u8]) -> Option<usize> {
    let signed = mbr[510..512] == [0x55, 0xaa];
    (446..510)
        .step_by(16)
        .find(|record| signed && mbr[record + 4] == 0xee)
}

fn read_blocks(target: &impl Target, start: u64, count: u64) -> Result<Vec<u8>> {
    let block = u64::from(target.logical_block_size());
    let (offset, length) = (start * block, count * block);
    let mut bytes = vec![0; length as usize];
    target
        .read_at(offset, &mut bytes)
        .map_err(|source| Error::Disk {
            action: "read",
            offset,
            length,
            source,
        })?;
    Ok(bytes)
}

fn write_blocks(target: &impl Target, block_size: u64, start: u64, bytes: &[u8]) -> Result<()> {
    let (offset, length) = (start * block_size, bytes.len() as u64);
    target
        .write_at(offset, bytes)
        .map_err(|source| Error::Disk {
            action: "write",
            offset,
            length,
            source,
        })
}

fn flush(target: &impl Target) -> Result<()> {
    let length = target.size();
    target.flush().map_err(|source| Error::Disk {
        action: "flush",
        offset: 0,
        length,
        source,
    })
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get_u32(bytes, at)) | u64::from(get_u32(bytes, at + 4)) << 32
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
