//! A node, or the server on it, explained: what it waits for, what was seen of it, and what is likely
//! wrong.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::cause::{self, Cause};
use bessemer_core::id::{NodeId, ServerId};
use bessemer_core::lifecycle::{Phase, Step};
use bessemer_core::reason::Reason;

use super::servers::ServerStatus;
use super::verbs::PowerSeen;
use crate::agent::Progress;

/// Where a machine is in its life, since when, and what is likely behind it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// The phase it is in; of one that failed, the one it failed in.
    pub phase: Phase,
    /// The step it is at; of one that failed, the one it failed at.
    pub step: Step,
    /// What that step does, for people.
    pub doing: String,
    /// Since when it is, or was, at that step.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When the present wait is given up.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// How many times the phase has been started.
    pub attempt: u32,
    /// How many times it is started at most.
    pub attempts: u32,
    /// How many times the step has been tried in this attempt.
    pub tries: u32,
    /// What is told of it.
    pub reason: Reason,
    /// What is likely wrong.
    pub cause: LikelyCause,
    /// Whether the machine is on, as its management controller says now; absent if it does not.
    #[serde(default)]
    pub power: Option<PowerSeen>,
}

/// A node explained.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeExplanation {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is, in the words that the field knows.
    pub provision_state: String,
    /// Where it is, and why.
    #[serde(flatten)]
    pub standing: Standing,
    /// The latest requests to its management controller.
    pub bmc: Vec<Sighting>,
    /// What came from its NICs to the boot services: DHCP, TFTP, HTTP.
    pub boot: Vec<Sighting>,
    /// Its agent.
    pub agent: AgentExplained,
    /// What its switch ports read back, latest last.
    pub switch: Vec<Sighting>,
    /// The last lines of its serial console, where it is read; what looks like a secret is masked.
    pub console: Vec<String>,
}

/// A server explained, as far as it is its tenant's concern.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerExplanation {
    /// Its id.
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: ServerStatus,
    /// Where its machine is, and why, as far as it is told.
    #[serde(flatten)]
    pub standing: Standing,
    /// How far the agent is, while it works.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// By which way its system will say that it is up.
    pub report: Vec<Sighting>,
    /// The last lines of its serial console while it started, where that is read; what looks like a
    /// secret is masked.
    pub console: Vec<String>,
}

/// What is likely wrong, and what to do about it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LikelyCause {
    /// A name that never changes, such as `no-dhcp-request`; `docs/causes.md` has them all.
    pub code: String,
    /// What it is.
    pub summary: String,
    /// What a person can do.
    pub remedy: String,
}

impl From<Cause> for LikelyCause {
    fn from(cause: Cause) -> Self {
        Self {
            code: cause.code().to_owned(),
            summary: cause.summary().to_owned(),
            remedy: cause.remedy().to_owned(),
        }
    }
}

/// What is known of a node's agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentExplained {
    /// What it said last.
    #[serde(default)]
    pub last: Option<Sighting>,
    /// Calls, results and refusals.
    pub recent: Vec<Sighting>,
}

/// Something that was seen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sighting {
    /// When; the last time, if it was seen several times in a row.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whether it is as it should be.
    pub well: bool,
    /// What it hints at, if it is not.
    #[serde(
        default,
        deserialize_with = "cause::known",
        skip_serializing_if = "Option::is_none"
    )]
    pub cause: Option<Cause>,
    /// How many times in a row.
    pub times: u32,
    /// What, in words.
    pub what: String,
}
