//! What each switch port of a node must carry: a pure function of what the node is doing, what its
//! server is attached to, and the site's switches.
//!
//! Isolation between tenants, and between a tenant and our own networks, hangs on nothing but this,
//! so the answer is made to be safe when its inputs are not:
//! - *Parked*, in a VLAN that exists nowhere and kept from every other port, is the answer to
//!   everything that nobody asked for: a NIC without an attachment, a role without a VLAN.
//! - What is asked for and cannot be is a [`PlanError`], and then no port moves at all. Only parking
//!   is never refused for what a plan contains.
//! - A tenant's VLAN and one of the operator's own are never on one port (held by a property test).
//!
//! A port group by LACP is a link aggregation (IEEE 802.1AX) on the switch *whatever the node is
//! doing*: a change of plan changes what the aggregation carries and never takes it apart. Firmware
//! and our agent know no LACP, so it falls back to one member, the boot NIC's, until a partner speaks
//! up.
//!
//! The parts: [`plan`] decides; [`PortPlan`] is what a driver brings about; [`PortState`] is what it
//! reads back, and [`PortPlan::differences`] compares the two.

mod decide;
mod error;
mod flat;
mod inputs;
mod state;
mod wanted;

pub use decide::plan;
pub use error::PlanError;
pub use flat::{DeclaredPort, check_flat};
pub use inputs::{
    Attachment, AttachmentMode, Cable, Carrier, GroupMode, NodePorts, Port, PortGroup, SiteModel,
    SiteVlans, SwitchModel,
};
pub use state::{Carries, Difference, PortState};
pub use wanted::{DEFAULT_MTU, Lag, PortMode, PortPlan, SwitchPlan};
