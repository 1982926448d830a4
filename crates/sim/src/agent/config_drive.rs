//! Reading a config drive as a tenant's OS does: ISO 9660 (ECMA-119, 4th edition) with Rock Ridge
//! names (IEEE P1282), and in it what cloud-init would find.
//!
//! The offsets below are those of ECMA-119 §8.4 (volume descriptor) and §9.1 (directory record).

const SECTOR: usize = 2048;
const PRIMARY_DESCRIPTOR: usize = 16 * SECTOR;
const ROOT_RECORD: usize = PRIMARY_DESCRIPTOR + 156;

/// The URL that the vendor data's script calls.
pub(super) fn phone_home_url(drive: &[u8]) -> Option<String> {
    let vendor = file(drive, "openstack/latest/vendor_data.json")?;
    let vendor: serde_json::Value = serde_json::from_slice(vendor).ok()?;
    let script = vendor["cloud-init"].as_str()?.strip_prefix("#!/bin/sh\n")?;
    let line = script.lines().find_map(|line| line.strip_prefix("url='"))?;
    line.strip_suffix('\'').map(str::to_owned)
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
    use bessemer_image::config_drive::ConfigDrive;

    #[test]
    fn the_url_is_found_whatever_else_the_drive_says() {
        let mut drive = ConfigDrive {
            meta_data: br#"{"public_keys":{"a":"ssh-ed25519 AAAA http://decoy/"}}"#.to_vec(),
            network_data: b"{}".to_vec(),
            user_data: Some(b"#!/bin/sh\ncurl http://decoy/\n".to_vec()),
            vendor_data: Some(vendor_data("http://192.0.2.1/x").to_string().into_bytes()),
        };
        let url = phone_home_url(&drive.compose().unwrap());
        assert_eq!(url.as_deref(), Some("http://192.0.2.1/x"));
        drive.vendor_data = None;
        assert_eq!(phone_home_url(&drive.compose().unwrap()), None);
        for torn in [
            vec![],
            vec![0; 40_000],
            drive.compose().unwrap()[..36_000].to_vec(),
        ] {
            assert_eq!(phone_home_url(&torn), None);
        }
    }
}
