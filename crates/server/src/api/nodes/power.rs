//! Switching a resting node on or off by hand.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Action, Outcome};
use bessemer_wire::api::{NodePower, PowerRequest, PowerSeen, PowerState};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::api::extract::{Admin, Answer, Body, Path};
use crate::api::problem::{Kind, Refusal, sentence};
use crate::site::Site;

/// The longest that a caller waits for the machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often the outcome is looked for although nobody said that there is news: the conductor may
/// be another process.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Switch a node on or off.
///
/// Only while it is at rest: what the conductor is doing with it is not to be disturbed. Answers
/// when the machine has been seen in the wanted state, or after 90 seconds at the latest.
#[utoipa::path(put, path = "/v1/nodes/{node}/power", tag = "nodes", operation_id = "switch_node",
    params(("node" = String, Path, description = "Name or id")), request_body = PowerRequest,
    responses((status = 200, body = PowerRequest)))]
pub(super) async fn switch(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
    Body(request): Body<PowerRequest>,
) -> Answer<PowerRequest> {
    let node = site.store.node(&node).await?;
    let action = match request.power {
        PowerState::On => Action::PowerOn,
        PowerState::Off => Action::PowerOff,
    };
    let key = format!("manual.{}", Uuid::now_v7());
    site.store
        .request_action(node.id, &key, action, site.now())
        .await?;
    site.bell.ring();
    match timeout_at(Instant::now() + PATIENCE, outcome(&site, node.id, &key)).await {
        Ok(Ok(Outcome::Failed { failure })) => Err(Refusal::new(
            Kind::MachineFailed,
            sentence(&failure.message),
        )),
        Ok(Ok(_)) => Ok(Json(request)),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::new(
            Kind::MachineTimeout,
            format!(
                "Node {} was not seen in the wanted state within {} s.",
                node.name,
                PATIENCE.as_secs()
            ),
        )
        .remedy("It may still get there. Look at its management controller.")),
    }
}

/// Whether a machine is on, as far as is known: `power` since `since`, unless its management controller
/// has not answered since `silent_since`.
pub(super) fn known(
    power: Option<PowerState>,
    since: Option<Timestamp>,
    silent_since: Option<Timestamp>,
) -> NodePower {
    if silent_since.is_some() {
        return NodePower {
            state: PowerSeen::Unknown,
            since: silent_since,
        };
    }
    let state = match power {
        Some(PowerState::On) => PowerSeen::On,
        Some(PowerState::Off) => PowerSeen::Off,
        None => PowerSeen::Unknown,
    };
    NodePower { state, since }
}

/// The outcome, once there is one.
async fn outcome(site: &Site, node: NodeId, key: &str) -> Result<Outcome, Refusal> {
    let mut news = site.store.news();
    loop {
        news.mark_unchanged();
        match site.store.outcome(node, key).await? {
            Some(Outcome::Pending | Outcome::Deferred { .. }) => {}
            Some(outcome) => return Ok(outcome),
            None => {
                return Err(Refusal::new(
                    Kind::Conflict,
                    "The conductor has begun something else with this node.",
                ));
            }
        }
        // Either way it is looked at again: a wake-up carries nothing.
        let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
    }
}
