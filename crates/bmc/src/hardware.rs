//! What a BMC says about its machine.

use bessemer_core::hardware::MachineIdentity;
use bessemer_core::net::MacAddress;

use crate::Error;

/// Which machine a BMC manages. Whatever the BMC leaves out is `None` (or an empty serial).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Serial number and UUID, chosen to be those that SMBIOS shows to the operating system, so
    /// that BMC and agent can be seen to speak of one machine.
    pub machine: MachineIdentity,
    /// Maker, as the maker spells itself.
    pub manufacturer: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Firmware (BIOS) version of the machine, not of the BMC.
    pub bios_version: Option<String>,
}

impl Identity {
    /// Makes sure that this, which `bmc` says of its machine, is the machine that is meant.
    ///
    /// # Errors
    /// [`Error::AnotherMachine`] if it is not.
    pub fn expect(&self, expected: &MachineIdentity, bmc: &str) -> Result<(), Error> {
        if expected.matches(&self.machine) {
            return Ok(());
        }
        Err(Error::AnotherMachine {
            bmc: bmc.to_owned(),
            expected: expected.clone(),
            found: self.machine.clone(),
        })
    }
}

/// What a machine is made of, as far as its BMC knows. Complete only if `unread` is empty, and
/// even then only as complete as the BMC is honest: several know their disks and links only while
/// the machine is on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BmcInventory {
    /// Processor packages in use.
    pub cpus: Vec<Cpu>,
    /// Memory in MiB, where known.
    pub memory_mib: Option<u64>,
    /// Network interfaces of the machine (not of the BMC).
    pub nics: Vec<Nic>,
    /// Disks, whether or not they are part of a RAID volume.
    pub drives: Vec<Drive>,
    /// What disks are attached to.
    pub storage_controllers: Vec<StorageController>,
    /// What the firmware can boot, in the order in which it tries.
    pub boot_options: Vec<BootOption>,
    /// Drives that the BMC imitates.
    pub media_drives: Vec<MediaDrive>,
    /// What could not be read, one sentence each.
    pub unread: Vec<String>,
}

/// A processor package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// Model name.
    pub model: Option<String>,
    /// Physical cores.
    pub cores: Option<u32>,
    /// Hardware threads.
    pub threads: Option<u32>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The BMC's name for it, such as `NIC.Integrated.1-1-1`.
    pub id: String,
    /// Its permanent address, or the present one if the BMC knows no other.
    pub mac: MacAddress,
    /// Whether there is a link, where known.
    pub link_up: Option<bool>,
    /// Speed in Mbit/s, where known.
    pub speed_mbps: Option<u32>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The BMC's name for it.
    pub id: String,
    /// Model name.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
}

/// What disks are attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageController {
    /// The BMC's name for the storage that it controls.
    pub id: String,
    /// Model name.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Version of its firmware.
    pub firmware_version: Option<String>,
}

/// An entry of the firmware's boot menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOption {
    /// The firmware's name for it, such as `Boot0004`.
    pub reference: String,
    /// Name for people.
    pub name: Option<String>,
    /// UEFI device path.
    pub device_path: Option<String>,
    /// Whether it is tried; those that do not say are.
    pub enabled: bool,
}

/// A drive that the BMC imitates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDrive {
    /// The BMC's name for it.
    pub id: String,
    /// What it imitates, in the words of DSP0268 (VirtualMedia, `MediaTypes`).
    pub kinds: Vec<String>,
    /// Where the image in it came from, or its name.
    pub image: Option<String>,
}
