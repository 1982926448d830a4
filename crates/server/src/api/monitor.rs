//! For whoever watches over the server: is it well, and what is it doing?

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Answer;
use super::problem::Refusal;
use crate::metrics::{self, Stored};
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(metrics))
}

/// The server answers, and its database does.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`; or `degraded` while something is `down`. Anything worse is a problem document.
    status: &'static str,
    /// Tasks of the server that have panicked and are started again within a minute. Each is a bug: the log has
    /// where. Absent if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    down: Vec<&'static str>,
    /// The server's version.
    version: &'static str,
}

/// Tell whether the server answers and its database does.
#[utoipa::path(get, path = "/healthz", tag = "site", operation_id = "health", security(()),
    responses((status = 200, body = Health)))]
async fn health(State(site): State<Site>) -> Answer<Health> {
    site.store.token_count().await?;
    let down = site.supervisor.down();
    Ok(Json(Health {
        status: if down.is_empty() { "ok" } else { "degraded" },
        down,
        version: env!("CARGO_PKG_VERSION"),
    }))
}

/// Show counters in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "site", operation_id = "metrics", security(()),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(site): State<Site>) -> Result<impl IntoResponse, Refusal> {
    let phases = site.store.counts_by_phase().await?;
    let phases: Vec<_> = phases
        .iter()
        .map(|(phase, count)| (phase.name(), *count))
        .collect();
    let servers = site.store.server_count().await?;
    let powers = site.store.power_counts().await?;
    let left_alone = i64::try_from(site.bmcs.left_alone()).unwrap_or(i64::MAX);
    site.metrics.bmcs_left_alone.set(left_alone);
    let text = site.metrics.render(Stored {
        nodes: &phases,
        powers,
        servers,
        commits: site.store.commits(),
        panics: site.supervisor.panics(),
        tasks_down: site.supervisor.down().len(),
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

/// Serves the OpenAPI document, written out once.
pub(super) fn document(document: &utoipa::openapi::OpenApi) -> Router<Site> {
    // It is made of strings, maps and numbers, which always serialise.
    let text = Bytes::from(document.to_json().unwrap_or_default());
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], text) };
    Router::new().route("/openapi.json", get(answer))
}
