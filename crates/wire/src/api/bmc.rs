//! What a node's management controller says of its machine, asked just now.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use bessemer_core::net::MacAddress;

/// What a management controller says of its machine. Whatever it does not say is absent: how much
/// that is depends on the maker, and often on whether the machine is on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcInventory {
    /// Maker.
    #[serde(default)]
    pub manufacturer: Option<String>,
    /// Model name.
    #[serde(default)]
    pub model: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// UUID, as the operating system sees it.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// Version of the machine's firmware.
    #[serde(default)]
    pub firmware_version: Option<String>,
    /// Processor packages in use.
    pub cpus: Vec<BmcCpu>,
    /// Memory in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Network interfaces.
    pub nics: Vec<BmcNic>,
    /// Disks, whether or not they are part of a RAID volume.
    pub drives: Vec<BmcDrive>,
    /// What disks are attached to.
    pub storage_controllers: Vec<BmcStorageController>,
    /// What the firmware can boot, in the order in which it tries.
    pub boot_options: Vec<BmcBootOption>,
    /// Drives that the management controller imitates.
    pub media_drives: Vec<BmcMediaDrive>,
    /// What could not be read, one sentence each.
    pub unread: Vec<String>,
}

/// A processor package.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcCpu {
    /// Model name.
    #[serde(default)]
    pub model: Option<String>,
    /// Physical cores.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Hardware threads.
    #[serde(default)]
    pub threads: Option<u32>,
}

/// A network interface.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcNic {
    /// The management controller's name for it.
    pub id: String,
    /// Its address.
    #[schema(value_type = String)]
    pub mac: MacAddress,
    /// Whether there is a link.
    #[serde(default)]
    pub link_up: Option<bool>,
    /// Speed in Mbit/s.
    #[serde(default)]
    pub speed_mbps: Option<u32>,
}

/// A disk.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcDrive {
    /// The management controller's name for it.
    pub id: String,
    /// Model name.
    #[serde(default)]
    pub model: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// Size in bytes.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// What disks are attached to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcStorageController {
    /// The management controller's name for the storage that it controls.
    pub id: String,
    /// Model name.
    #[serde(default)]
    pub model: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// Version of its firmware.
    #[serde(default)]
    pub firmware_version: Option<String>,
}

/// An entry of the firmware's boot menu.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcBootOption {
    /// The firmware's name for it, such as `Boot0004`.
    pub reference: String,
    /// Name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// UEFI device path.
    #[serde(default)]
    pub device_path: Option<String>,
    /// Whether it is tried.
    pub enabled: bool,
}

/// A drive that a management controller imitates.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BmcMediaDrive {
    /// The management controller's name for it.
    pub id: String,
    /// What it imitates, such as `CD`.
    pub kinds: Vec<String>,
    /// Whether it holds an image. Where that came from is not told: the URL may be a secret.
    pub holds_image: bool,
}
