//! What every BMC can do, whatever its protocol.

use std::fmt;

use bessemer_core::hardware::MachineIdentity;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{BmcInventory, Error, Exchange, Identity, LeftAlone, SerialConsole};

/// A management controller of one machine.
///
/// Every call ends by its deadline at the latest, with [`Error::TimedOut`] or
/// [`Error::NotVerified`] if what it does is not done by then, and then leaves nothing running.
/// Calls may be made at the same time; the implementation sends one request after the other,
/// because many BMCs answer wrongly, or not at all, when asked two things at once. That holds for
/// one value: keep one per BMC and share it.
pub trait Bmc: fmt::Debug + Send + Sync {
    /// Where the BMC is, for people: a URL without credentials.
    fn address(&self) -> &str;

    /// Which machine this BMC manages.
    fn identity(&self, deadline: Instant) -> BoxFuture<'_, Result<Identity, Error>>;

    /// Whether the machine is switched on.
    fn power(&self, deadline: Instant) -> BoxFuture<'_, Result<PowerState, Error>>;

    /// Brings the machine into the power state that `action` names, and returns once that state
    /// has been read back. A machine that is in it already is left alone.
    fn set_power(&self, action: PowerAction, deadline: Instant)
    -> BoxFuture<'_, Result<(), Error>>;

    /// The same for `machine`, and for no other: [`Error::AnotherMachine`] from a BMC that manages
    /// another one, which is left alone.
    fn set_power_of<'a>(
        &'a self,
        machine: &'a MachineIdentity,
        action: PowerAction,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Has the machine boot from `device` at its next start, that one only, and returns once the
    /// setting has been read back. Does not restart the machine.
    fn set_boot_once(
        &self,
        device: BootDevice,
        mode: BootMode,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), Error>>;

    /// Has the machine's firmware start in `mode` from its next start on, and returns once the
    /// setting, or that it is pending, has been read back. Does not restart the machine.
    fn set_boot_mode(&self, mode: BootMode, deadline: Instant) -> BoxFuture<'_, Result<(), Error>>;

    /// What this BMC and its machine can be asked for, as set up now. Costs a handful of
    /// requests: ask once, and keep the answer.
    fn capabilities(&self, deadline: Instant) -> BoxFuture<'_, Result<Capabilities, Error>>;

    /// Inserts the image at `url`, which the BMC fetches itself, into the CD drive that it
    /// imitates, and returns once the drive has been read back to hold it. Another image in that
    /// drive is ejected first; the same one is left alone. [`Error::NotOffered`] from a BMC
    /// without such a drive. What an image is remembered by is its URL: use another for another.
    fn insert_media<'a>(
        &'a self,
        url: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Empties the drive that [`Bmc::insert_media`] uses, and returns once it has been read back
    /// to be empty. An empty drive is left alone.
    fn eject_media(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Error>>;

    /// What the machine is made of, as far as the BMC knows: tens of requests, and often less
    /// than the agent finds out.
    fn inventory(&self, deadline: Instant) -> BoxFuture<'_, Result<BmcInventory, Error>>;

    /// Opens the machine's serial console. There is one of it: another session that has it loses
    /// it. [`Error::NotOffered`] where there is none.
    fn open_console(&self, deadline: Instant) -> BoxFuture<'_, Result<SerialConsole, Error>>;

    /// The latest requests and what came of them, oldest first.
    fn exchanges(&self) -> Vec<Exchange>;

    /// Requests sent so far, repeated ones and logins included.
    fn requests(&self) -> u64;

    /// Whether the BMC is left alone at this moment, because it has not answered for a while or
    /// refuses the password: then nothing is sent, and calls end at once with
    /// [`Error::LeftAlone`].
    fn left_alone(&self) -> Option<LeftAlone>;

    /// Has the next call go through although the BMC is left alone: for what a person asks for.
    fn insist(&self);

    /// Whether the connection is kept after each call from now on, for the next one, as it is unless this
    /// says otherwise: one costs us tens of kilobytes, and to make one costs many BMCs more than a
    /// request.
    fn keep_connection(&self, keep: bool);

    /// Logs out, within a few seconds; failure to is only logged. The value can still be used
    /// and then logs in again.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a BMC and its machine can be asked for. `false` also means that the BMC does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The machine can be made to boot a file over HTTP ([`BootDevice::UefiHttp`]).
    pub uefi_http: bool,
    /// The machine can be made to boot by PXE ([`BootDevice::Pxe`]).
    pub pxe: bool,
    /// Images can be inserted ([`Bmc::insert_media`]) and booted ([`BootDevice::VirtualMedia`]).
    pub virtual_media: bool,
    /// How the firmware boots at present, where known.
    pub boot_mode: Option<BootMode>,
    /// The operating system can be asked to shut down ([`PowerAction::GracefulOff`]).
    pub graceful_off: bool,
    /// The BMC says that it carries the machine's serial console over IPMI.
    pub serial_over_lan: bool,
}

/// Whether a machine is switched on, as its BMC says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Running, or in its firmware.
    On,
    /// Off; the BMC itself has power.
    Off,
    /// On its way to [`PowerState::On`].
    PoweringOn,
    /// On its way to [`PowerState::Off`].
    PoweringOff,
    /// The BMC does not say, or says something else.
    Unknown,
}

impl fmt::Display for PowerState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::PoweringOn => "powering on",
            Self::PoweringOff => "powering off",
            Self::Unknown => "unknown",
        })
    }
}

/// What to do to a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// Switch on.
    On,
    /// Switch off at once, whatever the operating system is doing.
    ForceOff,
    /// Ask the operating system to shut down. Whether it does is up to it: be ready for
    /// [`Error::NotVerified`].
    GracefulOff,
    /// Switch off at once and on again. Both halves are verified, which a BMC's own restart
    /// action does not allow: the machine reads as on before and after. A machine that is off
    /// is switched on.
    ForceRestart,
}

/// What a machine boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootDevice {
    /// A file fetched by the firmware over HTTP (UEFI 2.5, section 24.7). Only with
    /// [`BootMode::Uefi`].
    UefiHttp,
    /// The network by PXE.
    Pxe,
    /// The first disk.
    Disk,
    /// The CD drive that the BMC imitates.
    VirtualMedia,
    /// The firmware's setup pages.
    FirmwareSetup,
}

impl fmt::Display for BootDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UefiHttp => "UEFI HTTP",
            Self::Pxe => "PXE",
            Self::Disk => "disk",
            Self::VirtualMedia => "virtual media",
            Self::FirmwareSetup => "firmware setup",
        })
    }
}

/// How a machine's firmware boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMode {
    /// UEFI.
    Uefi,
    /// The PC BIOS's way, or UEFI's imitation of it (CSM).
    Legacy,
}

impl fmt::Display for BootMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Uefi => "UEFI",
            Self::Legacy => "legacy",
        })
    }
}
