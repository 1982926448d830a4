//! Deciding in passing: what follows from news of a node is decided in the transaction that stores them, if
//! nobody has the node at that moment. The news, what they lead to and the agent's next command are one
//! commit then. Otherwise a conductor is woken, claims the node, and comes to the same decision.
//!
//! A decision is no I/O (`bessemer_core::lifecycle::step`), so the transaction is not held open for any. What
//! is the conductor's to carry out is carried out under a claim of its own.

use bessemer_core::Timestamp;
use bessemer_core::lifecycle::{Executor, Intent};

use crate::Error;
use crate::reconcile::{Committed, Turn, read_work, store_turn};
use crate::records::{Claim, NodeRecord, Work};
use crate::store::Write;
use crate::value::values;

/// Decides about a node by all that is known of it; `None` leaves that to whoever claims it next.
pub type Decide<'a> = &'a (dyn Fn(&mut Work) -> Option<Turn> + Send + Sync);

/// Who has a node for as long as such a transaction is open: no claim of anybody else counts any more.
pub(crate) const IN_PASSING: &str = "in passing";

/// What became of an agent's report.
#[derive(Clone)]
pub enum Reported {
    /// It is not about what is open: nothing is written down.
    Unasked,
    /// It is written down, and the node is due: whoever has it, or claims it next, decides.
    Noted,
    /// It is written down with what follows from it: the node as it is now, and what its agent is to do.
    Decided(Box<NodeRecord>, Option<Intent>),
}

/// Decides about a node that `claim` holds in this transaction, and gives it back. What came of it; `None` if
/// it is left to others.
pub(crate) async fn decide(
    write: &mut Write,
    claim: Claim,
    decide: Decide<'_>,
    now: Timestamp,
) -> Result<Option<(NodeRecord, Option<Intent>)>, Error> {
    const GIVE_BACK: &str = "UPDATE node SET owner = NULL, lease_until = 0 WHERE id = $1";
    let mut work = match read_work(write, claim).await {
        Ok(work) => work,
        Err(error) if error.is_outage() => return Err(error),
        // The news are no less true for that; whoever claims the node says what is wrong with it.
        Err(_) => {
            write.execute(GIVE_BACK, values![claim.node]).await?;
            return Ok(None);
        }
    };
    let Some(turn) = decide(&mut work) else {
        write.execute(GIVE_BACK, values![claim.node]).await?;
        return Ok(None);
    };
    match store_turn(write, claim, &turn, now).await? {
        Committed::GivenBack => {}
        // Its news are those of this transaction, no intent was carried out, and the node is not kept.
        Committed::Kept(_) | Committed::Overtaken | Committed::Outdated => {
            return Err(Error::LeaseLost);
        }
    }
    let mut node = work.node;
    node.state = turn.commit.next;
    let intent = turn.commit.intent;
    let agents = intent.filter(|intent| intent.action.executor() == Executor::Agent);
    Ok(Some((node, agents)))
}
