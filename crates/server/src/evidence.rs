//! The traces of a machine that is waited for, put together as what [`bessemer_core::diagnosis`]
//! judges by: when a wait is over, to say why it was in vain, and when a person asks.

use std::time::Duration;

use bessemer_bmc::{Exchange, ExchangeEnd, PowerState};
use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::cause::Cause;
use bessemer_core::diagnosis::{BootFileSeen, DhcpSeen, Evidence};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{NodeState, Step};
use bessemer_store::NodeRecord;
use bessemer_wire::api::Sighting;
use tokio::time::Instant;

use crate::sightings::{Place, Seen, shared};
use crate::site::Site;

/// The longest that a management controller is asked for the power state.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Whether the wait of a node is over, so that what was seen meanwhile says why.
pub(crate) fn is_asked_for(state: &NodeState, now: Timestamp) -> bool {
    matches!(state.step, Step::AwaitAgent | Step::AwaitOs)
        && state.deadline.is_some_and(|deadline| deadline <= now)
}

/// What was seen of a node's machine since `since`. Asks its management controller whether it is on.
pub(crate) async fn gather(site: &Site, node: &NodeRecord, since: Timestamp) -> Evidence {
    let power = power(site, node).await;
    let seen = shared::of(site, node.id).await;
    of(node, &seen, since, power)
}

/// The same where what was seen, and the power state, are known.
pub(crate) fn of(
    node: &NodeRecord,
    seen: &Seen,
    since: Timestamp,
    power: Option<PowerState>,
) -> Evidence {
    let at = |place| {
        let all = seen.at(place);
        &all[all.partition_point(|each| each.at < since)..]
    };
    let ends_badly = |sightings: &[Sighting]| sightings.last().is_some_and(|last| !last.well);
    Evidence {
        bmc_silent: seen
            .at(Place::Bmc)
            .last()
            .is_some_and(|last| last.cause == Some(Cause::BmcUnreachable)),
        is_off: power == Some(PowerState::Off),
        by_medium: by_medium(node),
        dhcp: dhcp_seen(at(Place::Dhcp)),
        boot_file: boot_file_seen(at(Place::BootFile)),
        agent_refused: ends_badly(at(Place::Agent)),
        report_by_cloud_init: ends_badly(seen.at(Place::Report)),
    }
}

/// Whether the machine is on, as its management controller says now; `None` if it does not.
pub(crate) async fn power(site: &Site, node: &NodeRecord) -> Option<PowerState> {
    let bmc = site.bmcs.of(node).ok()?;
    let power = bmc.power(Instant::now() + READ_LIMIT).await;
    site.sightings.asked(node.id);
    Some(power.ok()?).filter(|power| *power != PowerState::Unknown)
}

/// The latest requests of this server to a node's management controller.
pub(crate) fn exchanges(site: &Site, node: NodeId) -> Vec<Sighting> {
    let exchanges = site.bmcs.known(node).map(|bmc| bmc.exchanges());
    let now = site.now();
    let told = exchanges.unwrap_or_default();
    told.iter().map(|exchange| told_of(exchange, now)).collect()
}

fn told_of(exchange: &Exchange, now: Timestamp) -> Sighting {
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

fn dhcp_seen(sightings: &[Sighting]) -> DhcpSeen {
    if sightings.iter().any(|each| each.well) {
        return DhcpSeen::Answered;
    }
    let refused = sightings.last().map(|each| each.cause);
    refused.map_or(DhcpSeen::Nothing, |cause| {
        DhcpSeen::Refused(cause.unwrap_or(Cause::DhcpRefused))
    })
}

fn boot_file_seen(sightings: &[Sighting]) -> BootFileSeen {
    match sightings.last() {
        None => BootFileSeen::Nothing,
        Some(last) if last.well => BootFileSeen::Fetched,
        Some(_) => BootFileSeen::NotGiven,
    }
}

fn by_medium(node: &NodeRecord) -> bool {
    let chosen = || BootMethod::choose(&node.boot_abilities?, true);
    node.boot_method.or_else(chosen) == Some(BootMethod::VirtualMedia)
}
