//! NVMe's own way to erase: the Format NVM command (NVM Express NVM Command Set 1.0, Base
//! Specification 2.0), sent by the kernel's pass-through (`linux/nvme_ioctl.h`).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;

/// `struct nvme_passthru_cmd`.
#[derive(Default)]
#[repr(C)]
pub(super) struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dword2: u32,
    dword3: u32,
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    dword10: u32,
    dword11: u32,
    dword12: u32,
    dword13: u32,
    dword14: u32,
    dword15: u32,
    timeout_milliseconds: u32,
    result: u32,
}

mod ioctl {
    nix::ioctl_none_bad!(namespace_id, nix::request_code_none!(b'N', 0x40));
    nix::ioctl_readwrite!(admin_command, b'N', 0x41, super::AdminCommand);
}

const FORMAT: u8 = 0x80;
const IDENTIFY: u8 = 0x06;
const IDENTIFY_NAMESPACE: u32 = 0;
const IDENTIFY_CONTROLLER: u32 = 1;
const IDENTIFY_LENGTH: usize = 4096;

const IDENTIFY_ATTACHED: u32 = 0x02;
const IDENTIFY_ALLOCATED: u32 = 0x10;

/// How thoroughly Format erases (Secure Erase Settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecureErase {
    /// The drive's content need not be erased, only unreadable as before.
    None = 0,
    /// User data erase.
    UserData = 1,
    /// The key that everything is encrypted with is replaced.
    Cryptographic = 2,
}

impl SecureErase {
    /// As it is reported.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "nvme format",
            Self::UserData => "nvme format, user data erase",
            Self::Cryptographic => "nvme format, cryptographic erase",
        }
    }
}

/// How long a drive of `size` bytes may take to format itself: most need seconds, some overwrite
/// every cell.
pub(super) fn format_limit(size: u64) -> Duration {
    const LEAST: u64 = 15 * 60;
    const BYTES_PER_SECOND: u64 = 1 << 30;
    Duration::from_secs(LEAST + size / BYTES_PER_SECOND)
}

/// Formats the namespace behind a block device as it is formatted now, with the most thorough
/// erase that the drive takes. `None` if it takes none, or not within `limit`.
pub(super) fn format(device: &File, limit: Duration) -> Option<SecureErase> {
    let namespace = namespace_id(device).ok()?;
    let controller = identify(device, 0, IDENTIFY_CONTROLLER).ok()?;
    if !has_command(&controller, FORMAT_SUPPORTED) {
        return None;
    }
    let geometry = identify(device, namespace, IDENTIFY_NAMESPACE).ok()?;
    ways(&controller).into_iter().find(|erase| {
        let mut command = AdminCommand {
            opcode: FORMAT,
            namespace,
            dword10: format_options(&geometry, *erase),
            timeout_milliseconds: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
            ..AdminCommand::default()
        };
        send(device, &mut command).is_ok()
    })
}

/// The ways to format that are worth a try. Format NVM Attributes (byte 524), bit 2: the drive
/// has cryptographic erase.
fn ways(controller: &[u8]) -> Vec<SecureErase> {
    let mut ways = vec![SecureErase::UserData];
    if controller[524] & 0b100 != 0 {
        ways.push(SecureErase::Cryptographic);
    }
    ways.push(SecureErase::None);
    ways
}

/// Namespaces that exist and are attached to no controller that we see: nobody can read or erase
/// them as they are, and whoever is root on this machine can attach them. Empty on a drive that
/// has no command to make such.
pub(super) fn unattached_namespaces(device: &File) -> Vec<u32> {
    let list = |which| identify(device, 0, which).map(|list| namespaces(&list));
    let Ok(controller) = identify(device, 0, IDENTIFY_CONTROLLER) else {
        return Vec::new();
    };
    if !has_command(&controller, NAMESPACE_MANAGEMENT) {
        return Vec::new();
    }
    match (list(IDENTIFY_ALLOCATED), list(IDENTIFY_ATTACHED)) {
        (Ok(allocated), Ok(attached)) => allocated
            .into_iter()
            .filter(|namespace| !attached.contains(namespace))
            .collect(),
        _ => Vec::new(),
    }
}

