//! Nodes: registering, showing, switching, taking out of use.

use std::time::Duration;

use bessemer_core::lifecycle::Phase;
use bessemer_wire::api::{
    BmcInventory, Node, NodeCreate, NodeExplanation, NodeHistoryEntry, NodeReason, NodeUpdate,
    PowerRequest, PowerState,
};
use reqwest::Method;

use crate::transport::{Call, MOST_PER_PAGE, with_query};
use crate::{Client, Document, Error};

/// A management controller may take this long until the power is seen to be as asked for.
const POWER_LIMIT: Duration = Duration::from_secs(180);

/// `node` is a name or an id throughout.
impl Client {
    /// Registers a machine (`POST /v1/nodes`).
    ///
    /// # Errors
    /// When it is refused, such as for a MAC address that another node has.
    pub async fn create_node(&self, node: &NodeCreate) -> Result<Document<Node>, Error> {
        self.post(&["nodes"], node).await
    }

    /// All nodes, or those in one phase; with their inventory if `detail` says so, which is most
    /// of what there is to send.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn nodes(
        &self,
        phase: Option<Phase>,
        detail: bool,
    ) -> Result<Vec<Document<Node>>, Error> {
        self.nodes_in(None, phase, detail).await
    }

    /// The same, of one rack (by name or id) if one is given.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn nodes_in(
        &self,
        rack: Option<&str>,
        phase: Option<Phase>,
        detail: bool,
    ) -> Result<Vec<Document<Node>>, Error> {
        let mut query = vec![("limit", MOST_PER_PAGE)];
        query.extend(rack.map(|rack| ("rack", rack)));
        query.extend(phase.map(|phase| ("phase", phase.name())));
        query.extend(detail.then_some(("detail", "true")));
        self.list(&["nodes"], &query).await
    }

    /// One node.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.get(&["nodes", node]).await
    }

    /// The latest states that a node has been in, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node_history(
        &self,
        node: &str,
        limit: u32,
    ) -> Result<Vec<Document<NodeHistoryEntry>>, Error> {
        let limit = limit.to_string();
        self.list(&["nodes", node, "history"], &[("limit", &limit)])
            .await
    }

    /// Changes a node (`PATCH /v1/nodes/{node}`); what is absent stays.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn update_node(
        &self,
        node: &str,
        changes: &NodeUpdate,
    ) -> Result<Document<Node>, Error> {
        self.patch(&["nodes", node], changes).await
    }

    /// What a node waits for, what was seen of it lately, and what is likely wrong.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn explain_node(&self, node: &str) -> Result<Document<NodeExplanation>, Error> {
        self.get(&["nodes", node, "explain"]).await
    }

    /// What a node's management controller says of its machine, asked now: up to a minute.
    ///
    /// # Errors
    /// When there is no such node, or its management controller does not answer.
    pub async fn node_bmc(&self, node: &str) -> Result<Document<BmcInventory>, Error> {
        self.get(&["nodes", node, "bmc"]).await
    }

    /// Forgets a node; with `force` also one that could still be used.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_node(&self, node: &str, force: bool) -> Result<(), Error> {
        let force = if force { "true" } else { "false" };
        let url = with_query(self.at(&["nodes", node])?, &[("force", force)]);
        self.answer(Call::new(Method::DELETE, url)).await?;
        Ok(())
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

    /// Keeps a node out of everything, for this reason.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn hold_node(&self, node: &str, reason: &str) -> Result<Document<Node>, Error> {
        self.request_with_reason(node, "hold", reason).await
    }

    /// Lets a held node back in.
    ///
    /// # Errors
    /// When it is not held.
    pub async fn unhold_node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.request_of_node(node, "unhold").await
    }

    /// Stops what a node is doing, for this reason.
    ///
    /// # Errors
    /// When there is nothing to stop.
    pub async fn abort_node(&self, node: &str, reason: &str) -> Result<Document<Node>, Error> {
        self.request_with_reason(node, "abort", reason).await
    }

    /// Takes a node out of use for good, for this reason.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn retire_node(&self, node: &str, reason: &str) -> Result<Document<Node>, Error> {
        self.request_with_reason(node, "retire", reason).await
    }

    /// Wants a held, failed or retired node to become available again.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn provide_node(&self, node: &str) -> Result<Document<Node>, Error> {
        self.request_of_node(node, "provide").await
    }

    async fn request_with_reason(
        &self,
        node: &str,
        verb: &str,
        reason: &str,
    ) -> Result<Document<Node>, Error> {
        let reason = NodeReason {
            reason: reason.to_owned(),
        };
        self.post(&["nodes", node, verb], &reason).await
    }

    async fn request_of_node(&self, node: &str, verb: &str) -> Result<Document<Node>, Error> {
        let url = self.at(&["nodes", node, verb])?;
        self.document(Call::new(Method::POST, url)).await
    }
}
