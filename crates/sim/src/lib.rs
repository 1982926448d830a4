//! Machines that are not there, and the rack they would stand in.
//!
//! Bessemer's tests and its demo must not depend on a hall full of servers, and must not be
//! convinced by mocks of Bessemer's own traits either. So this crate imitates the *outside* of
//! Bessemer and speaks its wire protocols:
//!
//! * [`machine`]: what a management controller can do with a server, with two servers behind it:
//!   one that is only a few variables ([`machine::SimulatedMachine`], for fast tests over
//!   loopback) and one that is a QEMU process with real firmware ([`machine::QemuMachine`]).
//! * [`redfish`]: the management controller itself, Redfish over HTTP or HTTPS, with faults that a
//!   test can switch on.
//! * [`ipmi`]: its other face, IPMI 2.0 over LAN, serial console included.
//! * [`agent`]: what runs inside of a simulated machine: an agent on the real protocol, and the
//!   tenant's system that calls home.
//! * [`switch`]: the switch that simulated machines are cabled to, an OVSDB server.
//! * [`rack`]: namespaces, an Open vSwitch bridge, disks and QEMU machines wired together into a
//!   rack on this host; what `bessemer-lab up` builds.
//! * [`fleet`]: thousands of simulated machines in one process, for a server that is a process of
//!   its own; what `bessemer-lab fleet` runs.
//!
//! Nothing but tests and the demo may depend on this crate.

pub mod agent;
mod error;
pub mod fleet;
pub mod ipmi;
pub mod machine;
pub mod rack;
pub mod redfish;
pub mod switch;

pub use error::Error;
