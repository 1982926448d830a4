//! Intents put into commands: with all that the agent needs to know to carry them out.

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::id::ImageId;
use bessemer_core::lifecycle::Action;
use bessemer_core::root_disk;
use bessemer_image::gpt::RESERVED_SIZE;
use bessemer_wire::agent::{ChunkUrl, Command, Work};

use super::Agents;
use super::session::{Refusal, Session};
use crate::chunk_service;

/// The longest that an armed agent waits for its port to move, in seconds.
const HAND_OVER_SECONDS: u64 = 300;

/// The command for the open intent of this session's node, if there is one.
pub(super) async fn of(agents: &Agents, session: &Session) -> Result<Option<Command>, Refusal> {
    let Some(intent) = &session.intent else {
        return Ok(None);
    };
    let Some(expects) = session.node.identity.clone() else {
        return Ok(None);
    };
    let work = match &intent.action {
        Action::ProveAgent => Work::Prove {
            nonce: agents.site.keyring.proof_nonce(session.boot, &intent.key),
        },
        Action::Inspect => Work::Inspect,
        Action::Erase => Work::Erase,
        Action::WriteImage { image, .. } => Work::WriteImage {
            image: *image,
            disk: disk(agents, session, *image).await?,
            chunks_in_clear: agents.chunk_service.map(|address| {
                ChunkUrl(chunk_service::url(
                    &agents.site,
                    address,
                    session.boot,
                    *image,
                ))
            }),
        },
        Action::WriteConfigDrive { .. } => Work::WriteConfigDrive {
            disk: deployed_disk(agents, session).await?,
        },
        Action::LoadKernel => Work::LoadKernel {
            disk: deployed_disk(agents, session).await?,
        },
        Action::HandOver { leave } => Work::HandOver {
            leave: *leave,
            deadline_seconds: HAND_OVER_SECONDS,
        },
        Action::CheckBmc
        | Action::PowerOff
        | Action::PowerOn
        | Action::ShutDown { .. }
        | Action::Restart { .. }
        | Action::PrepareBoot { .. }
        | Action::PrepareDiskBoot
        | Action::ConnectPorts { .. } => return Ok(None),
    };
    Ok(Some(Command {
        id: intent.key.clone(),
        generation: intent.generation,
        expects,
        work,
    }))
}

async fn deployed_disk(agents: &Agents, session: &Session) -> Result<DiskIdentity, Refusal> {
    disk(agents, session, session.deployment()?.image).await
}

/// The disk that `image` goes to: the same answer for every command of a deployment. The agent
/// makes sure that it is there and that the image fits.
async fn disk(agents: &Agents, session: &Session, image: ImageId) -> Result<DiskIdentity, Refusal> {
    let inventory = session.node.inventory.as_ref();
    if let Some(identity) = &session.deployment()?.root_disk {
        // What was stored by its kernel name alone is told in full.
        let known = inventory.and_then(|inventory| root_disk::deployed(inventory, identity));
        return Ok(known.map_or_else(|| identity.clone(), |disk| disk.identity()));
    }
    // From before it was written down with the order.
    let map = agents.site.images.map(image).await;
    let needed = map.map_err(Refusal::unavailable)?.virtual_size() + RESERVED_SIZE;
    let disk = inventory.and_then(|inventory| root_disk::choose(inventory, None, needed).ok());
    let disk = disk.ok_or(Refusal::NotFound(
        "no disk of this machine can hold the image",
    ))?;
    Ok(disk.identity())
}
