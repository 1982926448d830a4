//! What real controllers do wrong, on demand.
//!
//! Faults can change while a controller runs; every request looks at them afresh.

use std::time::Duration;

use tokio::sync::watch;

/// The faults of one controller. The default is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// Nothing listens on the controller's port.
    pub refuse_connections: bool,
    /// No credentials are good, as after somebody changed the password.
    pub reject_credentials: bool,
    /// Every answer comes this much later.
    pub answer_delay: Duration,
    /// Power commands are acknowledged but not carried out.
    pub ignore_power_commands: bool,
    /// Boot overrides are acknowledged but not kept.
    pub ignore_boot_override: bool,
    /// Insertion and ejection of virtual media are acknowledged but not carried out.
    pub ignore_media_commands: bool,
    /// So many further requests are answered with 503, as during a controller's restart.
    pub unavailable_answers: u32,
}

/// Switches faults on and off.
#[derive(Debug, Clone)]
pub struct FaultControl {
    faults: watch::Sender<Faults>,
}

impl FaultControl {
    pub(super) fn new() -> Self {
        Self {
            faults: watch::Sender::new(Faults::default()),
        }
    }

    /// Replaces the faults.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Changes some of the faults.
    pub fn update(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    /// The faults as they are now.
    pub fn get(&self) -> Faults {
        self.faults.borrow().clone()
    }

    /// Uses up one of the 503 (or, by IPMI, "busy") answers, if any is left.
    pub(crate) fn take_unavailable_answer(&self) -> bool {
        self.faults.send_if_modified(|faults| {
            let any = faults.unavailable_answers > 0;
            faults.unavailable_answers = faults.unavailable_answers.saturating_sub(1);
            any
        })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }
}
