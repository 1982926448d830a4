//! The least of ISO 9660 (ECMA-119, 4th edition) that holds a few files in a chain of folders,
//! with Rock Ridge names (IEEE P1282 on SUSP, IEEE P1281), since plain ISO names are upper case
//! and eight characters long.

const SECTOR: usize = 2048;

/// Sectors before the first volume descriptor (ECMA-119 §6.2.1).
const SYSTEM_AREA: u32 = 16;
const PRIMARY_DESCRIPTOR: u32 = SYSTEM_AREA;
const TERMINATOR: u32 = SYSTEM_AREA + 1;
const PATH_TABLE_LITTLE: u32 = SYSTEM_AREA + 2;
const PATH_TABLE_BIG: u32 = SYSTEM_AREA + 3;
/// Where the root folder's system use area goes on: the text that names Rock Ridge.
const CONTINUATION: u32 = SYSTEM_AREA + 4;
const FIRST_FOLDER: u32 = SYSTEM_AREA + 5;

const MODE_FOLDER: u32 = 0o040_555;
/// Readable by root alone: user data may hold secrets.
const MODE_FILE: u32 = 0o100_400;

const FLAG_FOLDER: u8 = 2;

/// 1 January 2000, 00:00:00 UTC, in a directory record (§9.1.5): a constant, so that the same
/// content gives the same bytes.
const RECORD_TIME: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];
/// The same in a volume descriptor (§8.4.26.1), and the one for "not specified".
const VOLUME_TIME: &[u8; 17] = b"2000010100000000\0";
const NO_TIME: &[u8; 17] = b"0000000000000000\0";

/// A name as ISO 9660 has it and as people read it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    /// At most 8.3 characters of A-Z, 0-9 and `_`; files end in `;1`.
    pub(super) short: &'static str,
    /// The Rock Ridge name.
    pub(super) long: &'static str,
}

const fn name(short: &'static str, long: &'static str) -> Name {
    Name { short, long }
}

pub(super) const OPENSTACK: Name = name("OPENSTAC", "openstack");
pub(super) const LATEST: Name = name("LATEST", "latest");
pub(super) const META_DATA: Name = name("META_DAT.JSO;1", "meta_data.json");
pub(super) const NETWORK_DATA: Name = name("NETWORK_.JSO;1", "network_data.json");
pub(super) const USER_DATA: Name = name("USER_DAT.;1", "user_data");
pub(super) const VENDOR_DATA: Name = name("VENDOR_D.JSO;1", "vendor_data.json");

/// A file with its content.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) name: Name,
    pub(super) content: &'a [u8],
}

