//! The audit trail.

use std::net::IpAddr;

use bessemer_core::id::{ProjectId, TokenId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Role;

/// Something that was asked for: who, when, from where, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Rises from entry to entry.
    pub sequence: i64,
    /// The id of the request, as in its answer's `x-request-id` and in the server's log.
    pub request: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The token that asked.
    pub token: TokenId,
    /// Its name then.
    pub token_name: String,
    /// What it was allowed.
    pub role: Role,
    /// Its project.
    pub project: ProjectId,
    /// The method of HTTP: only requests that may change something are written down.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The address that the connection came from: a proxy's own, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub peer: Option<IpAddr>,
    /// What became of it. Absent while it is under way, and if the server ended in the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AuditOutcome>,
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditOutcome {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The status of HTTP; 499 if the client hung up before it was answered, and what it asked for may have
    /// been done.
    pub status: u16,
    /// The kind of problem, if it was refused or failed, such as `urn:bessemer:problem:conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was made, as its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}
