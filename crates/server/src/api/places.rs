//! Sites and racks: where nodes and switches are. Operators only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::{RackId, SiteId};
use bessemer_store::{NewRack, NewSite, PlaceSort, RackChanges, RackRecord, SiteRecord};
use bessemer_wire::api::{
    Page, Rack, RackCreate, RackUpdate, Site as Place, SiteCreate, SiteUpdate,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Admin, Answer, Body, Path, Query};
use super::problem::Refusal;
use super::{answer_with, page, reference, values};
use crate::site::Site;

/// The longest description of a place, in characters.
const MAX_TEXT: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list_sites, create_site))
        .routes(routes!(show_site, update_site, delete_site))
        .routes(routes!(list_racks, create_rack))
        .routes(routes!(show_rack, update_rack, delete_rack))
}

/// What sites, racks and switches are sorted by.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
pub(super) enum PlaceSortBy {
    #[default]
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDescending,
    #[serde(rename = "created_at")]
    Created,
    #[serde(rename = "-created_at")]
    CreatedDescending,
}

impl From<PlaceSortBy> for PlaceSort {
    fn from(sort: PlaceSortBy) -> Self {
        match sort {
            PlaceSortBy::Name => Self::Name,
            PlaceSortBy::NameDescending => Self::NameDescending,
            PlaceSortBy::Created => Self::Created,
            PlaceSortBy::CreatedDescending => Self::CreatedDescending,
        }
    }
}

/// In which order sites are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SiteQuery {
    /// What they are sorted by: `name` unless given; `-` reverses.
    #[param(inline)]
    sort: Option<PlaceSortBy>,
    /// Where to go on: `next` of the page before, in the same order.
    cursor: Option<String>,
    /// How many sites at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Which racks are listed, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RackQuery {
    /// Only racks of this site, by name or id.
    site: Option<String>,
    /// What they are sorted by: `name` unless given; `-` reverses.
    #[param(inline)]
    sort: Option<PlaceSortBy>,
    /// Where to go on: `next` of the page before, in the same order.
    cursor: Option<String>,
    /// How many racks at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// List sites.
#[utoipa::path(get, path = "/v1/sites", tag = "places", operation_id = "list_sites",
    params(SiteQuery), responses((status = 200, body = Page<Place>)))]
async fn list_sites(
    State(site): State<Site>,
    _: Admin,
    Query(query): Query<SiteQuery>,
) -> Answer<Page<Place>> {
    let limit = page::limit(query.limit)?;
    let sort = query.sort.unwrap_or_default().into();
    let (sites, next) = site.store.sites(sort, query.cursor, limit).await?;
    Ok(Json(Page {
        items: sites.into_iter().map(site_view).collect(),
        next,
    }))
}

/// Make a site.
#[utoipa::path(post, path = "/v1/sites", tag = "places", operation_id = "create_site",
    request_body = SiteCreate,
    responses((status = 201, body = Place)))]
async fn create_site(
    State(site): State<Site>,
    Admin(caller): Admin,
    Body(request): Body<SiteCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    free_text("description", &request.description)?;
    let new = NewSite {
        id: SiteId(Uuid::now_v7()),
        name: request.name,
        description: request.description,
    };
    site.store
        .create_site(&new, caller.name(), site.now())
        .await?;
    let id = new.id.to_string();
    let made = site_view(site.store.site(&id).await?);
    let location = format!("/v1/sites/{id}");
    Ok(answer_with(StatusCode::CREATED, &location, made))
}

/// Show a site.
#[utoipa::path(get, path = "/v1/sites/{site}", tag = "places", operation_id = "show_site",
    params(("site" = String, Path, description = "Name or id")),
    responses((status = 200, body = Place)))]
async fn show_site(State(site): State<Site>, _: Admin, Path(name): Path<String>) -> Answer<Place> {
    Ok(Json(site_view(site.store.site(&name).await?)))
}

/// Change a site. Its name stays.
#[utoipa::path(patch, path = "/v1/sites/{site}", tag = "places", operation_id = "update_site",
    params(("site" = String, Path, description = "Name or id")),
    request_body = SiteUpdate, responses((status = 200, body = Place)))]
async fn update_site(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Body(request): Body<SiteUpdate>,
) -> Answer<Place> {
    let found = site.store.site(&name).await?;
    let description = request.description.unwrap_or(found.description);
    free_text("description", &description)?;
    let store = &site.store;
    store
        .change_site(found.id, &description, caller.name(), site.now())
        .await?;
    Ok(Json(site_view(store.site(&found.id.to_string()).await?)))
}

