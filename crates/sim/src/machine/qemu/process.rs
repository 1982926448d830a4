//! One QEMU process, from power-on to power-off.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use super::arguments::{CD, Firmware, Start, arguments, boot_order};
use super::{BootState, QemuSettings};
use crate::machine::qmp::{Qmp, QmpError};
use crate::machine::{BootMode, BootTarget, Inventory, MachineError};

/// QEMU connects back within tenths of a second, on a busy host within seconds.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A killed process ends at once; a reset begins at once.
const EFFECT_LIMIT: Duration = Duration::from_secs(5);
/// A serial log larger than this is put aside at the next power-on.
const SERIAL_LOG_LIMIT: u64 = 16 << 20;

/// A running QEMU.
pub(super) struct Process {
    control: Arc<Control>,
    kill: mpsc::Sender<()>,
    /// Changes to `false` once, when the process has ended.
    alive: watch::Receiver<bool>,
    /// Counts resets that have taken effect.
    resets: watch::Receiver<u64>,
    firmware: Firmware,
}

/// The control connection and the boot order last given to it.
struct Control {
    qmp: Qmp,
    boot_order: Mutex<[(&'static str, i32); 2]>,
}

impl Control {
    /// Makes QEMU's boot order for the next boot agree with the override as it is now.
    async fn apply_boot_order(&self, boot: &BootState) -> Result<(), QmpError> {
        let mut applied = self.boot_order.lock().await;
        // Read under the lock, so that the last of several callers leaves the latest order.
        let wanted = boot_order(boot.get().next_target());
        for (applied, wanted) in applied.iter_mut().zip(wanted) {
            // QEMU refuses an index that is taken, even by the same device.
            if *applied == wanted {
                continue;
            }
            let arguments = json!({
                "path": format!("/machine/peripheral/{}", wanted.0),
                "property": "bootindex",
                "value": wanted.1,
            });
            self.qmp.execute("qom-set", arguments).await?;
            *applied = wanted;
        }
        Ok(())
    }
}

impl Process {
    /// Starts QEMU and its first boot.
    pub(super) async fn start(
        settings: &QemuSettings,
        inventory: &Inventory,
        boot: &Arc<BootState>,
        mode: BootMode,
        medium: Option<&Path>,
    ) -> Result<Self, MachineError> {
        let failed = |detail: String| MachineError::Failed {
            action: "power on",
            detail,
        };
        let listener = control_listener(settings).map_err(|error| {
            failed(format!(
                "cannot make {}: {error}",
                settings.control_socket.display()
            ))
        })?;
        put_aside_long_log(&settings.serial_log);
        let target = boot.begin_boot();
        let script = settings.pxe_script.as_path();
        let stands_in = mode == BootMode::Legacy && target == BootTarget::Pxe && script.exists();
        let start = Start {
            firmware: Firmware::for_boot(mode, target),
            target,
            medium,
            pxe_script: stands_in.then_some(script),
        };
        let mut child = spawn(settings, inventory, &start)
            .map_err(|error| failed(format!("cannot start qemu-system-x86_64: {error}")))?;
        let (event_sender, events) = mpsc::channel(16);
        let qmp = tokio::select! {
            connected = timeout(START_LIMIT, connect(listener, event_sender)) => connected
                .map_err(|_| failed(format!("QEMU did not connect within {START_LIMIT:?}")))?
                .map_err(failed)?,
            status = child.wait() => return Err(failed(ended_early(status, &settings.qemu_log))),
        };
        let control = Arc::new(Control {
            qmp,
            boot_order: Mutex::new(start.boot_order()),
        });
        let supervised = Supervised {
            name: settings.name.clone(),
            control,
            boot: Arc::clone(boot),
            firmware: start.firmware,
        };
        tracing::info!(machine = settings.name, ?target, ?mode, "powered on");
        let process = supervised.supervise(child, events);
        process.apply_boot_order(boot).await?;
        Ok(process)
    }

    pub(super) fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// Whether the guest has stopped although its process is still there.
    pub(super) async fn has_shut_down(&self) -> bool {
        match self.control.qmp.execute("query-status", json!({})).await {
            Ok(status) => status["status"] == "shutdown",
            Err(QmpError::Closed) => !self.is_alive(),
            // A process that does not answer still draws power.
            Err(_) => false,
        }
    }

    /// Makes the next boot use the override as it is now.
    pub(super) async fn apply_boot_order(&self, boot: &BootState) -> Result<(), MachineError> {
        let applied = self.control.apply_boot_order(boot).await;
        applied.map_err(|error| self.failed("boot override", &error))
    }

    /// Whether a reset would honour the override and the mode as they are now. QEMU's BIOS does not:
    /// it finds that it has run already and resets the machine once more, which would consume an
    /// override before its boot.
    pub(super) fn can_boot(&self, boot: &BootState, mode: BootMode) -> bool {
        mode == BootMode::Uefi
            && self.firmware == Firmware::for_boot(mode, boot.get().next_target())
    }

    /// Puts the image in this file into the CD drive, in place of what is there.
    pub(super) async fn insert(&self, medium: &Path) -> Result<(), MachineError> {
        let arguments = json!({
            "id": CD,
            "filename": medium,
            "format": "raw",
            "read-only-mode": "read-only",
            "force": true,
        });
        let inserted = self
            .control
            .qmp
            .execute("blockdev-change-medium", arguments)
            .await;
        inserted
            .map(drop)
            .map_err(|error| self.failed("insert media", &error))
    }

    /// Empties the CD drive, whatever the guest is doing with it.
    pub(super) async fn eject(&self) -> Result<(), MachineError> {
        let arguments = json!({"id": CD, "force": true});
        let ejected = self.control.qmp.execute("eject", arguments).await;
        ejected
            .map(drop)
            .map_err(|error| self.failed("eject media", &error))
    }

    /// Ends the process as losing power would.
    pub(super) async fn kill(&self) -> Result<(), MachineError> {
        // Full or closed both mean that it is being done.
        let _ = self.kill.try_send(());
        let mut alive = self.alive.clone();
        match timeout(EFFECT_LIMIT, alive.wait_for(|alive| !alive)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(MachineError::Failed {
                action: "power off",
                detail: format!("QEMU was still there {EFFECT_LIMIT:?} after being killed"),
            }),
        }
    }

    /// Presses the ACPI power button.
    pub(super) async fn press_power_button(&self) -> Result<(), MachineError> {
        let pressed = self
            .control
            .qmp
            .execute("system_powerdown", json!({}))
            .await;
        pressed
            .map(drop)
            .map_err(|error| self.failed("shut down", &error))
    }

    /// Resets the machine and waits until the reset has begun.
    pub(super) async fn reset(&self) -> Result<(), MachineError> {
        let mut resets = self.resets.clone();
        let before = *resets.borrow_and_update();
        let reset = self.control.qmp.execute("system_reset", json!({})).await;
        reset.map_err(|error| self.failed("restart", &error))?;
        match timeout(EFFECT_LIMIT, resets.wait_for(|count| *count > before)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(MachineError::Failed {
                action: "restart",
                detail: format!("QEMU did not reset within {EFFECT_LIMIT:?}"),
            }),
        }
    }

    fn failed(&self, action: &'static str, error: &QmpError) -> MachineError {
        MachineError::Failed {
            action,
            detail: error.to_string(),
        }
    }
}

fn control_listener(settings: &QemuSettings) -> std::io::Result<UnixListener> {
    for stale in [&settings.control_socket, &settings.serial_socket] {
        match std::fs::remove_file(stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    UnixListener::bind(&settings.control_socket)
}

/// Keeps one older serial log, so that the two together stay within bounds.
fn put_aside_long_log(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > SERIAL_LOG_LIMIT)
        && let Err(error) = std::fs::rename(log, log.with_extension("log.1"))
    {
        tracing::warn!(log = %log.display(), %error, "cannot put the long serial log aside");
    }
}

fn spawn(
    settings: &QemuSettings,
    inventory: &Inventory,
    start: &Start<'_>,
) -> std::io::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&settings.qemu_log)?;
    let mut command = match &settings.namespace {
        // `ip` becomes what it starts, so that the process is QEMU's own.
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace, "qemu-system-x86_64"]);
            command
        }
        None => Command::new("qemu-system-x86_64"),
    };
    command
        .args(arguments(settings, inventory, start))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

