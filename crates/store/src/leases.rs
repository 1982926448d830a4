//! Leases and times that cannot be right.
//!
//! A lease lasts for seconds, and a fence rises by one with every claim. Whoever finds a lease that
//! lasts for years, or a fence that no counting leads to, looks at a database that somebody has
//! tampered with, or at what a clock has left that was years ahead. Left alone, the node would wait
//! for years, or no node at all could be claimed any more, because one fence cannot rise. So leases are
//! looked over when a server starts and now and then.

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use serde_json::json;

use crate::Error;
use crate::database::{Database, Row};
use crate::events::append;
use crate::records::NewEvent;
use crate::store::{Store, Write};
use crate::value::values;

/// The largest fence that is believed: more claims than there are microseconds in a century.
const LARGEST_FENCE: i64 = 1 << 52;

impl Store {
    /// Ends leases that end later than `longest_ms` milliseconds from now, and those with a fence that
    /// no claim gives; tells events about them. What was wrong, in words.
    ///
    /// Whoever may hold such a lease is fenced off. `longest_ms` must be more than any server claims
    /// for.
    pub async fn mend_leases(&self, now: Timestamp, longest_ms: i64) -> Result<Vec<String>, Error> {
        const WRONG: &str = "SELECT id, name, owner, lease_until, fence FROM node
            WHERE lease_until > $1 OR fence < 0 OR fence > $2 ORDER BY id";
        const WRONG_TUNNELS: &str = "SELECT switch AS id, switch AS name, owner, lease_until, fence
            FROM switch_tunnels
            WHERE lease_until > $1 OR fence < 0 OR fence > $2 ORDER BY switch";
        const NODE: &str = "UPDATE node SET owner = NULL, lease_until = 0, fence = $2, due_at = $5
            WHERE id = $1 AND lease_until = $3 AND fence = $4";
        const TUNNELS: &str = "UPDATE switch_tunnels SET owner = NULL, lease_until = 0, fence = $2,
            due_at = $5 WHERE switch = $1 AND lease_until = $3 AND fence = $4";
        let latest = now.as_millisecond().saturating_add(longest_ms);
        let mut told = Vec::new();
        for (find, mend, of_node) in [(WRONG, NODE, true), (WRONG_TUNNELS, TUNNELS, false)] {
            let rows = self.database().rows(find, values![latest, LARGEST_FENCE]);
            for row in rows.await? {
                let mut write = self.write("mend_leases").await?;
                let Some(message) = mend_lease(&mut write, mend, &row, latest, now).await? else {
                    write.roll_back().await?;
                    continue;
                };
                let node: Option<NodeId> = of_node.then(|| row.parsed("id")).transpose()?;
                append(&mut write, &[mended(node, &message)], now).await?;
                write.commit().await?;
                told.push(message);
            }
        }
        Ok(told)
    }

    /// What time it is for a database that several servers may share.
    pub async fn database_clock(&self) -> Result<Option<Timestamp>, Error> {
        const CLOCK: &str =
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS clock";
        match self.database() {
            Database::Sqlite(_) => Ok(None),
            database @ Database::Postgres(_) => {
                let row = database.row(CLOCK, values![]).await?;
                row.map(|row| row.time("clock")).transpose()
            }
        }
    }

    /// When the latest event happened.
    pub async fn last_happened_at(&self) -> Result<Option<Timestamp>, Error> {
        const SQL: &str = "SELECT happened_at FROM event ORDER BY sequence DESC LIMIT 1";
        let row = self.database().row(SQL, values![]).await?;
        row.map(|row| row.time("happened_at")).transpose()
    }

    /// Has everything looked at now that waits for a time which the clock will reach again only later,
    /// after that was set back from `before` to `now`; tells an event about it.
    pub async fn clock_was_set_back(&self, before: Timestamp, now: Timestamp) -> Result<(), Error> {
        const NODES: &str = "UPDATE node SET due_at = $1 WHERE due_at > $1";
        const PORTS: &str = "UPDATE node SET ports_read_at = $1 WHERE ports_read_at > $1";
        const TUNNELS: &str = "UPDATE switch_tunnels SET due_at = $1 WHERE due_at > $1";
        const BOOTS: &str = "UPDATE boot SET last_seen = $1 WHERE last_seen > $1";
        let mut write = self.write("clock_was_set_back").await?;
        for sql in [NODES, PORTS, TUNNELS, BOOTS] {
            write.execute(sql, values![now]).await?;
        }
        let seconds = before.duration_since(now).as_secs();
        let event = NewEvent {
            kind: "site.clock_set_back",
            node: None,
            server: None,
            project: None,
            message: format!(
                "the clock was set back by {seconds} s: what waited for a time is looked at now, and \
                 times told before are not to be compared with those after"
            ),
            data: json!({ "before": before, "now": now }),
        };
        append(&mut write, &[event], now).await?;
        write.commit().await
    }
}

/// Ends one lease, unless it has changed meanwhile; what was wrong with it.
async fn mend_lease(
    write: &mut Write,
    sql: &'static str,
    row: &Row,
    latest: i64,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let (until, fence) = (row.integer("lease_until")?, row.integer("fence")?);
    let name = row.text("name")?;
    let (why, next) = if (0..=LARGEST_FENCE).contains(&fence) {
        (
            format!("a lease that ends {} s too late", (until - latest) / 1000),
            fence + 1,
        )
    } else {
        // More than any fence that was ever given out honestly.
        (
            format!("the fence {fence}, which no claim gives"),
            now.as_millisecond(),
        )
    };
    let values = values![row.text("id")?, next, until, fence, now];
    let mended = write.execute(sql, values).await? > 0;
    let owner = row.optional_text("owner")?;
    let owner = owner.map_or_else(|| "nobody".to_owned(), |owner| format!("`{owner}`"));
    Ok(mended.then(|| {
        format!("`{name}` had {why} (owner {owner}): the lease is ended, and whoever has it is fenced off")
    }))
}

fn mended(node: Option<NodeId>, message: &str) -> NewEvent {
    NewEvent {
        kind: if node.is_some() {
            "node.lease_mended"
        } else {
            "switch.lease_mended"
        },
        node,
        server: None,
        project: None,
        message: message.to_owned(),
        data: serde_json::Value::Null,
    }
}