/// A namespace list: ids of four bytes, ended by a zero.
fn namespaces(list: &[u8]) -> Vec<u32> {
    list.chunks_exact(4)
        .map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
        .take_while(|id| *id != 0)
        .collect()
}

fn namespace_id(device: &File) -> Result<u32, Errno> {
    // SAFETY: NVME_IOCTL_ID takes no argument and returns the id.
    let id = unsafe { ioctl::namespace_id(device.as_raw_fd()) }?;
    u32::try_from(id).map_err(|_| Errno::EINVAL)
}

fn identify(device: &File, namespace: u32, what: u32) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; IDENTIFY_LENGTH];
    let mut command = AdminCommand {
        opcode: IDENTIFY,
        namespace,
        address: data.as_mut_ptr() as u64,
        data_length: IDENTIFY_LENGTH as u32,
        dword10: what,
        ..AdminCommand::default()
    };
    send(device, &mut command)?;
    Ok(data)
}

/// Sends a command. A positive answer is the drive's own status: its refusal.
fn send(device: &File, command: &mut AdminCommand) -> Result<(), Errno> {
    // SAFETY: the command outlives the call, and its address and length, if any, are those of a
    // buffer that does so too.
    match unsafe { ioctl::admin_command(device.as_raw_fd(), command) }? {
        0 => Ok(()),
        _ => Err(Errno::EREMOTEIO),
    }
}

/// Bits of Optional Admin Command Support (bytes 256 and 257).
const FORMAT_SUPPORTED: u16 = 1 << 1;
const NAMESPACE_MANAGEMENT: u16 = 1 << 3;

fn has_command(controller: &[u8], bit: u16) -> bool {
    u16::from_le_bytes([controller[256], controller[257]]) & bit != 0
}

/// Command dword 10 of Format: the format in use (FLBAS, byte 26; DPS, byte 29) and the erase.
fn format_options(namespace: &[u8], erase: SecureErase) -> u32 {
    let (in_use, protection) = (u32::from(namespace[26]), u32::from(namespace[29]));
    let format = in_use & 0xf;
    let format_upper = in_use >> 5 & 0x3;
    let metadata_inline = in_use >> 4 & 1;
    let protection_type = protection & 0x7;
    let protection_first = protection >> 3 & 1;
    format
        | metadata_inline << 4
        | protection_type << 5
        | protection_first << 8
        | (erase as u32) << 9
        | format_upper << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_as_the_kernel_has_it() {
        assert_eq!(size_of::<AdminCommand>(), 72);
        assert_eq!(nix::request_code_readwrite!(b'N', 0x41, 72), 0xC048_4E41);
    }

    #[test]
    fn the_most_thorough_erase_comes_first() {
        let mut controller = vec![0; IDENTIFY_LENGTH];
        let (user, none) = (SecureErase::UserData, SecureErase::None);
        assert_eq!(ways(&controller), [user, none]);
        controller[524] = 0b100;
        assert_eq!(ways(&controller), [user, SecureErase::Cryptographic, none]);
        assert_eq!(
            namespaces(&[1, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]),
            [1, 259]
        );
    }

    #[test]
    fn a_large_drive_may_take_longer() {
        assert_eq!(format_limit(0), Duration::from_secs(900));
        assert_eq!(format_limit(8 << 40), Duration::from_secs(900 + 8192));
    }

    #[test]
    fn the_format_in_use_is_kept() {
        let mut namespace = vec![0; IDENTIFY_LENGTH];
        assert_eq!(format_options(&namespace, SecureErase::None), 0);
        namespace[26] = 0b0011_0010;
        namespace[29] = 0b1001;
        let options = format_options(&namespace, SecureErase::UserData);
        assert_eq!(options, 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 12);
    }
}
