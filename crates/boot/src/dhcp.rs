//! DHCP for the provisioning network: an answer for a node that is to boot the agent now, silence
//! for everything else.
//!
//! A general DHCP server would hand addresses to whatever is plugged in and boot files to machines
//! that run a tenant's system. This one asks for every packet whether that MAC address is to boot
//! at this moment, and answers only boot firmware: UEFI HTTP boot, PXE, and iPXE once that is
//! loaded. What it does not answer it reports, since "why does my machine not boot" is the most
//! frequent question in the field.
//!
//! Beside somebody else's DHCP server it gives no addresses, only boot files ([`Mode::Proxy`]).
//! Requests that a relay passes on are answered through that relay.
//!
//! [`request`] reads a packet and [`reply`] decides and touches nothing; [`server`] owns the
//! sockets; [`watch`] looks out for servers that should not be there. RFC 2131, 2132, 3046 (option
//! 82), 4578 (options 93, 94, 97), the PXE specification 2.1, and the UEFI Specification 2.10, §24.7.

mod reply;
mod request;
mod server;
mod silence;
mod watch;

pub use reply::{BootLease, Config, Expectation, Kind, Mode, Reply};
pub use request::{Client, Port, Relay, Request};
pub use server::{Directory, Event, Sockets, bind, serve};
pub use silence::Silence;
pub use watch::{Stranger, Watch, stranger, watch};