/// Delete a site.
///
/// Not while it has racks.
#[utoipa::path(delete, path = "/v1/sites/{site}", tag = "places", operation_id = "delete_site",
    params(("site" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete_site(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let found = site.store.site(&name).await?;
    site.store
        .delete_site(found.id, caller.name(), site.now())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List racks.
#[utoipa::path(get, path = "/v1/racks", tag = "places", operation_id = "list_racks",
    params(RackQuery), responses((status = 200, body = Page<Rack>)))]
async fn list_racks(
    State(site): State<Site>,
    _: Admin,
    Query(query): Query<RackQuery>,
) -> Answer<Page<Rack>> {
    let limit = page::limit(query.limit)?;
    let within = match &query.site {
        Some(name) => Some(reference("site", site.store.site(name).await)?.id),
        None => None,
    };
    let sort = query.sort.unwrap_or_default().into();
    let (racks, next) = site.store.racks(within, sort, query.cursor, limit).await?;
    Ok(Json(Page {
        items: racks.into_iter().map(rack_view).collect(),
        next,
    }))
}

/// Make a rack.
#[utoipa::path(post, path = "/v1/racks", tag = "places", operation_id = "create_rack",
    request_body = RackCreate,
    responses((status = 201, body = Rack)))]
async fn create_rack(
    State(site): State<Site>,
    Admin(caller): Admin,
    Body(request): Body<RackCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    free_text("position", &request.position)?;
    let within = reference("site", site.store.site(&request.site).await)?;
    let new = NewRack {
        id: RackId(Uuid::now_v7()),
        name: request.name,
        site: within.id,
        position: request.position,
    };
    site.store
        .create_rack(&new, caller.name(), site.now())
        .await?;
    let id = new.id.to_string();
    let made = rack_view(site.store.rack(&id).await?);
    let location = format!("/v1/racks/{id}");
    Ok(answer_with(StatusCode::CREATED, &location, made))
}

/// Show a rack.
#[utoipa::path(get, path = "/v1/racks/{rack}", tag = "places", operation_id = "show_rack",
    params(("rack" = String, Path, description = "Name or id")),
    responses((status = 200, body = Rack)))]
async fn show_rack(State(site): State<Site>, _: Admin, Path(rack): Path<String>) -> Answer<Rack> {
    Ok(Json(rack_view(site.store.rack(&rack).await?)))
}

/// Change a rack. Its name stays.
#[utoipa::path(patch, path = "/v1/racks/{rack}", tag = "places", operation_id = "update_rack",
    params(("rack" = String, Path, description = "Name or id")),
    request_body = RackUpdate, responses((status = 200, body = Rack)))]
async fn update_rack(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(rack): Path<String>,
    Body(request): Body<RackUpdate>,
) -> Answer<Rack> {
    let rack = site.store.rack(&rack).await?;
    if let Some(position) = &request.position {
        free_text("position", position)?;
    }
    let changes = RackChanges {
        site: match &request.site {
            Some(name) => Some(reference("site", site.store.site(name).await)?.id),
            None => None,
        },
        position: request.position,
    };
    site.store
        .change_rack(rack.id, changes, caller.name(), site.now())
        .await?;
    let rack = site.store.rack(&rack.id.to_string()).await?;
    Ok(Json(rack_view(rack)))
}

/// Delete a rack.
///
/// Not while a switch or a node is in it.
#[utoipa::path(delete, path = "/v1/racks/{rack}", tag = "places", operation_id = "delete_rack",
    params(("rack" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete_rack(
    State(site): State<Site>,
    Admin(caller): Admin,
    Path(rack): Path<String>,
) -> Result<StatusCode, Refusal> {
    let rack = site.store.rack(&rack).await?;
    site.store
        .delete_rack(rack.id, caller.name(), site.now())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The rack that a field of a request names, if it names one.
pub(super) async fn rack_of(site: &Site, rack: Option<&str>) -> Result<Option<RackId>, Refusal> {
    match rack {
        Some(rack) => Ok(Some(reference("rack", site.store.rack(rack).await)?.id)),
        None => Ok(None),
    }
}

/// Checks words that may be missing.
fn free_text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    values::text(field, text, MAX_TEXT)
}

fn site_view(site: SiteRecord) -> Place {
    Place {
        id: site.id,
        name: site.name,
        description: site.description,
        racks: site.racks,
        created_at: site.created_at,
    }
}

fn rack_view(rack: RackRecord) -> Rack {
    Rack {
        id: rack.id,
        name: rack.name,
        site: rack.site,
        site_name: rack.site_name,
        position: rack.position,
        switches: rack.switches,
        nodes: rack.nodes,
        created_at: rack.created_at,
    }
}
