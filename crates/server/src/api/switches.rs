//! Switches: what the ports of nodes are cabled to. Operators only.
//!
//! What is said here counts from the next use of a switch on, in every conductor; nothing is asked of
//! a switch but by `…/ports?read=true`.

mod ports;
mod settings;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::SwitchId;
use bessemer_core::switch::SwitchDriver;
use bessemer_store::{NewSwitch, SwitchFilter, SwitchRecord};
use bessemer_wire::api::{Page, Switch, SwitchCreate, SwitchHealth, SwitchUpdate};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Admin, Answer, Body, Path, Query};
use super::places::{PlaceSortBy, rack_of};
use super::problem::Refusal;
use super::{answer_with, page, reference, values};
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(ports::list))
}

/// Which switches are listed, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SwitchQuery {
    /// Only switches in this rack, by name or id.
    rack: Option<String>,
    /// Only switches in racks of this site, by name or id.
    site: Option<String>,
    /// Only switches that are spoken to like this.
    driver: Option<SwitchDriver>,
    /// What they are sorted by: `name` unless given; `-` reverses.
    #[param(inline)]
    sort: Option<PlaceSortBy>,
    /// Where to go on: `next` of the page before, in the same order.
    cursor: Option<String>,
    /// How many switches at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// List switches.
#[utoipa::path(get, path = "/v1/switches", tag = "places", operation_id = "list_switches",
    params(SwitchQuery), responses((status = 200, body = Page<Switch>)))]
async fn list(
    State(site): State<Site>,
    _: Admin,
    Query(query): Query<SwitchQuery>,
) -> Answer<Page<Switch>> {
    let limit = page::limit(query.limit)?;
    let filter = SwitchFilter {
        rack: rack_of(&site, query.rack.as_deref()).await?,
        site: match &query.site {
            Some(name) => Some(reference("site", site.store.site(name).await)?.id),
            None => None,
        },
        driver: query.driver,
    };
    let sort = query.sort.unwrap_or_default().into();
    let store = &site.store;
    let (switches, next) = store.switches(filter, sort, query.cursor, limit).await?;
    Ok(Json(Page {
        items: switches.into_iter().map(view).collect(),
        next,
    }))
}

/// Make a switch.
///
/// It is not asked for anything yet: `health` tells how it fares once a node is cabled to it.
#[utoipa::path(post, path = "/v1/switches", tag = "places", operation_id = "create_switch",
    request_body = SwitchCreate,
    responses((status = 201, body = Switch)))]
async fn create(
    State(site): State<Site>,
    Admin(caller): Admin,
    Body(request): Body<SwitchCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    let id = SwitchId(Uuid::now_v7());
    let (name, driver) = (request.name.clone(), request.driver);
    let settings = settings::of_new(&site, id, request).await?;
    let new = NewSwitch {
        id,
        name,
        driver,
        settings,
    };
    site.store
        .create_switch(&new, caller.name(), site.now())
        .await?;
    let id = id.to_string();
    let made = view(site.store.switch(&id).await?);
    let location = format!("/v1/switches/{id}");
    Ok(answer_with(StatusCode::CREATED, &location, made))
}

/// Show a switch.
#[utoipa::path(get, path = "/v1/switches/{switch}", tag = "places", operation_id = "show_switch",
    params(("switch" = String, Path, description = "Name or id")),
    responses((status = 200, body = Switch)))]
async fn show(State(site): State<Site>, _: Admin, Path(switch): Path<String>) -> Answer<Switch> {
    Ok(Json(view(site.store.switch(&switch).await?)))
}

/// Change a switch.
///
/// Name and driver stay: the ports of nodes go by them. Ports that other VLANs make different are put
/// right when they are read next (`port_check`).
#[utoipa::path(patch, path = "/v1/switches/{switch}", tag = "places", operation_id = "update_switch",
    params(("switch" = String, Path, description = "Name or id")),
    request_body = SwitchUpdate, responses((status = 200, body = Switch)))]
async fn update(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(switch): Path<String>,
    Body(request): Body<SwitchUpdate>,
) -> Answer<Switch> {
    let switch = site.store.switch(&switch).await?;
    let settings = settings::changed(&site, &switch, request).await?;
    let (id, generation) = (switch.id, switch.generation);
    let store = &site.store;
    store
        .change_switch(id, generation, &settings, caller.name(), site.now())
        .await?;
    Ok(Json(view(store.switch(&id.to_string()).await?)))
}

/// Delete a switch.
///
/// Not while a node is cabled to it. Its ports stay as they are.
#[utoipa::path(delete, path = "/v1/switches/{switch}", tag = "places", operation_id = "delete_switch",
    params(("switch" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(switch): Path<String>,
) -> Result<StatusCode, Refusal> {
    let switch = site.store.switch(&switch).await?;
    site.store
        .delete_switch(switch.id, caller.name(), site.now())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The switch as the API shows it: without its key.
fn view(switch: SwitchRecord) -> Switch {
    let settings = switch.settings;
    let (error, error_at) = switch.health.error.unzip();
    Switch {
        id: switch.id,
        name: switch.name,
        driver: switch.driver,
        address: settings.address,
        rack: switch.rack_name,
        authority: settings.authority,
        certificate: settings.certificate,
        has_key: settings.key_sealed.is_some(),
        tunnel_address: settings.tunnel_address,
        tunnel_vlans: settings.tunnel_vlans,
        physical_network: settings.physical_network,
        largest_mtu: settings.largest_mtu,
        parked_vlan: settings.vlans.parked,
        provisioning_vlan: settings.vlans.provisioning,
        standby_vlan: settings.vlans.standby,
        rescue_vlan: settings.vlans.rescue,
        nodes: switch.nodes,
        health: SwitchHealth {
            failing: switch.health.failing,
            read_at: switch.health.read_at,
            error,
            error_at,
        },
        created_at: switch.created_at,
    }
}
