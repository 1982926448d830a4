//! DHCP for the provisioning network: an answer for a node that is to boot the agent now, silence
//! for everything else.
//!
//! A general DHCP server would hand addresses to whatever is plugged in and boot files to machines
//! that run a tenant's system. This one asks for every packet whether that MAC address is to boot
//! at this moment, and answers only firmware that asks for UEFI HTTP boot; what it does not answer
//! it reports, since "why does my machine not boot" is the most frequent question in the field.
//!
//! [`message`] decides and touches nothing; [`server`] owns the socket. RFC 2131 and 2132, options
//! 93 and 60 after RFC 4578 and the UEFI Specification 2.10, §24.7.

mod message;
mod server;

pub use message::{BootLease, Config, Kind, Reply, Request, Silence};
pub use server::{Directory, Event, bind, serve};
