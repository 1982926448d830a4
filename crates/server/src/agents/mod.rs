//! The agent protocol's server side (the protocol itself: `bessemer_wire::agent`).
//!
//! Served over TLS on the provisioning network only. An agent that has said hello may do three
//! things: report, fetch what its present command needs, and wait for the next command. All it
//! says is taken as a claim of an untrusted machine: bounded, checked against what was asked, and
//! recorded only while it is the node's present boot.

mod commands;
mod hello;
mod poll;
mod serve;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use bessemer_core::Timestamp;
use bessemer_core::id::BootId;
use bessemer_wire::agent::MAX_AGENT_BODY;

use crate::site::Site;

/// What the agent endpoints share.
#[derive(Clone)]
pub(crate) struct Agents {
    site: Site,
    /// Where chunks are to be had in the clear, if anywhere.
    chunk_service: Option<SocketAddr>,
    touched: Touched,
}

/// The service. `chunk_service` is where [`chunk_service`](crate::chunk_service) listens, if agents
/// are to fetch chunks from there rather than from here.
pub fn router(site: Site, chunk_service: Option<SocketAddr>) -> Router {
    let agents = Agents {
        site,
        chunk_service,
        touched: Touched::default(),
    };
    Router::new()
        .route("/agent/v1/hello", post(hello::hello))
        .route("/agent/v1/poll", post(poll::poll))
        .route("/agent/v1/images/{image}/map", get(serve::map))
        .route(
            "/agent/v1/images/{image}/chunks/{first}/{count}",
            get(serve::chunks),
        )
        .route("/agent/v1/config-drive", get(serve::config_drive))
        .layer(DefaultBodyLimit::max(MAX_AGENT_BODY))
        .with_state(agents)
}

/// When each boot was last noted as alive in the database: not at every request, for a disk write
/// each would be the price.
#[derive(Clone, Default)]
struct Touched(Arc<Mutex<HashMap<BootId, Timestamp>>>);

/// The most seconds between two notes in the database that an agent is alive.
const TOUCH_SECONDS: u32 = 10;

/// More boots than that at one time are forgotten all at once, which costs one write each.
const MAX_TOUCHED: usize = 100_000;

impl Touched {
    /// Whether it is time to note `boot` as alive again. `silence` is how many seconds without a
    /// note it may take until the agent is given up.
    fn due(&self, boot: BootId, now: Timestamp, silence: u32) -> bool {
        let pause = i64::from((silence / 3).min(TOUCH_SECONDS));
        let mut touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() > MAX_TOUCHED {
            touched.clear();
        }
        match touched.get(&boot) {
            Some(last) if now.duration_since(*last).as_secs() < pause => false,
            _ => {
                touched.insert(boot, now);
                true
            }
        }
    }
}
