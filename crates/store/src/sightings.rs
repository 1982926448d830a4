//! What servers on one database have seen of nodes, for each other.

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use uuid::Uuid;

use crate::Error;
use crate::store::Store;
use crate::value::{sealed, values};

/// What was seen longer ago, in milliseconds, is nobody's concern any more.
const KEPT_MS: i64 = 3_600_000;

/// The oldest that counts at `now`.
fn oldest(now: Timestamp) -> i64 {
    now.as_millisecond().saturating_sub(KEPT_MS)
}

impl Store {
    /// Keeps what the server `seen_by` has seen of these nodes, each sealed, in place of what it has
    /// kept of them before; and drops what is older than an hour.
    pub async fn keep_sightings(
        &self,
        seen_by: Uuid,
        seen: &[(NodeId, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), Error> {
        const KEEP: &str = "INSERT INTO sighting (node, seen_by, seen_at, sealed)
            VALUES ($1, $2, $3, $4) ON CONFLICT (node, seen_by)
            DO UPDATE SET seen_at = excluded.seen_at, sealed = excluded.sealed";
        const DROP: &str = "DELETE FROM sighting WHERE seen_at < $1";
        let mut write = self.write("keep_sightings").await?;
        for (node, of_node) in seen {
            let values = values![*node, seen_by.to_string(), now, sealed(of_node)];
            write.execute(KEEP, values).await?;
        }
        write.execute(DROP, values![oldest(now)]).await?;
        write.commit_quietly().await
    }

    /// What servers other than `own` have kept of a node within the last hour.
    pub async fn sightings_of_others(
        &self,
        node: NodeId,
        own: Uuid,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, Error> {
        const SQL: &str = "SELECT sealed FROM sighting
            WHERE node = $1 AND seen_by <> $2 AND seen_at >= $3 ORDER BY seen_at, seen_by";
        let values = values![node, own.to_string(), oldest(now)];
        let rows = self.database().rows(SQL, values).await?;
        rows.iter().map(|row| row.sealed("sealed")).collect()
    }
}
