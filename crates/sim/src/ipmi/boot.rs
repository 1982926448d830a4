//! System boot options (sections 28.12 and 28.13): the boot flags are the machine's own override, so
//! that Redfish and IPMI show the same, and a boot consumes it.

use super::{Answer, code};
use crate::machine::{BootOverride, BootTarget, OverrideEnabled};
use crate::redfish::Bmc;

/// Parameters (table 28-14).
const SET_IN_PROGRESS: u8 = 0;
const PARTITION_SELECTOR: u8 = 1;
const VALID_BIT_CLEARING: u8 = 3;
const INFO_ACKNOWLEDGE: u8 = 4;
const BOOT_FLAGS: u8 = 5;

const VERSION: u8 = 1;
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

/// Of Set System Boot Options: somebody else is setting them.
const ALREADY_IN_PROGRESS: u8 = 0x81;

/// What the controller keeps besides the override.
#[derive(Debug, Default)]
pub(super) struct BootOptions {
    in_progress: u8,
    selector: u8,
    valid_bit_clearing: u8,
    acknowledge: [u8; 2],
    /// The flags of mode as they were set.
    efi: bool,
}

pub(super) async fn set(bmc: &Bmc, options: &mut BootOptions, data: &[u8]) -> Answer {
    let (parameter, data) = data.split_first().ok_or(code::TRUNCATED)?;
    let first = data.first().copied().ok_or(code::TRUNCATED);
    match parameter & 0x7f {
        SET_IN_PROGRESS => {
            let wanted = first? & 3;
            if wanted == 1 && options.in_progress == 1 {
                return Err(ALREADY_IN_PROGRESS);
            }
            // "Commit" is for those that do not write at once.
            options.in_progress = wanted & 1;
        }
        PARTITION_SELECTOR => options.selector = first?,
        VALID_BIT_CLEARING => options.valid_bit_clearing = first?,
        INFO_ACKNOWLEDGE => options.acknowledge = *data.first_chunk().ok_or(code::TRUNCATED)?,
        BOOT_FLAGS => {
            let [first, second] = *data.first_chunk().ok_or(code::TRUNCATED)?;
            set_flags(bmc, first, second).await?;
            options.efi = first & EFI != 0;
        }
        _ => return Err(code::NO_SUCH_PARAMETER),
    }
    Ok(Vec::new())
}

async fn set_flags(bmc: &Bmc, first: u8, second: u8) -> Result<(), u8> {
    let target = match (second >> 2) & 0x0f {
        0 => BootTarget::None,
        1 => BootTarget::Pxe,
        2 => BootTarget::Hdd,
        5 | 8 => BootTarget::Cd,
        _ => return Err(code::INVALID_DATA),
    };
    let enabled = match (first & VALID != 0, first & PERSISTENT != 0) {
        _ if target == BootTarget::None => OverrideEnabled::Disabled,
        (false, _) => OverrideEnabled::Disabled,
        (true, false) => OverrideEnabled::Once,
        (true, true) => OverrideEnabled::Continuous,
    };
    if bmc.faults().get().ignore_boot_override {
        return Ok(());
    }
    let wanted = BootOverride { enabled, target };
    let set = bmc.machine().set_boot_override(wanted).await;
    set.map_err(|_| code::INVALID_DATA)
}

pub(super) fn get(bmc: &Bmc, options: &BootOptions, data: &[u8]) -> Answer {
    let parameter = data.first().ok_or(code::TRUNCATED)? & 0x7f;
    let value = match parameter {
        SET_IN_PROGRESS => vec![options.in_progress],
        PARTITION_SELECTOR => vec![options.selector],
        VALID_BIT_CLEARING => vec![options.valid_bit_clearing],
        INFO_ACKNOWLEDGE => options.acknowledge.to_vec(),
        BOOT_FLAGS => flags(bmc.machine().boot_override(), options.efi),
        _ => return Err(code::NO_SUCH_PARAMETER),
    };
    Ok([&[VERSION, parameter], &value[..]].concat())
}

fn flags(boot_override: BootOverride, efi: bool) -> Vec<u8> {
    let first = match boot_override.enabled {
        OverrideEnabled::Disabled => return vec![0; 5],
        OverrideEnabled::Once => VALID,
        OverrideEnabled::Continuous => VALID | PERSISTENT,
    };
    let device = match boot_override.target {
        // IPMI has no word for HTTP; over the network it is all the same.
        BootTarget::Pxe | BootTarget::UefiHttp => 1,
        BootTarget::Hdd => 2,
        BootTarget::Cd => 8,
        BootTarget::None => 0,
    };
    vec![first | if efi { EFI } else { 0 }, device << 2, 0, 0, 0]
}
