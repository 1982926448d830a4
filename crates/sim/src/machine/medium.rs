//! What a simulated machine finds on a boot medium.
//!
//! Firmware would go from the ISO's El Torito catalogue to a FAT image to an EFI program in it. Of
//! all that, a simulated machine needs the kernel command line, which stands in a section of the
//! program (UAPI group, *Unified Kernel Image*); so the program is looked for where it must begin,
//! at the start of a sector.

/// FAT's smallest sector: where a file can begin.
const SECTOR: usize = 512;

/// Offset of the PE header's offset (PE Format, "MS-DOS Stub").
const LFANEW: usize = 0x3c;

/// Length of `PE\0\0` and the COFF header.
const COFF_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;

/// More sections than any boot program has.
const MOST_SECTIONS: usize = 96;

/// The kernel command line of the first EFI program on `medium` that has one.
pub fn command_line(medium: &[u8]) -> Option<String> {
    let starts = (0..medium.len()).step_by(SECTOR);
    starts
        .filter_map(|start| section(medium.get(start..)?, b".cmdline"))
        .find_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            Some(line.trim_end_matches(['\0', '\n']).to_owned())
        })
}

/// The content of a section of the PE file at the start of `file`.
fn section<'a>(file: &'a [u8], name: &[u8; 8]) -> Option<&'a [u8]> {
    if !file.starts_with(b"MZ") {
        return None;
    }
    let header = file.get(number(file, LFANEW)?..)?;
    if !header.starts_with(b"PE\0\0") {
        return None;
    }
    let sections = usize::from(u16::from_le_bytes(header.get(6..8)?.try_into().ok()?));
    let optional = usize::from(u16::from_le_bytes(header.get(20..22)?.try_into().ok()?));
    let table = header.get(COFF_HEADER + optional..)?;
    let mut entries = table.chunks_exact(SECTION_HEADER);
    let entry = entries
        .by_ref()
        .take(sections.min(MOST_SECTIONS))
        .find(|entry| entry.starts_with(name))?;
    let (size, offset) = (number(entry, 8)?, number(entry, 20)?);
    file.get(offset..offset.checked_add(size)?)
}

fn number(bytes: &[u8], offset: usize) -> Option<usize> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with these sections, as far as it is read here.
    fn program(sections: &[(&[u8; 8], &str)]) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[..2].copy_from_slice(b"MZ");
        file[LFANEW] = 64;
        file[64..68].copy_from_slice(b"PE\0\0");
        file[70] = u8::try_from(sections.len()).expect("few");
        file[84] = 16;
        for (index, (name, content)) in sections.iter().enumerate() {
            let entry = 64 + COFF_HEADER + 16 + index * SECTION_HEADER;
            let offset = u32::try_from(file.len()).expect("small");
            let size = u32::try_from(content.len()).expect("small");
            file[entry..entry + 8].copy_from_slice(*name);
            file[entry + 8..entry + 12].copy_from_slice(&size.to_le_bytes());
            file[entry + 20..entry + 24].copy_from_slice(&offset.to_le_bytes());
            file.extend_from_slice(content.as_bytes());
        }
        file
    }

    #[test]
    fn the_line_is_found_wherever_the_program_begins() {
        let boot = program(&[(b".text\0\0\0", "code"), (b".cmdline", "a=b c\0\0")]);
        let other = program(&[(b".text\0\0\0", "code")]);
        let mut medium = vec![0; 4 * SECTOR];
        medium.extend_from_slice(&other);
        medium.resize(9 * SECTOR, 0);
        assert_eq!(command_line(&medium), None);
        medium.extend_from_slice(&boot);
        assert_eq!(command_line(&medium).as_deref(), Some("a=b c"));
    }

    #[test]
    fn broken_programs_are_passed_over() {
        let whole = program(&[(b".cmdline", "quiet")]);
        for length in 0..whole.len() {
            assert_eq!(command_line(&whole[..length]), None, "{length}");
        }
        let mut wild = whole;
        wild[LFANEW..LFANEW + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(command_line(&wild), None);
    }
}
