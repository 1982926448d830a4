//! The machine's inside over time: firmware finds the agent, the agent works, the OS calls home.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bessemer_core::hardware::{Inventory, MachineIdentity};
use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;
use bessemer_tls::Fingerprint;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use super::work::Agent;
use crate::machine::{BootTarget, MachineEvent, SimulatedMachine};

/// What one boot of the agent is told on its kernel command line.
#[derive(Clone)]
pub struct Parameters {
    /// The conductor's URL.
    pub conductor: String,
    /// The fingerprint of its certificate.
    pub pin: Fingerprint,
    /// Which boot.
    pub boot: BootId,
    /// The one-time token.
    pub token: String,
}

/// How firmware finds out what to boot: DHCP and the boot file, put into one question.
pub type Firmware = Arc<dyn Fn(MacAddress) -> BoxFuture<'static, Option<Parameters>> + Send + Sync>;

/// Faults of the machine's inside; each counter is used up by one once it has struck.
#[derive(Debug, Default)]
pub struct HostFaults {
    /// How many more times the agent vanishes in the middle of writing an image.
    pub vanish_in_write: AtomicU32,
    /// How many more times the agent's machine reports a disk error when erasing.
    pub fail_erase: AtomicU32,
    /// How many more times the OS never calls home.
    pub silent_os: AtomicU32,
}

impl HostFaults {
    /// Uses up one of `counter`, if any is left.
    pub(super) fn strikes(counter: &AtomicU32) -> bool {
        counter
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }
}

/// The inside of one simulated machine.
pub struct Host {
    /// What the agent reports.
    pub inventory: Inventory,
    /// The NIC it boots from.
    pub mac: MacAddress,
    /// The file that stands for the disk.
    pub disk: PathBuf,
    /// What goes wrong.
    pub faults: HostFaults,
    /// The secrets of every agent session there has been: what a replay would need.
    pub hellos: Mutex<Vec<Parameters>>,
    /// Commands that were carried out, in order.
    pub carried_out: Mutex<Vec<String>>,
}

impl Host {
    /// Which machine it is.
    pub fn identity(&self) -> MachineIdentity {
        self.inventory.identity.clone()
    }

    pub(super) fn note(&self, command: &str) {
        self.carried_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command.to_owned());
    }

    /// Lives inside `machine` until the returned task is aborted.
    pub fn inhabit(
        self: Arc<Self>,
        machine: &SimulatedMachine,
        firmware: Firmware,
    ) -> JoinHandle<()> {
        let mut events = machine.events();
        tokio::spawn(async move {
            let mut running: Option<AbortOnDrop> = None;
            loop {
                match events.recv().await {
                    Ok(MachineEvent::Booted { target, .. }) => {
                        drop(running.take());
                        let boot = self.clone().boot(target, firmware.clone());
                        running = Some(AbortOnDrop(tokio::spawn(boot)));
                    }
                    Ok(MachineEvent::PoweredOff) => drop(running.take()),
                    Ok(MachineEvent::ShutdownRequested) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        })
    }

    async fn boot(self: Arc<Self>, target: BootTarget, firmware: Firmware) {
        if target != BootTarget::UefiHttp {
            // A tenant's OS that is started again has nothing to say to us.
            return;
        }
        let Some(parameters) = offered(&firmware, self.mac).await else {
            return;
        };
        self.hellos
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(parameters.clone());
        let ended = match Agent::connect(self.clone(), parameters).await {
            Ok(agent) => agent.run().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(Some(url)) => self.call_home(&url).await,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "simulated agent ended"),
        }
    }

    /// The tenant's OS says that it is up, as cloud-init does.
    async fn call_home(&self, url: &str) {
        if HostFaults::strikes(&self.faults.silent_os) {
            return;
        }
        let client = reqwest::Client::new();
        for _ in 0..100 {
            let answer = client.post(url).body("instance_id=simulated").send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Firmware asks several times before it gives up.
async fn offered(firmware: &Firmware, mac: MacAddress) -> Option<Parameters> {
    for _ in 0..50 {
        if let Some(parameters) = firmware(mac).await {
            return Some(parameters);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
