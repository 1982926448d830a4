//! Open vSwitch, by its database.
//!
//! `ovsdb-server` holds the wanted configuration and speaks RFC 7047; `ovs-vswitchd` follows it
//! some time later. That a change is stored therefore says nothing about where frames go. What
//! does is a pair of counters (`ovs-vswitchd.conf.db(5)`, table `Open_vSwitch`): whoever changes
//! something raises `next_cfg`, and `ovs-vswitchd` copies it to `cur_cfg` once everything up to
//! there is in effect. That copy is waited for, and only then the ports are read back.
//!
//! Frames of a flow that is cached may follow the old way for some milliseconds more: threads that this
//! database does not know of look through the cache. Nothing rests on less: a machine is switched off
//! before its ports are taken from it, and an agent starts a tenant's system when the conductor has vanished
//! before its own eyes.
//!
//! All ports of a call change in one transaction, which holds only if nobody has changed them since
//! they were read. A connection that breaks in the middle leaves open whether it was carried out: the
//! ports are read again then, and the rest is done. What was stored but cannot be seen in effect is
//! taken back if the caller wants that: a switch that wakes up later must not let a machine into a
//! network when nobody looks.
//!
//! Every call has a connection of its own: they cost little, and one that is kept would have to
//! answer the server's keep-alives all day.

mod address;
mod change;
mod connection;
mod notation;
mod reading;
mod rows;
mod splitter;
mod tunnel;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::overlay::Tunnels;
use bessemer_core::port_plan::{Difference, PortPlan, PortState};
use bessemer_tls::rustls::ClientConfig;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use address::OvsdbAddress;
pub use reading::read;

use self::change::Wanted;
use self::connection::Connection;
use self::rows::Rows;
use crate::switch::ports_of;
use crate::{Applied, Error, OnFailure, Switch, TunnelsApplied};

/// Left of a deadline for saying that the switch has not followed in time.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Left of a deadline for taking a change back; a quarter of what there is, if that is less.
const TAKING_BACK: Duration = Duration::from_secs(5);

/// How often a call begins anew when its connection breaks or somebody else changes its ports.
const TRIES: u32 = 6;

/// The pause before it does; it doubles each time.
const PAUSE: Duration = Duration::from_millis(50);

/// How long after a change the switch may take to tell a port's new MTU.
const STATUS: Duration = Duration::from_secs(3);

/// An Open vSwitch whose database can be reached.
#[derive(Debug, Clone)]
pub struct OvsdbSwitch {
    name: String,
    address: OvsdbAddress,
    tls: Option<Arc<ClientConfig>>,
}

/// How far a call has come, over all its tries.
#[derive(Default)]
struct Progress {
    /// The rows as they were before the first of them.
    before: Option<Rows>,
    /// Whether a change may have been stored.
    changed: bool,
}

impl OvsdbSwitch {
    /// The switch called `name` with its database at `address`. Connects only when used.
    pub fn new(name: impl Into<String>, address: OvsdbAddress) -> Self {
        Self {
            name: name.into(),
            address,
            tls: None,
        }
    }

    /// The same, believing switches and showing ourselves as `tls` says, where TLS is spoken.
    #[must_use]
    pub fn with_tls(mut self, tls: ClientConfig) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, Error> {
        Connection::open(&self.name, &self.address, self.tls.clone(), deadline).await
    }

