//! Events: what happened, in order, as `GET /v1/events` streams them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::{NodeId, ProjectId, ServerId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises by one an event; the SSE event id, so that a reader can resume after it.
    pub sequence: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What kind, such as `node.phase`, `node.step`, `server.active`, `boot.refused`.
    pub kind: String,
    /// The node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The server it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Whose it is; operators see all, tenants their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// One sentence for a person.
    pub message: String,
    /// Details by kind. Never holds a secret.
    #[serde(default)]
    pub data: serde_json::Value,
}
