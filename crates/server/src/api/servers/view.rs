//! A server as the API shows it. Its status is not stored: it follows from where its node is and
//! what is wanted of it.

use std::collections::HashMap;

use bessemer_core::id::{Generation, ImageId};
use bessemer_core::lifecycle::{Goal, NodeState, Phase};
use bessemer_core::reason::Reason;
use bessemer_store::{AttachmentRecord, ServerRecord};
use bessemer_wire::api::{Server, ServerAddress, ServerNetwork, ServerStatus};

use crate::api::extract::Caller;
use crate::api::problem::Refusal;
use crate::site::Site;

pub(super) async fn one(
    site: &Site,
    server: ServerRecord,
    caller: &Caller,
) -> Result<Server, Refusal> {
    // An image in use cannot be deleted, so it is there.
    let image = site.store.image(&server.image.to_string()).await?;
    Ok(view(site, server, image.default_user, caller))
}

/// Many, with one look at the images.
pub(super) async fn many(
    site: &Site,
    servers: Vec<ServerRecord>,
    caller: &Caller,
) -> Result<Vec<Server>, Refusal> {
    let images = site.store.images().await?;
    let users: HashMap<ImageId, Option<String>> = images
        .into_iter()
        .map(|image| (image.id, image.default_user))
        .collect();
    let view = |server: ServerRecord| {
        let user = users.get(&server.image).cloned().flatten();
        view(site, server, user, caller)
    };
    Ok(servers.into_iter().map(view).collect())
}

fn view(
    site: &Site,
    server: ServerRecord,
    default_user: Option<String>,
    caller: &Caller,
) -> Server {
    let status = status(&server.goal, server.generation, &server.node_state);
    let posts = server.node_state.posts.saturating_sub(server.posts_before);
    let address = server.address();
    let reason = reason(status, &server.node_state);
    Server {
        progress: site.progress.get(server.node),
        reason: match caller.is_admin() {
            true => reason,
            false => reason.for_tenants(),
        },
        id: server.id,
        name: server.name,
        project: server.project,
        status,
        flavor: server.flavor,
        image: server.image,
        address,
        networks: server.attachments.into_iter().map(network).collect(),
        default_user,
        node: server.node,
        plan: server.plan,
        posts: u32::try_from(posts).unwrap_or(u32::MAX),
        created_at: server.created_at,
        rebuilt_at: server.rebuilt_at,
        active_at: server.active_at,
    }
}

fn network(attachment: AttachmentRecord) -> ServerNetwork {
    let address = |(subnet, address)| ServerAddress { address, subnet };
    ServerNetwork {
        network: attachment.network,
        port: attachment.port,
        mode: attachment.mode,
        addresses: attachment.addresses.into_iter().map(address).collect(),
    }
}

fn status(goal: &Goal, generation: Generation, state: &NodeState) -> ServerStatus {
    let ordered = matches!(goal, Goal::Deployed(_));
    match (ordered, state.phase) {
        // The conductor has not looked since it was wanted otherwise: rebuilt, or stopped.
        (true, _) if state.generation != generation => ServerStatus::Building,
        (true, Phase::Active) => ServerStatus::Active,
        (true, Phase::Failed) => ServerStatus::Error,
        (true, _) => ServerStatus::Building,
        // It is the giving back that failed, not what went before it.
        (false, Phase::Failed) if state.came_from == Some(Phase::Releasing) => ServerStatus::Error,
        (false, _) => ServerStatus::Deleting,
    }
}

/// The node's reason, unless the conductor has not looked since the order or the release: then the
/// node still tells of what was before.
fn reason(status: ServerStatus, state: &NodeState) -> Reason {
    match (status, state.phase) {
        (ServerStatus::Building, Phase::Active) => {
            Reason::new("to be rebuilt").next("the conductor begins with the deployment", None)
        }
        (ServerStatus::Building, Phase::Available) => {
            Reason::new("ordered").next("the conductor begins with the deployment", None)
        }
        (ServerStatus::Deleting, Phase::Active | Phase::Deploying | Phase::Failed) => {
            Reason::new("being given back").next("the conductor switches the machine off", None)
        }
        _ => state.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::Timestamp;
    use bessemer_core::id::ServerId;
    use bessemer_core::lifecycle::{Deployment, HandOver};
    use uuid::Uuid;

    #[test]
    fn the_status_follows_from_node_and_goal() {
        let deployed = Goal::Deployed(Deployment {
            server: ServerId(Uuid::nil()),
            image: ImageId(Uuid::nil()),
            image_bytes: 0,
            root_disk: None,
            hand_over: HandOver::Kexec,
        });
        let state = |phase, came_from| NodeState {
            phase,
            came_from,
            ..NodeState::enrolled(Generation(1), Timestamp::UNIX_EPOCH)
        };
        let (failed, deploying) = (Phase::Failed, Some(Phase::Deploying));
        for (goal, state, expected) in [
            (
                &deployed,
                state(Phase::Available, None),
                ServerStatus::Building,
            ),
            (
                &deployed,
                state(Phase::Deploying, None),
                ServerStatus::Building,
            ),
            (&deployed, state(Phase::Active, None), ServerStatus::Active),
            (&deployed, state(failed, deploying), ServerStatus::Error),
            (
                &Goal::Available,
                state(Phase::Active, None),
                ServerStatus::Deleting,
            ),
            (
                &Goal::Available,
                state(Phase::Releasing, None),
                ServerStatus::Deleting,
            ),
            (
                &Goal::Available,
                state(failed, deploying),
                ServerStatus::Deleting,
            ),
            (
                &Goal::Available,
                state(failed, Some(Phase::Releasing)),
                ServerStatus::Error,
            ),
        ] {
            let found = status(goal, Generation(1), &state);
            assert_eq!(found, expected, "{goal:?} {:?}", state.phase);
        }
    }
}
