//! Chunks of images, by plain HTTP on the boot port.
//!
//! TLS costs an agent's processor more than everything else about a chunk, and buys it nothing: the
//! block map, which the agent has over TLS, says what each chunk must be. What is given up is that
//! others on the provisioning network could read the image as it passes (`docs/security.md`), so
//! `provisioning.image_transport` can turn this off. The service itself is for the machine whose
//! deployment needs the chunks, and nobody else: the URL holds a token for this boot and this
//! image, which is told over TLS, and only the address that was leased to the boot may use it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bessemer_core::id::{BootId, ImageId};
use bessemer_core::lifecycle::Goal;
use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::{error, warn};

use crate::images::ImageLibrary;
use crate::keyring::same_secret;
use crate::metrics::Metrics;
use crate::site::Site;

/// Chunks that one request may ask for: of the most that a chunk can be, 1 GiB.
const MOST_CHUNKS: usize = 1024;

/// Chunks that are read from the disk ahead of the network.
const READ_AHEAD: usize = 2;

/// The service.
pub(crate) fn router(site: Site) -> Router {
    Router::new()
        .route(
            "/chunks/{boot}/{image}/{token}/{first}/{count}",
            get(chunks),
        )
        .with_state(site)
}

/// Where the service at `address` gives `boot` the chunks of `image`.
pub(crate) fn url(site: &Site, address: SocketAddr, boot: BootId, image: ImageId) -> String {
    let token = site.keyring.chunk_token(boot, image);
    format!("http://{address}/chunks/{boot}/{image}/{token}")
}

type Request = (BootId, ImageId, String, usize, usize);

async fn chunks(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((boot, image, token, first, count)): Path<Request>,
) -> Response {
    // Guessing costs us no question to the database.
    if !same_secret(&token, &site.keyring.chunk_token(boot, image)) {
        warn!(%peer, "chunks asked for with a wrong token");
        return StatusCode::NOT_FOUND.into_response();
    }
    match may_have(&site, peer.ip(), boot, image).await {
        Ok(true) => {}
        Ok(false) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return unavailable(&error),
    }
    match answer(&site.images, &site.metrics, image, first, count).await {
        Ok(Some(response)) => response,
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &(impl std::error::Error + 'static)) -> Response {
    error!(%error, "chunks could not be served");
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// Whether this boot is its node's present one, asks from its own address, and is for a server
/// made from this image.
async fn may_have(
    site: &Site,
    peer: IpAddr,
    boot: BootId,
    image: ImageId,
) -> Result<bool, bessemer_store::Error> {
    let Some(record) = site.store.boot(boot).await?.filter(|record| record.used) else {
        return Ok(false);
    };
    if peer != IpAddr::V4(record.address) {
        warn!(%peer, expected = %record.address, "chunks asked for by another address");
        return Ok(false);
    }
    let node = site.store.node(&record.node.to_string()).await?;
    Ok(node.state.boot(node.id) == boot
        && matches!(&node.spec.goal, Goal::Deployed(deployment) if deployment.image == image))
}

/// `count` chunks of `image` from `first` on, as they are stored, one after the other. `None` if
/// it does not have them all, or they are too many.
///
/// # Errors
/// If the image is not in the library.
pub async fn answer(
    images: &ImageLibrary,
    metrics: &Arc<Metrics>,
    image: ImageId,
    first: usize,
    count: usize,
) -> Result<Option<Response>, bessemer_image::Error> {
    let map = images.map(image).await?;
    let chunks = first
        .checked_add(count)
        .filter(|_| (1..=MOST_CHUNKS).contains(&count))
        .and_then(|end| map.chunks().get(first..end));
    let Some(chunks) = chunks else {
        return Ok(None);
    };
    let length: u64 = chunks
        .iter()
        .map(|chunk| u64::from(chunk.stored_length))
        .sum();
    let (images, metrics) = (images.clone(), metrics.clone());
    // An error ends the connection in the middle: the agent asks again for what is missing.
    let body = stream::iter(first..first + count)
        .map(move |index| {
            let images = images.clone();
            async move { images.chunk(image, index).await }
        })
        .buffered(READ_AHEAD)
        .inspect_ok(move |bytes| metrics.image_bytes.add(bytes.len() as u64))
        .inspect_err(|error| error!(%error, "a chunk could not be read"));
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    Ok(Some((headers, Body::from_stream(body)).into_response()))
}
