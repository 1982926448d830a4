//! Following a server: until it is active, or until it is gone.

use bessemer_client::{Client, Document, Error};
use bessemer_core::reason::Reason;
use bessemer_wire::api::{Node, Server, ServerStatus};

use super::sight::{Look, Sight, counted, foretold, is_current};
use super::{Subject, follow};
use crate::output::Format;

/// Until its operating system has said that it is up; gives the server as it is then.
pub(crate) async fn until_active(
    client: &Client,
    server: &Server,
    format: Format,
) -> anyhow::Result<Document<Server>> {
    let id = server.id.to_string();
    let mut scene = Scene::new(client);
    follow(subject(server), format, async || {
        let server = match client.server(&id).await {
            Err(error) if error.is_not_found() => return Ok(Look::Failed(deleted())),
            server => server?,
        };
        Ok(match server.status {
            ServerStatus::Building => Look::UnderWay(scene.sight(&server).await?),
            ServerStatus::Active => {
                let at = server.active_at;
                Look::Done { value: server, at }
            }
            ServerStatus::Deleting => Look::Failed(deleted()),
            ServerStatus::Error => Look::Failed(server.reason.clone()),
        })
    })
    .await
}

/// Until a server that is being given back does not exist any more.
pub(crate) async fn until_gone(
    client: &Client,
    server: &Server,
    format: Format,
) -> anyhow::Result<()> {
    let id = server.id.to_string();
    let mut scene = Scene::new(client);
    follow(subject(server), format, async || {
        let server = match client.server(&id).await {
            Err(error) if error.is_not_found() => {
                return Ok(Look::Done {
                    value: (),
                    at: None,
                });
            }
            server => server?,
        };
        Ok(match server.status {
            ServerStatus::Error => Look::Failed(server.reason.clone()),
            _ => Look::UnderWay(scene.sight(&server).await?),
        })
    })
    .await
}

fn subject(server: &Server) -> Subject {
    Subject {
        name: format!("server {}", server.name),
        again: format!("bessemer server show {} --wait", server.name),
    }
}

fn deleted() -> Reason {
    Reason::new("somebody has deleted it meanwhile")
}

/// What is looked at besides the server itself.
struct Scene<'client> {
    client: &'client Client,
    /// Operators see the node at work; tenants only their server.
    node_is_visible: bool,
}

impl<'client> Scene<'client> {
    fn new(client: &'client Client) -> Self {
        Self {
            client,
            node_is_visible: true,
        }
    }

    async fn sight(&mut self, server: &Server) -> Result<Sight, Error> {
        let Some(node) = self.node(server).await? else {
            return Ok(Sight {
                reason: server.reason.next.clone(),
                progress: counted(server.progress.clone()),
                ..Sight::of(&server.reason.summary)
            });
        };
        if !is_current(&node) {
            return Ok(Sight::of("waiting for the conductor"));
        }
        let foretold = foretold(&server.plan, node.state.phase, node.state.step);
        Ok(Sight::of_node(&node, foretold))
    }

    async fn node(&mut self, server: &Server) -> Result<Option<Document<Node>>, Error> {
        if !self.node_is_visible {
            return Ok(None);
        }
        match self.client.node(&server.node.to_string()).await {
            Err(error) if matches!(error.status(), Some(403 | 404)) => {
                self.node_is_visible = false;
                Ok(None)
            }
            node => node.map(Some),
        }
    }
}
