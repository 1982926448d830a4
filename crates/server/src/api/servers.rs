//! Servers: planning, ordering, showing and giving them back.

mod carriers;
mod explain;
mod networks;
mod order;
mod placement;
mod placing;
mod power;
mod rebuild;
mod shortage;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bessemer_core::id::{ProjectId, ServerId};
use bessemer_core::lifecycle::Goal;
use bessemer_store::{Candidate, Order, Placed, ServerRecord};
use bessemer_wire::api::{Page, Server, ServerCreate, ServerPlan};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::order::{Resolved, idempotency_key};
pub use self::placing::Placing;
use self::placing::Turn;
pub use self::shortage::Surveys;
use super::answer_with;
use super::extract::{Answer, Body, Caller, Path, Query};
use super::page::PageQuery;
use super::problem::{Kind, Refusal};
use crate::keyring::purpose;
use crate::site::Site;

/// How often an order looks for free nodes again, when others have taken all that it had found. It
/// ends before that: with a node, or when there is none left.
const PLACEMENTS: u32 = 100;

/// Among how many free nodes it then begins at any.
const BEGIN_AGAIN_WITHIN: u64 = 64;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(plan))
        .routes(routes!(show, delete))
        .routes(routes!(explain::explain))
        .routes(routes!(rebuild::rebuild))
        .routes(routes!(rebuild::plan))
        .routes(routes!(power::show, power::switch))
}

/// List servers, in order of their orders.
///
/// Members see those of their project, operators all.
#[utoipa::path(get, path = "/v1/servers", tag = "servers", operation_id = "list_servers",
    params(PageQuery), responses((status = 200, body = Page<Server>)))]
async fn list(
    State(site): State<Site>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Answer<Page<Server>> {
    let limit = query.limit()?;
    let (servers, next) = site
        .store
        .servers(caller.scope(), query.cursor(), limit)
        .await?;
    Ok(Json(Page {
        items: view::many(&site, servers, &caller).await?,
        next,
    }))
}

/// Order a server.
///
/// One free node of the flavor is claimed, and an address of each subnet of its networks. With an
/// `Idempotency-Key`, the same order sent again within a day gives the same server (with status
/// 200) instead of another one.
#[utoipa::path(post, path = "/v1/servers", tag = "servers", operation_id = "create_server",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Names this order: 1 to 255 printable ASCII characters")),
    request_body = ServerCreate,
    responses((status = 201, body = Server), (status = 200, body = Server,
        description = "The server that was ordered before under this key")))]
async fn create(
    State(site): State<Site>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<ServerCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let idempotency = idempotency_key(&site, &headers, "", &request)?;
    // Before anything else: what the order names may be gone or taken since, by the order itself.
    if let Some((key, digest)) = &idempotency
        && let Some(server) = site
            .store
            .placed_before(caller.project(), key, digest)
            .await?
    {
        return placed(&site, &caller, StatusCode::OK, server).await;
    }
    let turn = site.placing.turn().await?;
    let resolved = order::resolve(&site, &caller, &request).await?;
    let server = ServerId(Uuid::now_v7());
    let user_data = request.user_data.as_deref().map(str::as_bytes);
    let user_data_sealed = user_data
        .map(|data| site.keyring.seal(&purpose::user_data(server), data))
        .transpose()?;
    let mut order = Order {
        server,
        name: request.name,
        project: caller.project(),
        flavor: resolved.flavor.id,
        image: resolved.image.id,
        image_bytes: resolved.image_bytes,
        hand_over: resolved.flavor.hand_over,
        attachments: resolved.attachments(),
        keys: resolved.keys.clone(),
        user_data_sealed,
        candidates: Vec::new(),
        idempotency,
    };
    let outcome = place(&site, &resolved, &mut order, &turn).await;
    drop(turn);
    let outcome = match outcome {
        // Said without a turn: one survey is for all who found nothing.
        Ok(None) => Err(shortage::what_is_short(&site, &resolved).await?),
        Ok(Some(outcome)) => Ok(outcome),
        Err(refusal) => Err(refusal),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        // The same order may have come in beside this one and taken what was left.
        Err(refusal) => {
            let known = placed_before(&site, order.project, order.idempotency.as_ref()).await?;
            Placed::Again(known.ok_or(refusal)?)
        }
    };
    site.bell.ring();
    match outcome {
        Placed::New(server) => placed(&site, &caller, StatusCode::CREATED, server).await,
        Placed::Again(server) => placed(&site, &caller, StatusCode::OK, server).await,
    }
}

