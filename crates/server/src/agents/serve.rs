//! What an agent may fetch: the image and the config drive of the server that its node is
//! becoming, and nothing else.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bessemer_core::id::{ImageId, ServerId};
use bessemer_core::instance::{meta_data, serial_marker, vendor_data};
use bessemer_core::network_data::{CheckedNetworking, files, network_data};
use bessemer_core::report;
use bessemer_image::config_drive::ConfigDrive;
use bessemer_store::ServerRecord;
use bytes::Bytes;
use serde::Deserialize;

use super::Agents;
use super::networking;
use super::session::{Refusal, Session};
use crate::attachments;
use crate::chunk_service;
use crate::keyring::purpose;
use crate::phone_home;
use crate::site::Site;

pub(super) async fn map(
    State(agents): State<Agents>,
    session: Session,
    Path(image): Path<ImageId>,
) -> Result<Response, Refusal> {
    own_image(&session, image)?;
    let map = agents
        .site
        .images
        .map(image)
        .await
        .map_err(Refusal::unavailable)?;
    Ok(Json(&*map).into_response())
}

pub(super) async fn chunks(
    State(agents): State<Agents>,
    session: Session,
    Path((image, first, count)): Path<(ImageId, usize, usize)>,
) -> Result<Response, Refusal> {
    own_image(&session, image)?;
    chunk_service::answer(
        &agents.site.images,
        &agents.site.metrics,
        image,
        first,
        count,
    )
    .await
    .map_err(Refusal::unavailable)?
    .ok_or(Refusal::NotFound("the image has no such chunks"))
}

pub(super) async fn report_script(
    State(agents): State<Agents>,
    session: Session,
) -> Result<Response, Refusal> {
    let server = session.deployment()?.server;
    Ok(binary(script(&agents.site, &session, server).into()))
}

/// How the server's system says that it is up.
fn script(site: &Site, session: &Session, server: ServerId) -> String {
    let generation = session.node.spec.generation;
    let path = phone_home::path(site, server, generation);
    let urls = site.peers.phone_home_urls();
    let urls: Vec<_> = urls.iter().map(|base| format!("{base}{path}")).collect();
    let token = site.keyring.serial_marker_token(server, generation);
    report::script(&urls, &serial_marker(&token))
}

/// What the image needs for its network, beside the config drive.
pub(super) async fn network_files(
    State(agents): State<Agents>,
    session: Session,
) -> Result<Response, Refusal> {
    let deployment = session.deployment()?;
    let store = &agents.site.store;
    let server = store.server(None, &deployment.server.to_string()).await;
    let server = server.map_err(Refusal::unavailable)?;
    let image = store.image(&deployment.image.to_string()).await;
    let image = image.map_err(Refusal::unavailable)?;
    let networking = networking_of(&agents.site, &session, &server).await?;
    Ok(Json(files(&networking, image.network_configuration)).into_response())
}

async fn networking_of(
    site: &Site,
    session: &Session,
    server: &ServerRecord,
) -> Result<CheckedNetworking, Refusal> {
    let switches = site.fabric.switches(site).await;
    let switches = switches.map_err(Refusal::unavailable)?;
    let node = &session.node;
    let placed = attachments::of_server(&site.store, &switches, server, node).await;
    let placed = placed.map_err(Refusal::unavailable)?;
    networking::of(&placed).map_err(Refusal::unavailable)
}

/// What a config drive is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigDriveQuery {
    report: Option<PlacedReport>,
}

/// Where the agent has placed the script by itself.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlacedReport {
    Unit,
}

pub(super) async fn config_drive(
    State(agents): State<Agents>,
    session: Session,
    Query(query): Query<ConfigDriveQuery>,
) -> Result<Response, Refusal> {
    let deployment = session.deployment()?;
    let site = &agents.site;
    let server = site
        .store
        .server(None, &deployment.server.to_string())
        .await;
    let server = server.map_err(Refusal::unavailable)?;
    let mut drive = compose(site, &session, &server).await?;
    if query.report.is_none() {
        let vendor = vendor_data(&script(site, &session, server.id));
        drive.vendor_data = Some(vendor.to_string().into_bytes());
    }
    let image = drive.compose().map_err(Refusal::unavailable)?;
    Ok(binary(image.into()))
}

/// The drive but for vendor data.
async fn compose(
    site: &Site,
    session: &Session,
    server: &ServerRecord,
) -> Result<ConfigDrive, Refusal> {
    let networking = networking_of(site, session, server).await?;
    let user_data = match &server.user_data_sealed {
        Some(sealed) => Some(
            site.keyring
                .open(&purpose::user_data(server.id), sealed)
                .map_err(Refusal::unavailable)?,
        ),
        None => None,
    };
    Ok(ConfigDrive {
        meta_data: meta_data(server.id, &server.name, &server.keys)
            .to_string()
            .into_bytes(),
        network_data: network_data(&networking).to_string().into_bytes(),
        user_data,
        vendor_data: None,
    })
}

fn own_image(session: &Session, image: ImageId) -> Result<(), Refusal> {
    if session.deployment()?.image == image {
        Ok(())
    } else {
        Err(Refusal::NotFound("this is not the image being deployed"))
    }
}

fn binary(bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}
