//! Switches: which network a machine's cable leads to.
//!
//! Isolation between tenants, and between a tenant and our own provisioning network, hangs on
//! nothing but what a switch port carries. So a [`Switch`] does not take orders, it is brought
//! into a state: [`Switch::apply_port`] *checks* what the port carries, *acts* if that is not the
//! [`PortPlan`], and *verifies* by reading back what the switch now forwards by, not what it was
//! told. Carrying the same plan out twice is harmless.
//!
//! Which plan a port should have is decided elsewhere, by a pure function of what its node is
//! doing. Here are the drivers: [`OvsdbSwitch`] for Open vSwitch, [`FlatSwitch`] for sites whose
//! switches are not ours to change.

mod error;
mod flat;
mod ovsdb;
mod switch;

pub use error::Error;
pub use flat::FlatSwitch;
pub use ovsdb::{OvsdbAddress, OvsdbSwitch};
pub use switch::{PortPlan, PortState, Switch};
