//! Phone-home: where a new server's operating system says that it is up.
//!
//! It listens on an address of its own, because tenants' networks reach it: nothing else is served
//! there. The URL holds a token derived for this server and this deployment, so that neither a
//! stranger nor a former tenant can say it in another's name.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use bessemer_core::id::{Generation, ServerId};
use tracing::{info, warn};

use crate::keyring::same_secret;
use crate::site::Site;

/// What cloud-init posts is a few hundred bytes.
const MAX_BODY: usize = 64 << 10;

/// The service.
pub fn router(site: Site) -> Router {
    Router::new()
        .route(
            "/phone-home/{server}/{generation}/{token}",
            post(phone_home),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(site)
}

/// The path under which `server` calls.
pub fn path(site: &Site, server: ServerId, generation: Generation) -> String {
    let token = site.keyring.phone_home_token(server, generation);
    format!("/phone-home/{server}/{generation}/{token}")
}

async fn phone_home(
    State(site): State<Site>,
    Path((server, generation, token)): Path<(ServerId, Generation, String)>,
    // Read and dropped: what the tenant's OS says about itself is not to be believed.
    _body: axum::body::Bytes,
) -> StatusCode {
    if !same_secret(&site.keyring.phone_home_token(server, generation), &token) {
        warn!(%server, "phone-home with a wrong token");
        return StatusCode::NOT_FOUND;
    }
    match site.store.os_up(server, generation, site.now()).await {
        Ok(true) => {
            info!(%server, "the operating system is up");
            site.bell.ring();
            StatusCode::NO_CONTENT
        }
        Ok(false) => StatusCode::NOT_FOUND,
        Err(error) => {
            warn!(%error, "phone-home could not be recorded");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
