//! What operators want of nodes.
//!
//! Nothing here writes a node's state (only `reconcile` does): what is wanted is written as a goal
//! with a new generation, with an event that says who wanted it, and the node is woken.

use bessemer_core::Timestamp;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::lifecycle::{Goal, Phase};

use crate::Error;
use crate::events::append;
use crate::nodes::about_node;
use crate::store::Store;
use crate::value::{json, values};

impl Store {
    /// Says what a node is to be, and wakes it. Every call raises the generation, so that asking
    /// for the same again starts a failed node again. `by` names who wants it, for the event.
    /// Returns the new generation.
    ///
    /// [`Error::Conflict`] while the node has a server: that is for its tenant to give back. A node
    /// that failed while a server was being taken back may still be told to become available.
    pub async fn set_goal(
        &self,
        id: NodeId,
        goal: Goal,
        by: &str,
        now: Timestamp,
    ) -> Result<Generation, Error> {
        const SQL: &str = "UPDATE node SET goal = $2, goal_kind = $3, generation = generation + 1,
            abort = NULL, news = news + 1,
            due_at = CASE WHEN due_at < $4 THEN due_at ELSE $4 END
            WHERE id = $1
            AND (server IS NULL OR (goal_kind = 'available' AND $3 = 'available'))
            RETURNING generation, name";
        let kind = goal_kind(&goal);
        if kind == "deployed" {
            return Err(Error::not_now("a node gets a server by an order only"));
        }
        let mut write = self.write("set_goal").await?;
        let stored = json("goal", &goal)?;
        let row = write.row(SQL, values![id, stored, kind, now]).await?;
        let Some(row) = row else {
            write.roll_back().await?;
            let name = self.node_by_id(id).await?.name;
            return Err(Error::not_now(format!(
                "node `{name}` has a server: delete the server first"
            )));
        };
        let generation = Generation(row.number("generation")?);
        let name = row.text("name")?;
        let message = match &goal {
            Goal::Held { reason } | Goal::Retired { reason } => {
                format!("node `{name}` is to be {kind}, says `{by}`: {reason}")
            }
            Goal::Available | Goal::Deployed(_) => {
                format!("node `{name}` is to be {kind}, says `{by}`")
            }
        };
        append(&mut write, &[about_node("node.wanted", id, message)], now).await?;
        write.commit().await?;
        Ok(generation)
    }

    /// Has what a node is doing stopped, and wakes it: it is then made safe like one that failed.
    /// `why` is shown as its reason, `by` names who wants it. Returns the new generation.
    ///
    /// [`Error::Conflict`] if there is nothing to stop: the node is at rest, on its way to where
    /// it is safe, or about to leave what it is doing. (Were that stopped, the node would rest with what
    /// was asked for before: a server that is given back would be so for ever.)
    pub async fn abort(
        &self,
        id: NodeId,
        why: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<Generation, Error> {
        const SQL: &str = "UPDATE node SET abort = $2, generation = generation + 1,
            news = news + 1, due_at = CASE WHEN due_at < $3 THEN due_at ELSE $3 END
            WHERE id = $1 AND at_rest = 0
            AND phase IN ('enrolled', 'inspecting', 'cleaning', 'deploying')
            AND (phase <> 'deploying' OR goal_kind = 'deployed') AND goal_kind <> 'held'
            RETURNING generation, name, phase";
        let mut write = self.write("abort").await?;
        let Some(row) = write.row(SQL, values![id, why, now]).await? else {
            write.roll_back().await?;
            let node = self.node_by_id(id).await?;
            let (name, phase) = (node.name, node.state.phase.name());
            let given_up = match (node.state.phase, &node.spec.goal) {
                (Phase::Deploying, Goal::Deployed(_)) => "",
                (Phase::Deploying, _) | (_, Goal::Held { .. }) => ", which has been given up",
                _ => "",
            };
            return Err(Error::not_now(format!(
                "node `{name}` is {phase}{given_up}: there is nothing to stop"
            )));
        };
        let generation = Generation(row.number("generation")?);
        let (name, phase): (_, Phase) = (row.text("name")?, row.name("phase")?);
        let message = format!(
            "{} of node `{name}` is stopped, says `{by}`: {why}",
            phase.name()
        );
        append(&mut write, &[about_node("node.aborted", id, message)], now).await?;
        write.commit().await?;
        Ok(generation)
    }
}

/// The word that WHERE clauses know a goal by.
pub(crate) fn goal_kind(goal: &Goal) -> &'static str {
    match goal {
        Goal::Available => "available",
        Goal::Deployed(_) => "deployed",
        Goal::Held { .. } => "held",
        Goal::Retired { .. } => "retired",
    }
}
