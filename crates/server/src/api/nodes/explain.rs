//! Explaining a node: what it waits for, what was seen of it lately, and the likely cause.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_bmc::{Exchange, ExchangeEnd, PowerState};
use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::diagnosis::{BmcSeen, DhcpSeen, Evidence, likely_cause};
use bessemer_core::lifecycle::{Phase, Step, doing};
use bessemer_store::NodeRecord;
use bessemer_wire::api::{AgentExplained, LikelyCause, NodeExplanation, PowerSeen, Sighting};
use tokio::time::Instant;

use crate::api::extract::{Admin, Answer, Path};
use crate::api::problem::Refusal;
use crate::api::values::power_seen;
use crate::sightings::{Place, any_since};
use crate::site::Site;

/// The longest that the management controller is asked for the power state.
const READ_LIMIT: Duration = Duration::from_secs(5);

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
    let power = power(&site, &node).await;
    let exchanges = exchanges(&site, &node);
    let (failed_at, failed_since) = failed_at(&site, &node).await?;
    let since = failed_since.unwrap_or(state.step_since);
    let [dhcp, boot_files, agent, work, report, switch] = [
        Place::Dhcp,
        Place::BootFile,
        Place::Agent,
        Place::AgentWork,
        Place::Report,
        Place::Switch,
    ]
    .map(|place| site.sightings.at(id, place));
    let evidence = Evidence {
        failed_at,
        stopped: node.spec.abort.is_some(),
        bmc: bmc_seen(&exchanges),
        is_off: power == Some(PowerSeen::Off),
        by_medium: by_medium(&node),
        dhcp: dhcp_seen(&dhcp, since),
        boot_file: any_since(&boot_files, since, |each| each.well),
        report_by_cloud_init: report.last().is_some_and(|each| !each.well),
        agent_refused: any_since(&agent, since, |each| !each.well),
    };
    let cause = likely_cause(&state, &evidence, &site.config.timing, now);
    let phase = failed_at.map_or(state.phase, |(phase, _)| phase);
    let step = failed_at.map_or(state.step, |(_, step)| step);
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
        cause: LikelyCause {
            name: cause.name().to_owned(),
            summary: cause.summary().to_owned(),
            remedy: cause.remedy().to_owned(),
        },
        power,
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

async fn power(site: &Site, node: &NodeRecord) -> Option<PowerSeen> {
    let bmc = site.bmcs.of(node).ok()?;
    let power = bmc.power(Instant::now() + READ_LIMIT).await.ok()?;
    Some(power)
        .filter(|power| *power != PowerState::Unknown)
        .map(power_seen)
}

fn exchanges(site: &Site, node: &NodeRecord) -> Vec<Exchange> {
    let bmc = site.bmcs.of(node);
    bmc.map_or_else(|_| Vec::new(), |bmc| bmc.exchanges())
}

fn told(exchange: &Exchange, now: Timestamp) -> Sighting {
    let age = bessemer_core::Timestamp::checked_sub(now, exchange.at.elapsed());
    Sighting {
        at: age.unwrap_or(now),
        well: exchange.end == ExchangeEnd::Answered,
        times: 1,
        what: format!("{}: {}", exchange.request, exchange.answer),
    }
}

fn bmc_seen(exchanges: &[Exchange]) -> BmcSeen {
    match exchanges.last().map(|exchange| exchange.end) {
        None => BmcSeen::Unknown,
        Some(ExchangeEnd::Answered | ExchangeEnd::Refused) => BmcSeen::Answers,
        Some(ExchangeEnd::Denied) => BmcSeen::Refuses,
        Some(ExchangeEnd::Distrusted) => BmcSeen::Distrusted,
        Some(ExchangeEnd::Silent) => BmcSeen::Silent,
    }
}

fn dhcp_seen(sightings: &[Sighting], since: Timestamp) -> DhcpSeen {
    if any_since(sightings, since, |each| each.well) {
        DhcpSeen::Answered
    } else if any_since(sightings, since, |each| !each.well) {
        DhcpSeen::Refused
    } else {
        DhcpSeen::Nothing
    }
}

fn by_medium(node: &NodeRecord) -> bool {
    let chosen = || BootMethod::choose(&node.boot_abilities?, true);
    node.boot_method.or_else(chosen) == Some(BootMethod::VirtualMedia)
}

/// Where a failed node failed, and when it had come there.
async fn failed_at(
    site: &Site,
    node: &NodeRecord,
) -> Result<(Option<(Phase, Step)>, Option<Timestamp>), Refusal> {
    if node.state.phase != Phase::Failed {
        return Ok((None, None));
    }
    let history = site.store.history(node.id, LOOKED_BACK).await?;
    let before = history
        .iter()
        .find(|entry| entry.state.phase != Phase::Failed);
    let place = before.map(|entry| (entry.state.phase, entry.state.step));
    Ok((place, before.map(|entry| entry.state.step_since)))
}

/// Both, in the order of time.
fn merged(mut one: Vec<Sighting>, mut other: Vec<Sighting>) -> Vec<Sighting> {
    one.append(&mut other);
    one.sort_by_key(|sighting| sighting.at);
    one
}
