//! What switch ports were brought to carry, and whether they still do.
//!
//! Reading a port is cheap and needs no claim; putting one back does, since otherwise it could be
//! put back to what it carried before the node went on. So whoever finds a difference only raises a
//! suspicion, and the node's next turn looks again.

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{NodeState, PortRole};
use bessemer_core::reason::Reason;

use crate::Error;
use crate::events::append;
use crate::reconcile::append_history;
use crate::records::{Claim, NewEvent};
use crate::store::Store;
use crate::value::values;

impl Store {
    /// Notes that all ports of a claimed node have been read back in `role`, or, without one, that
    /// they are about to change. Clears any suspicion.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now.
    pub async fn expect_ports(
        &self,
        claim: Claim,
        role: Option<PortRole>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET port_role = $3, ports_read_at = $4, ports_suspect = 0,
            news = news + 1 WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        let role = role.map(|role| role.name().to_owned());
        let mut write = self.write("expect_ports").await?;
        let values = values![claim.node, claim.fence, role, now];
        if write.execute(SQL, values).await? == 0 {
            return Err(Error::LeaseLost);
        }
        write.commit_quietly().await
    }

    /// At most `most` nodes whose ports were last read before `before`, those first that were read
    /// longest ago. They are taken to be read now.
    pub async fn ports_to_read(
        &self,
        before: Timestamp,
        most: u32,
        now: Timestamp,
    ) -> Result<Vec<NodeId>, Error> {
        const DUE: &str = "SELECT 1 AS due FROM node
            WHERE port_role IS NOT NULL AND ports_suspect = 0 AND ports_read_at < $1 LIMIT 1";
        const TAKE: &str = "UPDATE node SET ports_read_at = $3 WHERE ports_read_at < $1
            AND id IN (SELECT id FROM node
            WHERE port_role IS NOT NULL AND ports_suspect = 0 AND ports_read_at < $1
            ORDER BY ports_read_at, id LIMIT $2) RETURNING id";
        // Most calls find nothing due, and need not queue with the writers to learn that.
        if self.database().row(DUE, values![before]).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut write = self.write("ports_to_read").await?;
        let rows = write.rows(TAKE, values![before, most, now]).await?;
        write.commit_quietly().await?;
        rows.iter().map(|row| row.parsed("id")).collect()
    }

    /// Has the conductor look at the ports of a node at once. Nothing happens while it is not known
    /// what they should carry.
    pub async fn suspect_ports(&self, node: NodeId, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET ports_suspect = 1, news = news + 1,
            due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END
            WHERE id = $1 AND port_role IS NOT NULL";
        let mut write = self.write("suspect_ports").await?;
        write.execute(SQL, values![node, now]).await?;
        write.commit().await
    }

    /// Ends a suspicion about a claimed node in `state`: `found` is what was not as it should be, and
    /// goes into the node's history with `events`.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now.
    pub async fn ports_looked_at(
        &self,
        claim: Claim,
        state: &NodeState,
        found: Vec<Reason>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET ports_suspect = 0, ports_read_at = $3
            WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        let mut write = self.write("ports_looked_at").await?;
        let values = values![claim.node, claim.fence, now];
        if write.execute(SQL, values).await? == 0 {
            return Err(Error::LeaseLost);
        }
        for reason in found {
            let state = NodeState {
                reason,
                ..state.clone()
            };
            append_history(&mut write, claim.node, &state, now).await?;
        }
        append(&mut write, events, now).await?;
        write.commit().await
    }
}
