//! The config drive: who the machine is, in the form that cloud-init reads without a network.
//!
//! An ISO 9660 file system labelled `config-2` with the OpenStack metadata files, small enough for
//! a partition of 1 MiB. It is composed in memory, so that secrets in the user data never touch a
//! temporary file and no external program is needed, and the same input always gives the same
//! bytes, so that writing it again after a crash changes nothing.

mod iso;

use std::fmt;

use crate::{Error, Result};

/// The file system's label; the one that OpenStack's data source looks for.
pub const LABEL: &str = "config-2";

/// Bytes that a config drive never exceeds: its partition's size.
pub const MAX_SIZE: usize = 1 << 20;

/// Bytes of user data, as OpenStack Nova has it: whoever needs more fetches it from a URL.
pub const MAX_USER_DATA: usize = 64 << 10;

/// Bytes of vendor data.
pub const MAX_VENDOR_DATA: usize = 64 << 10;

/// Bytes of `meta_data.json`: hundreds of SSH keys.
pub const MAX_META_DATA: usize = 256 << 10;

/// Bytes of `network_data.json`: thousands of addresses.
pub const MAX_NETWORK_DATA: usize = 256 << 10;

// The largest parts together, each rounded up, and the directories fit in any case.
const _: () = assert!(
    MAX_USER_DATA + MAX_VENDOR_DATA + MAX_META_DATA + MAX_NETWORK_DATA + 64 * 1024 <= MAX_SIZE
);

/// The files of a config drive, under `openstack/latest/`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigDrive {
    /// `meta_data.json`: uuid, hostname, keys.
    pub meta_data: Vec<u8>,
    /// `network_data.json`: links, networks, services.
    pub network_data: Vec<u8>,
    /// `user_data`, as the tenant gave it; may hold secrets.
    pub user_data: Option<Vec<u8>>,
    /// `vendor_data.json`, what the operator adds.
    pub vendor_data: Option<Vec<u8>>,
}

impl fmt::Debug for ConfigDrive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfigDrive")
            .field("meta_data", &self.meta_data.len())
            .field("network_data", &self.network_data.len())
            .field("user_data", &self.user_data.as_ref().map(Vec::len))
            .field("vendor_data", &self.vendor_data.as_ref().map(Vec::len))
            .finish()
    }
}

impl ConfigDrive {
    /// The file system, at most [`MAX_SIZE`] bytes, a multiple of 2048. Refuses a part that is
    /// larger than its limit with [`Error::ConfigDrivePart`].
    pub fn compose(&self) -> Result<Vec<u8>> {
        let parts = [
            (
                iso::NETWORK_DATA,
                Some(&self.network_data),
                MAX_NETWORK_DATA,
            ),
            (iso::META_DATA, Some(&self.meta_data), MAX_META_DATA),
            (iso::USER_DATA, self.user_data.as_ref(), MAX_USER_DATA),
            (iso::VENDOR_DATA, self.vendor_data.as_ref(), MAX_VENDOR_DATA),
        ];
        let mut files = Vec::new();
        for (name, content, limit) in parts {
            let Some(content) = content else { continue };
            if content.len() > limit {
                let (part, found) = (name.long, content.len());
                return Err(Error::ConfigDrivePart { part, found, limit });
            }
            files.push(iso::File { name, content });
        }
        // ECMA-119 wants directory records in the order of their short names.
        files.sort_by_key(|file| file.name.short);
        Ok(iso::compose(LABEL, &[iso::OPENSTACK, iso::LATEST], &files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_allowed_drive_fits_and_one_byte_more_is_named() {
        let mut drive = ConfigDrive {
            meta_data: vec![b'm'; MAX_META_DATA],
            network_data: vec![b'n'; MAX_NETWORK_DATA],
            user_data: Some(vec![b'u'; MAX_USER_DATA]),
            vendor_data: Some(vec![b'v'; MAX_VENDOR_DATA]),
        };
        assert!(drive.compose().unwrap().len() <= MAX_SIZE);
        drive.user_data = Some(vec![b'u'; MAX_USER_DATA + 1]);
        let error = drive.compose().unwrap_err();
        assert!(
            matches!(
                error,
                Error::ConfigDrivePart {
                    part: "user_data",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn the_same_drive_has_the_same_bytes_and_tells_no_secrets() {
        let drive = ConfigDrive {
            user_data: Some(b"password".to_vec()),
            ..Default::default()
        };
        assert_eq!(drive.compose().unwrap(), drive.compose().unwrap());
        assert!(!format!("{drive:?}").contains("112"), "{drive:?}");
    }
}
