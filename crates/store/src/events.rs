//! The outbox: what happened, written in the transaction in which it happened.
//!
//! Sequence numbers must become visible in order, or a reader that asks for "everything after 7"
//! would lose an 8 that commits after 9. A PostgreSQL sequence gives no such promise. So the number
//! is a row of its own there, raised as the last thing before the commit: the row stays locked until the
//! transaction ends, which makes writers of events take turns, and a rollback takes its numbers
//! back, so there are no gaps either. SQLite has one writer at a time anyway, and a row's number is that of
//! the last one and one more.

use bessemer_core::Timestamp;
use bessemer_core::id::{NodeId, ProjectId, ServerId};
use bessemer_wire::event::Event;

use crate::Error;
use crate::database::{Numbered, Row, Transaction, numbered};
use crate::records::NewEvent;
use crate::store::Store;
use crate::value::{json, values};

impl Store {
    /// Appends events that belong to no other write.
    pub async fn append_events(&self, events: &[NewEvent], now: Timestamp) -> Result<(), Error> {
        let mut write = self.write("append_events").await?;
        append(&mut write, events, now).await?;
        write.commit().await
    }

    /// At most `limit` events after `sequence`, oldest first; only a project's own if one is given.
    pub async fn events_after(
        &self,
        sequence: i64,
        project: Option<ProjectId>,
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        const SQL: &str = "SELECT sequence, happened_at, kind, node, server, project, message, data
            FROM event WHERE sequence > $1 AND ($2 IS NULL OR project = $2)
            ORDER BY sequence LIMIT $3";
        let rows = self.database().rows(SQL, values![sequence, project, limit]);
        rows.await?.iter().map(event).collect()
    }

    /// The sequence number of the latest event; 0 before the first.
    pub async fn last_event(&self) -> Result<i64, Error> {
        const SQL: &str = "SELECT COALESCE(MAX(sequence), 0) AS latest FROM event";
        let row = self.database().row(SQL, values![]).await?;
        row.map_or(Ok(0), |row| row.integer("latest"))
    }
}

/// Appends events. The last thing a transaction does: see the module's own words.
pub(crate) async fn append(
    transaction: &mut Transaction,
    events: &[NewEvent],
    now: Timestamp,
) -> Result<(), Error> {
    const INSERT: Numbered = numbered!(
        "event",
        "event",
        "happened_at, kind, node, server, project, message, data",
        "$1, $2, $3, $4, $5, $6, $7",
        ""
    );
    for event in events {
        let values = values![
            now,
            event.kind,
            event.node,
            event.server,
            event.project,
            &event.message,
            json("data", &event.data)?
        ];
        if transaction.insert_numbered(&INSERT, values).await? == 0 {
            return Err(Error::Corrupt {
                what: "counter",
                message: "there is no row `event`".into(),
            });
        }
    }
    Ok(())
}

/// An event about a server and its node, with nothing more to say.
pub(crate) fn about_server(
    kind: &'static str,
    (node, server, project): (NodeId, ServerId, ProjectId),
    message: String,
) -> NewEvent {
    NewEvent {
        kind,
        node: Some(node),
        server: Some(server),
        project: Some(project),
        message,
        data: serde_json::Value::Object(serde_json::Map::new()),
    }
}

fn event(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        sequence: row.integer("sequence")?,
        at: row.time("happened_at")?,
        kind: row.text("kind")?,
        node: row.optional_parsed("node")?,
        server: row.optional_parsed("server")?,
        project: row.optional_parsed("project")?,
        message: row.text("message")?,
        data: row.json("data")?,
    })
}
