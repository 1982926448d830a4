//! What is wanted of a node. The API writes it; only the conductor acts on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hardware::MachineIdentity;
use crate::id::{Generation, ImageId, NodeId, ServerId};

/// What is wanted of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Which node.
    pub node: NodeId,
    /// Raised by every change of the goal.
    pub generation: Generation,
    /// What it is to be.
    pub goal: Goal,
    /// The machine it must be, once its BMC has told.
    pub identity: Option<MachineIdentity>,
    /// Whether its switch ports are ours to move.
    pub port_control: PortControl,
    /// How long things may and usually do take on this hardware.
    pub timing: Timing,
    /// Why an operator has what this node is doing stopped, if this generation is for that. A node
    /// that works then fails, with this as its reason; one at rest is not moved by it.
    pub abort: Option<String>,
}

/// What a node is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum Goal {
    /// For rent: inspected, erased, off, parked.
    Available,
    /// This server.
    Deployed(Deployment),
    /// Kept out of everything, until it is wanted available again.
    Held {
        /// Why, in an operator's words. Empty on nodes held before reasons were asked for.
        #[serde(default)]
        reason: String,
    },
    /// Taken out of use for good: erased, off, parked.
    Retired {
        /// Why, in an operator's words.
        reason: String,
    },
}

/// The server that a node is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Which server.
    pub server: ServerId,
    /// Which image.
    pub image: ImageId,
    /// Bytes of the image that are not zero: how much there is to write.
    pub image_bytes: u64,
    /// Kernel name of the disk that it must go to: a rebuild stays on the disk that the server
    /// has, whatever size its image is. Otherwise the image's size decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<String>,
}

/// Whether a site's switch ports are ours to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortControl {
    /// A driver applies port plans and reads them back.
    Switched,
    /// Nothing moves: one network for everything. Tenant and conductor share it.
    Flat,
}

/// How long things may take, and usually do, on a node's hardware. All in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// The longest a request to BMC or switch may take until its effect is verified.
    pub bmc_deadline: u32,
    /// The longest from power-on to the agent's call.
    pub agent_boot_deadline: u32,
    /// An agent silent for longer is taken for gone.
    pub agent_silence: u32,
    /// The longest that inspection may take; also config drive, kernel and arming.
    pub inspect_deadline: u32,
    /// The longest that erasing every disk may take.
    pub erase_deadline: u32,
    /// The longest that writing an image may take.
    pub write_deadline: u32,
    /// The longest from hand-over to the OS saying that it is up.
    pub os_boot_deadline: u32,
    /// The pause before the first retry; it doubles each time, up to a minute.
    pub retry_pause: u32,
    /// Usual time from power-on to the agent's call; for plans, and for what is called late.
    pub expected_agent_boot: u32,
    /// Usual time from hand-over to the OS saying that it is up; for plans, and for what is
    /// called late.
    pub expected_os_boot: u32,
    /// Usual rate of writing an image, in bytes per second; for plans only.
    pub expected_write_rate: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            bmc_deadline: 180,
            agent_boot_deadline: 1200,
            agent_silence: 90,
            inspect_deadline: 300,
            erase_deadline: 14_400,
            write_deadline: 3600,
            os_boot_deadline: 1800,
            retry_pause: 5,
            expected_agent_boot: 240,
            expected_os_boot: 60,
            expected_write_rate: 500 << 20,
        }
    }
}
