//! Intents as rows: opened, closed by an outcome, superseded.
//!
//! A node's newest intent is the one with the highest sequence number. No other one is ever pending:
//! whoever opens one supersedes the one before, or knows how it ended.

use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::lifecycle::{Action, Executor, Intent, IntentKey, Outcome};
use bessemer_core::reason::Failure;

use crate::Error;
use crate::database::{Row, Transaction};
use crate::value::{json, values};

/// Intents that are kept of each node, for people who look into what happened, and as many more as come
/// until they are looked through again.
const KEPT: i64 = 100;

/// How many intents later what is too old is deleted.
const PRUNED_EVERY: i64 = 50;

/// The name of an executor in the database.
pub(crate) fn executor_name(executor: Executor) -> &'static str {
    match executor {
        Executor::Conductor => "conductor",
        Executor::Agent => "agent",
    }
}

/// Opens an intent, as the newest. A phase may come by the same step twice, so there may be an older one of
/// the same key; it has ended.
pub(crate) async fn open(
    transaction: &mut Transaction,
    node: NodeId,
    intent: &Intent,
    now: Timestamp,
) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO intent
        (node, intent_key, sequence, generation, executor, action, status, created_at)
        VALUES ($1, $2, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM intent WHERE node = $1),
        $3, $4, $5, 'pending', $6) RETURNING sequence";
    const PRUNE: &str = "DELETE FROM intent WHERE node = $1 AND sequence <= $2";
    let values = values![
        node,
        &intent.key,
        intent.generation,
        executor_name(intent.action.executor()),
        json("action", &intent.action)?,
        now
    ];
    let row = transaction.row(INSERT, values).await?;
    let sequence = row.map_or(Ok(0), |row| row.integer("sequence"))?;
    if sequence % PRUNED_EVERY == 0 {
        let oldest = sequence - KEPT;
        transaction.execute(PRUNE, values![node, oldest]).await?;
    }
    Ok(())
}

/// An update of node `$1`'s newest intent, if it is pending.
macro_rules! update_pending {
    ($set:literal, $rest:literal) => {
        concat!(
            "UPDATE intent SET ",
            $set,
            " WHERE node = $1 AND sequence = (SELECT MAX(newest.sequence) FROM intent AS newest \
             WHERE newest.node = $1) AND status = 'pending' ",
            $rest
        )
    };
}

/// Closes whatever is pending on a node without an outcome.
pub(crate) async fn supersede(
    transaction: &mut Transaction,
    node: NodeId,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = update_pending!("status = 'superseded', closed_at = $2", "");
    transaction.execute(SQL, values![node, now]).await?;
    Ok(())
}

/// Writes down how a pending intent of this executor ended. What it was, if it was pending.
pub(crate) async fn close(
    transaction: &mut Transaction,
    node: NodeId,
    key: &IntentKey,
    executor: Executor,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Option<Action>, Error> {
    const SQL: &str = update_pending!(
        "status = $4, failure = $5, closed_at = $6",
        "AND intent_key = $2 AND executor = $3 RETURNING action"
    );
    let (status, failure) = match outcome {
        Outcome::Pending => return Ok(None),
        Outcome::Done => ("done", None),
        Outcome::Failed { failure } => ("failed", Some(json("failure", failure)?)),
        Outcome::Deferred { .. } => ("deferred", Some(json("failure", outcome)?)),
    };
    let values = values![node, key, executor_name(executor), status, failure, now];
    let row = transaction.row(SQL, values).await?;
    row.map(|row| row.json("action")).transpose()
}

/// A query for whole nodes with their newest intents, which [`newest`] reads from its rows.
macro_rules! select_node_and_intent {
    ($more:literal, $rest:literal) => {
        $crate::nodes::select_node!(
            more: concat!(
                ", intent.intent_key, intent.generation AS intent_generation, intent.action, \
                 intent.status, intent.failure",
                $more
            ),
            concat!(
                "LEFT JOIN intent ON intent.node = node.id AND intent.sequence = \
                 (SELECT MAX(newest.sequence) FROM intent AS newest WHERE newest.node = node.id) ",
                $rest
            )
        )
    };
}
pub(crate) use select_node_and_intent;

/// A node's newest intent and how far it has come.
pub(crate) fn newest(row: &Row) -> Result<Option<(Intent, Outcome)>, Error> {
    let Some(key) = row.optional_text("intent_key")? else {
        return Ok(None);
    };
    let intent = Intent {
        key: IntentKey(key),
        generation: Generation(row.number("intent_generation")?),
        action: row.json("action")?,
    };
    Ok(Some((intent, outcome(row)?)))
}

/// The outcome in a row with `status` and `failure`.
pub(crate) fn outcome(row: &Row) -> Result<Outcome, Error> {
    Ok(match row.text("status")?.as_str() {
        "pending" => Outcome::Pending,
        "done" => Outcome::Done,
        // Nobody is going to carry it out, and whoever waits for it must hear so.
        "superseded" => Outcome::Failed {
            failure: Failure::transient(
                Cause::Overtaken,
                "it was not carried out: something else was wanted of the node meanwhile",
            ),
        },
        "failed" => Outcome::Failed {
            failure: row.json("failure")?,
        },
        "deferred" => row.json("failure")?,
        other => {
            return Err(Error::Corrupt {
                what: "status",
                message: format!("`{other}` is none that this program knows"),
            });
        }
    })
}
