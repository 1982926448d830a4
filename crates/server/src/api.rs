//! The API: everything that people and programs ask of Bessemer, under `/v1`.
//!
//! Handlers check what they are given, record what is *wanted* and ring the conductor; they never
//! move a node themselves. Each file has one kind of thing; `extract` says how a handler gets who
//! asks and what was sent, `problem` how a refusal is told, `observe` what happens around every
//! request. The types that cross the wire are in `bessemer-wire`.
//!
//! The OpenAPI document is made from the handlers themselves, served at `/openapi.json`, browsable
//! at `/docs`, and checked in as `docs/openapi.json` (tests/api/openapi.rs says how to renew it).
//!
//! Without a token: `/healthz`, `/metrics`, `/openapi.json` and `/docs`. They hold no secrets and
//! nothing about tenants: numbers of nodes, servers and requests are all that `/metrics` tells.

mod addresses;
mod audit;
mod events;
mod extract;
mod flavors;
mod images;
mod kexec;
mod keys;
mod monitor;
mod networks;
mod nodes;
mod observe;
mod openapi;
mod page;
mod places;
mod problem;
mod servers;
mod standing;
mod subnets;
mod switches;
mod tokens;
mod values;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use self::problem::{Kind, Refusal};
use crate::site::Site;

pub use self::openapi::openapi;
pub use self::servers::{Placing, Surveys};

/// The API of `site`.
pub fn router(site: Site) -> Router {
    let (router, document) = documented().split_for_parts();
    let pages = SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json"));
    let supervisor = site.supervisor.clone();
    let panicked = move |payload| {
        supervisor.count();
        observe::panicked(payload)
    };
    router
        .merge(monitor::document(&openapi::finished(document)))
        .merge(pages)
        .layer(DefaultBodyLimit::max(extract::MAX_BODY))
        .layer(Extension(events::Streams::default()))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(site.clone(), audit::write_down))
        .layer(from_fn_with_state(site.clone(), observe::observe))
        .with_state(site)
}

/// Every route that the OpenAPI document knows.
fn documented() -> OpenApiRouter<Site> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(nodes::routes())
        .merge(places::routes())
        .merge(switches::routes())
        .merge(servers::routes())
        .merge(images::routes())
        .merge(flavors::routes())
        .merge(kexec::routes())
        .merge(networks::routes())
        .merge(subnets::routes())
        .merge(addresses::routes())
        .merge(keys::routes())
        .merge(events::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
        .merge(monitor::routes())
}

/// An answer with a status of its own and the place where the thing is to be found.
fn answer_with<T: Serialize>(status: StatusCode, location: &str, value: T) -> Response {
    let mut response = (status, Json(value)).into_response();
    // Places are made of ids, which every header can hold.
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// What the field `field` of a request names; unknown things are the request's fault, not the
/// path's.
fn reference<T>(field: &str, found: Result<T, bessemer_store::Error>) -> Result<T, Refusal> {
    found.map_err(|error| match error {
        bessemer_store::Error::NotFound { what, which } => {
            let which = values::quoted(&which);
            Refusal::new(
                Kind::UnknownReference,
                format!("There is no {what} {which}."),
            )
            .field(field)
            .remedy(format!("GET /v1/{what}s lists what there is."))
        }
        error => error.into(),
    })
}
