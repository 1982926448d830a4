//! Fitting an image's partition table to the disk it was written to.
//!
//! The table of an image ends where the image ends. On a larger disk its backup belongs at the end
//! of the disk, or firmware and tools complain and growpart has nothing to grow into. At the same
//! time the config drive gets its partition: the last whole MiB, so that the root partition can
//! still be grown up to it.
//!
//! UEFI Specification 2.10, chapter 5. The table comes from an image that anybody may have made:
//! every number in it is checked before it is used.

use uuid::Uuid;

use crate::write::Target;
use crate::{Error, Result};

mod table;

use table::{ENTRY_NAME_LENGTH, Entry, Table};

/// Name of the config drive's partition. cloud-init looks for the file system's label, people
/// for this.
pub const CONFIG_PARTITION_NAME: &str = "config-2";

/// Bytes of the config drive's partition, and what it is aligned to.
pub const CONFIG_PARTITION_SIZE: u64 = 1 << 20;

/// Bytes that a disk must have beyond the image, so that [`add_config_partition`] finds room: one
/// MiB for the config drive, and up to another one lost to alignment and the backup table. Whoever
/// chooses a disk adds this to the image's virtual size *before* anything is erased.
pub const RESERVED_SIZE: u64 = 2 << 20;

/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
const LINUX_DATA: Uuid = Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);

/// Where the config drive is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigPartition {
    /// Its number in the table, from 1 on: the `3` of `/dev/sda3`.
    pub number: u32,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes; always [`CONFIG_PARTITION_SIZE`].
    pub length: u64,
}

/// Moves the backup table to the end of the disk, corrects the protective MBR, and adds the
/// partition for the config drive, with `id` as its unique GUID. Doing it again changes nothing
/// and gives the same partition.
///
/// Refuses a disk without a sound GPT ([`Error::PartitionTable`]) and one whose last MiB is taken
/// ([`Error::NoRoomForConfigDrive`]), in both cases without having written anything.
pub fn add_config_partition(target: &impl Target, id: Uuid) -> Result<ConfigPartition> {
    let mut table = Table::read(target)?;
    table.fit_to_disk()?;
    let partition = match find_config_partition(&table)? {
        Some(partition) => partition,
        None => insert_config_partition(&mut table, id)?,
    };
    table.write(target)?;
    Ok(partition)
}

/// "Root Verity Partition" for x86-64, 2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5 (UAPI.2, Discoverable
/// Partitions Specification).
const ROOT_VERITY: Uuid = Uuid::from_u128(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5);

/// Whether a partition of the disk has hashes of a root file system (dm-verity), which must then not
/// change by a byte. [`Error::PartitionTable`] where there is no sound GPT.
pub fn has_verity_root(target: &impl Target) -> Result<bool> {
    let table = Table::read(target)?;
    Ok(table
        .used_entries()
        .any(|(_, entry)| entry.kind() == ROOT_VERITY))
}

/// Says whether `target` begins with a sound GPT all of whose partitions lie inside of it; if not,
/// [`Error::PartitionTable`] says why.
pub fn check(target: &impl Target) -> Result<()> {
    Table::read(target).map(drop)
}

/// First block of the partition: the last aligned MiB that is usable.
fn config_partition_start(table: &Table) -> Result<u64> {
    let blocks = CONFIG_PARTITION_SIZE / table.block_size();
    ((table.last_usable() + 1) / blocks)
        .checked_sub(1)
        .map(|mebibyte| mebibyte * blocks)
        .ok_or_else(|| Error::NoRoomForConfigDrive("the disk is smaller than 2 MiB".into()))
}

fn describe(table: &Table, index: usize, start: u64) -> ConfigPartition {
    ConfigPartition {
        number: index as u32 + 1,
        offset: start * table.block_size(),
        length: CONFIG_PARTITION_SIZE,
    }
}

fn find_config_partition(table: &Table) -> Result<Option<ConfigPartition>> {
    let start = config_partition_start(table)?;
    let blocks = CONFIG_PARTITION_SIZE / table.block_size();
    for (index, entry) in table.used_entries() {
        if entry.name() != CONFIG_PARTITION_NAME {
            continue;
        }
        if entry.first() == start && entry.last() == start + blocks - 1 {
            return Ok(Some(describe(table, index, start)));
        }
        return Err(Error::NoRoomForConfigDrive(format!(
            "the image brings a partition named {CONFIG_PARTITION_NAME} of its own (number {}): \
             make the image without it",
            index + 1
        )));
    }
    Ok(None)
}

fn insert_config_partition(table: &mut Table, id: Uuid) -> Result<ConfigPartition> {
    let start = config_partition_start(table)?;
    let last = start + CONFIG_PARTITION_SIZE / table.block_size() - 1;
    if let Some((index, _)) = table
        .used_entries()
        .find(|(_, entry)| entry.last() >= start)
    {
        return Err(Error::NoRoomForConfigDrive(format!(
            "partition {} reaches into the last MiB: use a larger disk or a smaller image",
            index + 1
        )));
    }
    if start < table.first_usable() {
        return Err(Error::NoRoomForConfigDrive("the disk is too small".into()));
    }
    let entry = Entry::new(LINUX_DATA, id, start, last, CONFIG_PARTITION_NAME);
    let index = table.insert(entry).ok_or_else(|| {
        Error::NoRoomForConfigDrive("every entry of the partition table is taken".into())
    })?;
    Ok(describe(table, index, start))
}

const _: () = assert!(CONFIG_PARTITION_NAME.len() <= ENTRY_NAME_LENGTH);
