//! Reading a config drive as a tenant's OS does: ISO 9660 (ECMA-119, 4th edition) with Rock Ridge
//! names (IEEE P1282), and in it what cloud-init would find.
//!
//! The offsets below are those of ECMA-119 §8.4 (volume descriptor) and §9.1 (directory record).

const SECTOR: usize = 2048;
const PRIMARY_DESCRIPTOR: usize = 16 * SECTOR;
const ROOT_RECORD: usize = PRIMARY_DESCRIPTOR + 156;

/// How a system says that it is up, as its report script knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    /// The URLs to call, one after the other.
    pub(super) urls: Vec<String>,
    /// What to write to the serial console.
    pub(super) marker: String,
}

/// What the vendor data's script says.
pub(super) fn home(drive: &[u8]) -> Option<Home> {
    let vendor = file(drive, "openstack/latest/vendor_data.json")?;
    let vendor: serde_json::Value = serde_json::from_slice(vendor).ok()?;
    of_script(vendor["cloud-init"].as_str()?)
}

/// What a report script says, however it has come into the system.
pub(super) fn of_script(script: &str) -> Option<Home> {
    let script = script.strip_prefix("#!/bin/sh\n")?;
    let value = |name: &str| {
        let mut lines = script.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix("='"))?;
        line.strip_suffix('\'').map(str::to_owned)
    };
    Some(Home {
        urls: value("urls")?
            .split(' ')
            .map(str::to_owned)
            .filter(|url| !url.is_empty())
            .collect(),
        marker: value("marker")?,
    })
}

/// The content of the file at `path`.
fn file<'d>(drive: &'d [u8], path: &str) -> Option<&'d [u8]> {
    if drive.get(PRIMARY_DESCRIPTOR..PRIMARY_DESCRIPTOR + 6)? != b"\x01CD001" {
        return None;
    }
    let mut content = extent(drive, drive.get(ROOT_RECORD..)?)?;
    for name in path.split('/') {
        let record = records(content).find(|record| long_name(record) == Some(name.as_bytes()))?;
        content = extent(drive, record)?;
    }
    Some(content)
}

/// What a directory record points to.
fn extent<'d>(drive: &'d [u8], record: &[u8]) -> Option<&'d [u8]> {
    let number = |at| {
        let bytes = record.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let (sector, length) = (number(2)?, number(10)?);
    drive.get(sector * SECTOR..)?.get(..length)
}

/// The records of a folder, none of which crosses a sector.
fn records(folder: &[u8]) -> impl Iterator<Item = &[u8]> {
    folder.chunks(SECTOR).flat_map(|mut sector| {
        std::iter::from_fn(move || {
            let length = usize::from(*sector.first()?);
            let (record, rest) = sector.split_at_checked(length.max(1))?;
            sector = rest;
            (length > 0).then_some(record)
        })
    })
}

/// The name in the record's `NM` entry (RRIP 4.1.4).
fn long_name(record: &[u8]) -> Option<&[u8]> {
    let name = usize::from(*record.get(32)?);
    let mut entries = record.get((33 + name).next_multiple_of(2)..)?;
    loop {
        let length = usize::from(*entries.get(2)?);
        let (entry, rest) = entries.split_at_checked(length.max(4))?;
        if entry.starts_with(b"NM") {
            return entry.get(5..);
        }
        entries = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::instance::vendor_data;
    use bessemer_core::report::script;
    use bessemer_image::config_drive::ConfigDrive;

    #[test]
    fn urls_and_marker_are_found_whatever_else_the_drive_says() {
        let urls = [
            "http://192.0.2.1/x".to_owned(),
            "http://192.0.2.2/x".to_owned(),
        ];
        let mut drive = ConfigDrive {
            meta_data: br#"{"public_keys":{"a":"ssh-ed25519 AAAA http://decoy/"}}"#.to_vec(),
            network_data: b"{}".to_vec(),
            user_data: Some(b"#!/bin/sh\ncurl http://decoy/\n".to_vec()),
            vendor_data: Some(
                vendor_data(&script(&urls, "marker-1"))
                    .to_string()
                    .into_bytes(),
            ),
        };
        let said = home(&drive.compose().unwrap()).unwrap();
        assert_eq!(said.urls, urls);
        assert_eq!(said.marker, "marker-1");
        drive.vendor_data = None;
        assert_eq!(home(&drive.compose().unwrap()), None);
        for torn in [
            vec![],
            vec![0; 40_000],
            drive.compose().unwrap()[..36_000].to_vec(),
        ] {
            assert_eq!(home(&torn), None);
        }
    }
}
