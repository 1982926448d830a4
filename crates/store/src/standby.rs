//! Which nodes wait for orders in the agent, and the agents that do.

use bessemer_core::Timestamp;
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::Inventory;
use bessemer_core::id::{BootId, NodeId};
use bessemer_core::lifecycle::{AgentSeen, Standby};

use crate::Error;
use crate::database::{Row, Transaction};
use crate::store::Store;
use crate::value::values;

impl Store {
    /// Lets the conductor look at every available node now: a flavor that had its nodes wait in the
    /// agent is gone.
    pub async fn wake_available(&self, now: Timestamp) -> Result<(), Error> {
        let mut write = self.write("wake_available").await?;
        wake_available(&mut write, now).await?;
        write.commit().await
    }

    /// The agent of this node that has called, if its boot is still allowed.
    pub async fn agent_of(&self, node: NodeId) -> Result<Option<AgentSeen>, Error> {
        const SQL: &str = "SELECT id AS agent, last_seen, outdated FROM boot
            WHERE node = $1 AND session IS NOT NULL AND last_seen IS NOT NULL";
        let row = self.database().row(SQL, values![node]).await?;
        row.as_ref().map_or(Ok(None), agent_seen)
    }

    /// Marks idle agents that were given another RAM disk than the one with this digest as to be
    /// replaced, and wakes their nodes; so many that at most `most` nodes boot into standby. Never
    /// one that is ordered. Gives how many were marked.
    pub async fn replace_idle_agents(
        &self,
        digest: &str,
        most: u32,
        now: Timestamp,
    ) -> Result<u64, Error> {
        const BOOTING: &str = "SELECT COUNT(*) AS booting FROM boot
            JOIN node ON node.id = boot.node
            WHERE node.phase = 'available' AND (outdated = 1 OR session IS NULL)";
        const MARK: &str = "UPDATE boot SET outdated = 1 WHERE id IN (SELECT boot.id FROM boot
            JOIN node ON node.id = boot.node
            WHERE node.phase = 'available' AND node.server IS NULL AND outdated = 0
            AND session IS NOT NULL AND (ramdisk IS NULL OR ramdisk <> $1)
            ORDER BY boot.created_at, boot.id LIMIT $2)";
        const WAKE: &str = "UPDATE node SET news = news + 1,
            due_at = CASE WHEN due_at < $1 THEN due_at ELSE $1 END
            WHERE id IN (SELECT node FROM boot WHERE outdated = 1)";
        const STALE: &str = "SELECT COUNT(*) AS stale FROM boot
            WHERE session IS NOT NULL AND (ramdisk IS NULL OR ramdisk <> $1)";
        let row = self.database().row(STALE, values![digest]).await?;
        if row.map_or(Ok(0), |row| row.integer("stale"))? == 0 {
            return Ok(0);
        }
        let mut write = self.write("replace_idle_agents").await?;
        let row = write.row(BOOTING, values![]).await?;
        let booting = row.map_or(Ok(0), |row| row.integer("booting"))?;
        let free = (i64::from(most) - booting).max(0);
        let marked = write.execute(MARK, values![digest, free]).await?;
        if marked == 0 {
            write.roll_back().await?;
            return Ok(0);
        }
        write.execute(WAKE, values![now]).await?;
        write.commit().await?;
        Ok(marked)
    }

    /// Notes when agents were heard of, all at once: idle ones are not worth a write each.
    pub async fn touch_agents(&self, heard: &[(BootId, Timestamp)]) -> Result<(), Error> {
        const SQL: &str = "UPDATE boot SET last_seen = $2
            WHERE id = $1 AND session IS NOT NULL AND last_seen < $2";
        let mut write = self.write("touch_agents").await?;
        for (boot, at) in heard {
            write.execute(SQL, values![*boot, *at]).await?;
        }
        write.commit_quietly().await
    }
}

/// Lets the conductor look at every available node now.
pub(crate) async fn wake_available(
    transaction: &mut Transaction,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE node SET news = news + 1,
        due_at = CASE WHEN due_at < $1 THEN due_at ELSE $1 END WHERE phase = 'available'";
    transaction.execute(SQL, values![now]).await?;
    Ok(())
}

/// Whether a node waits for orders in the agent, by its own setting or else its flavors'.
pub(crate) async fn wanted(
    read: &mut Transaction,
    standby: Standby,
    inventory: Option<&Inventory>,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT hardware FROM flavor WHERE standby = 1";
    match (standby, inventory) {
        (Standby::Always, _) => Ok(true),
        (Standby::Never, _) | (Standby::ByFlavor, None) => Ok(false),
        (Standby::ByFlavor, Some(inventory)) => {
            for row in read.rows(SQL, values![]).await? {
                let hardware: FlavorHardware = row.json("hardware")?;
                if hardware.mismatches(inventory).is_empty() {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Reads `agent`, `last_seen` and `outdated` of a boot whose agent has called.
pub(crate) fn agent_seen(row: &Row) -> Result<Option<AgentSeen>, Error> {
    let Some(boot) = row.optional_parsed("agent")? else {
        return Ok(None);
    };
    Ok(Some(AgentSeen {
        boot,
        last_seen: row.time("last_seen")?,
        replace: row.integer("outdated")? != 0,
    }))
}
