//! The few fields of a PE32+ image that change when sections are attached to it.
//!
//! The stub is a file from a package, but it is read as if it were not: a wrong one gives an error
//! at start, not a machine that does not boot.

use bytes::Bytes;

use crate::{Error, Result};

/// Length of the `PE\0\0` signature and the COFF header behind it.
const COFF_HEADER_END: usize = 24;
const SECTION_HEADER: usize = 40;

const MACHINE_X86_64: u16 = 0x8664;
const MAGIC_PE32_PLUS: u16 = 0x20b;
const SUBSYSTEM_EFI_APPLICATION: u16 = 10;

/// Initialized data that can be read.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Offsets in the optional header (PE Format, "Optional Header Windows-Specific Fields").
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const SUBSYSTEM: usize = 68;
/// The certificate table's entry of the data directories.
const CERTIFICATE_TABLE: usize = 112 + 4 * 8;
const OPTIONAL_HEADER: usize = 112 + 16 * 8;

/// A section to attach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) name: [u8; 8],
    pub(super) virtual_size: u32,
    pub(super) virtual_address: u32,
    pub(super) raw_size: u32,
    pub(super) raw_offset: u32,
}

/// A checked EFI program without what follows its last section (symbols, which nobody reads, and
/// signatures, which would be wrong now).
#[derive(Debug, Clone)]
pub(super) struct Stub {
    headers: Bytes,
    data: Bytes,
    /// Where `PE\0\0` stands.
    signature: usize,
    section_count: usize,
    section_alignment: u32,
    file_alignment: u32,
    memory_end: u64,
}

impl Stub {
    pub(super) fn parse(file: Bytes) -> Result<Self> {
        let signature = Field(&file).u32(60)? as usize;
        let pe = Field(file.get(signature..).unwrap_or_default());
        let optional = Field(pe.0.get(COFF_HEADER_END..).unwrap_or_default());
        check_kind(&pe, &optional)?;
        let section_count = usize::from(pe.u16(6)?);
        let (file_alignment, section_alignment) = (
            optional.u32(FILE_ALIGNMENT)?,
            optional.u32(SECTION_ALIGNMENT)?,
        );
        for alignment in [file_alignment, section_alignment] {
            if !alignment.is_power_of_two() || !(512..=65536).contains(&alignment) {
                return Err(wrong("has a wrong alignment"));
            }
        }
        let headers_length = optional.u32(SIZE_OF_HEADERS)? as usize;
        let table = signature + COFF_HEADER_END + OPTIONAL_HEADER;
        let (file_end, memory_end) = section_ends(&Field(&file), table, section_count)?;
        if headers_length < table + section_count * SECTION_HEADER
            || file_end < headers_length as u64
            || file_end > file.len() as u64
        {
            return Err(wrong("is cut off or has wrong headers"));
        }
        Ok(Self {
            headers: file.slice(..headers_length),
            data: file.slice(headers_length..file_end as usize),
            signature,
            section_count,
            section_alignment,
            file_alignment,
            memory_end: memory_end.max(u64::from(optional.u32(SIZE_OF_IMAGE)?)),
        })
    }

    pub(super) fn section_alignment(&self) -> u32 {
        self.section_alignment
    }

    pub(super) fn file_alignment(&self) -> u32 {
        self.file_alignment
    }

    /// Bytes of the headers.
    pub(super) fn headers_length(&self) -> usize {
        self.headers.len()
    }

    /// The sections' data, which stands behind the headers.
    pub(super) fn data(&self) -> Bytes {
        self.data.clone()
    }

    /// Where the next section may start in the file.
    pub(super) fn file_end(&self) -> u64 {
        let end = (self.headers.len() + self.data.len()) as u64;
        end.next_multiple_of(u64::from(self.file_alignment))
    }

    /// Where the next section may start in memory, not aligned.
    pub(super) fn memory_end(&self) -> u64 {
        self.memory_end
    }

    /// What fills the file up to the next multiple of its alignment after `length` bytes.
    pub(super) fn padding_after(&self, length: usize) -> Bytes {
        static ZEROS: [u8; 65536] = [0; 65536];
        let padding = length.next_multiple_of(self.file_alignment as usize) - length;
        Bytes::from_static(&ZEROS[..padding])
    }

