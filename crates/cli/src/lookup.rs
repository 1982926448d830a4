//! Names for ids: servers refer to flavors, images, networks and nodes by id, which people do not
//! know by heart.

use std::collections::HashMap;

use bessemer_client::{Client, Document};
use bessemer_wire::api::Server;
use uuid::Uuid;

/// Names by id. What cannot be asked for (tenants cannot list nodes) is shown by its id.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<Uuid, String>);

impl Names {
    /// The names of everything that servers refer to.
    pub(crate) async fn of_everything(client: &Client) -> Self {
        let (flavors, images, networks, nodes) = tokio::join!(
            client.flavors(),
            client.images(),
            client.networks(&[]),
            client.nodes(None, false)
        );
        let mut names = Self::default();
        names.add(flavors.unwrap_or_default(), |flavor| {
            (flavor.id.0, &flavor.name)
        });
        names.add(images.unwrap_or_default(), |image| {
            (image.id.0, &image.name)
        });
        names.add(networks.unwrap_or_default(), |network| {
            (network.id.0, &network.name)
        });
        names.add(nodes.unwrap_or_default(), |node| (node.id.0, &node.name));
        names
    }

    /// The names of what one server refers to.
    pub(crate) async fn of(client: &Client, server: &Server) -> Self {
        let ids = [server.flavor.0, server.image.0, server.node.0];
        let [flavor, image, node] = ids.map(|id| id.to_string());
        let (flavor, image, node) = tokio::join!(
            client.flavor(&flavor),
            client.image(&image),
            client.node(&node)
        );
        let mut names = Self::default();
        for each in &server.networks {
            let network = client.network(&each.network.to_string()).await;
            names.add(network.ok(), |network| (network.id.0, &network.name));
        }
        names.add(flavor.ok(), |flavor| (flavor.id.0, &flavor.name));
        names.add(image.ok(), |image| (image.id.0, &image.name));
        names.add(node.ok(), |node| (node.id.0, &node.name));
        names
    }

    fn add<T>(
        &mut self,
        items: impl IntoIterator<Item = Document<T>>,
        name: impl Fn(&T) -> (Uuid, &String),
    ) {
        for item in items {
            let (id, name) = name(&item);
            self.0.insert(id, name.clone());
        }
    }

    /// The name of `id`, or else the id.
    pub(crate) fn name(&self, id: Uuid) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}
