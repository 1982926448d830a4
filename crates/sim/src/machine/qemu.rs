//! A server that is a QEMU process with UEFI firmware.
//!
//! Powering on starts a process, cutting the power kills it, and the process is the only truth about
//! the power state: a guest that powers itself off ends its QEMU, and the controller says `Off`
//! because there is none.
//!
//! The boot order is QEMU's `bootindex`, which firmware reads afresh at every reset (QEMU's
//! `docs/bootindex.rst`). The disk always has a place in it; the NIC has one, before the disk, only
//! while an override says so. A one-shot override is consumed when a boot *begins*: at process start,
//! or at QEMU's `RESET` event. By then QEMU has already fixed the order for the boot that begins, so
//! setting it back affects the boot after.
//!
//! Boot mode, and whether UEFI offers PXE, are fixed when the process starts. A restart by the
//! controller that needs it otherwise therefore starts another process, and so does every one of a
//! BIOS; only a guest that resets *itself* finds the firmware unchanged.

mod arguments;
mod process;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use self::process::Process;
use super::{
    BootMode, BootOverride, BootTarget, Inventory, Machine, MachineError, PowerState, SerialLine,
};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator: works everywhere, ten times slower.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's `-accel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What a QEMU machine needs on this host.
#[derive(Debug, Clone)]
pub struct QemuSettings {
    /// Name of the process, for people who look at a process list.
    pub name: String,
    /// What executes the guest.
    pub accelerator: Accelerator,
    /// UEFI firmware image, never written.
    pub firmware_code: PathBuf,
    /// This machine's own copy of the firmware's variables.
    pub firmware_variables: PathBuf,
    /// The same for boots by PXE.
    pub pxe_firmware_variables: PathBuf,
    /// Raw disk image.
    pub disk: PathBuf,
    /// File that holds the image in the CD drive, while there is one.
    pub medium: PathBuf,
    /// An iPXE script: while this file is there, the NIC has no boot ROM for a PC BIOS, and a boot by
    /// PXE begins with this instead. QEMU's own ROMs are iPXE already, and nothing but a script says
    /// how to be any other.
    pub pxe_script: PathBuf,
    /// Tap interfaces, one for each NIC of the inventory.
    pub taps: Vec<String>,
    /// Network namespace of the taps, if it is not the present one.
    pub namespace: Option<String>,
    /// Socket on which this crate awaits QEMU's control connection.
    pub control_socket: PathBuf,
    /// Socket that QEMU offers for the serial console.
    pub serial_socket: PathBuf,
    /// File that gets everything written to the serial console.
    pub serial_log: PathBuf,
    /// File that gets QEMU's own messages.
    pub qemu_log: PathBuf,
}

/// A server that is a QEMU process.
pub struct QemuMachine {
    settings: QemuSettings,
    inventory: Inventory,
    boot: Arc<BootState>,
    mode: Mutex<BootMode>,
    has_medium: AtomicBool,
    /// Held over every command, so that commands see each other's results whole.
    process: tokio::sync::Mutex<Option<Process>>,
}

/// The boot override and how often it had a chance, shared with the task that sees resets.
pub(super) struct BootState {
    boot_override: Mutex<BootOverride>,
    count: AtomicU64,
}

impl BootState {
    fn get(&self) -> BootOverride {
        *self
            .boot_override
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wanted: BootOverride) {
        *self
            .boot_override
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// Counts a boot that begins and says what it uses.
    fn begin_boot(&self) -> BootTarget {
        let mut boot_override = self
            .boot_override
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let target = boot_override.next_target();
        *boot_override = boot_override.after_boot();
        self.count.fetch_add(1, Ordering::Relaxed);
        target
    }
}

impl QemuMachine {
    /// A machine that is off.
    pub fn new(settings: QemuSettings, inventory: Inventory) -> Self {
        Self {
            settings,
            inventory,
            boot: Arc::new(BootState {
                boot_override: Mutex::new(BootOverride::NONE),
                count: AtomicU64::new(0),
            }),
            mode: Mutex::new(BootMode::Uefi),
            has_medium: AtomicBool::new(false),
            process: tokio::sync::Mutex::new(None),
        }
    }

