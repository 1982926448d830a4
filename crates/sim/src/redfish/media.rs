//! The CD drive that the controller imitates: `VirtualMedia` (DSP2046) of the computer system.
//!
//! `InsertMedia` fetches the image itself, as real controllers do, before it answers. It is strict
//! about its parameters and bounded in what it fetches; as real controllers mostly are, it is not
//! strict about the image server's certificate.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::error::RedfishError;
use super::resources::SYSTEM;
use super::router::json_object;
use super::{Bmc, fetch};

/// Parameters of `InsertMedia` that are understood.
const PARAMETERS: [&str; 5] = [
    "Image",
    "Inserted",
    "WriteProtected",
    "TransferMethod",
    "TransferProtocolType",
];

/// Path of the only drive.
pub(super) fn drive_path() -> String {
    format!("{SYSTEM}/VirtualMedia/Cd")
}

/// Where the image in the drive came from.
#[derive(Debug, Default)]
pub(super) struct Inserted(Mutex<Option<String>>);

impl Inserted {
    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, url: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

/// The drive as a resource.
pub(super) fn drive(bmc: &Bmc) -> Value {
    let path = drive_path();
    let url = bmc.inserted.get();
    let name = url.as_deref().and_then(|url| url.rsplit('/').next());
    let protocol = url.as_deref().map(protocol);
    json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMedia.v1_6_3.VirtualMedia",
        "Id": "Cd",
        "Name": "Virtual CD drive",
        "MediaTypes": ["CD", "DVD"],
        "ConnectedVia": if url.is_some() { "URI" } else { "NotConnected" },
        "Inserted": url.is_some(),
        "Image": url,
        "ImageName": name,
        "WriteProtected": true,
        "TransferMethod": url.as_ref().map(|_| "Stream"),
        "TransferProtocolType": protocol,
        "Actions": {
            "#VirtualMedia.InsertMedia": {
                "target": format!("{path}/Actions/VirtualMedia.InsertMedia"),
                "TransferMethod@Redfish.AllowableValues": ["Stream"],
                "TransferProtocolType@Redfish.AllowableValues": ["HTTP", "HTTPS"],
            },
            "#VirtualMedia.EjectMedia": {
                "target": format!("{path}/Actions/VirtualMedia.EjectMedia"),
            },
        },
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn protocol(url: &str) -> &'static str {
    if url.starts_with("https:") {
        "HTTPS"
    } else {
        "HTTP"
    }
}

pub(super) async fn insert(
    Extension(bmc): Extension<Arc<Bmc>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RedfishError> {
    let body = json_object(&headers, body)?;
    let url = wanted_image(&body)?;
    if bmc.inserted.get().is_some() {
        return Err(RedfishError::resource_in_use());
    }
    tracing::info!(url, "media insertion requested");
    let faults = bmc.faults.get();
    if faults.ignore_media_commands {
        return Ok(StatusCode::NO_CONTENT);
    }
    if faults.leave_media_unread {
        bmc.inserted.set(Some(url));
        return Ok(StatusCode::NO_CONTENT);
    }
    let on_demand = bmc.reads_media_on_demand.load(Ordering::Relaxed);
    let image = match on_demand {
        true => fetch::beginning(&url).await,
        false => fetch::whole(&url).await,
    };
    let image = image.map_err(|detail| RedfishError::cannot_fetch(&url, &detail))?;
    let inserted = bmc.machine().insert_media(image).await;
    inserted.map_err(|error| RedfishError::machine(&error))?;
    bmc.inserted.set(Some(url));
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn eject(
    Extension(bmc): Extension<Arc<Bmc>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RedfishError> {
    let body = json_object(&headers, body)?;
    if let Some(name) = body.keys().next() {
        return Err(RedfishError::parameter_unknown("EjectMedia", name));
    }
    if bmc.faults.get().ignore_media_commands {
        return Ok(StatusCode::NO_CONTENT);
    }
    let ejected = bmc.machine().eject_media().await;
    ejected.map_err(|error| RedfishError::machine(&error))?;
    bmc.inserted.set(None);
    Ok(StatusCode::NO_CONTENT)
}

/// The drive can be told by its actions only.
pub(super) async fn show(Extension(bmc): Extension<Arc<Bmc>>) -> Json<Value> {
    Json(drive(&bmc))
}

/// The image's URL, or what is wrong with the parameters.
fn wanted_image(body: &Map<String, Value>) -> Result<String, RedfishError> {
    const ACTION: &str = "InsertMedia";
    if let Some(name) = body
        .keys()
        .find(|name| !PARAMETERS.contains(&name.as_str()))
    {
        return Err(RedfishError::parameter_unknown(ACTION, name));
    }
    let refused = |name: &str, value: &Value| RedfishError::parameter_value(ACTION, name, value);
    let image = body.get("Image");
    let image = image.ok_or_else(|| RedfishError::parameter_missing(ACTION, "Image"))?;
    let url = image
        .as_str()
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .ok_or_else(|| refused("Image", image))?;
    let only = |name: &str, value: Value| match body.get(name) {
        Some(given) if *given != value => Err(refused(name, given)),
        _ => Ok(()),
    };
    only("Inserted", true.into())?;
    only("WriteProtected", true.into())?;
    only("TransferMethod", "Stream".into())?;
    only("TransferProtocolType", protocol(url).into())?;
    Ok(url.to_owned())
}