    async fn bring(
        &self,
        plans: &[PortPlan],
        on_failure: OnFailure,
        deadline: Instant,
    ) -> Result<Applied, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = deadline - TAKING_BACK.min(left / 4);
        let mut progress = Progress::default();
        let result = self.try_again(plans, &mut progress, limit).await;
        let before = progress.before.unwrap_or_default();
        match result {
            Ok(after) => Ok(Applied {
                before: before.states(&ports_of(plans)),
                after,
            }),
            Err(cause) if progress.changed && on_failure == OnFailure::RollBack => {
                Err(self.roll_back(plans, &before, cause, deadline).await)
            }
            Err(cause) => Err(cause),
        }
    }

    /// Tries until it works, the trouble is one that does not pass, or time is up.
    async fn try_again(
        &self,
        plans: &[PortPlan],
        progress: &mut Progress,
        limit: Instant,
    ) -> Result<Vec<PortState>, Error> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.attempt(plans, progress, limit).await {
                // A switch that was not reached at all is not likely to be in a moment.
                Err(error) if error.may_pass_at_once() && progress.before.is_some() => {
                    tracing::info!(switch = self.name, %error, "beginning again");
                }
                result => return result,
            }
            tokio::time::sleep_until((Instant::now() + pause).min(limit)).await;
            pause *= 2;
        }
        self.attempt(plans, progress, limit).await
    }

    async fn attempt(
        &self,
        plans: &[PortPlan],
        progress: &mut Progress,
        limit: Instant,
    ) -> Result<Vec<PortState>, Error> {
        let mut connection = self.connect(limit).await?;
        let rows = Rows::read(&mut connection, &ports_of(plans), &lags(plans)).await?;
        let wanted = change::wanted(&self.name, &rows, plans)?;
        let mut operations = change::operations(&rows, &wanted);
        operations.extend(plans.iter().flat_map(|plan| change::mtu(&rows, plan)));
        progress.before.get_or_insert(rows);
        if change::is_idle(&operations) {
            tracing::debug!(switch = self.name, "ports are as planned");
            operations.clear();
        } else {
            for plan in plans {
                tracing::info!(switch = self.name, ports = ?plan.ports(), %plan, "changing ports");
            }
            progress.changed = true;
        }
        // Even without a change: an earlier one may be stored but not in effect.
        settle(&mut connection, operations, limit).await?;
        self.verify(&mut connection, plans, limit).await
    }

    /// Reads `plans`' ports back. The MTU is told by the device, a moment after the change.
    async fn verify(
        &self,
        connection: &mut Connection,
        plans: &[PortPlan],
        limit: Instant,
    ) -> Result<Vec<PortState>, Error> {
        let patience = limit.min(Instant::now() + STATUS);
        loop {
            let ports = ports_of(plans);
            let rows = Rows::read(connection, &ports, &[]).await?;
            let states = rows.states(&ports);
            if let Some(faulty) = states.iter().find(|state| state.fault.is_some()) {
                return Err(Error::PortFault {
                    switch: self.name.clone(),
                    port: faulty.port.clone(),
                    fault: faulty.fault.clone().unwrap_or_default(),
                });
            }
            let differences = plans.iter().flat_map(|plan| plan.differences(&states));
            let differences: Vec<_> = differences.collect();
            let Some(first) = differences.first() else {
                return Ok(states);
            };
            let left = patience.saturating_duration_since(Instant::now());
            let device = differences.iter().all(told_by_the_device);
            let state = states.iter().find(|state| state.port == first.port);
            match (state, device && left > LAST_WORD) {
                (Some(state), true) => next_status(connection, state, left).await?,
                _ => return Err(self.not_verified(&differences, device)),
            }
        }
    }

    fn not_verified(&self, differences: &[Difference], device: bool) -> Error {
        let told = differences.iter().map(Difference::to_string);
        let told = told.collect::<Vec<_>>().join("; ");
        match differences.first() {
            Some(first) if device => Error::Unable {
                switch: self.name.clone(),
                port: first.port.clone(),
                problem: told,
            },
            _ => Error::NotVerified {
                switch: self.name.clone(),
                differences: told,
            },
        }
    }

    /// Brings about `tunnels`, and no others of ours.
    async fn bring_tunnels(
        &self,
        tunnels: &[Tunnels],
        deadline: Instant,
    ) -> Result<TunnelsApplied, Error> {
        let mut connection = self.connect(deadline).await?;
        let wanted = tunnel::wanted(tunnels);
        let found = tunnel::read(&mut connection).await?;
        let before = tunnel::tunnels(&found);
        let beside: BTreeSet<_> = tunnels.iter().map(|each| each.beside.clone()).collect();
        let beside: Vec<_> = beside.into_iter().collect();
        let rows = Rows::read(&mut connection, &beside, &[]).await?;
        let mut operations = tunnel::operations(&self.name, &found, &wanted, &rows)?;
        let changed = !change::is_idle(&operations);
        if changed {
            let now = wanted.keys().map(ToString::to_string);
            let now: Vec<_> = now.collect();
            tracing::info!(switch = self.name, ?before, ?now, "changing tunnels");
        } else {
            operations.clear();
        }
        settle(&mut connection, operations, deadline).await?;
        let found = tunnel::read(&mut connection).await?;
        if let Some((port, fault)) = tunnel::fault(&found) {
            let switch = self.name.clone();
            return Err(Error::PortFault {
                switch,
                port,
                fault,
            });
        }
        if let Some(leak) = tunnel::leak(&mut connection, tunnels, &rows).await? {
            return Err(leak);
        }
        match tunnel::differences(&found, &wanted) {
            None => Ok(TunnelsApplied {
                before,
                after: tunnel::tunnels(&found),
                changed,
            }),
            Some(differences) => Err(Error::NotVerified {
                switch: self.name.clone(),
                differences,
            }),
        }
    }

    /// Puts the ports back to what they were `before`, and says so.
    async fn roll_back(
        &self,
        plans: &[PortPlan],
        before: &Rows,
        cause: Error,
        deadline: Instant,
    ) -> Error {
        tracing::warn!(switch = self.name, %cause, "rolling back");
        let switch = self.name.clone();
        let cause = Box::new(cause);
        match self.put_back(plans, before, deadline).await {
            Ok(()) => Error::RolledBack { switch, cause },
            Err(problem) => Error::NotRolledBack {
                switch,
                cause,
                problem: Box::new(problem),
            },
        }
    }

    /// Stores what there was before. Whether the switch follows is not waited for: once it follows
    /// anything, this is what it follows.
    async fn put_back(
        &self,
        plans: &[PortPlan],
        before: &Rows,
        deadline: Instant,
    ) -> Result<(), Error> {
        let mut connection = self.connect(deadline).await?;
        let names: Vec<_> = before.ports.iter().map(|port| port.name.as_str()).collect();
        let rows = Rows::read(&mut connection, &ports_of(plans), &names).await?;
        let wanted: Vec<_> = before.ports.iter().map(Wanted::as_it_was).collect();
        let mut operations = change::operations(&rows, &wanted);
        operations.extend(change::mtu_as_it_was(&rows, before));
        operations.push(raise());
        connection.transact(&operations).await.map(drop)
    }
}