/// Tell what an order would do, without doing it.
#[utoipa::path(post, path = "/v1/servers/plan", tag = "servers", operation_id = "plan_server",
    request_body = ServerCreate, responses((status = 200, body = ServerPlan)))]
async fn plan(
    State(site): State<Site>,
    caller: Caller,
    Body(request): Body<ServerCreate>,
) -> Answer<ServerPlan> {
    let resolved = order::resolve(&site, &caller, &request).await?;
    let candidates = placement::candidates(&site, &resolved, ServerId(Uuid::now_v7()), 0).await?;
    let Some(first) = candidates.into_iter().next() else {
        return Err(shortage::what_is_short(&site, &resolved).await?);
    };
    Ok(Json(ServerPlan {
        disk: first.root_disk,
        node: first.node.id,
        node_name: first.node.name,
        plan: first.plan,
    }))
}

/// Show a server.
#[utoipa::path(get, path = "/v1/servers/{server}", tag = "servers", operation_id = "show_server",
    params(("server" = String, Path, description = "Name or id")),
    responses((status = 200, body = Server)))]
async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
) -> Answer<Server> {
    let server = site.store.server(caller.scope(), &server).await?;
    Ok(Json(view::one(&site, server, &caller).await?))
}

/// Give a server back.
///
/// Whatever it is doing, its node is switched off, taken off the tenant's network and erased.
/// There is no way back from here. The server shows `deleting` until its node is off, and is then
/// not found.
#[utoipa::path(delete, path = "/v1/servers/{server}", tag = "servers", operation_id = "delete_server",
    params(("server" = String, Path, description = "Name or id")),
    responses((status = 202, body = Server)))]
async fn delete(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    let mut record = site.store.server(caller.scope(), &server).await?;
    site.store.release_server(record.id, site.now()).await?;
    site.bell.ring();
    // Not read again: if its node had not moved for it yet, it is gone in a moment.
    record.goal = Goal::Available;
    shown(&site, &caller, StatusCode::ACCEPTED, record).await
}

/// The server that was ordered under this key and with this digest before.
async fn placed_before(
    site: &Site,
    project: ProjectId,
    idempotency: Option<&(String, String)>,
) -> Result<Option<ServerId>, Refusal> {
    match idempotency {
        Some((key, digest)) => Ok(site.store.placed_before(project, key, digest).await?),
        None => Ok(None),
    }
}

/// Places the order; a node that was free a moment ago may be somebody else's by now. `None` if there
/// is no free node of its flavor.
async fn place(
    site: &Site,
    resolved: &Resolved,
    order: &mut Order,
    turn: &Turn,
) -> Result<Option<Placed>, Refusal> {
    for attempt in 0..PLACEMENTS {
        let from = match attempt {
            // Those that are placed at the same time find no node twice.
            0 => turn.place() * placement::ENOUGH,
            // Another server's orders may have begun where ours did.
            _ => site.keyring.random_below(BEGIN_AGAIN_WITHIN) as u32,
        };
        let candidates = placement::candidates(site, resolved, order.server, from).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        order.candidates = candidates
            .into_iter()
            .map(|candidate| Candidate {
                node: candidate.node.id,
                wirings: candidate.node.wirings,
                plan: candidate.plan,
                root_disk: candidate.root_disk,
                local_networks: candidate.local_networks,
            })
            .collect();
        match site.store.place(order.clone(), site.now()).await {
            Err(bessemer_store::Error::NoNode) => {}
            Err(error @ bessemer_store::Error::Exhausted { .. }) => {
                return Err(Refusal::from(error).field("networks"));
            }
            outcome => return Ok(Some(outcome?)),
        }
    }
    Err(bessemer_store::Error::NoNode.into())
}

async fn placed(
    site: &Site,
    caller: &Caller,
    status: StatusCode,
    server: ServerId,
) -> Result<axum::response::Response, Refusal> {
    let record = match site.store.server(None, &server.to_string()).await {
        Err(bessemer_store::Error::NotFound { .. }) => {
            return Err(Refusal::new(
                Kind::Conflict,
                format!("Server {server} is deleted already."),
            )
            .remedy("For another server, use another Idempotency-Key."));
        }
        record => record?,
    };
    shown(site, caller, status, record).await
}

async fn shown(
    site: &Site,
    caller: &Caller,
    status: StatusCode,
    record: ServerRecord,
) -> Result<axum::response::Response, Refusal> {
    let location = format!("/v1/servers/{}", record.id);
    Ok(answer_with(
        status,
        &location,
        view::one(site, record, caller).await?,
    ))
}
