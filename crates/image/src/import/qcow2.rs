//! What a qcow2 may be before a QEMU program sees it: complete in itself, and no larger in the end
//! than it claims.
//!
//! After QEMU's `docs/interop/qcow2.txt`. What would make the converter read other files or guess
//! is refused. So is what makes little into much: tables that point to each other or to
//! themselves, and clusters that stand for many places at once.

use std::collections::HashSet;
use std::io;

use super::Stop;
use super::format::check_size;
use crate::{Error, Result};

/// What the file begins with.
pub(super) const MAGIC: &[u8] = b"QFI\xfb";

/// Entries of the L1 table that QEMU reads (`QCOW_MAX_L1_SIZE`, 32 MiB).
const MOST_L1: u64 = (32 << 20) / 8;

/// Bits of an L1 or standard L2 entry that are the offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Marks an L2 entry as that of a compressed cluster.
const COMPRESSED: u64 = 1 << 62;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 2;
const EXTERNAL_DATA: u64 = 4;
const COMPRESSION_TYPE: u64 = 8;
const EXTENDED_L2: u64 = 16;

/// What a checked header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the disk.
    pub(super) virtual_size: u64,
    cluster_bits: u32,
    l1_entries: u64,
    l1_offset: u64,
    extended: bool,
}

/// Checks the header.
pub(super) fn check_header(header: &[u8], largest: u64) -> Result<Header> {
    let cut_off = || Error::NotADiskImage("the qcow2 header is cut off".into());
    let field = |at: usize, length: usize| -> Result<u64> {
        let bytes = header.get(at..at + length).ok_or_else(cut_off)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
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
    let cluster_bits = field(20, 4)?;
    if !(9..=21).contains(&cluster_bits) {
        return refuse("its clusters are not of 512 bytes to 2 MiB");
    }
    let header = Header {
        virtual_size,
        cluster_bits: cluster_bits as u32,
        l1_entries: field(36, 4)?,
        l1_offset: field(40, 8)?,
        extended: features & EXTENDED_L2 != 0,
    };
    header.check_l1()?;
    Ok(header)
}

impl Header {
    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn entry_size(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    fn check_l1(&self) -> Result<()> {
        let per_table = self.cluster() / self.entry_size();
        let needed = self
            .virtual_size
            .div_ceil(self.cluster())
            .div_ceil(per_table);
        if self.l1_entries > MOST_L1 || self.l1_entries < needed {
            return refuse("the size of its L1 table does not go with that of the disk");
        }
        if self.l1_offset == 0 || !self.l1_offset.is_multiple_of(self.cluster()) {
            return refuse("its L1 table is not at a cluster");
        }
        Ok(())
    }

    /// Follows the tables of a file of `size` bytes, which `read` reads: each L2 table and each
    /// cluster must lie inside of the file, and stand for one place only.
    pub(super) fn check_tables(
        &self,
        size: u64,
        stop: &Stop,
        read: impl Fn(u64, usize) -> io::Result<Vec<u8>>,
    ) -> Result<()> {
        let read = |offset: u64, length: u64| {
            if offset.checked_add(length).is_none_or(|end| end > size) {
                return refuse("its tables lie beyond the end of the file: it is cut off");
            }
            read(offset, length as usize)
                .map_err(|error| Error::NotADiskImage(format!("it cannot be read ({error})")))
        };
        let l1 = read(self.l1_offset, self.l1_entries * 8)?;
        let mut clusters = Clusters::new(self, size);
        clusters.claim(0)?;
        for part in 0..(self.l1_entries * 8).div_ceil(self.cluster()) {
            clusters.claim(self.l1_offset + part * self.cluster())?;
        }
        for entry in entries(&l1, 8) {
            stop.check()?;
            let table = entry & OFFSET;
            if table == 0 {
                continue;
            }
            clusters.claim(table)?;
            let l2 = read(table, self.cluster())?;
            for entry in entries(&l2, self.entry_size() as usize) {
                clusters.claim_data(entry)?;
            }
        }
        Ok(())
    }
}

/// The first eight bytes of every entry.
fn entries(table: &[u8], size: usize) -> impl Iterator<Item = u64> + '_ {
    table
        .chunks_exact(size)
        .filter_map(|entry| entry.first_chunk())
        .map(|bytes| u64::from_be_bytes(*bytes))
}

/// Which clusters of the file stand for something already.
struct Clusters {
    cluster_bits: u32,
    size: u64,
    taken: Vec<u64>,
    compressed: HashSet<u64>,
}

impl Clusters {
    fn new(header: &Header, size: u64) -> Self {
        let count = size.div_ceil(header.cluster());
        Self {
            cluster_bits: header.cluster_bits,
            size,
            taken: vec![0; count.div_ceil(64) as usize],
            compressed: HashSet::new(),
        }
    }

    fn claim(&mut self, offset: u64) -> Result<()> {
        if offset >= self.size {
            return refuse("its tables point beyond the end of the file: it is cut off");
        }
        if offset & ((1 << self.cluster_bits) - 1) != 0 {
            return refuse("its tables point between clusters");
        }
        let number = offset >> self.cluster_bits;
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.taken[word] & bit != 0 {
            return refuse(
                "its tables point to the same place more than once: they loop, or make much of little",
            );
        }
        self.taken[word] |= bit;
        Ok(())
    }

    /// An L2 entry: nothing, zeros, a cluster, or a compressed one, which lies anywhere.
    fn claim_data(&mut self, entry: u64) -> Result<()> {
        if entry & COMPRESSED != 0 {
            // Bits of the offset, as opposed to those of the length.
            let bits = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << bits) - 1);
            if offset >= self.size {
                return refuse("its tables point beyond the end of the file: it is cut off");
            }
            if !self.compressed.insert(offset) {
                return refuse(
                    "its tables point to the same compressed cluster more than once: they make \
                     much of little",
                );
            }
            return Ok(());
        }
        match entry & OFFSET {
            0 => Ok(()),
            offset => self.claim(offset),
        }
    }
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Error::Refused(what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 1 << 40;
    const CLUSTER: u64 = 1 << 16;

    fn header() -> Vec<u8> {
        let mut header = vec![0; 104];
        header[..4].copy_from_slice(MAGIC);
        header[7] = 3;
        header[23] = 16;
        header[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        header[39] = 2;
        header[40..48].copy_from_slice(&CLUSTER.to_be_bytes());
        header
    }

    fn verdict(header: &[u8]) -> String {
        match check_header(header, LARGEST) {
            Ok(header) => format!("{} bytes", header.virtual_size),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_reaches_outside_of_itself_is_refused() {
        assert_eq!(verdict(&header()), format!("{} bytes", 1u64 << 30));
        for (at, value, what) in [
            (7, 1, "version"),
            (15, 1, "backing file"),
            (35, 1, "encrypted"),
            (79, 2, "corrupt"),
            (79, 4, "another file"),
            (79, 32, "not known"),
            (31, 1, "cut off"),
            (24, 1, "larger than the limit"),
            (23, 8, "clusters"),
            (23, 22, "clusters"),
            (36, 255, "L1 table"),
            (39, 1, "L1 table"),
            (47, 1, "L1 table"),
        ] {
            let mut header = header();
            header[at] = value;
            let found = verdict(&header);
            assert!(found.contains(what), "{what}: {found}");
        }
        assert!(verdict(&header()[..40]).contains("cut off"));
    }

    /// A file of `count` clusters: header, L1 with these entries, and then tables of which the
    /// first has these entries.
    fn tables(l1: &[u64], l2: &[u64]) -> String {
        let mut file = vec![0; 6 * CLUSTER as usize];
        let mut put = |at: u64, entries: &[u64]| {
            for (index, entry) in entries.iter().enumerate() {
                let at = at as usize + index * 8;
                file[at..at + 8].copy_from_slice(&entry.to_be_bytes());
            }
        };
        put(CLUSTER, l1);
        put(2 * CLUSTER, l2);
        let read = |offset: u64, length: usize| {
            Ok(file[offset as usize..offset as usize + length].to_vec())
        };
        let header = check_header(&header(), LARGEST).unwrap();
        match header.check_tables(file.len() as u64, &Stop::default(), read) {
            Ok(()) => "fine".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tables_that_loop_or_make_much_of_little_are_refused() {
        const COPIED: u64 = 1 << 63;
        let good = [(2 * CLUSTER) | COPIED, (3 * CLUSTER) | COPIED];
        assert_eq!(
            tables(&good, &[(4 * CLUSTER) | COPIED, 0, 1, 5 * CLUSTER]),
            "fine"
        );
        assert_eq!(tables(&good, &[COMPRESSED | 77, COMPRESSED | 78]), "fine");
        for (l1, l2, what) in [
            (vec![2 * CLUSTER, 2 * CLUSTER], vec![], "more than once"),
            (vec![CLUSTER], vec![], "more than once"),
            (good.to_vec(), vec![2 * CLUSTER], "more than once"),
            (
                good.to_vec(),
                vec![4 * CLUSTER, 4 * CLUSTER],
                "more than once",
            ),
            (good.to_vec(), vec![CLUSTER], "more than once"),
            (
                good.to_vec(),
                vec![COMPRESSED | 77, COMPRESSED | 77],
                "compressed cluster more than once",
            ),
            (vec![6 * CLUSTER], vec![], "beyond the end"),
            (good.to_vec(), vec![1 << 40], "beyond the end"),
            (good.to_vec(), vec![4 * CLUSTER + 512], "between clusters"),
        ] {
            let found = tables(&l1, &l2);
            assert!(found.contains(what), "{what}: {found}");
        }
    }
}
