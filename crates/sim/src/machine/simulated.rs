//! A server that is only its state.
//!
//! Fast tests drive the real conductor and the real Redfish client; what they need from a server is
//! that it powers on and off, honours boot overrides and tells the test what it is booting, so that
//! the test can play the agent or the tenant's system. No time passes in here: a test that wants a
//! slow machine delays its own reaction to [`MachineEvent::Booted`].

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::{
    BootMode, BootOverride, BootTarget, Inventory, InventoryDrive, InventoryNic, Machine,
    MachineError, PowerState, SerialLine,
};

/// Events a slow listener may fall behind before it loses the oldest. There is one queue for every
/// machine of a fleet.
const EVENT_BACKLOG: usize = 64;

/// The same for what goes over a serial line.
const SERIAL_BACKLOG: usize = 256;

/// What happened to a simulated machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineEvent {
    /// The firmware hands over to `target`: the moment a boot loader would be fetched.
    Booted {
        /// Which boot this is, counted from 1.
        boot: u64,
        /// Where it boots from; [`BootTarget::None`] is the default order, the disk.
        target: BootTarget,
    },
    /// The controller pressed the power button for a moment; a running system would shut down.
    ShutdownRequested,
    /// The machine stopped, for whatever reason.
    PoweredOff,
}

#[derive(Debug)]
struct State {
    power: PowerState,
    boot_override: BootOverride,
    boot_mode: BootMode,
    boot_count: u64,
    stuck_in_firmware: bool,
}

/// The CD drive of a simulated server: what it holds is shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct CdDrive(Arc<Mutex<Option<Bytes>>>);

impl CdDrive {
    /// The image in it.
    pub fn medium(&self) -> Option<Bytes> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, medium: Option<Bytes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = medium;
    }
}

/// The machine's end of its serial line: all clones are one. What is written while nobody listens
/// is lost, as on a wire.
#[derive(Debug, Clone, Default)]
pub struct SerialPort(Arc<SerialLines>);

/// Made when somebody first listens: most machines' lines never are.
#[derive(Debug, Default)]
struct SerialLines {
    written: OnceLock<broadcast::Sender<Bytes>>,
    typed: OnceLock<broadcast::Sender<Bytes>>,
}

fn line(line: &OnceLock<broadcast::Sender<Bytes>>) -> &broadcast::Sender<Bytes> {
    line.get_or_init(|| broadcast::Sender::new(SERIAL_BACKLOG))
}

impl SerialPort {
    /// Writes to the console; `false` if nobody listens.
    pub fn write(&self, bytes: impl Into<Bytes>) -> bool {
        let written = self.0.written.get();
        written.is_some_and(|written| written.send(bytes.into()).is_ok())
    }

    /// What is typed from now on.
    pub fn typed(&self) -> broadcast::Receiver<Bytes> {
        line(&self.0.typed).subscribe()
    }

    /// The other end.
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(4096);
        let mut written = line(&self.0.written).subscribe();
        let typed = line(&self.0.typed).clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(ours);
            let mut buffer = [0; 1024];
            loop {
                tokio::select! {
                    bytes = written.recv() => match bytes {
                        Ok(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                        Err(RecvError::Lagged(_)) => {}
                        _ => return,
                    },
                    read = reader.read(&mut buffer) => match read {
                        // Nobody at the machine looks at what is typed: that is no error.
                        Ok(count) if count > 0 => {
                            let _ = typed.send(Bytes::copy_from_slice(&buffer[..count]));
                        }
                        _ => return,
                    },
                }
            }
        });
        theirs
    }
}

/// A simulated server.
#[derive(Debug)]
pub struct SimulatedMachine {
    inventory: Inventory,
    state: Mutex<State>,
    drive: CdDrive,
    serial: SerialPort,
    events: broadcast::Sender<MachineEvent>,
}

