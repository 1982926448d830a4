//! Checking an order: what its fields name must exist and go together.

use axum::http::HeaderMap;
use bessemer_core::id::ProjectId;
use bessemer_store::{FlavorRecord, ImageRecord, NewAttachment};
use bessemer_wire::api::{ImageStatus, ServerCreate};
use serde::Serialize;

use super::networks::{self, Ordered};
use crate::api::extract::Caller;
use crate::api::problem::{Kind, Refusal};
use crate::api::{reference, values};
use crate::site::Site;

/// The largest user data, in bytes: what OpenStack and the big clouds take, and what fits the
/// config drive.
const MAX_USER_DATA: usize = 64 << 10;

/// The most keys on a server.
const MAX_KEYS: usize = 32;

/// An order whose names are found.
pub(super) struct Resolved {
    pub(super) flavor: FlavorRecord,
    pub(super) image: ImageRecord,
    /// Bytes of the disk that the image makes.
    pub(super) image_size: u64,
    /// Bytes of the image that are to be written.
    pub(super) image_bytes: u64,
    pub(super) networks: Vec<Ordered>,
    /// Name and public key.
    pub(super) keys: Vec<(String, String)>,
}

impl Resolved {
    /// The server's places on its networks.
    pub(super) fn attachments(&self) -> Vec<NewAttachment> {
        let networks = self.networks.iter();
        networks.map(|each| each.attachment.clone()).collect()
    }
}

pub(super) async fn resolve(
    site: &Site,
    caller: &Caller,
    request: &ServerCreate,
) -> Result<Resolved, Refusal> {
    values::dns_label("name", &request.name)?;
    check_user_data(request.user_data.as_deref())?;
    let flavor = reference("flavor", site.store.flavor(&request.flavor).await)?;
    let image = reference("image", site.store.image(&request.image).await)?;
    let networks = networks::resolve(site, caller, &request.networks).await?;
    let keys = find_keys(site, caller.project(), &request.keys).await?;
    let (image_size, image_bytes) = sizes(&image)?;
    Ok(Resolved {
        flavor,
        image,
        image_size,
        image_bytes,
        networks,
        keys,
    })
}

pub(super) fn check_user_data(data: Option<&str>) -> Result<(), Refusal> {
    let length = data.map_or(1, str::len);
    if (1..=MAX_USER_DATA).contains(&length) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "user_data",
        format!("User data has 1 to {MAX_USER_DATA} bytes; this has {length}."),
    )
    .remedy("Leave it out, or let it fetch the rest by itself (`#include` in cloud-init)."))
}

/// Sizes of an image that is ready.
pub(super) fn sizes(image: &ImageRecord) -> Result<(u64, u64), Refusal> {
    let refuse = |detail: String| Refusal::new(Kind::ImageNotReady, detail).field("image");
    match (image.status, image.virtual_size, image.data_bytes) {
        (ImageStatus::Ready, Some(size), Some(bytes)) => Ok((size, bytes)),
        (ImageStatus::Failed, ..) => {
            let why = image.message.as_deref().unwrap_or("nobody knows why");
            Err(
                refuse(format!("The import of image {} failed: {why}.", image.name)).remedy(
                    "Order with another image; an operator can delete and import it again.",
                ),
            )
        }
        _ => Err(
            refuse(format!("Image {} is still being imported.", image.name)).remedy(format!(
                "GET /v1/images/{} shows how far it is.",
                image.name
            )),
        ),
    }
}

pub(super) async fn find_keys(
    site: &Site,
    project: ProjectId,
    names: &[String],
) -> Result<Vec<(String, String)>, Refusal> {
    if !(1..=MAX_KEYS).contains(&names.len()) {
        return Err(
            Refusal::invalid("keys", format!("A server has 1 to {MAX_KEYS} keys.")).remedy(
                "Add one with POST /v1/keys: without a key there is no way into the server.",
            ),
        );
    }
    let mut keys: Vec<(String, String)> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let found = site.store.key_pair(project, name).await;
        let key = reference(&format!("keys[{index}]"), found)?;
        if !keys.iter().any(|(known, _)| *known == key.name) {
            keys.push((key.name, key.public_key));
        }
    }
    Ok(keys)
}

/// The `Idempotency-Key` of the request, with what tells this request from another one. `what` says
/// what is asked for; nothing if it is an order.
pub(super) fn idempotency_key(
    site: &Site,
    headers: &HeaderMap,
    what: &str,
    request: &impl Serialize,
) -> Result<Option<(String, String)>, Refusal> {
    let Some(key) = idempotency_header(headers)? else {
        return Ok(None);
    };
    // Written out again, so that spaces and the order of fields make no difference.
    let canonical = serde_json::to_string(request).map_err(|error| Refusal::internal(&error))?;
    let digest = site.keyring.request_digest(&format!("{what}{canonical}"));
    Ok(Some((key, digest)))
}

/// The `Idempotency-Key` of the request.
pub(super) fn idempotency_header(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if !(1..=255).contains(&key.len()) {
        return Err(Refusal::new(
            Kind::InvalidParameter,
            "An Idempotency-Key has 1 to 255 printable ASCII characters.",
        )
        .field("Idempotency-Key"));
    }
    Ok(Some(key.to_owned()))
}
