//! Rebuilding a server: the same node and address, another image or the same.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bessemer_core::hardware::{Disk, DiskIdentity};
use bessemer_core::lifecycle::{Deployment, Goal, HandOver, NodeSpec, Observed, Phase};
use bessemer_core::plan::foretell;
use bessemer_core::root_disk;
use bessemer_store::{ImageRecord, NodeRecord, Placed, Rebuild, ServerRecord};
use bessemer_wire::api::{Server, ServerPlan, ServerRebuild};

use super::order::{check_user_data, find_keys, idempotency_key, sizes};
use super::placement::{BESIDE_IMAGE, kexec_failed};
use super::shortage::gibibytes;
use super::{placed, placed_before};
use crate::api::extract::{Answer, Body, Caller, Path};
use crate::api::problem::{Kind, Refusal};
use crate::api::reference;
use crate::keyring::purpose;
use crate::site::Site;

/// Write a server anew.
///
/// On the same node and under the same address, with another image or the same. Everything on its
/// root disk is lost; its other disks are left as they are. Possible while the server is active, or
/// after its deployment has failed. With an `Idempotency-Key`, the same request sent again within a
/// day changes nothing (and is answered with status 200).
#[utoipa::path(post, path = "/v1/servers/{server}/rebuild", tag = "servers",
    operation_id = "rebuild_server",
    params(("server" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header,
        description = "Names this request: 1 to 255 printable ASCII characters")),
    request_body = ServerRebuild,
    responses((status = 202, body = Server), (status = 200, body = Server,
        description = "This was asked for before under this key")))]
pub(super) async fn rebuild(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
    headers: HeaderMap,
    Body(request): Body<ServerRebuild>,
) -> Result<impl IntoResponse, Refusal> {
    let server = site.store.server(caller.scope(), &server).await?;
    let what = format!("rebuild {} ", server.id);
    let idempotency = idempotency_key(&site, &headers, &what, &request)?;
    if let Some(id) = placed_before(&site, caller.project(), idempotency.as_ref()).await? {
        return placed(&site, &caller, StatusCode::OK, id).await;
    }
    let prepared = prepare(&site, &server, &request).await?;
    let rebuild = Rebuild {
        server: server.id,
        project: caller.project(),
        seen: server.generation,
        image: prepared.image.id,
        image_bytes: prepared.image_bytes,
        root_disk: prepared.disk,
        hand_over: prepared.hand_over,
        keys: keys(&site, &server, &request).await?,
        user_data_sealed: user_data(&site, &server, &request)?,
        plan: prepared.plan.plan,
        idempotency,
    };
    let status = match site.store.rebuild(rebuild, site.now()).await? {
        Placed::New(_) => StatusCode::ACCEPTED,
        Placed::Again(_) => StatusCode::OK,
    };
    site.bell.ring();
    placed(&site, &caller, status, server.id).await
}

/// Tell what a rebuild would do, without doing it.
#[utoipa::path(post, path = "/v1/servers/{server}/rebuild/plan", tag = "servers",
    operation_id = "plan_rebuild",
    params(("server" = String, Path, description = "Name or id")),
    request_body = ServerRebuild, responses((status = 200, body = ServerPlan)))]
pub(super) async fn plan(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
    Body(request): Body<ServerRebuild>,
) -> Answer<ServerPlan> {
    let server = site.store.server(caller.scope(), &server).await?;
    let prepared = prepare(&site, &server, &request).await?;
    keys(&site, &server, &request).await?;
    Ok(Json(prepared.plan))
}

/// A rebuild that is possible.
struct Prepared {
    image: ImageRecord,
    image_bytes: u64,
    disk: DiskIdentity,
    hand_over: HandOver,
    plan: ServerPlan,
}

