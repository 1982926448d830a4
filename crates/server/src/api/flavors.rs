//! Flavors: what is offered for rent. Everybody sees them; operators change them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::id::FlavorId;
use bessemer_core::root_disk::{RootDiskHint, choose};
use bessemer_store::{FlavorRecord, NodeRecord};
use bessemer_wire::api::{Flavor, FlavorCreate, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Admin, Answer, Body, Caller, Path};
use super::problem::Refusal;
use super::{answer_with, page, values};
use crate::site::Site;

/// The most nodes that are looked at to see which are available, here and for an order.
pub(super) const MAX_CANDIDATES: u32 = 10_000;

/// The most kinds of disks in a flavor.
const MAX_DISKS: usize = 32;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, delete))
}

/// List flavors, each with the number of nodes that are available now.
#[utoipa::path(get, path = "/v1/flavors", tag = "flavors", operation_id = "list_flavors",
    responses((status = 200, body = Page<Flavor>)))]
async fn list(State(site): State<Site>, _: Caller) -> Answer<Page<Flavor>> {
    let flavors = site.store.flavors().await?;
    let nodes = site.store.available_nodes(MAX_CANDIDATES).await?;
    let view = |flavor| view(flavor, &nodes);
    Ok(Json(page::whole(flavors.into_iter().map(view).collect())))
}

/// Offer a flavor.
///
/// Say what its hardware is, or name an inspected node that has it.
#[utoipa::path(post, path = "/v1/flavors", tag = "flavors", operation_id = "create_flavor",
    request_body = FlavorCreate,
    responses((status = 201, body = Flavor)))]
async fn create(
    State(site): State<Site>,
    _: Admin,
    Body(request): Body<FlavorCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    let hardware = match (request.hardware, request.from_node) {
        (Some(hardware), None) => hardware,
        (None, Some(node)) => hardware_of(&site, &node).await?,
        _ => {
            return Err(Refusal::invalid(
                "hardware",
                "Give either `hardware` or `from_node`, and not both.",
            ));
        }
    };
    check(&hardware)?;
    if let Some(hint) = &request.root_disk_hint {
        check_hint(hint, &hardware)?;
    }
    let flavor = FlavorRecord {
        id: FlavorId(Uuid::now_v7()),
        name: request.name,
        hardware,
        standby: request.standby,
        hand_over: request.hand_over,
        root_disk_hint: request.root_disk_hint,
    };
    site.store.create_flavor(&flavor, site.now()).await?;
    site.bell.ring();
    let nodes = site.store.available_nodes(MAX_CANDIDATES).await?;
    let location = format!("/v1/flavors/{}", flavor.id);
    Ok(answer_with(
        StatusCode::CREATED,
        &location,
        view(flavor, &nodes),
    ))
}

/// Show a flavor.
#[utoipa::path(get, path = "/v1/flavors/{flavor}", tag = "flavors", operation_id = "show_flavor",
    params(("flavor" = String, Path, description = "Name or id")),
    responses((status = 200, body = Flavor)))]
async fn show(State(site): State<Site>, _: Caller, Path(flavor): Path<String>) -> Answer<Flavor> {
    let flavor = site.store.flavor(&flavor).await?;
    let nodes = site.store.available_nodes(MAX_CANDIDATES).await?;
    Ok(Json(view(flavor, &nodes)))
}

/// Stop offering a flavor.
///
/// Not while there is a server of it.
#[utoipa::path(delete, path = "/v1/flavors/{flavor}", tag = "flavors", operation_id = "delete_flavor",
    params(("flavor" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    _: Admin,
    Path(flavor): Path<String>,
) -> Result<StatusCode, Refusal> {
    let flavor = site.store.flavor(&flavor).await?;
    site.store.delete_flavor(flavor.id).await?;
    if flavor.standby {
        // Its nodes go dark. Were this missed, they would all the same when they are next looked at.
        site.store.wake_available(site.now()).await?;
        site.bell.ring();
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn hardware_of(site: &Site, node: &str) -> Result<FlavorHardware, Refusal> {
    let node = super::reference("from_node", site.store.node(node).await)?;
    let inventory = node.inventory.ok_or_else(|| {
        Refusal::invalid(
            "from_node",
            format!("Node {} has not been inspected yet.", node.name),
        )
        .remedy("Wait until it is available.")
    })?;
    Ok(FlavorHardware::of(&inventory))
}

/// Checks what the types alone cannot.
fn check(hardware: &FlavorHardware) -> Result<(), Refusal> {
    values::text("hardware.architecture", &hardware.architecture, 32)?;
    for (field, text) in [
        ("hardware.cpu_model", &hardware.cpu_model),
        ("hardware.product", &hardware.product),
    ] {
        if let Some(text) = text {
            values::text(field, text, 128)?;
        }
    }
    let positive = |field: String, number: u64, most: u64| {
        if (1..=most).contains(&number) {
            return Ok(());
        }
        Err(Refusal::invalid(
            field,
            format!("{number} makes no sense: it must be 1 to {most}."),
        ))
    };
    positive("hardware.threads".into(), hardware.threads.into(), 65_536)?;
    positive("hardware.memory_mib".into(), hardware.memory_mib, 1 << 30)?;
    positive(
        "hardware.disks".into(),
        hardware.disks.len() as u64,
        MAX_DISKS as u64,
    )?;
    for (index, disk) in hardware.disks.iter().enumerate() {
        positive(
            format!("hardware.disks[{index}].count"),
            disk.count.into(),
            1024,
        )?;
        positive(
            format!("hardware.disks[{index}].size_gib"),
            disk.size_gib,
            1 << 20,
        )?;
    }
    Ok(())
}

/// Checks a hint for itself, and that a disk of the flavor can be so.
fn check_hint(hint: &RootDiskHint, hardware: &FlavorHardware) -> Result<(), Refusal> {
    values::root_disk_hint(hint)?;
    if hardware.disks.iter().any(|kind| hint.may_match(kind)) {
        return Ok(());
    }
    let detail = format!("No disk of the flavor's hardware can be as `{hint}` says.");
    Err(Refusal::invalid("root_disk_hint", detail)
        .remedy("Let the hint and `hardware.disks` agree in size and in whether disks spin."))
}

/// The flavor as the API shows it; `nodes` are all that are available.
fn view(flavor: FlavorRecord, nodes: &[NodeRecord]) -> Flavor {
    let matches = |node: &&NodeRecord| {
        let inventory = node.inventory.as_ref();
        let hint = node.root_disk_hint.as_ref();
        let hint = hint.or(flavor.root_disk_hint.as_ref());
        inventory.is_some_and(|found| {
            flavor.hardware.mismatches(found).is_empty() && choose(found, hint, 0).is_ok()
        })
    };
    let available = nodes.iter().filter(matches).count();
    Flavor {
        id: flavor.id,
        name: flavor.name,
        hardware: flavor.hardware,
        standby: flavor.standby,
        hand_over: flavor.hand_over,
        root_disk_hint: flavor.root_disk_hint,
        available: u32::try_from(available).unwrap_or(u32::MAX),
    }
}
