//! Where a node is, since when and why: for operators who ask about it, and for tenants who ask about the
//! server on it.

use bessemer_bmc::PowerState;
use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::diagnosis::{Past, likely_cause};
use bessemer_core::lifecycle::{NodeState, Phase, Step};
use bessemer_store::{HistoryEntry, NodeRecord};

use super::problem::Refusal;
use crate::evidence;
use crate::sightings::{Seen, shared};
use crate::site::Site;

/// States of its history that are looked at for where it failed.
const LOOKED_BACK: u32 = 50;

/// Where a node is.
pub(super) struct Standing {
    /// The phase it is in; of a failed node, the one it failed in.
    pub(super) phase: Phase,
    /// The step it is at; of a failed node, the one it failed at.
    pub(super) step: Step,
    /// Since when it is, or was, at that step.
    pub(super) since: Timestamp,
    /// What is likely behind it.
    pub(super) cause: Cause,
    /// Whether its machine is on, as far as its management controller says.
    pub(super) power: Option<PowerState>,
    /// What was seen of it lately.
    pub(super) seen: Seen,
}

/// Where `node` is. Asks its management controller whether the machine is on.
pub(super) async fn of(site: &Site, node: &NodeRecord) -> Result<Standing, Refusal> {
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
    Ok(Standing {
        phase: at.phase,
        step: at.step,
        since: at.step_since.min(now),
        cause: likely_cause(state, &evidence, &past, &site.config.timing, now),
        power,
        seen,
    })
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
