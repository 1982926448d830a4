//! Ports of nodes, and groups of them.

use bessemer_wire::api::{
    NodePortDetails, NodePortUpdate, PortGroup, PortGroupCreate, PortGroupUpdate,
};

use crate::{Client, Document, Error};

/// `node` is a name or an id throughout, `mac` is a MAC address, `group` is a name.
impl Client {
    /// The ports of a node, with what was found of them at the last inspection.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node_ports(&self, node: &str) -> Result<Vec<Document<NodePortDetails>>, Error> {
        self.list(&["nodes", node, "ports"], &[]).await
    }

    /// Changes a port of a node (`PATCH /v1/nodes/{node}/ports/{mac}`); what is absent stays.
    ///
    /// # Errors
    /// When it is refused, such as while the node has a server.
    pub async fn update_node_port(
        &self,
        node: &str,
        mac: &str,
        update: &NodePortUpdate,
    ) -> Result<Document<NodePortDetails>, Error> {
        self.patch(&["nodes", node, "ports", mac], update).await
    }

    /// The port groups of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn port_groups(&self, node: &str) -> Result<Vec<Document<PortGroup>>, Error> {
        self.list(&["nodes", node, "port-groups"], &[]).await
    }

    /// Bonds ports of a node (`POST /v1/nodes/{node}/port-groups`).
    ///
    /// # Errors
    /// When it is refused, such as for LACP across two switches.
    pub async fn create_port_group(
        &self,
        node: &str,
        group: &PortGroupCreate,
    ) -> Result<Document<PortGroup>, Error> {
        self.post(&["nodes", node, "port-groups"], group).await
    }

    /// Changes a port group of a node; what is absent stays.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn update_port_group(
        &self,
        node: &str,
        group: &str,
        update: &PortGroupUpdate,
    ) -> Result<Document<PortGroup>, Error> {
        self.patch(&["nodes", node, "port-groups", group], update)
            .await
    }

    /// Deletes a port group of a node: its ports are used singly from then on.
    ///
    /// # Errors
    /// When it is refused, such as while the node has a server.
    pub async fn delete_port_group(&self, node: &str, group: &str) -> Result<(), Error> {
        self.delete(&["nodes", node, "port-groups", group]).await
    }
}