    async fn start(&self) -> Result<Process, MachineError> {
        let medium = self.settings.medium.as_path();
        let medium = self.has_medium.load(Ordering::SeqCst).then_some(medium);
        let (settings, inventory, mode) = (&self.settings, &self.inventory, self.boot_mode());
        Process::start(settings, inventory, &self.boot, mode, medium).await
    }
}

/// The process, if it still runs.
fn running(process: &Option<Process>) -> Result<&Process, MachineError> {
    process
        .as_ref()
        .filter(|process| process.is_alive())
        .ok_or(MachineError::WrongState(PowerState::Off))
}

impl Machine for QemuMachine {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn boot_targets(&self) -> &'static [BootTarget] {
        // A PC BIOS knows no HTTP.
        match self.boot_mode() {
            BootMode::Uefi => &[
                BootTarget::None,
                BootTarget::Pxe,
                BootTarget::Hdd,
                BootTarget::Cd,
                BootTarget::UefiHttp,
            ],
            BootMode::Legacy => &[
                BootTarget::None,
                BootTarget::Pxe,
                BootTarget::Hdd,
                BootTarget::Cd,
            ],
        }
    }

    fn boot_mode(&self) -> BootMode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot_override(&self) -> BootOverride {
        self.boot.get()
    }

    fn boot_count(&self) -> u64 {
        self.boot.count.load(Ordering::Relaxed)
    }

    fn power_state(&self) -> BoxFuture<'_, PowerState> {
        async {
            match running(&*self.process.lock().await) {
                Ok(process) if !process.has_shut_down().await => PowerState::On,
                _ => PowerState::Off,
            }
        }
        .boxed()
    }

    fn set_boot_override(&self, wanted: BootOverride) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            if !self.boot_targets().contains(&wanted.target) {
                return Err(MachineError::UnsupportedTarget(wanted.target));
            }
            let process = self.process.lock().await;
            self.boot.set(wanted);
            match running(&process) {
                Ok(process) => process.apply_boot_order(&self.boot).await,
                Err(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn set_boot_mode(&self, wanted: BootMode) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
            Ok(())
        }
        .boxed()
    }

    fn insert_media(&self, image: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            let process = self.process.lock().await;
            let running = running(&process).ok();
            if let Some(process) = running {
                // It has the file open.
                process.eject().await?;
            }
            let written = tokio::fs::write(&self.settings.medium, image).await;
            written.map_err(|error| MachineError::Failed {
                action: "insert media",
                detail: format!("cannot write {}: {error}", self.settings.medium.display()),
            })?;
            self.has_medium.store(true, Ordering::SeqCst);
            match running {
                Some(process) => process.insert(&self.settings.medium).await,
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn eject_media(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            let process = self.process.lock().await;
            if let Ok(process) = running(&process) {
                process.eject().await?;
            }
            self.has_medium.store(false, Ordering::SeqCst);
            // Its space matters more than its presence: an error does no harm.
            let _ = tokio::fs::remove_file(&self.settings.medium).await;
            Ok(())
        }
        .boxed()
    }

    fn serial_line(&self) -> BoxFuture<'_, std::io::Result<Box<dyn SerialLine>>> {
        async {
            let stream = UnixStream::connect(&self.settings.serial_socket).await?;
            Ok(Box::new(stream) as Box<dyn SerialLine>)
        }
        .boxed()
    }

    fn power_on(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            let mut process = self.process.lock().await;
            if running(&process).is_ok() {
                return Err(MachineError::WrongState(PowerState::On));
            }
            *process = None;
            *process = Some(self.start().await?);
            Ok(())
        }
        .boxed()
    }

    fn force_off(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            let mut process = self.process.lock().await;
            running(&process)?.kill().await?;
            *process = None;
            Ok(())
        }
        .boxed()
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            running(&*self.process.lock().await)?
                .press_power_button()
                .await
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            let mut process = self.process.lock().await;
            let present = running(&process)?;
            if present.can_boot(&self.boot, self.boot_mode()) {
                return present.reset().await;
            }
            present.kill().await?;
            *process = None;
            *process = Some(self.start().await?);
            Ok(())
        }
        .boxed()
    }
}