async fn prepare(
    site: &Site,
    server: &ServerRecord,
    request: &ServerRebuild,
) -> Result<Prepared, Refusal> {
    check_user_data(request.user_data.as_deref().filter(|data| !data.is_empty()))?;
    let deployment = may_begin(server)?;
    let image = match &request.image {
        Some(image) => reference("image", site.store.image(image).await)?,
        None => site.store.image(&server.image.to_string()).await?,
    };
    let (image_size, image_bytes) = sizes(&image)?;
    let node = site.store.node_by_id(server.node).await?;
    let disk = present_disk(site, server, deployment, &node).await?;
    let needed = image_size.saturating_add(BESIDE_IMAGE);
    if needed > disk.size_bytes {
        return Err(too_large(&image, needed, &disk));
    }
    let spec = NodeSpec {
        generation: node.spec.generation.next(),
        goal: Goal::Deployed(Deployment {
            server: server.id,
            image: image.id,
            image_bytes,
            root_disk: Some(disk.identity()),
            hand_over: deployment.hand_over,
        }),
        ..site.spec(&node)
    };
    let seen = Observed {
        kexec_failed: kexec_failed(site, &node, image.id).await?,
        ..Observed::default()
    };
    let plan = foretell(&spec, &node.state, &seen, site.now());
    Ok(Prepared {
        image,
        image_bytes,
        disk: disk.identity(),
        hand_over: deployment.hand_over,
        plan: ServerPlan {
            node: node.id,
            node_name: node.name,
            disk: disk.identity(),
            plan,
        },
    })
}

/// What the server is, if it can be written anew now.
fn may_begin(server: &ServerRecord) -> Result<&Deployment, Refusal> {
    let refuse = |what: &str| {
        let detail = format!("Server {} {what}.", server.name);
        Refusal::new(Kind::Conflict, detail)
    };
    let Goal::Deployed(deployment) = &server.goal else {
        return Err(refuse("is being given back"));
    };
    let state = &server.node_state;
    let current = state.generation == server.generation && state.at_rest();
    if current && matches!(state.phase, Phase::Active | Phase::Failed) {
        return Ok(deployment);
    }
    Err(refuse("is being built").remedy(
        "Wait until it is active or has failed; or delete it, which stops what is under way.",
    ))
}

/// The disk that the server is on. It stays there: a second system on another disk, with its own
/// config drive, would be found by firmware and cloud-init just as well.
async fn present_disk(
    site: &Site,
    server: &ServerRecord,
    deployment: &Deployment,
    node: &NodeRecord,
) -> Result<Disk, Refusal> {
    let present = site.store.image(&server.image.to_string()).await?;
    let (size, _) = sizes(&present)?;
    let disk = node.inventory.as_ref().and_then(|inventory| {
        match &deployment.root_disk {
            Some(identity) => root_disk::deployed(inventory, identity),
            // From before it was written down, when only the rule decided.
            None => {
                let needed = size.saturating_add(BESIDE_IMAGE);
                root_disk::choose(inventory, None, needed).ok()
            }
        }
    });
    disk.cloned().ok_or_else(|| {
        Refusal::new(
            Kind::Conflict,
            format!("It is not known which disk server {} is on.", server.name),
        )
        .remedy("Delete it and order another one.")
    })
}

fn too_large(image: &ImageRecord, needed: u64, disk: &Disk) -> Refusal {
    Refusal::new(
        Kind::ImageTooLarge,
        format!(
            "Image {} needs a disk of {needed} bytes ({}); the server's disk {} has {} ({}).",
            image.name,
            gibibytes(needed),
            disk.name,
            disk.size_bytes,
            gibibytes(disk.size_bytes)
        ),
    )
    .field("image")
    .remedy("Rebuild with a smaller image, or order another server. Nothing has been changed.")
}

/// The keys that open it from now on.
async fn keys(
    site: &Site,
    server: &ServerRecord,
    request: &ServerRebuild,
) -> Result<Vec<(String, String)>, Refusal> {
    match &request.keys {
        Some(names) => find_keys(site, server.project, names).await,
        None => Ok(server.keys.clone()),
    }
}

/// The user data that it has from now on, sealed.
fn user_data(
    site: &Site,
    server: &ServerRecord,
    request: &ServerRebuild,
) -> Result<Option<Vec<u8>>, Refusal> {
    match request.user_data.as_deref() {
        None => Ok(server.user_data_sealed.clone()),
        Some("") => Ok(None),
        Some(data) => {
            let purpose = purpose::user_data(server.id);
            Ok(Some(site.keyring.seal(&purpose, data.as_bytes())?))
        }
    }
}
