//! What a machine is made of, as its agent found it, and how a machine is told from another.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::net::MacAddress;

/// How a machine is told from another: the serial number and UUID of SMBIOS type 1 (DSP0134).
/// Every intent names the machine it expects by this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineIdentity {
    /// System serial number; empty if the maker left it out.
    pub serial: String,
    /// System UUID, where the machine reports one.
    #[serde(default)]
    pub uuid: Option<Uuid>,
}

impl MachineIdentity {
    /// Whether `other` can be the same machine: every part that both sides know must be equal,
    /// and at least one part must be known by both.
    ///
    /// The UUID is also compared with its first three fields byte-swapped, because some BMCs
    /// print SMBIOS's little-endian fields as they lie in memory.
    pub fn matches(&self, other: &Self) -> bool {
        let serials = !self.serial.is_empty() && !other.serial.is_empty();
        let uuids = self.uuid.zip(other.uuid);
        let serial_equal = self.serial.trim().eq_ignore_ascii_case(other.serial.trim());
        let uuid_equal =
            uuids.is_none_or(|(a, b)| a == b || a == Uuid::from_bytes(b.to_bytes_le()));
        (serials || uuids.is_some()) && (!serials || serial_equal) && uuid_equal
    }
}

impl std::fmt::Display for MachineIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uuid {
            Some(uuid) => write!(formatter, "serial {}, UUID {uuid}", self.serial),
            None => write!(formatter, "serial {}", self.serial),
        }
    }
}

/// Everything the agent finds out about the machine it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    /// Which machine this is.
    pub identity: MachineIdentity,
    /// Maker, from SMBIOS type 1.
    pub manufacturer: String,
    /// Product name, from SMBIOS type 1.
    pub product: String,
    /// Firmware (BIOS) version, from SMBIOS type 0.
    pub firmware_version: String,
    /// How the agent was started.
    pub firmware_mode: FirmwareMode,
    /// Processors.
    pub cpu: Cpu,
    /// Usable memory in MiB.
    pub memory_mib: u64,
    /// Block devices that can hold an operating system.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub nics: Vec<Nic>,
}

impl Inventory {
    /// The model of the machine, for people and to tell models apart: maker and product.
    pub fn model(&self) -> String {
        format!("{} {}", self.manufacturer, self.product)
            .trim()
            .to_owned()
    }
}

/// How the machine's firmware started the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirmwareMode {
    /// UEFI (`/sys/firmware/efi` exists).
    Uefi,
    /// Legacy BIOS.
    Bios,
}

/// The processors of a machine, which are all alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cpu {
    /// Model name as the processor gives it.
    pub model: String,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Sockets in use.
    pub sockets: u32,
    /// Physical cores over all sockets.
    pub cores: u32,
    /// Hardware threads over all sockets.
    pub threads: u32,
}

/// A block device that can hold an operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Kernel name without `/dev/`, such as `nvme0n1`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Model, empty if unknown.
    pub model: String,
    /// Serial number, empty if unknown.
    pub serial: String,
    /// World-wide name, where there is one.
    #[serde(default)]
    pub wwn: Option<String>,
    /// Whether it spins.
    pub rotational: bool,
    /// How it is attached.
    pub transport: Transport,
}

impl Disk {
    /// How it is told from other disks.
    pub fn identity(&self) -> DiskIdentity {
        DiskIdentity {
            name: self.name.clone(),
            serial: self.serial.clone(),
            size_bytes: self.size_bytes,
            wwn: self.wwn.clone(),
        }
    }
}

/// For people: `nvme0n1 (447 GiB SSD, Maker X1, serial number S1)`.
impl std::fmt::Display for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.rotational { "HDD" } else { "SSD" };
        write!(
            formatter,
            "{} ({} GiB {kind}",
            self.name,
            self.size_bytes >> 30
        )?;
        if !self.model.is_empty() {
            write!(formatter, ", {}", self.model)?;
        }
        match self.serial.as_str() {
            "" => formatter.write_str(", no serial number")?,
            serial => write!(formatter, ", serial number {serial}")?,
        }
        match &self.wwn {
            Some(wwn) => write!(formatter, ", {wwn})"),
            None => formatter.write_str(")"),
        }
    }
}

