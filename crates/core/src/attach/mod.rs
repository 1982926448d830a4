//! Which port or port group of a node carries each network of a server, and whether tagged there: a
//! pure function of what was asked for and of how the node is wired.
//!
//! NICs that get the wrong network are found out by the tenant, at the first boot. So the answer is
//! one and the same wherever it is needed (for the choice of a node, for its switch ports, for what
//! its system is told), and it never depends on the order in which ports were registered (held by a
//! property test): everything that could be a tie is broken by what the ports are.
//!
//! What carries a network: the one that was asked for; else, of those in the network's physical
//! network, one that a known switch is cabled to rather than one that is not, one with a link rather
//! than one without, a bond rather than a single port, the one that boots rather than another, the
//! faster one; at last the one with the lowest MAC address.
//!
//! On a bond networks are tagged, since all of them are to share it; on a single port the first one
//! of which nothing else is said is native, so that systems which know no VLAN work, too.

mod choose;
mod error;
mod wiring;

use crate::port_plan::{AttachmentMode, Carrier};

pub use choose::attach;
pub use error::{AttachError, WiringError};
pub use wiring::{Bond, Link, MOST_NICS, Nic, NodeWiring};

/// A network that a server is to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The network's name, for people.
    pub network: String,
    /// The physical network that it is part of, if that is declared.
    pub physical_network: Option<String>,
    /// What was asked to carry it: the name of a port group, or a port's MAC address or name.
    pub carrier: Option<String>,
    /// How it was asked for there.
    pub mode: Option<AttachmentMode>,
    /// Bytes of the longest IP packet in it.
    pub mtu: u16,
}

/// What carries a network, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A port that is in no bond, or a group whose ports are bonded.
    pub carrier: Carrier,
    /// Whether its frames are tagged there.
    pub mode: AttachmentMode,
}
