//! Where a node is, since when and why: for operators who ask about it, and for tenants who ask about the
//! server on it.

use bessemer_core::cause::Cause;
use bessemer_core::diagnosis::{Past, likely_cause};
use bessemer_core::lifecycle::{NodeState, Phase, doing};
use bessemer_core::reason::Reason;
use bessemer_store::{HistoryEntry, NodeRecord};
use bessemer_wire::api::{LikelyCause, Standing};

use super::problem::Refusal;
use super::values::power_seen;
use crate::evidence;
use crate::sightings::{Seen, shared};
use crate::site::Site;

/// States of its history that are looked at for where it failed.
const LOOKED_BACK: u32 = 50;

/// Where `node` is, for somebody who is told this `reason` and this `remedy` of a cause; and what was seen of it
/// lately. Asks its management controller whether the machine is on.
pub(super) async fn of(
    site: &Site,
    node: &NodeRecord,
    reason: Reason,
    remedy: fn(Cause) -> &'static str,
) -> Result<(Standing, Seen), Refusal> {
    let (state, now) = (&node.state, site.now());
    let power = evidence::power(site, node).await;
    let seen = shared::of(site, node.id).await;
    let history = site.store.history(node.id, LOOKED_BACK).await?;
    let failed_at = failed_at(state, &history);
    let at = failed_at.unwrap_or(state);
    let past = Past {
        failed_at: failed_at.map(|before| before.step),
        last_failure: last_failure(state, &history),
    };
    let evidence = evidence::of(node, &seen, at.step_since, power);
    let cause = likely_cause(state, &evidence, &past, &site.config.timing, now);
    let standing = Standing {
        phase: at.phase,
        step: at.step,
        doing: doing(at.step).to_owned(),
        since: at.step_since.min(now),
        deadline: state.deadline,
        attempt: state.attempt,
        attempts: at.phase.attempts(),
        tries: state.tries,
        reason,
        cause: LikelyCause {
            remedy: remedy(cause).to_owned(),
            ..LikelyCause::from(cause)
        },
        power: power.map(power_seen),
    };
    Ok((standing, seen))
}

/// Where a failed node was when it failed.
fn failed_at<'a>(state: &NodeState, history: &'a [HistoryEntry]) -> Option<&'a NodeState> {
    let mut states = history.iter().map(|entry| &entry.state);
    let before = || states.find(|before| before.phase != Phase::Failed);
    (state.phase == Phase::Failed).then(before).flatten()
}

/// Why the phase that a node is in failed before, if it did.
fn last_failure(state: &NodeState, history: &[HistoryEntry]) -> Option<Cause> {
    let same =
        |before: &&NodeState| (before.phase, before.generation) == (state.phase, state.generation);
    let mut states = history.iter().map(|entry| &entry.state).take_while(same);
    states.find_map(|before| before.reason.cause)
}
