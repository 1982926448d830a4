//! A server's management controller: Redfish over HTTP or HTTPS (DMTF DSP0266 1.20, schemas DSP2046).
//!
//! It imitates what the field's controllers have in common, strictly: a command that makes no sense
//! in the present power state is refused with 409 and extended information, unknown properties are
//! refused, sessions are few and expire. A client that gets along with it still has vendors' quirks
//! ahead, but none of its basics wrong. What real controllers do *wrong* is in [`Faults`], switched
//! on by tests.

mod authentication;
mod error;
mod faults;
mod fetch;
mod media;
mod metadata;
mod resources;
mod router;
mod server;
mod sessions;
mod system;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use faults::{FaultControl, Faults};
pub(crate) use server::answer;
pub use server::{BmcServer, Transport};

use crate::machine::Machine;
use sessions::Sessions;

/// How long a session lives after its last request, unless configured otherwise.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(300);

/// The account of a management controller.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Account name.
    pub username: String,
    /// Password; never shown by `Debug`.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A management controller with the machine it manages.
pub struct Bmc {
    machine: Arc<dyn Machine>,
    credentials: Credentials,
    sessions: Sessions,
    faults: FaultControl,
    inserted: media::Inserted,
    reads_media_on_demand: AtomicBool,
    requests: AtomicU64,
    ipmi: Mutex<IpmiSettings>,
}

/// What a controller's IPMI service has beside the account.
#[derive(Debug, Clone)]
pub struct IpmiSettings {
    /// Whether there is one, so that Redfish tells of its serial console.
    pub is_served: bool,
    /// The key K_g (IPMI 2.0, section 13.33), where one is set beside the password.
    pub key: Option<Vec<u8>>,
    /// The highest privilege level of the account (table 22-19): 2 for a user, 3 for an operator,
    /// 4 for an administrator.
    pub privilege: u8,
}

impl Default for IpmiSettings {
    fn default() -> Self {
        Self {
            is_served: false,
            key: None,
            privilege: 4,
        }
    }
}

impl Bmc {
    /// A controller without faults whose sessions live for [`SESSION_TIMEOUT`].
    pub fn new(machine: Arc<dyn Machine>, credentials: Credentials) -> Arc<Self> {
        Self::with_session_timeout(machine, credentials, SESSION_TIMEOUT)
    }

    /// A controller without faults whose sessions live for `session_timeout` after their last
    /// request.
    pub fn with_session_timeout(
        machine: Arc<dyn Machine>,
        credentials: Credentials,
        session_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            machine,
            credentials,
            sessions: Sessions::new(session_timeout),
            faults: FaultControl::new(),
            inserted: media::Inserted::default(),
            reads_media_on_demand: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            ipmi: Mutex::default(),
        })
    }

    /// The machine behind the controller.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// The account, for the controller's other face.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What its IPMI service has.
    pub fn ipmi(&self) -> IpmiSettings {
        self.ipmi_settings().clone()
    }

    /// Changes what its IPMI service has; sessions that are open stay.
    pub fn set_ipmi(&self, change: impl FnOnce(&mut IpmiSettings)) {
        change(&mut self.ipmi_settings());
    }

    fn ipmi_settings(&self) -> MutexGuard<'_, IpmiSettings> {
        // The settings stay whole whatever happens to a holder of the lock.
        self.ipmi.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The switches for this controller's faults.
    pub fn faults(&self) -> &FaultControl {
        &self.faults
    }

    /// From now on, what is inserted into its CD drive is read for as far as firmware needs to find
    /// what it starts, and not to its end; many controllers read no more than their machine asks for.
    pub fn read_media_on_demand(&self) {
        self.reads_media_on_demand.store(true, Ordering::Relaxed);
    }

    /// Requests that have arrived so far, of whatever kind.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Forgets every session, as a controller does when it restarts.
    pub fn forget_sessions(&self) {
        self.sessions.clear();
    }
}
