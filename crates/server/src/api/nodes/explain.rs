//! Explaining a node: what it waits for, what was seen of it lately, and the likely cause.

use axum::Json;
use axum::extract::State;
use bessemer_bmc::{Exchange, ExchangeEnd};
use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::diagnosis::{Past, likely_cause};
use bessemer_core::lifecycle::{NodeState, Phase, doing};
use bessemer_store::HistoryEntry;
use bessemer_wire::api::{AgentExplained, LikelyCause, NodeExplanation, Sighting};

use crate::api::extract::{Admin, Answer, Path};
use crate::api::values::power_seen;
use crate::evidence;
use crate::sightings::Place;
use crate::site::Site;

/// States of its history that are looked at for where it failed.
const LOOKED_BACK: u32 = 50;

/// Lines shown of the serial console.
const CONSOLE_LINES: usize = 20;

/// Explain what a node is doing, what it waits for, and what is likely wrong.
///
/// What was seen lately is kept in memory: after a restart of the server there is less of it.
#[utoipa::path(get, path = "/v1/nodes/{node}/explain", tag = "nodes", operation_id = "explain_node",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = NodeExplanation)))]
pub(super) async fn explain(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Answer<NodeExplanation> {
    let node = site.store.node(&node).await?;
    let (id, state, now) = (node.id, node.state.clone(), site.now());
    let power = evidence::power(&site, &node).await;
    let history = site.store.history(node.id, LOOKED_BACK).await?;
    let failed_at = failed_at(&state, &history);
    let since = failed_at.map_or(state.step_since, |before| before.step_since);
    let past = Past {
        failed_at: failed_at.map(|before| before.step),
        last_failure: last_failure(&state, &history),
    };
    let evidence = evidence::of(&site, &node, since, power);
    let cause = likely_cause(&state, &evidence, &past, &site.config.timing, now);
    let phase = failed_at.map_or(state.phase, |before| before.phase);
    let step = failed_at.map_or(state.step, |before| before.step);
    let exchanges = evidence::exchanges(&site, &node);
    let [dhcp, boot_files, agent, work, report, switch] = [
        Place::Dhcp,
        Place::BootFile,
        Place::Agent,
        Place::AgentWork,
        Place::Report,
        Place::Switch,
    ]
    .map(|place| site.sightings.at(id, place));
    Ok(Json(NodeExplanation {
        node: id,
        name: node.name,
        provision_state: state.provision_state().to_owned(),
        phase,
        step,
        doing: doing(step).to_owned(),
        since: since.min(now),
        deadline: state.deadline,
        attempt: state.attempt,
        attempts: phase.attempts(),
        tries: state.tries,
        reason: state.reason,
        cause: LikelyCause::from(cause),
        power: power.map(power_seen),
        bmc: exchanges.iter().map(|each| told(each, now)).collect(),
        boot: merged(dhcp, boot_files),
        agent: AgentExplained {
            last: site.sightings.agent(id),
            recent: merged(merged(agent, work), report),
        },
        switch,
        console: site.sightings.console_tail(id, CONSOLE_LINES),
    }))
}

fn told(exchange: &Exchange, now: Timestamp) -> Sighting {
    let age = Timestamp::checked_sub(now, exchange.at.elapsed());
    let cause = match exchange.end {
        ExchangeEnd::Answered => None,
        ExchangeEnd::Denied => Some(Cause::BmcPasswordRefused),
        ExchangeEnd::Refused => Some(Cause::BmcRefuses),
        ExchangeEnd::Distrusted => Some(Cause::BmcNotTrusted),
        ExchangeEnd::Silent => Some(Cause::BmcUnreachable),
    };
    Sighting {
        at: age.unwrap_or(now),
        well: cause.is_none(),
        cause,
        times: exchange.times,
        what: format!("{}: {}", exchange.request, exchange.answer),
    }
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

/// Both, in the order of time.
fn merged(mut one: Vec<Sighting>, mut other: Vec<Sighting>) -> Vec<Sighting> {
    one.append(&mut other);
    one.sort_by_key(|sighting| sighting.at);
    one
}