impl SimulatedMachine {
    /// A machine that is off.
    pub fn new(inventory: Inventory) -> Self {
        Self {
            inventory,
            state: Mutex::new(State {
                power: PowerState::Off,
                boot_override: BootOverride::NONE,
                boot_mode: BootMode::Uefi,
                boot_count: 0,
                stuck_in_firmware: false,
            }),
            drive: CdDrive::default(),
            serial: SerialPort::default(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
        }
    }

    /// A plain one-disk, one-NIC machine; equal numbers give equal machines.
    pub fn numbered(number: u16) -> Self {
        Self::new(Self::inventory_numbered(number))
    }

    /// The same with one more drive of the same size, whose serial number ends in `B`.
    pub fn with_two_drives(number: u16) -> Self {
        let mut inventory = Self::inventory_numbered(number);
        let mut second = inventory.drives[0].clone();
        second.id = "Drive2".to_owned();
        second.serial_number.push('B');
        inventory.drives.push(second);
        Self::new(inventory)
    }

    /// The same with one more NIC, whose address has 52 where the first one's has 51.
    pub fn with_two_nics(number: u16) -> Self {
        let mut inventory = Self::inventory_numbered(number);
        let mut second = inventory.nics[0].clone();
        second.id = "NIC2".to_owned();
        second.mac = second.mac.replacen("51", "52", 1);
        inventory.nics.push(second);
        Self::new(inventory)
    }

    fn inventory_numbered(number: u16) -> Inventory {
        let [high, low] = number.to_be_bytes();
        Inventory {
            manufacturer: "Bessemer".to_owned(),
            model: "Simulated Server".to_owned(),
            serial_number: format!("SIM{number:05}"),
            uuid: Uuid::from_u128(0x5e55_0000_0000_4000_8000_0000_0000_0000 | u128::from(number)),
            bios_version: "1.0".to_owned(),
            processor_model: "Simulated Processor".to_owned(),
            processor_cores: 4,
            memory_mib: 16 * 1024,
            nics: vec![InventoryNic {
                id: "NIC1".to_owned(),
                mac: format!("52:54:00:51:{high:02x}:{low:02x}"),
                speed_mbps: 10_000,
            }],
            drives: vec![InventoryDrive {
                id: "Drive1".to_owned(),
                model: "Simulated NVMe".to_owned(),
                serial_number: format!("SIMNVME{number:05}"),
                capacity_bytes: 8 << 30,
            }],
        }
    }

    /// The machine's end of its serial line.
    pub fn serial(&self) -> SerialPort {
        self.serial.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.events.subscribe()
    }

    /// Makes later boots hang in the firmware: the machine is on but never says it booted.
    pub fn set_stuck_in_firmware(&self, stuck: bool) {
        self.lock().stuck_in_firmware = stuck;
    }

    /// The system on the machine powers it off.
    pub fn power_off_from_within(&self) {
        self.stop(&mut self.lock());
    }

    /// The system on the machine reboots it; nothing if the machine is off.
    pub fn reboot_from_within(&self) {
        let mut state = self.lock();
        if state.power == PowerState::On {
            self.boot(&mut state);
        }
    }

    /// The CD drive that the controller imitates, seen from inside.
    pub fn drive(&self) -> CdDrive {
        self.drive.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic elsewhere cannot have
        // broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self, state: &mut State) {
        state.power = PowerState::On;
        state.boot_count += 1;
        if state.stuck_in_firmware {
            return;
        }
        let target = state.boot_override.next_target();
        state.boot_override = state.boot_override.after_boot();
        self.announce(MachineEvent::Booted {
            boot: state.boot_count,
            target,
        });
    }

    fn stop(&self, state: &mut State) {
        if state.power == PowerState::On {
            state.power = PowerState::Off;
            self.announce(MachineEvent::PoweredOff);
        }
    }

    fn announce(&self, event: MachineEvent) {
        // An error only says that nobody listens.
        let _ = self.events.send(event);
    }

    fn command(
        &self,
        required: PowerState,
        act: impl FnOnce(&Self, &mut State) + Send + 'static,
    ) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            let mut state = self.lock();
            if state.power != required {
                return Err(MachineError::WrongState(state.power));
            }
            act(self, &mut state);
            Ok(())
        }
        .boxed()
    }
}

impl Machine for SimulatedMachine {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn boot_targets(&self) -> &'static [BootTarget] {
        &[
            BootTarget::None,
            BootTarget::Pxe,
            BootTarget::Hdd,
            BootTarget::Cd,
            BootTarget::UefiHttp,
        ]
    }

    fn boot_override(&self) -> BootOverride {
        self.lock().boot_override
    }

    fn boot_mode(&self) -> BootMode {
        self.lock().boot_mode
    }

    fn boot_count(&self) -> u64 {
        self.lock().boot_count
    }

    fn power_state(&self) -> BoxFuture<'_, PowerState> {
        async { self.lock().power }.boxed()
    }

    fn set_boot_override(&self, wanted: BootOverride) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            self.lock().boot_override = wanted;
            Ok(())
        }
        .boxed()
    }

    fn set_boot_mode(&self, wanted: BootMode) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            self.lock().boot_mode = wanted;
            Ok(())
        }
        .boxed()
    }

    fn insert_media(&self, image: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        async move {
            self.drive.set(Some(image));
            Ok(())
        }
        .boxed()
    }

    fn eject_media(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        async {
            self.drive.set(None);
            Ok(())
        }
        .boxed()
    }

    fn serial_line(&self) -> BoxFuture<'_, std::io::Result<Box<dyn SerialLine>>> {
        async {
            let line = self.serial.connect();
            Ok(Box::new(line) as Box<dyn SerialLine>)
        }
        .boxed()
    }

    fn power_on(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.command(PowerState::Off, Self::boot)
    }

    fn force_off(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.command(PowerState::On, Self::stop)
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.command(PowerState::On, |machine, _| {
            machine.announce(MachineEvent::ShutdownRequested);
        })
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.command(PowerState::On, Self::boot)
    }
}
