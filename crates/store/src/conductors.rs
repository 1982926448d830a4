//! The servers that are alive on one database, so that work which needs no claim can be shared out
//! among them. Nothing is decided by it: two that believe the same work to be theirs do it twice.

use bessemer_core::Timestamp;

use crate::Error;
use crate::store::Store;
use crate::value::values;

/// So many times the time after which a server counts as dead, its row is removed.
const FORGOTTEN_AFTER: i64 = 100;

impl Store {
    /// Says that the server `id` is alive, and gives all that have said so within `silence_ms`
    /// milliseconds, itself among them. Where there can be no other, nothing is written.
    pub async fn conductor_lives(
        &self,
        id: &str,
        silence_ms: i64,
        now: Timestamp,
    ) -> Result<Vec<String>, Error> {
        const SAY: &str = "INSERT INTO conductor (id, seen_at) VALUES ($1, $2)
            ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
        const FORGET: &str = "DELETE FROM conductor WHERE seen_at < $1";
        const ALIVE: &str = "SELECT id FROM conductor WHERE seen_at >= $1 ORDER BY id";
        if self.others().is_none() {
            return Ok(vec![id.to_owned()]);
        }
        let ago = |milliseconds: i64| now.as_millisecond().saturating_sub(milliseconds);
        let mut write = self.write("conductor_lives").await?;
        write.execute(SAY, values![id, now]).await?;
        let long_ago = ago(silence_ms.saturating_mul(FORGOTTEN_AFTER));
        write.execute(FORGET, values![long_ago]).await?;
        write.commit_quietly().await?;
        let rows = self.database().rows(ALIVE, values![ago(silence_ms)]);
        rows.await?.iter().map(|row| row.text("id")).collect()
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
