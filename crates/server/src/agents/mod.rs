//! The agent protocol's server side (the protocol itself: `bessemer_wire::agent`).
//!
//! Served over TLS on the provisioning network only. An agent that has said hello may do three
//! things: report, fetch what its present command needs, and wait for the next command. All it
//! says is taken as a claim of an untrusted machine: bounded, checked against what was asked, and
//! recorded only while it is the node's present boot.

mod commands;
mod hello;
mod networking;
mod poll;
mod report;
mod serve;
mod session;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use bessemer_wire::agent::MAX_AGENT_BODY;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::site::Site;

/// What the agent endpoints share.
#[derive(Clone)]
pub(crate) struct Agents {
    site: Site,
    /// Where chunks are to be had in the clear, if anywhere.
    chunk_service: Option<SocketAddr>,
}

/// How often it is stored when idle agents were heard of. Other conductors on the same database
/// know it no sooner, so this plus the longest poll must be less than `timing.standby_silence`.
const STORE_INTERVAL: Duration = Duration::from_secs(60);

/// Stores when agents were heard of, now and then, until `stop` is cancelled.
pub(crate) async fn store_heard(site: Site, stop: CancellationToken) {
    while timeout(STORE_INTERVAL, stop.cancelled()).await.is_err() {
        let heard = site.heard.take_unstored(site.now());
        if let Err(error) = site.store.touch_agents(&heard).await {
            warn!(%error, "cannot store when agents were heard of");
        }
    }
}

/// The service. `chunk_service` is where [`chunk_service`](crate::chunk_service) listens, if agents
/// are to fetch chunks from there rather than from here.
pub fn router(site: Site, chunk_service: Option<SocketAddr>) -> Router {
    let agents = Agents {
        site,
        chunk_service,
    };
    Router::new()
        .route("/agent/v1/hello", post(hello::hello))
        .route("/agent/v1/poll", post(poll::poll))
        .route("/agent/v1/images/{image}/map", get(serve::map))
        .route(
            "/agent/v1/images/{image}/chunks/{first}/{count}",
            get(serve::chunks),
        )
        .route("/agent/v1/report-script", get(serve::report_script))
        .route("/agent/v1/network-files", get(serve::network_files))
        .route("/agent/v1/config-drive", get(serve::config_drive))
        .layer(DefaultBodyLimit::max(MAX_AGENT_BODY))
        .with_state(agents)
}
