//! Asking a node's management controller what its machine is made of.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_bmc::{BmcInventory as Found, Error, Identity};
use bessemer_core::reason::FailureClass;
use bessemer_wire::api::{
    BmcBootOption, BmcCpu, BmcDrive, BmcInventory, BmcMediaDrive, BmcNic, BmcStorageController,
};
use tokio::time::Instant;

use crate::api::extract::{Admin, Answer, Path};
use crate::api::problem::{Kind, Refusal, sentence};
use crate::site::Site;

/// The longest that it is asked: tens of requests, to a slow peer.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Ask a node's management controller what its machine is made of.
///
/// It is asked now, which takes tens of requests and up to a minute. What the agent has found,
/// which is what orders are matched with, is the node's `inventory`.
#[utoipa::path(get, path = "/v1/nodes/{node}/bmc", tag = "nodes", operation_id = "read_node_bmc",
    params(("node" = String, Path, description = "Name or id")),
    responses((status = 200, body = BmcInventory)))]
pub(super) async fn read(
    State(site): State<Site>,
    _: Admin,
    Path(node): Path<String>,
) -> Answer<BmcInventory> {
    let node = site.store.node(&node).await?;
    let bmc = site
        .bmcs
        .of(&node)
        .map_err(|failure| Refusal::new(Kind::MachineFailed, sentence(&failure.message)))?;
    // Somebody waits for it, so it is asked even if it is left alone.
    bmc.insist();
    let deadline = Instant::now() + READ_LIMIT;
    let before = bmc.requests();
    let read = async {
        Ok((
            bmc.identity(deadline).await?,
            bmc.inventory(deadline).await?,
        ))
    };
    let read: Result<_, Error> = read.await;
    let sent = bmc.requests().saturating_sub(before);
    site.metrics.bmc_requests.add(sent);
    let (identity, found) = read.map_err(|error| refusal(&error))?;
    Ok(Json(told(identity, found)))
}

fn refusal(error: &Error) -> Refusal {
    let kind = match error.class() {
        FailureClass::Transient => Kind::MachineTimeout,
        _ => Kind::MachineFailed,
    };
    Refusal::new(kind, sentence(&error.to_string()))
}

fn told(identity: Identity, found: Found) -> BmcInventory {
    let serial = Some(identity.machine.serial).filter(|serial| !serial.is_empty());
    let cpus = found.cpus.into_iter().map(|cpu| BmcCpu {
        model: cpu.model,
        cores: cpu.cores,
        threads: cpu.threads,
    });
    let nics = found.nics.into_iter().map(|nic| BmcNic {
        id: nic.id,
        mac: nic.mac,
        link_up: nic.link_up,
        speed_mbps: nic.speed_mbps,
    });
    let drives = found.drives.into_iter().map(|drive| BmcDrive {
        id: drive.id,
        model: drive.model,
        serial: drive.serial,
        size_bytes: drive.size_bytes,
    });
    let controllers = found.storage_controllers.into_iter();
    let controllers = controllers.map(|controller| BmcStorageController {
        id: controller.id,
        model: controller.model,
        serial: controller.serial,
        firmware_version: controller.firmware_version,
    });
    let boot_options = found.boot_options.into_iter().map(|option| BmcBootOption {
        reference: option.reference,
        name: option.name,
        device_path: option.device_path,
        enabled: option.enabled,
    });
    let media_drives = found.media_drives.into_iter().map(|drive| BmcMediaDrive {
        id: drive.id,
        kinds: drive.kinds,
        holds_image: drive.image.is_some(),
    });
    BmcInventory {
        manufacturer: identity.manufacturer,
        model: identity.model,
        serial,
        uuid: identity.machine.uuid,
        firmware_version: identity.bios_version,
        cpus: cpus.collect(),
        memory_mib: found.memory_mib,
        nics: nics.collect(),
        drives: drives.collect(),
        storage_controllers: controllers.collect(),
        boot_options: boot_options.collect(),
        media_drives: media_drives.collect(),
        unread: found.unread,
    }
}
