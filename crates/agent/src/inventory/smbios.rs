//! Memory modules as SMBIOS lists them (DSP0134, 7.18: Memory Device, type 17).

const MEMORY_DEVICE: u8 = 17;

/// The sizes of all memory modules together, in MiB; `None` if the table lists none.
pub fn memory_mib(table: &[u8]) -> Option<u64> {
    let modules = Structures { rest: table }.filter(|structure| structure[0] == MEMORY_DEVICE);
    Some(modules.filter_map(module_mib).sum()).filter(|total| *total > 0)
}

/// The size of one module; `None` for an empty slot or an unknown size.
fn module_mib(structure: &[u8]) -> Option<u64> {
    const UNKNOWN: u16 = 0xffff;
    const SEE_EXTENDED: u16 = 0x7fff;
    const IN_KIB: u16 = 0x8000;
    let size = u16::from_le_bytes(structure.get(0x0c..0x0e)?.try_into().ok()?);
    match size {
        UNKNOWN => None,
        SEE_EXTENDED => {
            let extended = u32::from_le_bytes(structure.get(0x1c..0x20)?.try_into().ok()?);
            Some(u64::from(extended & 0x7fff_ffff))
        }
        _ if size & IN_KIB != 0 => Some(u64::from(size & !IN_KIB) / 1024),
        _ => Some(u64::from(size)),
    }
}

/// The formatted parts of the structures of a table. Each is followed by its strings, which end
/// with two NULs.
struct Structures<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Structures<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        const SHORTEST: usize = 4;
        let length = usize::from(*self.rest.get(1)?);
        let formatted = self.rest.get(..length).filter(|_| length >= SHORTEST)?;
        let strings = &self.rest[length..];
        let end = strings.windows(2).position(|pair| pair == [0, 0]);
        self.rest = end.map_or(&[], |end| &strings[end + 2..]);
        Some(formatted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn module(size: u16, extended: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x28];
        bytes[0] = MEMORY_DEVICE;
        bytes[1] = 0x28;
        bytes[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        bytes[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        bytes.extend(b"DIMM 0\0\0");
        bytes
    }

    #[test]
    fn modules_are_added_up() {
        let other = [vec![1, 4, 0, 0], vec![0, 0]].concat();
        let table = [
            other,
            module(16384, 0),
            module(0, 0),
            module(0x7fff, 65536),
            module(0xffff, 0),
        ]
        .concat();
        assert_eq!(memory_mib(&table), Some(16384 + 65536));
        assert_eq!(memory_mib(&module(0x8000 | 2048, 0)), Some(2));
        assert_eq!(memory_mib(&module(0, 0)), None);
        assert_eq!(memory_mib(&[]), None);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(table in proptest::collection::vec(any::<u8>(), 0..300)) {
            memory_mib(&table);
        }
    }
}
