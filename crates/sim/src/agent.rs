//! A machine's inside, simulated: the agent that boots on it, the disk it writes to, and the
//! tenant's OS that calls home.
//!
//! It speaks the real agent protocol over real TLS to a real server, and writes real images with
//! the real writer to a file that stands for the disk; only the hardware is missing. Fast tests
//! put it behind a [`SimulatedMachine`](crate::machine::SimulatedMachine): power-on with a boot
//! override starts the agent, power-off ends it, as on a real machine.
//!
//! * [`Host`]: the machine's inside over time, with [`HostFaults`] to switch on;
//! * [`Link`]: its cable, where a switch port decides whom it reaches;
//! * [`Protocol`]: single requests of the agent protocol, for tests that play an agent by hand;
//! * [`zeros`]: what is and what is not on a disk.

mod config_drive;
mod host;
mod ledger;
mod link;
mod protocol;
mod root;
mod work;
pub mod zeros;

use bessemer_core::cause::Cause;

pub use host::{Firmware, Host, HostFaults, Inside, Observer, Parameters};
pub use link::Link;
pub use protocol::{Answer, Protocol};

/// What can go wrong for a simulated agent. It ends then, as a crashed one would.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No usable answer, again and again.
    #[error("the conductor cannot be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] bessemer_tls::Error),
    /// The switch port is not in the conductor's network, or the network is broken.
    #[error("the network does not lead to the conductor")]
    NoNetwork,
    /// The conductor refused us.
    #[error("refused with status {0}")]
    Refused(u16),
    /// The conductor's answer does not read as the protocol says.
    #[error("the conductor's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
    /// The disk or the image is not right.
    #[error(transparent)]
    Image(#[from] bessemer_image::Error),
    /// A disk that is meant is not there.
    #[error("there is no disk {name} with serial number {serial}")]
    NoSuchDisk {
        /// Its kernel name.
        name: String,
        /// Its serial number.
        serial: String,
    },
    /// The file that stands for the disk failed.
    #[error(transparent)]
    Disk(#[from] std::io::Error),
}

impl AgentError {
    /// What the real agent would say that it is.
    fn cause(&self) -> Cause {
        match self {
            Self::Unreachable(_)
            | Self::Tls(_)
            | Self::NoNetwork
            | Self::Refused(_)
            | Self::Answer(_) => Cause::ImageNotFetched,
            Self::NoSuchDisk { .. } => Cause::DiskMissing,
            Self::Image(bessemer_image::Error::Disk { .. }) | Self::Disk(_) => Cause::DiskError,
            Self::Image(_) => Cause::ImageUnusable,
        }
    }
}
