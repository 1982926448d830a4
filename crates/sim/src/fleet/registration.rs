//! Making a fleet known to a server, by its API, as an operator's script would.

use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_wire::api::NodeCreate;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

/// Requests under way at the same time.
const AT_ONCE: usize = 8;

/// How long a server that is away is waited for, and how long between two tries.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// The server has another node by one of our names.
const CONFLICT: u16 = 409;

/// Why a machine could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The server refused, or was away for too long.
    #[error("node {name} is not registered")]
    Refused {
        /// The node's name.
        name: String,
        /// What the server said.
        source: Error,
    },
    /// A node of this name is somebody else's.
    #[error(
        "the server has a node {name} already, whose BMC is {known} and not {ours}: choose other \
         names (--name) or numbers (--first), or forget it with `bessemer node delete {name}`"
    )]
    Taken {
        /// The node's name.
        name: String,
        /// Its BMC as the server knows it.
        known: String,
        /// Ours.
        ours: String,
    },
}

/// Registers all `nodes`; `each` is called for every one of them that the server knows now, with
/// whether it has known it before. Those are taken as they are.
///
/// # Errors
/// At the first machine that cannot be registered.
pub async fn register(
    api: &Client,
    nodes: impl Iterator<Item = NodeCreate>,
    mut each: impl FnMut(bool),
) -> Result<(), RegistrationError> {
    let mut under_way = stream::iter(nodes)
        .map(|node| register_one(api, node))
        .buffer_unordered(AT_ONCE);
    while let Some(known) = under_way.try_next().await? {
        each(known);
    }
    Ok(())
}

async fn register_one(api: &Client, node: NodeCreate) -> Result<bool, RegistrationError> {
    let begun = Instant::now();
    loop {
        let error = match api.create_node(&node).await {
            Ok(_) => return Ok(false),
            Err(error) if error.status() == Some(CONFLICT) => {
                return is_ours(api, &node, error).await.map(|()| true);
            }
            Err(error) => error,
        };
        if !error.is_outage() || begun.elapsed() > PATIENCE {
            return Err(RegistrationError::Refused {
                name: node.name,
                source: error,
            });
        }
        sleep(PAUSE).await;
    }
}

/// Whether the node that was in the way of `node` is the same, from before.
async fn is_ours(api: &Client, node: &NodeCreate, refusal: Error) -> Result<(), RegistrationError> {
    let known = match api.node(&node.name).await {
        Ok(known) => known.bmc.url.clone(),
        // Something else of it is in the way, such as its MAC address: that has been said.
        Err(error) => {
            return Err(RegistrationError::Refused {
                name: node.name.clone(),
                source: if error.is_not_found() { refusal } else { error },
            });
        }
    };
    match known == node.bmc.url {
        true => Ok(()),
        false => Err(RegistrationError::Taken {
            name: node.name.clone(),
            known,
            ours: node.bmc.url.clone(),
        }),
    }
}
