//! What the API under `/v1` takes and gives.
//!
//! Requests refuse fields they do not know, so that a misspelt one is an error and not a surprise.

mod audit;
mod bmc;
mod explanation;
mod images;
mod networks;
mod nodes;
mod places;
mod ports;
mod servers;
mod verbs;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::{ProjectId, TokenId};

pub use audit::{AuditEntry, AuditOutcome};
pub use bmc::{
    BmcBootOption, BmcCpu, BmcDrive, BmcInventory, BmcMediaDrive, BmcNic, BmcStorageController,
};
pub use explanation::{
    AgentExplained, LikelyCause, NodeExplanation, ServerExplanation, Sighting, Standing,
};
pub use images::{Image, ImageCreate, ImageCredentials, ImageProgress, ImageStatus, ImageStep};
pub use networks::{
    Address, AddressHistoryEntry, AddressMove, AddressReserve, Network, NetworkCreate,
    NetworkUpdate, Subnet, SubnetCreate, SubnetUpdate, SubnetUsage,
};
pub use nodes::{
    Bmc, BmcCreate, BmcTrust, BmcUpdate, IpmiKey, Node, NodeCreate, NodeHistoryEntry,
    NodePortCreate, NodePower, NodeUpdate, PowerRequest, PowerState, RootDisk, RootDiskDecision,
};
pub use places::{
    PrivateKey, Rack, RackCreate, RackUpdate, Site, SiteCreate, SiteUpdate, Switch, SwitchCreate,
    SwitchHealth, SwitchPort, SwitchUpdate,
};
pub use ports::{
    NodePort, NodePortDetails, NodePortUpdate, PortGroup, PortGroupCreate, PortGroupUpdate,
};
pub use servers::{
    Flavor, FlavorCreate, KexecOutcome, KeyPair, KeyPairCreate, NetworkRequest, Server,
    ServerAddress, ServerCreate, ServerNetwork, ServerPlan, ServerStatus,
};
pub use verbs::{
    NodeReason, PowerRequestSeen, PowerSeen, PowerVerb, RequestStatus, ServerPower,
    ServerPowerRequest, ServerRebuild,
};

/// One page of a list, in order of creation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything: an operator.
    Admin,
    /// Rent servers in its own project.
    Member,
}

/// A request for a new token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// What it is for, in the asker's words; 1 to 63 characters, unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The project of a member, by name; it comes into being with its first token.
    #[serde(default)]
    pub project: Option<String>,
}

/// An API token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project: ProjectId,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A new token with its secret, which is shown this once and never again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// What to send as `Authorization: Bearer …`.
    pub secret: String,
}