/// How one disk of a machine is told from the others at the next boot, when kernel names may have
/// changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskIdentity {
    /// Kernel name at the time of inspection. Only the number of an NVMe namespace in it decides.
    pub name: String,
    /// Serial number, empty if it has none; must agree.
    pub serial: String,
    /// Size in bytes; must agree. 0 in what was stored before identities were: then there is nothing
    /// but the kernel name.
    pub size_bytes: u64,
    /// World-wide name, where there is one; must agree with that of a disk that has one.
    #[serde(default)]
    pub wwn: Option<String>,
}

impl DiskIdentity {
    /// Whether `disk` can be the one that is meant. If two disks of a machine can, it is not known
    /// which one it is.
    pub fn is(&self, disk: &Disk) -> bool {
        if self.size_bytes == 0 {
            return self.name == disk.name;
        }
        let wwns = self.wwn.as_ref().zip(disk.wwn.as_ref());
        self.serial == disk.serial
            && namespace(&self.name) == namespace(&disk.name)
            && self.size_bytes == disk.size_bytes
            && wwns.is_none_or(|(meant, found)| meant == found)
    }
}

/// Which namespace of its controller an NVMe disk is: the `n1` of `nvme0n1`. Namespaces of one
/// controller share its serial number, and their numbers stay.
fn namespace(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("nvme")?;
    rest.find('n').map(|at| &rest[at..])
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// NVM Express.
    Nvme,
    /// Serial ATA.
    Sata,
    /// SCSI, SAS or a RAID controller's volume.
    Scsi,
    /// A virtual machine's paravirtual disk.
    Virtio,
    /// Something else.
    Other,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nic {
    /// Kernel name, such as `eth0`.
    pub name: String,
    /// Permanent address.
    pub mac: MacAddress,
    /// Whether there is a carrier.
    pub link: bool,
    /// Negotiated speed in Mbit/s, where known.
    #[serde(default)]
    pub speed_mbps: Option<u32>,
    /// Kernel driver.
    pub driver: String,
    /// The switch port at the other end, as LLDP told it (IEEE 802.1AB).
    #[serde(default)]
    pub lldp: Option<LldpNeighbor>,
}

/// The other end of a cable as it announces itself (IEEE 802.1AB).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LldpNeighbor {
    /// Chassis id in text.
    pub chassis: String,
    /// Port id in text.
    pub port: String,
    /// System name, where announced.
    #[serde(default)]
    pub system_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(serial: &str, uuid: Option<u128>) -> MachineIdentity {
        MachineIdentity {
            serial: serial.into(),
            uuid: uuid.map(Uuid::from_u128),
        }
    }

    #[test]
    fn machines_match_on_what_both_sides_know() {
        assert!(identity("A1", Some(7)).matches(&identity("a1 ", Some(7))));
        assert!(identity("A1", None).matches(&identity("A1", Some(7))));
        assert!(identity("", Some(7)).matches(&identity("A1", Some(7))));
        assert!(!identity("A1", Some(7)).matches(&identity("A1", Some(8))));
        assert!(!identity("A1", Some(7)).matches(&identity("A2", Some(7))));
        assert!(!identity("", None).matches(&identity("", None)));
        assert!(!identity("A1", None).matches(&identity("", Some(7))));
    }

    #[test]
    fn a_byte_swapped_uuid_is_the_same_machine() {
        let uuid = Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        let swapped = Uuid::parse_str("33221100-5544-7766-8899-aabbccddeeff").unwrap();
        let of = |uuid| MachineIdentity {
            serial: String::new(),
            uuid: Some(uuid),
        };
        assert!(of(uuid).matches(&of(swapped)));
    }
}
