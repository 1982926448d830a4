//! The pure heart of Bessemer: everything that is hard to get right and needs no machine to be
//! tested.
//!
//! Nothing here does I/O, reads a clock, draws a random number or awaits anything: time and
//! identifiers come in as arguments. That is what lets the same lifecycle run in the conductor,
//! in the plan shown before an order, and in millions of simulated histories.
//!
//! Where to look:
//! - [`id`]: typed identifiers; [`net`]: MAC addresses and IPv4 subnets;
//! - [`network`]: what networks are; [`subnet`]: subnets with their pools, gateways and routes;
//! - [`boot_method`]: how a machine is made to load the agent;
//! - [`hardware`]: what a machine is made of; [`flavor`]: exact matching of it; [`root_disk`]: the
//!   disk that the operating system goes to;
//! - [`lifecycle`]: how a node moves ([`lifecycle::step`]); [`plan`]: the same, foretold;
//! - [`cause`]: the catalogue of causes; [`diagnosis`]: the likely one of what a node waits for;
//! - [`attach`]: which of a node's NICs carries which network; [`switch`]: how switches are spoken to;
//!   [`port_plan`]: what each of their ports must carry; [`overlay`]: tunnels between them;
//! - [`reason`]: why something is as it is, as data;
//! - [`network_data`]: how a new server's network is written down for it;
//! - [`instance`]: the other metadata that it finds at its first boot; [`report`]: how its system says
//!   that it is up.

pub mod attach;
pub mod boot_method;
pub mod cause;
pub mod diagnosis;
pub mod flavor;
pub mod hardware;
pub mod id;
pub mod instance;
pub mod lifecycle;
pub mod net;
pub mod network;
pub mod network_data;
pub mod overlay;
pub mod plan;
pub mod port_plan;
pub mod reason;
pub mod report;
pub mod root_disk;
pub mod subnet;
pub mod switch;

pub use jiff::Timestamp;
