//! Switching an active server: on, off, off and on again.
//!
//! What is asked for is an intent like everything that is done to a machine: committed first,
//! carried out by the conductor. The caller looks how far it is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bessemer_core::lifecycle::{Action, Intent, Outcome, Phase};
use bessemer_store::{ServerRecord, ServerRequest};
use bessemer_wire::api::{
    PowerRequestSeen, PowerVerb, RequestStatus, ServerPower, ServerPowerRequest,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::order::idempotency_header;
use crate::api::extract::{Answer, Body, Caller, Path};
use crate::api::problem::{Kind, Refusal, sentence};
use crate::api::values::power_seen;
use crate::site::Site;

/// How long the operating system may take to shut down unless the request says otherwise.
const SHUT_DOWN_SECONDS: u32 = 120;

/// What the request may say.
const SHUT_DOWN_LIMITS: std::ops::RangeInclusive<u32> = 10..=900;

/// The longest that a management controller is asked for the power state.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Begins the key of every intent that switches a server.
const KEY: &str = "power.";

/// Switch an active server.
///
/// Its operating system is asked to shut down, unless `force` says otherwise; whatever starts then
/// is what is on its disk. Answers at once: `GET` on the same path shows how far it is. With an
/// `Idempotency-Key`, the same request sent again is carried out once.
#[utoipa::path(put, path = "/v1/servers/{server}/power", tag = "servers",
    operation_id = "switch_server",
    params(("server" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header,
        description = "Names this request: 1 to 255 printable ASCII characters")),
    request_body = ServerPowerRequest, responses((status = 202, body = ServerPower)))]
pub(super) async fn switch(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
    headers: HeaderMap,
    Body(request): Body<ServerPowerRequest>,
) -> Result<(StatusCode, Json<ServerPower>), Refusal> {
    let server = site.store.server(caller.scope(), &server).await?;
    let action = action(&request)?;
    may_be_switched(&server)?;
    let key = match idempotency_header(&headers)? {
        Some(key) => {
            let named = format!("power {} {key}", server.id);
            format!("{KEY}{}", site.keyring.request_digest(&named))
        }
        None => format!("{KEY}{}", Uuid::now_v7()),
    };
    let wanted = ServerRequest {
        server: server.id,
        project: server.project,
        key,
        action,
        overtakes: request.force,
        message: format!(
            "server `{}`: power {} is asked for by `{}`",
            server.name,
            told(&request),
            caller.name()
        ),
    };
    site.store.request_of_server(&wanted, site.now()).await?;
    site.bell.ring();
    let newest = site.store.newest_intent(server.node).await?;
    if let Some((intent, _)) = &newest
        && intent.key.0 == wanted.key
        && intent.action != wanted.action
    {
        return Err(Refusal::new(
            Kind::IdempotencyMismatch,
            "This Idempotency-Key was used for another request.",
        )
        .field("Idempotency-Key")
        .remedy("Use a new one for each request."));
    }
    let answer = ServerPower {
        power: None,
        problem: None,
        request: newest.and_then(|(intent, outcome)| seen(&intent, outcome, &caller)),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Show whether the machine of a server is on, and what was asked of it last.
#[utoipa::path(get, path = "/v1/servers/{server}/power", tag = "servers",
    operation_id = "show_server_power",
    params(("server" = String, Path, description = "Name or id")),
    responses((status = 200, body = ServerPower)))]
pub(super) async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
) -> Answer<ServerPower> {
    let server = site.store.server(caller.scope(), &server).await?;
    let node = site.store.node_by_id(server.node).await?;
    let newest = site.store.newest_intent(node.id).await?;
    let read = match site.bmcs.of(&node) {
        Ok(bmc) => bmc
            .power(Instant::now() + READ_LIMIT)
            .await
            .map_err(|error| error.to_string()),
        Err(failure) => Err(failure.message),
    };
    let (power, problem) = match read {
        Ok(power) => (Some(power_seen(power)), None),
        // A tenant is told that it cannot be had; why is for operators, who see it with the node.
        Err(why) if caller.is_admin() => (None, Some(sentence(&why))),
        Err(_) => (
            None,
            Some("The management controller does not answer.".into()),
        ),
    };
    Ok(Json(ServerPower {
        power,
        problem,
        request: newest.and_then(|(intent, outcome)| seen(&intent, outcome, &caller)),
    }))
}

fn may_be_switched(server: &ServerRecord) -> Result<(), Refusal> {
    let state = &server.node_state;
    if state.phase == Phase::Active && state.generation == server.generation {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Conflict,
        format!("Server {} is not active.", server.name),
    )
    .remedy("Only an active server can be switched: wait until it is, or rebuild it."))
}

/// What the request comes to.
fn action(request: &ServerPowerRequest) -> Result<Action, Refusal> {
    let seconds = request.shut_down_seconds.unwrap_or(SHUT_DOWN_SECONDS);
    if !SHUT_DOWN_LIMITS.contains(&seconds) {
        let (least, most) = (SHUT_DOWN_LIMITS.start(), SHUT_DOWN_LIMITS.end());
        return Err(Refusal::invalid(
            "shut_down_seconds",
            format!("It must be {least} to {most} seconds."),
        )
        .remedy("Use `force` to switch off at once."));
    }
    Ok(match (request.power, request.force) {
        (PowerVerb::On, _) => Action::PowerOn,
        (PowerVerb::Off, true) => Action::PowerOff,
        (PowerVerb::Off, false) => Action::ShutDown { seconds },
        (PowerVerb::Restart, force) => Action::Restart {
            shut_down_seconds: if force { 0 } else { seconds },
        },
    })
}

fn told(request: &ServerPowerRequest) -> String {
    let verb = match request.power {
        PowerVerb::On => "on",
        PowerVerb::Off => "off",
        PowerVerb::Restart => "restart",
    };
    if request.force {
        format!("{verb} by force")
    } else {
        verb.to_owned()
    }
}

/// A request and how far it is, if the intent is one.
fn seen(intent: &Intent, outcome: Outcome, caller: &Caller) -> Option<PowerRequestSeen> {
    let id = intent.key.0.strip_prefix(KEY)?;
    let (power, force) = match intent.action {
        Action::PowerOn => (PowerVerb::On, false),
        Action::PowerOff => (PowerVerb::Off, true),
        Action::ShutDown { .. } => (PowerVerb::Off, false),
        Action::Restart { shut_down_seconds } => (PowerVerb::Restart, shut_down_seconds == 0),
        _ => return None,
    };
    let (status, message) = match outcome {
        Outcome::Pending | Outcome::Deferred { .. } => (RequestStatus::Pending, None),
        Outcome::Done => (RequestStatus::Done, None),
        Outcome::Failed { failure } => {
            let message = match caller.is_admin() {
                true => failure.message.as_str(),
                false => failure.message_for_tenants(),
            };
            (RequestStatus::Failed, Some(sentence(&message)))
        }
    };
    Some(PowerRequestSeen {
        id: id.to_owned(),
        power,
        force,
        status,
        message,
    })
}
