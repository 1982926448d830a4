//! Nodes: registering, showing, switching, taking out of use.

use std::time::Duration;

use bessemer_core::lifecycle::{NodeState, Phase};
use bessemer_wire::api::{Node, NodeCreate, PowerRequest, PowerState};
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;

use crate::transport::Call;
use crate::{Client, Document, Error};

/// A management controller may take this long until the power is seen to be as asked for.
const POWER_LIMIT: Duration = Duration::from_secs(180);

/// One state that a node was in.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeHistoryEntry {
    /// Since when.
    pub at: Timestamp,
    /// The state.
    pub state: NodeState,
}

/// `node` is a name or an id throughout.
impl Client {
    /// Registers a machine (`POST /v1/nodes`).
    ///
    /// # Errors
    /// When it is refused, such as for a MAC address that another node has.
    pub async fn create_node(&self, node: &NodeCreate) -> Result<Document<Node>, Error> {
        self.post(&["nodes"], node).await
    }

    /// All nodes, or those in one phase.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn nodes(&self, phase: Option<Phase>) -> Result<Vec<Document<Node>>, Error> {
        match phase {
            Some(phase) => self.list(&["nodes"], &[("phase", phase.name())]).await,
            None => self.list(&["nodes"], &[]).await,
        }
    }

    /// One node.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.get(&["nodes", node]).await
    }

    /// The states that a node has been in, in order.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node_history(&self, node: &str) -> Result<Vec<Document<NodeHistoryEntry>>, Error> {
        self.list(&["nodes", node, "history"], &[]).await
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_node(&self, node: &str) -> Result<(), Error> {
        self.delete(&["nodes", node]).await
    }

    /// Switches a resting node on or off, and waits until that is seen.
    ///
    /// # Errors
    /// When the node is not at rest, or its management controller does not do it.
    pub async fn set_power(
        &self,
        node: &str,
        power: PowerState,
    ) -> Result<Document<PowerRequest>, Error> {
        let url = self.at(&["nodes", node, "power"])?;
        let mut call = Call::new(Method::PUT, url).json(&PowerRequest { power });
        call.limit = POWER_LIMIT;
        self.document(call).await
    }

    /// Keeps a node out of everything; gives the node as it is afterwards.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn hold_node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.request_of_node(node, "hold").await
    }

    /// Wants a held or failed node to become available again; gives the node as it is afterwards.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn provide_node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.request_of_node(node, "provide").await
    }

    async fn request_of_node(&self, node: &str, verb: &str) -> Result<Document<Node>, Error> {
        let url = self.at(&["nodes", node, verb])?;
        self.answer(Call::new(Method::POST, url)).await?;
        self.node(node).await
    }
}
