//! Switches: which network a machine's cable leads to.
//!
//! Isolation between tenants, and between a tenant and our own provisioning network, hangs on
//! nothing but what switch ports carry. So a [`Switch`] does not take orders, it is brought
//! into a state: [`Switch::apply`] *checks* what the ports carry, *acts* in one transaction if that
//! is not what the plans say, and *verifies* by reading back what the switch now forwards by, not
//! what it was told. Carrying the same plans out twice is harmless.
//!
//! Which plan a port should have is decided in `bessemer_core::port_plan`, by a pure function of what
//! its node is doing. Here are the drivers: [`OvsdbSwitch`] for Open vSwitch, [`FlatSwitch`] for
//! sites whose switches are not ours to change; and [`ThrottledSwitch`], which bounds what any of
//! them is asked for at the same time.

mod error;
mod flat;
mod ovsdb;
mod switch;
mod throttled;

pub use error::Error;
pub use flat::FlatSwitch;
pub use ovsdb::{OvsdbAddress, OvsdbSwitch, read as read_ovsdb};
pub use switch::{Applied, OnFailure, Switch, TunnelsApplied};
pub use throttled::ThrottledSwitch;
