//! Who has a node, and until when: claims, and how they are kept and given back.
//!
//! A claim is a lease with a fence: a number that rises with every claim of the node. Whoever lost
//! the lease, by being slow or by being stopped, finds another number there and changes nothing.

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;

use crate::Error;
use crate::reconcile::read_work;
use crate::records::{Claim, Work};
use crate::store::{Store, Write};
use crate::value::values;

/// How often a claim that another worker was quicker to is tried again at once.
const CLAIM_TRIES: u32 = 16;

/// Whether any node can be claimed.
pub(crate) const FREE: &str = "SELECT id FROM node WHERE due_at <= $1 AND lease_until < $1 LIMIT 1";

macro_rules! due_nodes {
    ($lock:literal) => {
        concat!(
            "SELECT id FROM node WHERE due_at <= $1 AND lease_until < $1 ORDER BY due_at, id LIMIT $2",
            $lock
        )
    };
}

/// The nodes that can be claimed, those first that have been due for longest.
pub(crate) const DUE: &str = due_nodes!("");

/// A node that was claimed, with what a reconcile needs to know about it, or why that does not read.
pub type Claimed = (Claim, Result<Work, Error>);

impl Store {
    /// Takes the node that has been due for longest and that nobody has, for `lease_ms`
    /// milliseconds. `None` if there is none.
    pub async fn claim_due(
        &self,
        worker: &str,
        now: Timestamp,
        lease_ms: i64,
    ) -> Result<Option<Claim>, Error> {
        let claimed = self.claim_some_due(worker, now, lease_ms, 1).await?;
        Ok(claimed.into_iter().next().map(|(claim, _)| claim))
    }

    /// The same for at most `most` nodes, in one commit, each with what a reconcile needs to know about it.
    /// None if there is none, or none that nobody else is taking at this moment.
    pub async fn claim_some_due(
        &self,
        worker: &str,
        now: Timestamp,
        lease_ms: i64,
        most: usize,
    ) -> Result<Vec<Claimed>, Error> {
        for _ in 0..CLAIM_TRIES {
            // Most calls find nothing due, and need not queue with the writers to learn that.
            if self.database().row(FREE, values![now]).await?.is_none() {
                return Ok(Vec::new());
            }
            let mut write = self.write("claim_due").await?;
            let claims = claim(&mut write, worker, now, lease_ms, most).await?;
            if claims.is_empty() {
                write.roll_back().await?;
                continue;
            }
            let mut claimed = Vec::with_capacity(claims.len());
            for claim in claims {
                // One that does not read is no reason to leave the others.
                let work = match read_work(&mut write, claim).await {
                    Err(error) if error.is_outage() => return Err(error),
                    work => work,
                };
                claimed.push((claim, work));
            }
            write.commit_quietly().await?;
            return Ok(claimed);
        }
        Ok(Vec::new())
    }

    /// When the next node can be claimed, as far as is known at `now`: in the past if one can be
    /// claimed already, `None` if all are asleep.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        // A leased node can be claimed once it is due and its lease has run out. Asked after every write,
        // so each half reads a few rows of an index, however many nodes there are.
        const SQL: &str = "SELECT MIN(next) AS next FROM (
            SELECT next FROM (SELECT due_at AS next FROM node
                WHERE due_at IS NOT NULL AND (lease_until < $1 OR lease_until < due_at)
                ORDER BY due_at, id LIMIT 1) AS free
            UNION ALL
            SELECT MIN(lease_until) + 1 AS next FROM node
                WHERE lease_until > 0 AND lease_until >= $1 AND lease_until >= due_at) AS found";
        let row = self.database().row(SQL, values![now]).await?;
        row.map_or(Ok(None), |row| row.optional_time("next"))
    }

    /// Keeps a claim for another `lease_ms` milliseconds from `now`.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now.
    pub async fn renew(&self, claim: Claim, now: Timestamp, lease_ms: i64) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET lease_until = $3
            WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        let until = now.as_millisecond().saturating_add(lease_ms);
        let mut write = self.write("renew").await?;
        let values = values![claim.node, claim.fence, until];
        if write.execute(SQL, values).await? == 0 {
            return Err(Error::LeaseLost);
        }
        write.commit_quietly().await
    }

    /// Gives a claim back without having decided anything: the node can be claimed again at once. A
    /// claim that was lost is nobody's to give.
    pub async fn give_back(&self, claim: Claim) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET owner = NULL, lease_until = 0
            WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        let mut write = self.write("give_back").await?;
        write.execute(SQL, values![claim.node, claim.fence]).await?;
        write.commit_quietly().await
    }

    /// Gives back all that `worker` has, when it ends: others need not wait until its leases run out.
    /// Whatever it may still be doing is fenced off.
    pub async fn give_back_all(&self, worker: &str) -> Result<(), Error> {
        const NODES: &str = "UPDATE node SET owner = NULL, lease_until = 0, fence = fence + 1
            WHERE owner = $1";
        const TUNNELS: &str = "UPDATE switch_tunnels SET owner = NULL, lease_until = 0,
            fence = fence + 1 WHERE owner = $1";
        let mut write = self.write("give_back_all").await?;
        write.execute(NODES, values![worker]).await?;
        write.execute(TUNNELS, values![worker]).await?;
        write.commit_quietly().await
    }

    /// Takes back every lease. Only for a process that knows itself to be alone on the database,
    /// when it starts: whoever had them is dead, and its nodes need not wait until they run out.
    pub async fn take_back_leases(&self) -> Result<(), Error> {
        // The fence rises as with a claim: should the dead be less dead than thought, it is fenced
        // off.
        const SQL: &str = "UPDATE node SET owner = NULL, lease_until = 0, fence = fence + 1
            WHERE owner IS NOT NULL";
        const TUNNELS: &str = "UPDATE switch_tunnels SET owner = NULL, lease_until = 0,
            fence = fence + 1 WHERE owner IS NOT NULL";
        let mut write = self.write("take_back_leases").await?;
        write.execute(SQL, values![]).await?;
        write.execute(TUNNELS, values![]).await?;
        write.commit_quietly().await
    }
}

/// Takes nodes that are due and that nobody has; none if others are quicker.
async fn claim(
    write: &mut Write,
    worker: &str,
    now: Timestamp,
    lease_ms: i64,
    most: usize,
) -> Result<Vec<Claim>, Error> {
    // What another one is taking at this moment is not waited for.
    const DUE_AND_UNLOCKED: &str = due_nodes!(" FOR UPDATE SKIP LOCKED");
    const SQL: &str = "UPDATE node SET owner = $2, lease_until = $3, fence = fence + 1
        WHERE id = $1 AND due_at <= $4 AND lease_until < $4 RETURNING fence";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let due = if write.has_other_writers() {
        DUE_AND_UNLOCKED
    } else {
        DUE
    };
    let due = write.rows(due, values![now, most]).await?;
    let until = now.as_millisecond().saturating_add(lease_ms);
    let mut claims = Vec::with_capacity(due.len());
    for row in due {
        let node: NodeId = row.parsed("id")?;
        let row = write.row(SQL, values![node, worker, until, now]).await?;
        if let Some(row) = row {
            let fence = row.integer("fence")?;
            claims.push(Claim { node, fence });
        }
    }
    Ok(claims)
}
