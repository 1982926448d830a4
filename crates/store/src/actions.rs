//! What a person asks of a machine directly, such as to be switched on or off.
//!
//! It goes the way of everything that is done to a machine: an intent, committed first and carried
//! out by the conductor. Only a node at rest takes one, so it never gets between the steps of a
//! phase.

use bessemer_core::Timestamp;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::lifecycle::{Action, Executor, Intent, IntentKey, NodeState, Outcome, Phase};

use crate::Error;
use crate::events::{about_server, append};
use crate::intents;
use crate::records::ServerRequest;
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

    /// Opens an intent for the conductor on the node of an active server, with an event that says
    /// so, and wakes the node. With a key that is known, nothing happens.
    ///
    /// [`Error::Conflict`] unless the server is active and nothing else has been begun with it; or
    /// if an earlier request is still being carried out, and this one does not overtake.
    pub async fn request_of_server(
        &self,
        request: &ServerRequest,
        now: Timestamp,
    ) -> Result<(), Error> {
        const WAKE: &str = "UPDATE node SET news = news + 1,
            due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END
            WHERE server = $1 AND goal_kind = 'deployed' AND phase = 'active' AND at_rest = 1
            RETURNING id, generation, state";
        const KNOWN: &str = "SELECT status FROM intent WHERE node = $1 AND intent_key = $2";
        const PENDING: &str = "SELECT 1 FROM intent WHERE node = $1 AND status = 'pending'";
        let busy = || Error::not_now("the server is not active: only then it can be switched");
        let mut write = self.write("request_of_server").await?;
        let row = write.row(WAKE, values![request.server, now]).await?;
        let row = row.ok_or_else(busy)?;
        let node: NodeId = row.parsed("id")?;
        let generation = Generation(row.number("generation")?);
        let state: NodeState = row.json("state")?;
        if state.generation != generation {
            return Err(busy());
        }
        let key = &request.key;
        if write.row(KNOWN, values![node, key]).await?.is_some() {
            return write.roll_back().await;
        }
        if !request.overtakes && write.row(PENDING, values![node]).await?.is_some() {
            return Err(Error::not_now(
                "an earlier request is still being carried out: wait for it, or force this one",
            ));
        }
        let intent = Intent {
            key: IntentKey(key.clone()),
            generation,
            action: request.action.clone(),
        };
        intents::supersede(&mut write, node, now).await?;
        intents::open(&mut write, node, &intent, now).await?;
        let whose = (node, request.server, request.project);
        let event = about_server("server.power", whose, request.message.clone());
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// The newest intent of a node, with how far it has come.
    pub async fn newest_intent(&self, node: NodeId) -> Result<Option<(Intent, Outcome)>, Error> {
        const SQL: &str =
            "SELECT intent_key, generation AS intent_generation, action, status, failure
            FROM intent WHERE node = $1 ORDER BY sequence DESC LIMIT 1";
        let row = self.database().row(SQL, values![node]).await?;
        row.as_ref().map_or(Ok(None), intents::newest)
    }

    /// How far an intent of a node has come; `None` if there is none under this key (any more).
    pub async fn outcome(&self, node: NodeId, key: &str) -> Result<Option<Outcome>, Error> {
        const SQL: &str = "SELECT status, failure FROM intent WHERE node = $1 AND intent_key = $2
            ORDER BY sequence DESC LIMIT 1";
        let row = self.database().row(SQL, values![node, key]).await?;
        row.as_ref().map(intents::outcome).transpose()
    }
}
