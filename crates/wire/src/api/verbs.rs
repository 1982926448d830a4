//! What is done with nodes and servers in the course of their lives: rebuilding, switching,
//! holding, stopping, retiring.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request that an operator gives a reason for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReason {
    /// Why, for those who look at the node later: 1 to 200 characters. Tenants of a server on the
    /// node may see it.
    pub reason: String,
}

/// A request to write a server anew. What is left out stays as it is.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerRebuild {
    /// What to run on it.
    #[serde(default)]
    pub image: Option<String>,
    /// Keys that open it, instead of those it has: at least one.
    #[serde(default)]
    pub keys: Option<Vec<String>>,
    /// User data for cloud-init, up to 64 KiB, instead of what it has; the empty text removes it.
    #[serde(default)]
    #[schema(write_only)]
    pub user_data: Option<String>,
}

impl std::fmt::Debug for ServerRebuild {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ServerRebuild")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// What a server's power can be asked to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerVerb {
    /// Switched on; what is on its disk starts.
    On,
    /// Shut down and switched off.
    Off,
    /// Shut down, switched off and on again; what is on its disk starts.
    Restart,
}

/// A request to switch an active server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerPowerRequest {
    /// What to do.
    pub power: PowerVerb,
    /// Do not ask the operating system to shut down: switch off at once, and overtake an earlier
    /// request that is still being carried out.
    #[serde(default)]
    pub force: bool,
    /// How long the operating system may take to shut down, in seconds: 10 to 900, 120 unless
    /// given. If it has not by then, the request has failed and the server runs on.
    #[serde(default)]
    #[schema(minimum = 10, maximum = 900)]
    pub shut_down_seconds: Option<u32>,
}

/// Whether the machine of a server is on, and what was asked of it last.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerPower {
    /// What its management controller says now. Absent if that cannot be had, or was not asked
    /// for.
    #[serde(default)]
    pub power: Option<PowerSeen>,
    /// Why `power` cannot be had.
    #[serde(default)]
    pub problem: Option<String>,
    /// What was asked for last, since the server became active.
    #[serde(default)]
    pub request: Option<PowerRequestSeen>,
}

/// The power state of a machine, as its management controller tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerSeen {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way to on.
    PoweringOn,
    /// On its way to off.
    PoweringOff,
    /// It does not say.
    #[default]
    Unknown,
}

/// A request to switch a server, and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PowerRequestSeen {
    /// Tells it from others.
    pub id: String,
    /// What was asked for.
    pub power: PowerVerb,
    /// Whether the operating system was not to be asked.
    pub force: bool,
    /// How far it is.
    pub status: RequestStatus,
    /// Why it failed.
    #[serde(default)]
    pub message: Option<String>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Being carried out.
    Pending,
    /// Carried out, and seen to be.
    Done,
    /// Tried and failed, or overtaken.
    Failed,
}
