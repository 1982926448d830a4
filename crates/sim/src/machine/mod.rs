//! A server as its management controller sees it.
//!
//! The Redfish service of this crate must behave the same whether the server behind it is a QEMU
//! process or three variables in a test, because a client tested against one has to be right about
//! the other. [`Machine`] is the seam. It keeps the boot override on the machine's side, not in the
//! service, because only the machine knows when it boots: a guest that resets itself consumes a
//! one-shot override just as a reset by the controller does.

mod medium;
mod qemu;
mod qmp;
mod simulated;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

pub use medium::command_line;
pub use qemu::{Accelerator, QemuMachine, QemuSettings};
pub use simulated::{CdDrive, MachineEvent, SerialPort, SimulatedMachine};

/// Whether a server runs. The names are those of Redfish's `PowerState` (DSP2046, Resource).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerState {
    /// Powered, whatever its firmware or system does.
    On,
    /// Not powered.
    Off,
}

/// What to boot from. The names are those of Redfish's `BootSource` (DSP2046, ComputerSystem).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootTarget {
    /// The default order: the disk.
    None,
    /// The network by PXE.
    Pxe,
    /// The disk.
    Hdd,
    /// The CD drive that the controller imitates.
    Cd,
    /// The network by UEFI HTTP boot (UEFI specification, section 24.7).
    UefiHttp,
}

/// How the firmware boots. The names are those of Redfish's `BootSourceOverrideMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootMode {
    /// UEFI.
    #[serde(rename = "UEFI")]
    Uefi,
    /// The PC BIOS's way.
    Legacy,
}

/// How long an override holds. The names are those of Redfish's `BootSourceOverrideEnabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverrideEnabled {
    /// It does not.
    Disabled,
    /// For the next boot.
    Once,
    /// Until it is changed.
    Continuous,
}

/// A boot override as a client set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootOverride {
    /// Whether and how long it holds.
    pub enabled: OverrideEnabled,
    /// What to boot from.
    pub target: BootTarget,
}

impl BootOverride {
    /// No override.
    pub const NONE: Self = Self {
        enabled: OverrideEnabled::Disabled,
        target: BootTarget::None,
    };

    /// What the next boot uses.
    pub fn next_target(self) -> BootTarget {
        match self.enabled {
            OverrideEnabled::Disabled => BootTarget::None,
            OverrideEnabled::Once | OverrideEnabled::Continuous => self.target,
        }
    }

    /// What is left of the override once the machine has booted.
    #[must_use]
    pub fn after_boot(self) -> Self {
        match self.enabled {
            OverrideEnabled::Continuous => self,
            OverrideEnabled::Once | OverrideEnabled::Disabled => Self::NONE,
        }
    }
}

/// A network interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryNic {
    /// Identifier within the machine, as in `NIC1`.
    pub id: String,
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// Megabits per second.
    pub speed_mbps: u32,
}

/// A drive of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryDrive {
    /// Identifier within the machine, as in `Drive1`.
    pub id: String,
    /// Model name as the drive reports it.
    pub model: String,
    /// Serial number as the drive reports it.
    pub serial_number: String,
    /// Size in bytes.
    pub capacity_bytes: u64,
}

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// SMBIOS type 1 manufacturer.
    pub manufacturer: String,
    /// SMBIOS type 1 product name.
    pub model: String,
    /// SMBIOS type 1 serial number.
    pub serial_number: String,
    /// SMBIOS type 1 UUID.
    pub uuid: Uuid,
    /// SMBIOS type 0 version.
    pub bios_version: String,
    /// Processor model name.
    pub processor_model: String,
    /// Processor cores, each with one thread.
    pub processor_cores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Network interfaces.
    pub nics: Vec<InventoryNic>,
    /// NVMe drives.
    pub drives: Vec<InventoryDrive>,
}

/// Why a machine did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The command makes no sense in the present power state.
    #[error("the machine is powered {}", match .0 { PowerState::On => "on", PowerState::Off => "off" })]
    WrongState(PowerState),
    /// The machine cannot boot from there.
    #[error("the machine cannot boot from {0:?}")]
    UnsupportedTarget(BootTarget),
    /// The machine tried and failed.
    #[error("{action} failed: {detail}")]
    Failed {
        /// What was tried, as in `power on`.
        action: &'static str,
        /// Why it failed.
        detail: String,
    },
}

/// A serial line's bytes, both ways.
pub trait SerialLine: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> SerialLine for T {}

/// What a management controller can do with a server.
///
/// Commands return once they are carried out as far as the controller can see: a machine powered
/// on is running its firmware, a machine forced off has stopped.
pub trait Machine: Send + Sync + 'static {
    /// What the machine is made of.
    fn inventory(&self) -> &Inventory;

    /// The targets an override may name.
    fn boot_targets(&self) -> &'static [BootTarget];

    /// The override as it stands, after what boots so far have consumed.
    fn boot_override(&self) -> BootOverride;

    /// How the firmware boots from its next power-on on.
    fn boot_mode(&self) -> BootMode;

    /// How often the machine has run its power-on self test since it was made: power-ons and
    /// resets, the guest's own included.
    fn boot_count(&self) -> u64;

    /// Whether the machine runs, as a fact and not as the last command.
    fn power_state(&self) -> BoxFuture<'_, PowerState>;

    /// Sets what the next boot uses, powered on or not.
    ///
    /// # Errors
    /// When the target is none of [`Machine::boot_targets`], or the machine refuses.
    fn set_boot_override(&self, wanted: BootOverride) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Sets how the firmware boots from its next power-on on.
    ///
    /// # Errors
    /// When the machine cannot.
    fn set_boot_mode(&self, wanted: BootMode) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Puts this ISO 9660 image into the CD drive that the controller imitates, in place of what
    /// is there.
    ///
    /// # Errors
    /// When the machine refuses.
    fn insert_media(&self, image: Bytes) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Empties that drive.
    ///
    /// # Errors
    /// When the machine refuses.
    fn eject_media(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// The machine's serial line, from now on. There is one of it.
    ///
    /// # Errors
    /// When the machine has none at this moment, being off.
    fn serial_line(&self) -> BoxFuture<'_, std::io::Result<Box<dyn SerialLine>>>;

    /// Powers the machine on.
    ///
    /// # Errors
    /// When it is on already or fails to start.
    fn power_on(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Cuts the power.
    ///
    /// # Errors
    /// When it is off already or does not stop.
    fn force_off(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Asks the operating system to shut down; whether it does, `power_state` tells later.
    ///
    /// # Errors
    /// When the machine is off.
    fn shut_down(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Resets the machine.
    ///
    /// # Errors
    /// When the machine is off or does not reset.
    fn restart(&self) -> BoxFuture<'_, Result<(), MachineError>>;
}