    fn section_table_end(&self) -> usize {
        self.signature + COFF_HEADER_END + OPTIONAL_HEADER + self.section_count * SECTION_HEADER
    }

    /// Whether `count` more section headers fit before the first section's data.
    pub(super) fn check_room(&self, count: usize) -> Result<()> {
        if self.section_table_end() + count * SECTION_HEADER > self.headers.len() {
            return Err(wrong(
                "has no room for more section headers: use another version of it",
            ));
        }
        Ok(())
    }

    /// The headers with `sections` attached; [`Stub::check_room`] was asked before.
    pub(super) fn headers_with(&self, sections: &[Section]) -> Bytes {
        let mut headers = self.headers.to_vec();
        let coff = self.signature + 4;
        let optional = self.signature + COFF_HEADER_END;
        let count = (self.section_count + sections.len()) as u16;
        headers[coff + 2..coff + 4].copy_from_slice(&count.to_le_bytes());
        // Neither symbols, checksum nor signature of the stub hold any more.
        headers[coff + 8..coff + 16].fill(0);
        headers[optional + CHECKSUM..][..4].fill(0);
        headers[optional + CERTIFICATE_TABLE..][..8].fill(0);
        let end = sections
            .iter()
            .map(Section::memory_end)
            .max()
            .unwrap_or(self.memory_end);
        let size = end.next_multiple_of(u64::from(self.section_alignment.max(4096))) as u32;
        headers[optional + SIZE_OF_IMAGE..][..4].copy_from_slice(&size.to_le_bytes());
        let table = headers[self.section_table_end()..].chunks_exact_mut(SECTION_HEADER);
        for (section, place) in sections.iter().zip(table) {
            place.copy_from_slice(&section.header());
        }
        headers.into()
    }
}

impl Section {
    fn memory_end(&self) -> u64 {
        u64::from(self.virtual_address) + u64::from(self.virtual_size)
    }

    fn header(&self) -> [u8; SECTION_HEADER] {
        let mut header = [0; SECTION_HEADER];
        header[..8].copy_from_slice(&self.name);
        for (at, value) in [
            (8, self.virtual_size),
            (12, self.virtual_address),
            (16, self.raw_size),
            (20, self.raw_offset),
            (36, CHARACTERISTICS),
        ] {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        header
    }
}

fn wrong(what: &str) -> Error {
    Error::BootFile(format!("the EFI stub {what}"))
}

fn check_kind(pe: &Field<'_>, optional: &Field<'_>) -> Result<()> {
    if pe.0.get(..4) != Some(b"PE\0\0") {
        return Err(wrong("is no EFI program"));
    }
    let kind = (pe.u16(4)?, optional.u16(0)?, optional.u16(SUBSYSTEM)?);
    if kind != (MACHINE_X86_64, MAGIC_PE32_PLUS, SUBSYSTEM_EFI_APPLICATION) {
        return Err(wrong("is not for x86-64"));
    }
    // 16 data directories, as everybody has; else the offsets above would be others.
    if usize::from(pe.u16(20)?) != OPTIONAL_HEADER {
        return Err(wrong("has an optional header of unexpected size"));
    }
    Ok(())
}

/// Where the last section ends in the file and in memory.
fn section_ends(file: &Field<'_>, table: usize, count: usize) -> Result<(u64, u64)> {
    let (mut file_end, mut memory_end) = (0, 0);
    for header in (0..count).map(|index| table + index * SECTION_HEADER) {
        let raw_size = u64::from(file.u32(header + 16)?);
        if raw_size > 0 {
            file_end = file_end.max(u64::from(file.u32(header + 20)?) + raw_size);
        }
        let address = u64::from(file.u32(header + 12)?);
        memory_end = memory_end.max(address + u64::from(file.u32(header + 8)?).max(raw_size));
    }
    Ok((file_end, memory_end))
}

/// Little-endian numbers at offsets that may not exist.
struct Field<'a>(&'a [u8]);

impl Field<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let end = at.checked_add(N);
        end.and_then(|end| self.0.get(at..end)?.try_into().ok())
            .ok_or_else(|| wrong("is cut off"))
    }

    fn u16(&self, at: usize) -> Result<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }
}