/// The names of the aggregations that `plans` want.
fn lags(plans: &[PortPlan]) -> Vec<&str> {
    let lags = plans.iter().filter_map(PortPlan::aggregation);
    lags.map(|lag| lag.name.as_str()).collect()
}

/// Whether `difference` is in what the device says of itself, and not in what it was told.
fn told_by_the_device(difference: &Difference) -> bool {
    matches!(difference.what, "mtu" | "admin_state")
}

impl Switch for OvsdbSwitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(
        &'a self,
        ports: &'a [String],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PortState>, Error>> {
        async move {
            let mut connection = self.connect(deadline).await?;
            let rows = Rows::read(&mut connection, ports, &[]).await?;
            Ok(rows.states(ports))
        }
        .boxed()
    }

    fn apply<'a>(
        &'a self,
        plans: &'a [PortPlan],
        on_failure: OnFailure,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Applied, Error>> {
        self.bring(plans, on_failure, deadline).boxed()
    }

    fn set_tunnels<'a>(
        &'a self,
        tunnels: &'a [Tunnels],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<TunnelsApplied, Error>> {
        self.bring_tunnels(tunnels, deadline).boxed()
    }
}

/// Says that the switch is to follow what is stored up to here.
fn raise() -> Value {
    json!({
        "op": "mutate", "table": "Open_vSwitch", "where": [],
        "mutations": [["next_cfg", "+=", 1]],
    })
}

/// Carries `operations` out and returns once the switch forwards by them.
async fn settle(
    connection: &mut Connection,
    mut operations: Vec<Value>,
    deadline: Instant,
) -> Result<(), Error> {
    let stored = Instant::now();
    operations.push(raise());
    operations.push(counters());
    let results = connection.transact(&operations).await;
    let results = results.map_err(|error| match error {
        Error::Refused { switch, detail } if detail.starts_with("timed out") => {
            Error::Conflict { switch }
        }
        other => other,
    })?;
    let goal = counter(connection, &results, "next_cfg")?;
    let mut reached = counter(connection, &results, "cur_cfg")?;
    while reached < goal {
        let left = deadline.saturating_duration_since(Instant::now() + LAST_WORD);
        if left.is_zero() {
            let switch = connection.switch().to_owned();
            return Err(Error::NotInEffect {
                switch,
                waited: stored.elapsed(),
            });
        }
        if let Some(seen) = next_counter(connection, reached, left).await? {
            reached = seen;
        }
    }
    Ok(())
}

/// Waits in the server (RFC 7047, section 5.2.6) until `cur_cfg` is not `reached` any more, and
/// reads it; `None` if that does not happen within `limit`.
async fn next_counter(
    connection: &mut Connection,
    reached: i64,
    limit: Duration,
) -> Result<Option<i64>, Error> {
    let wait = json!({
        "op": "wait", "table": "Open_vSwitch", "where": [], "columns": ["cur_cfg"],
        "until": "!=", "rows": [{"cur_cfg": reached}],
        "timeout": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    });
    match connection.transact(&[wait, counters()]).await {
        Ok(results) => counter(connection, &results, "cur_cfg").map(Some),
        Err(Error::Refused { detail, .. }) if detail.starts_with("timed out") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until the switch tells something else of the device behind a port than `state`, for `limit`
/// at most.
async fn next_status(
    connection: &mut Connection,
    state: &PortState,
    limit: Duration,
) -> Result<(), Error> {
    let up = |up: bool| json!(if up { "up" } else { "down" });
    let optional = |value: Option<Value>| notation::set(value);
    let wait = json!({
        "op": "wait", "table": "Interface", "where": [["name", "==", state.port]],
        "columns": ["mtu", "admin_state"], "until": "!=",
        "rows": [{"mtu": optional(state.mtu.map(Value::from)), "admin_state": optional(state.admin_up.map(up))}],
        "timeout": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    });
    match connection.transact(&[wait]).await {
        Err(Error::Refused { detail, .. }) if detail.starts_with("timed out") => Ok(()),
        result => result.map(drop),
    }
}

fn counters() -> Value {
    json!({
        "op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg", "cur_cfg"],
    })
}

/// A counter from the last result, which is that of `counters()`.
fn counter(connection: &Connection, results: &[Value], name: &str) -> Result<i64, Error> {
    let row = results.last().and_then(|result| result.pointer("/rows/0"));
    row.and_then(|row| row.get(name))
        .and_then(Value::as_i64)
        .ok_or_else(|| connection.nonsense(format!("its table Open_vSwitch has no {name}")))
}
