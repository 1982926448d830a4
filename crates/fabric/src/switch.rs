//! What every switch can do, whatever its protocol.

use std::collections::BTreeSet;
use std::fmt;

use bessemer_core::overlay::{Tunnel, Tunnels};
use bessemer_core::port_plan::{PortPlan, PortState};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Error;

/// A switch whose ports can be brought into a wanted state.
///
/// Every call ends by its deadline at the latest, with an error of class *transient* if what it
/// does is not done by then. Calls for different ports may be made at the same time.
pub trait Switch: fmt::Debug + Send + Sync {
    /// The switch's name, for people.
    fn name(&self) -> &str;

    /// What `ports` carry now, in the same order.
    fn read<'a>(
        &'a self,
        ports: &'a [String],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PortState>, Error>>;

    /// Brings all ports of `plans` into the states that they describe, in one transaction, and
    /// returns once the switch forwards by all of them. Ports that are as planned are left alone.
    /// When that cannot be seen to be so, `on_failure` says what becomes of what was changed.
    fn apply<'a>(
        &'a self,
        plans: &'a [PortPlan],
        on_failure: OnFailure,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Applied, Error>>;

    /// Brings about `tunnels` and takes away every other tunnel of ours, in one transaction, and
    /// returns once the switch forwards by them. The VLAN of each network must leave the switch by
    /// nothing else: on another one it is another network's. A switch that has none at all can do
    /// without.
    fn set_tunnels<'a>(
        &'a self,
        tunnels: &'a [Tunnels],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<TunnelsApplied, Error>>;
}

/// What becomes of a change that was made but cannot be seen to be in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is taken back, so that it does not come into effect later, when nobody looks: for changes
    /// that give a machine more than it had.
    RollBack,
    /// It stays: for changes that take away (parking), and those that put back what must be.
    Keep,
}

/// A change that is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The ports as they were.
    pub before: Vec<PortState>,
    /// The ports as they are, read back.
    pub after: Vec<PortState>,
}

/// Tunnels that are in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelsApplied {
    /// Those of ours that there were, as far as they were any.
    pub before: BTreeSet<Tunnel>,
    /// Those that there are, read back.
    pub after: BTreeSet<Tunnel>,
    /// Whether anything had to be changed.
    pub changed: bool,
}

/// The ports of `plans`, each once.
pub(crate) fn ports_of(plans: &[PortPlan]) -> Vec<String> {
    let ports = plans.iter().flat_map(PortPlan::ports);
    let ports: BTreeSet<_> = ports.cloned().collect();
    ports.into_iter().collect()
}
