//! The servers that are alive on one database, so that work which needs no claim can be shared out
//! among them, and machines know whom else to call. Nothing is decided by it: two that believe the same
//! work to be theirs do it twice, and who calls one that is gone calls the next one.

use bessemer_core::Timestamp;

use crate::Error;
use crate::database::Row;
use crate::store::Store;
use crate::value::values;

/// So many times the time after which a server counts as dead, its row is removed.
const FORGOTTEN_AFTER: i64 = 100;

/// A server that is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConductorRecord {
    /// What it calls itself: another one after each start.
    pub id: String,
    /// The URL under which agents call it, without a path, if it serves them.
    pub agent_url: Option<String>,
    /// The SHA-256 of the certificate that agents find there, in hexadecimal.
    pub agent_pin: Option<String>,
    /// The URL under which new systems say that they are up, without a path, if it listens to them.
    pub phone_home_url: Option<String>,
}

impl Store {
    /// Says that the server `own` is alive, and gives all that have said so within `silence_ms`
    /// milliseconds, itself among them, by their ids. Where there can be no other, nothing is written.
    pub async fn conductor_lives(
        &self,
        own: &ConductorRecord,
        silence_ms: i64,
        now: Timestamp,
    ) -> Result<Vec<ConductorRecord>, Error> {
        const SAY: &str = "INSERT INTO conductor (id, seen_at, agent_url, agent_pin, phone_home_url)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, agent_url = excluded.agent_url,
                agent_pin = excluded.agent_pin, phone_home_url = excluded.phone_home_url";
        const FORGET: &str = "DELETE FROM conductor WHERE seen_at < $1";
        const ALIVE: &str = "SELECT id, agent_url, agent_pin, phone_home_url FROM conductor
            WHERE seen_at >= $1 ORDER BY id";
        if self.others().is_none() {
            return Ok(vec![own.clone()]);
        }
        let ago = |milliseconds: i64| now.as_millisecond().saturating_sub(milliseconds);
        let mut write = self.write("conductor_lives").await?;
        let ConductorRecord {
            id,
            agent_url,
            agent_pin,
            phone_home_url,
        } = own.clone();
        let said = values![id, now, agent_url, agent_pin, phone_home_url];
        write.execute(SAY, said).await?;
        let long_ago = ago(silence_ms.saturating_mul(FORGOTTEN_AFTER));
        write.execute(FORGET, values![long_ago]).await?;
        write.commit_quietly().await?;
        let rows = self.database().rows(ALIVE, values![ago(silence_ms)]);
        rows.await?.iter().map(record).collect()
    }

    /// Says that the server `id` has come to its end.
    pub async fn conductor_ends(&self, id: &str) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM conductor WHERE id = $1";
        if self.others().is_none() {
            return Ok(());
        }
        let mut write = self.write("conductor_ends").await?;
        write.execute(SQL, values![id]).await?;
        write.commit_quietly().await
    }
}

fn record(row: &Row) -> Result<ConductorRecord, Error> {
    Ok(ConductorRecord {
        id: row.text("id")?,
        agent_url: row.optional_text("agent_url")?,
        agent_pin: row.optional_text("agent_pin")?,
        phone_home_url: row.optional_text("phone_home_url")?,
    })
}