/// A file system called `label` with `files`, sorted by short name, in the innermost of `folders`,
/// each of which lies in the one before. Every folder has to fit one sector: about 15 files.
pub(super) fn compose(label: &str, folders: &[Name], files: &[File<'_>]) -> Vec<u8> {
    let first_file = FIRST_FOLDER + folders.len() as u32 + 1;
    let mut places = Vec::with_capacity(files.len());
    let mut next = first_file;
    for file in files {
        places.push(next);
        next += file.content.len().div_ceil(SECTOR) as u32;
    }
    let mut image = Image(vec![0; next as usize * SECTOR]);
    let path_table_size = image.put_path_tables(folders);
    image.put_descriptors(label, next, path_table_size);
    image.put_folders(folders, files, &places);
    for (file, place) in files.iter().zip(places) {
        image.put(place, 0, file.content);
    }
    image.0
}

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, sector: u32, at: usize, bytes: &[u8]) {
        let start = sector as usize * SECTOR + at;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// §8.4 and §8.3.
    fn put_descriptors(&mut self, label: &str, sectors: u32, path_table_size: u32) {
        let sector = PRIMARY_DESCRIPTOR;
        self.put(sector, 0, b"\x01CD001\x01");
        for (at, length, text) in [
            (8, 32, ""),
            (40, 32, label),
            (190, 128, ""),
            (318, 128, ""),
            (446, 128, ""),
            (574, 128, ""),
            (702, 37, ""),
            (739, 37, ""),
            (776, 37, ""),
        ] {
            self.put(sector, at, format!("{text:length$}").as_bytes());
        }
        self.put(sector, 80, &both_u32(sectors));
        self.put(sector, 120, &both_u16(1));
        self.put(sector, 124, &both_u16(1));
        self.put(sector, 128, &both_u16(SECTOR as u16));
        self.put(sector, 132, &both_u32(path_table_size));
        self.put(sector, 140, &PATH_TABLE_LITTLE.to_le_bytes());
        self.put(sector, 148, &PATH_TABLE_BIG.to_be_bytes());
        self.put(
            sector,
            156,
            &record(&[0], FIRST_FOLDER, SECTOR as u32, FLAG_FOLDER, &[]),
        );
        self.put(sector, 813, VOLUME_TIME);
        self.put(sector, 830, VOLUME_TIME);
        self.put(sector, 847, NO_TIME);
        self.put(sector, 864, VOLUME_TIME);
        self.put(sector, 881, &[1]);
        self.put(TERMINATOR, 0, b"\xffCD001\x01");
    }

    /// §9.4: every folder with its parent, once in either byte order. Gives its size in bytes.
    fn put_path_tables(&mut self, folders: &[Name]) -> u32 {
        let names = std::iter::once("\0").chain(folders.iter().map(|folder| folder.short));
        let mut at = 0;
        for (index, short) in names.enumerate() {
            let sector = FIRST_FOLDER + index as u32;
            let parent = index.max(1) as u16;
            for table in [PATH_TABLE_LITTLE, PATH_TABLE_BIG] {
                self.put(table, at, &[short.len() as u8, 0]);
                self.put(table, at + 8, short.as_bytes());
            }
            self.put(PATH_TABLE_LITTLE, at + 2, &sector.to_le_bytes());
            self.put(PATH_TABLE_LITTLE, at + 6, &parent.to_le_bytes());
            self.put(PATH_TABLE_BIG, at + 2, &sector.to_be_bytes());
            self.put(PATH_TABLE_BIG, at + 6, &parent.to_be_bytes());
            at += 8 + short.len().next_multiple_of(2);
        }
        at as u32
    }

    fn put_folders(&mut self, folders: &[Name], files: &[File<'_>], places: &[u32]) {
        for depth in 0..=folders.len() {
            let sector = FIRST_FOLDER + depth as u32;
            let parent = if depth == 0 { sector } else { sector - 1 };
            let links = if depth == folders.len() { 2 } else { 3 };
            let mut myself = if depth == 0 {
                sharing_protocol()
            } else {
                Vec::new()
            };
            myself.extend(posix_attributes(MODE_FOLDER, links));
            if depth == 0 {
                myself.extend(self.put_continuation());
            }
            let mut records = record(&[0], sector, SECTOR as u32, FLAG_FOLDER, &myself);
            let above = posix_attributes(MODE_FOLDER, 3);
            records.extend(record(&[1], parent, SECTOR as u32, FLAG_FOLDER, &above));
            if let Some(folder) = folders.get(depth) {
                let links = if depth + 1 == folders.len() { 2 } else { 3 };
                let system_use = named(folder, MODE_FOLDER, links);
                let short = folder.short.as_bytes();
                records.extend(record(
                    short,
                    sector + 1,
                    SECTOR as u32,
                    FLAG_FOLDER,
                    &system_use,
                ));
            } else {
                for (file, place) in files.iter().zip(places) {
                    let system_use = named(&file.name, MODE_FILE, 1);
                    let (short, size) = (file.name.short.as_bytes(), file.content.len() as u32);
                    records.extend(record(short, *place, size, 0, &system_use));
                }
            }
            self.put(sector, 0, &records);
        }
    }

    /// SUSP 5.5 `ER`, which names Rock Ridge and is too long for a record, and the `CE` (5.1)
    /// that points to it.
    fn put_continuation(&mut self) -> Vec<u8> {
        const ID: &[u8] = b"RRIP_1991A";
        const TEXT: &[u8] =
            b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
        const SOURCE: &[u8] = b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.";
        let body = [
            &[ID.len() as u8, TEXT.len() as u8, SOURCE.len() as u8, 1],
            ID,
            TEXT,
            SOURCE,
        ]
        .concat();
        let entry = system_use(b"ER", &body);
        self.put(CONTINUATION, 0, &entry);
        system_use(
            b"CE",
            &[
                both_u32(CONTINUATION),
                both_u32(0),
                both_u32(entry.len() as u32),
            ]
            .concat(),
        )
    }
}

/// §9.1, with its system use area. Never longer than 255 bytes for the names above.
fn record(identifier: &[u8], sector: u32, size: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both_u32(sector));
    record.extend(both_u32(size));
    record.extend(RECORD_TIME);
    record.extend([flags, 0, 0]);
    record.extend(both_u16(1));
    record.push(identifier.len() as u8);
    record.extend(identifier);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}

/// An entry of a system use area (SUSP 4.2), all of which have version 1.
fn system_use(signature: &[u8; 2], body: &[u8]) -> Vec<u8> {
    let mut entry = signature.to_vec();
    entry.extend([4 + body.len() as u8, 1]);
    entry.extend(body);
    entry
}

/// SUSP 5.3 `SP`: system use areas follow from here on.
fn sharing_protocol() -> Vec<u8> {
    system_use(b"SP", &[0xbe, 0xef, 0])
}

/// RRIP 4.1.1 `PX`: owned by root.
fn posix_attributes(mode: u32, links: u32) -> Vec<u8> {
    system_use(
        b"PX",
        &[both_u32(mode), both_u32(links), both_u32(0), both_u32(0)].concat(),
    )
}

/// `PX` and RRIP 4.1.4 `NM`.
fn named(name: &Name, mode: u32, links: u32) -> Vec<u8> {
    let mut entries = posix_attributes(mode, links);
    entries.extend(system_use(b"NM", &[&[0], name.long.as_bytes()].concat()));
    entries
}

/// §7.3.3: little-endian, then big-endian.
fn both_u32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// §7.2.3: little-endian, then big-endian.
fn both_u16(value: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&value.to_le_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}
