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
    /// So many further requests are answered with 500 and no reason.
    pub server_errors: u32,
    /// So many further requests are refused with 400, whatever they ask for.
    pub client_errors: u32,
    /// So many further requests are carried out and answered with an empty body.
    pub empty_bodies: u32,
    /// So many further answers about the system lack its power state and its boot override.
    pub missing_keys: u32,
    /// So many further changes are refused with 412: the entity tag is always the one before.
    pub stale_etags: u32,
    /// The system is said to be on while it is off.
    pub reads_on: bool,
    /// The account may read everything and change nothing.
    pub forbid_changes: bool,
    /// Keys of objects and texts in lists that no answer has, as with firmware that knows them not.
    pub hidden: Vec<&'static str>,
    /// The controller tells of one more system than it has.
    pub lists_two_systems: bool,
    /// A medium counts as inserted before anybody has read it, and nobody ever does.
    pub leave_media_unread: bool,
}

impl Faults {
    fn counter(&mut self, kind: Passing) -> &mut u32 {
        match kind {
            Passing::Unavailable => &mut self.unavailable_answers,
            Passing::ServerError => &mut self.server_errors,
            Passing::ClientError => &mut self.client_errors,
            Passing::EmptyBody => &mut self.empty_bodies,
            Passing::MissingKeys => &mut self.missing_keys,
            Passing::StaleEtag => &mut self.stale_etags,
        }
    }
}

/// A fault that strikes a number of requests and is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    Unavailable,
    ServerError,
    ClientError,
    EmptyBody,
    MissingKeys,
    StaleEtag,
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
        self.take(Passing::Unavailable)
    }

    /// Uses up one fault of this kind, if any is left.
    pub(crate) fn take(&self, kind: Passing) -> bool {
        self.faults.send_if_modified(|faults| {
            let left = faults.counter(kind);
            let any = *left > 0;
            *left = left.saturating_sub(1);
            any
        })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }
}
