//! What an operator asks of a machine directly, such as to be switched on or off.
//!
//! It goes the way of everything that is done to a machine: an intent, committed first and carried
//! out by the conductor. Only a node at rest takes one, so it never gets between the steps of a
//! phase.

use bessemer_core::Timestamp;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::lifecycle::{Action, Executor, Intent, IntentKey, Outcome, Phase};

use crate::Error;
use crate::intents;
use crate::store::Store;
use crate::value::values;

impl Store {
    /// Opens an intent for the conductor on a node at rest and wakes the node. `key` must be new
    /// for this node; with one that is known, nothing happens.
    ///
    /// [`Error::Conflict`] if the node is not at rest, or the action is the agent's to do.
    pub async fn request_action(
        &self,
        node: NodeId,
        key: &str,
        action: Action,
        now: Timestamp,
    ) -> Result<(), Error> {
        const WAKE: &str = "UPDATE node SET news = news + 1,
            due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END WHERE id = $1
            RETURNING name, phase, at_rest, generation";
        const KNOWN: &str = "SELECT status FROM intent WHERE node = $1 AND intent_key = $2";
        if action.executor() != Executor::Conductor {
            return Err(Error::not_now("only the conductor carries out requests"));
        }
        let mut write = self.write("request_action").await?;
        let row = write.row(WAKE, values![node, now]).await?;
        let row = row.ok_or_else(|| Error::not_found("node", node))?;
        if write.row(KNOWN, values![node, key]).await?.is_some() {
            return write.roll_back().await;
        }
        if row.integer("at_rest")? == 0 {
            let (name, phase): (_, Phase) = (row.text("name")?, row.name("phase")?);
            return Err(Error::not_now(format!(
                "node `{name}` is {}: wait until it is at rest, or hold it",
                phase.name()
            )));
        }
        let intent = Intent {
            key: IntentKey(key.to_owned()),
            generation: Generation(row.number("generation")?),
            action,
        };
        intents::supersede(&mut write, node, now).await?;
        intents::open(&mut write, node, &intent, now).await?;
        write.commit().await
    }

    /// How far an intent of a node has come; `None` if there is none under this key (any more).
    pub async fn outcome(&self, node: NodeId, key: &str) -> Result<Option<Outcome>, Error> {
        const SQL: &str = "SELECT status, failure FROM intent WHERE node = $1 AND intent_key = $2";
        let row = self.database().row(SQL, values![node, key]).await?;
        row.as_ref().map(intents::outcome).transpose()
    }
}
