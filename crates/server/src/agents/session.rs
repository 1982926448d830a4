//! Who is calling: the session secret in `Authorization`, and the errors agents get.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bessemer_core::id::BootId;
use bessemer_core::lifecycle::{Deployment, Goal, Intent, Step};
use bessemer_store::NodeRecord;
use serde_json::json;
use tracing::{debug, error};

use super::Agents;
use crate::keyring::digest;

/// An agent that has said hello, its node, and the open intent that is the agent's to carry out.
pub(super) struct Session {
    secret: String,
    pub(super) boot: BootId,
    pub(super) node: NodeRecord,
    pub(super) intent: Option<Intent>,
}

/// Why an agent is turned away.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Not, or no longer, a session.
    Unauthorized(&'static str),
    /// There is no such thing for this agent.
    NotFound(&'static str),
    /// The request is not what the protocol says.
    Bad(String),
    /// We could not answer; the agent asks again.
    Unavailable,
}

impl Refusal {
    /// Turns an error of ours into "ask again", keeping the cause in our own log.
    pub(super) fn unavailable(error: impl std::fmt::Display) -> Self {
        error!(%error, "an agent could not be answered");
        Self::Unavailable
    }

    /// The same for an error of the store, which tells the log once that its database is away: not
    /// once a poll.
    pub(super) fn unstored(error: bessemer_store::Error) -> Self {
        if error.is_outage() {
            debug!(%error, "an agent could not be answered");
            return Self::Unavailable;
        }
        Self::unavailable(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Unauthorized(message) => (StatusCode::UNAUTHORIZED, message.to_owned()),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message.to_owned()),
            Self::Bad(message) => (StatusCode::BAD_REQUEST, message),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ask again".to_owned()),
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}

impl FromRequestParts<Agents> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, agents: &Agents) -> Result<Self, Refusal> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let secret = header
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(Refusal::Unauthorized("say hello first"))?;
        Self::of(agents, secret).await
    }
}

impl Session {
    /// The session with this secret, as it is now.
    pub(super) async fn of(agents: &Agents, secret: &str) -> Result<Self, Refusal> {
        let found = agents.site.store.agent_session(&digest(secret)).await;
        let Some((boot, node, intent)) = found.map_err(Refusal::unstored)? else {
            return Err(Refusal::Unauthorized("this boot is over; power off"));
        };
        Ok(Self {
            secret: secret.to_owned(),
            boot,
            node,
            intent,
        })
    }

    /// The same session, read again.
    pub(super) async fn refresh(&self, agents: &Agents) -> Result<Self, Refusal> {
        Self::of(agents, &self.secret).await
    }

    /// Whether the agent has nothing to do until its node is ordered.
    pub(super) fn is_idle(&self) -> bool {
        self.node.state.step == Step::Standby && self.intent.is_none()
    }

    /// What the node of this session is becoming.
    pub(super) fn deployment(&self) -> Result<&Deployment, Refusal> {
        match &self.node.spec.goal {
            Goal::Deployed(deployment) => Ok(deployment),
            _ => Err(Refusal::NotFound("nothing is being deployed")),
        }
    }
}