async fn connect(listener: UnixListener, events: mpsc::Sender<String>) -> Result<Qmp, String> {
    let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
    Qmp::start(stream, events)
        .await
        .map_err(|error| error.to_string())
}

fn ended_early(status: std::io::Result<ExitStatus>, log: &Path) -> String {
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().last().unwrap_or("no message");
    format!("QEMU ended at once ({status}): {last}")
}

/// What is known of a started QEMU.
struct Supervised {
    name: String,
    control: Arc<Control>,
    boot: Arc<BootState>,
    firmware: Firmware,
}

impl Supervised {
    /// Watches over QEMU until it ends.
    fn supervise(self, mut child: Child, mut events: mpsc::Receiver<String>) -> Process {
        let (kill, mut kills) = mpsc::channel(1);
        let (alive_sender, alive) = watch::channel(true);
        let (reset_sender, resets) = watch::channel(0);
        let process = Process {
            control: Arc::clone(&self.control),
            kill,
            alive,
            resets,
            firmware: self.firmware,
        };
        tokio::spawn(async move {
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    // Also when the machine itself is dropped: nobody is left to power it off.
                    _ = kills.recv() => {
                        // An error means that it has just ended by itself.
                        let _ = child.start_kill();
                        break child.wait().await;
                    }
                    Some(event) = events.recv() => {
                        tracing::debug!(machine = self.name, event, "QEMU event");
                        if event == "RESET" {
                            note_reset(&self.name, &self.control, &self.boot).await;
                            reset_sender.send_modify(|count| *count += 1);
                        }
                    }
                }
            };
            log_end(&self.name, status);
            alive_sender.send_replace(false);
        });
        process
    }
}

/// A boot has begun by reset: its order is fixed, so prepare the one after.
async fn note_reset(name: &str, control: &Control, boot: &BootState) {
    let target = boot.begin_boot();
    tracing::info!(machine = name, ?target, "reset");
    if let Err(error) = control.apply_boot_order(boot).await {
        tracing::warn!(machine = name, %error, "cannot set the boot order after a reset");
    }
}

fn log_end(name: &str, status: std::io::Result<ExitStatus>) {
    match status {
        Ok(status) if status.success() => tracing::info!(machine = name, "powered itself off"),
        Ok(status) if status.signal() == Some(9) => tracing::info!(machine = name, "power cut"),
        Ok(status) => tracing::warn!(machine = name, %status, "QEMU ended"),
        Err(error) => tracing::warn!(machine = name, %error, "QEMU is lost"),
    }
}
