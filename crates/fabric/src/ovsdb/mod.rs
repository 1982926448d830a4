//! Open vSwitch, by its database.
//!
//! `ovsdb-server` holds the wanted configuration and speaks RFC 7047; `ovs-vswitchd` follows it
//! some time later. That a change is stored therefore says nothing about where frames go. What
//! does is a pair of counters (`ovs-vswitchd.conf.db(5)`, table `Open_vSwitch`): whoever changes
//! something raises `next_cfg`, and `ovs-vswitchd` copies it to `cur_cfg` once everything up to
//! there is in effect. That copy is waited for, and only then the port is read back.
//!
//! Every call has a connection of its own: they cost little, and one that is kept would have to
//! answer the server's keep-alives all day.

mod address;
mod connection;
mod port;
mod splitter;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use address::OvsdbAddress;

use self::connection::Connection;
use crate::{Error, PortPlan, PortState, Switch};

/// Left of a deadline for saying that the switch has not followed in time.
const LAST_WORD: Duration = Duration::from_millis(100);

/// An Open vSwitch whose database can be reached.
#[derive(Debug, Clone)]
pub struct OvsdbSwitch {
    name: String,
    address: OvsdbAddress,
}

impl OvsdbSwitch {
    /// The switch called `name` with its database at `address`. Connects only when used.
    pub fn new(name: impl Into<String>, address: OvsdbAddress) -> Self {
        Self {
            name: name.into(),
            address,
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, Error> {
        Connection::open(&self.name, &self.address, deadline).await
    }

    async fn bring(&self, name: &str, plan: &PortPlan, deadline: Instant) -> Result<(), Error> {
        let mut connection = self.connect(deadline).await?;
        let mut operations = Vec::new();
        let before = port::read(&mut connection, name).await?.state;
        if before.satisfies(plan) {
            tracing::debug!(switch = self.name, port = name, %plan, "port is as planned");
        } else {
            tracing::info!(switch = self.name, port = name, %plan, %before, "changing port");
            operations.extend(port::change(name, plan));
        }
        // Even without a change: an earlier one may be stored but not in effect.
        settle(&mut connection, operations, deadline).await?;
        let after = port::read(&mut connection, name).await?;
        if !after.state.satisfies(plan) {
            return Err(Error::NotVerified {
                switch: self.name.clone(),
                port: name.to_owned(),
                wanted: plan.to_string(),
                seen: after.state.to_string(),
            });
        }
        match after.fault {
            Some(fault) => Err(Error::PortFault {
                switch: self.name.clone(),
                port: name.to_owned(),
                fault,
            }),
            None => Ok(()),
        }
    }
}

impl Switch for OvsdbSwitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_port<'a>(
        &'a self,
        port: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<PortState, Error>> {
        async move {
            let mut connection = self.connect(deadline).await?;
            Ok(port::read(&mut connection, port).await?.state)
        }
        .boxed()
    }

    fn apply_port<'a>(
        &'a self,
        port: &'a str,
        plan: &'a PortPlan,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.bring(port, plan, deadline).boxed()
    }
}

/// Carries `operations` out and returns once the switch forwards by them.
async fn settle(
    connection: &mut Connection,
    mut operations: Vec<Value>,
    deadline: Instant,
) -> Result<(), Error> {
    let stored = Instant::now();
    operations.push(json!({
        "op": "mutate", "table": "Open_vSwitch", "where": [],
        "mutations": [["next_cfg", "+=", 1]],
    }));
    operations.push(counters());
    let results = connection.transact(&operations).await?;
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
