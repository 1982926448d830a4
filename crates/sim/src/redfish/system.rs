//! The one `ComputerSystem`: reading it, its boot override and its power.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Bmc;
use super::error::RedfishError;
use super::faults::Passing;
use super::metadata::OWN_TYPE;
use super::resources::{CHASSIS, MANAGER, SYSTEM};
use super::router::json_object;
use crate::machine::{BootMode, BootOverride, BootTarget, OverrideEnabled, PowerState};

/// Reset types offered (DSP2046, Resource `ResetType`).
#[derive(Debug, Clone, Copy, Deserialize)]
enum ResetType {
    On,
    ForceOn,
    ForceOff,
    GracefulShutdown,
    ForceRestart,
}

const RESET_TYPES: [&str; 5] = [
    "On",
    "ForceOn",
    "ForceOff",
    "GracefulShutdown",
    "ForceRestart",
];

pub(super) async fn show(Extension(bmc): Extension<Arc<Bmc>>) -> Response {
    let mut resource = representation(&bmc).await;
    if bmc.faults.take(Passing::MissingKeys)
        && let Some(resource) = resource.as_object_mut()
    {
        resource.retain(|key, _| key != "PowerState" && key != "Boot");
    }
    tagged(resource)
}

/// A resource with its entity tag (RFC 9110, section 8.8.3) in header and body.
fn tagged(mut resource: Value) -> Response {
    let tag = entity_tag(&resource);
    resource["@odata.etag"] = json!(tag);
    ([(header::ETAG, tag)], Json(resource)).into_response()
}

fn entity_tag(resource: &Value) -> String {
    let digest = digest(&SHA256, resource.to_string().as_bytes());
    let short: String = digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{short}\"")
}

async fn representation(bmc: &Bmc) -> Value {
    let machine = bmc.machine();
    let power = match bmc.faults.get().reads_on {
        true => PowerState::On,
        false => machine.power_state().await,
    };
    let inventory = machine.inventory();
    json!({
        "@odata.id": SYSTEM,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "1",
        "Name": "System",
        "SystemType": "Physical",
        "Manufacturer": inventory.manufacturer,
        "Model": inventory.model,
        "SerialNumber": inventory.serial_number,
        "UUID": inventory.uuid,
        "BiosVersion": inventory.bios_version,
        "PowerState": power,
        "Status": {"State": "Enabled", "Health": "OK"},
        "Boot": boot(bmc),
        "ProcessorSummary": {
            "Count": 1,
            "CoreCount": inventory.processor_cores,
            "LogicalProcessorCount": inventory.processor_cores,
            "Model": inventory.processor_model,
        },
        "MemorySummary": {
            "TotalSystemMemoryGiB": f64::from(inventory.memory_mib) / 1024.0,
        },
        "EthernetInterfaces": {"@odata.id": format!("{SYSTEM}/EthernetInterfaces")},
        "Storage": {"@odata.id": format!("{SYSTEM}/Storage")},
        "Processors": {"@odata.id": format!("{SYSTEM}/Processors")},
        "Memory": {"@odata.id": format!("{SYSTEM}/Memory")},
        "VirtualMedia": {"@odata.id": format!("{SYSTEM}/VirtualMedia")},
        "SerialConsole": {"IPMI": {"ServiceEnabled": bmc.ipmi().is_served}},
        "Links": {
            "Chassis": [{"@odata.id": CHASSIS}],
            "ManagedBy": [{"@odata.id": MANAGER}],
        },
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
                "ResetType@Redfish.AllowableValues": RESET_TYPES,
            }
        },
        "Oem": {"Bessemer": {"@odata.type": OWN_TYPE, "BootCount": machine.boot_count()}},
    })
}

fn boot(bmc: &Bmc) -> Value {
    let boot_override = bmc.machine().boot_override();
    json!({
        "BootSourceOverrideEnabled": boot_override.enabled,
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once", "Continuous"],
        "BootSourceOverrideTarget": boot_override.target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": bmc.machine().boot_targets(),
        "BootSourceOverrideMode": bmc.machine().boot_mode(),
        "BootSourceOverrideMode@Redfish.AllowableValues": [BootMode::Uefi, BootMode::Legacy],
    })
}

pub(super) async fn change(
    Extension(bmc): Extension<Arc<Bmc>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, RedfishError> {
    let body = json_object(&headers, body)?;
    let present = representation(&bmc).await;
    if bmc.faults.take(Passing::StaleEtag) {
        return Err(RedfishError::precondition_failed());
    }
    if let Some(expected) = headers.get(header::IF_MATCH) {
        let tag = entity_tag(&present);
        if !expected
            .to_str()
            .is_ok_and(|expected| matches(expected, &tag))
        {
            return Err(RedfishError::precondition_failed());
        }
    }
    let (wanted, mode) = wanted_boot(&body, &present, bmc.machine().boot_override())?;
    if !bmc.faults.get().ignore_boot_override {
        let machine = bmc.machine();
        let before = machine.boot_mode();
        let refused = |error| RedfishError::machine(&error);
        if let Some(mode) = mode {
            machine.set_boot_mode(mode).await.map_err(refused)?;
        }
        if let Err(error) = machine.set_boot_override(wanted).await {
            machine.set_boot_mode(before).await.map_err(refused)?;
            return Err(refused(error));
        }
    }
    Ok(tagged(representation(&bmc).await))
}

/// Whether an `If-Match` header lets `tag` pass; real clients send weak tags and lists too.
fn matches(expected: &str, tag: &str) -> bool {
    expected
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one == tag)
}

/// The override and the mode a PATCH asks for, or what is wrong with the PATCH; nothing is done by
/// halves.
fn wanted_boot(
    body: &Map<String, Value>,
    present: &Value,
    mut wanted: BootOverride,
) -> Result<(BootOverride, Option<BootMode>), RedfishError> {
    let mut mode = None;
    if let Some(name) = body.keys().find(|name| *name != "Boot") {
        return Err(refused_property(present, name, &format!("#/{name}")));
    }
    let boot = body.get("Boot").and_then(Value::as_object);
    let boot = boot.ok_or_else(|| RedfishError::property_missing("#/Boot"))?;
    for (name, value) in boot {
        let pointer = format!("#/Boot/{name}");
        match name.as_str() {
            "BootSourceOverrideTarget" => {
                wanted.target = parsed(value, &pointer)?;
                // DSP2046: the target None means that no override is in effect.
                if wanted.target == BootTarget::None {
                    wanted.enabled = OverrideEnabled::Disabled;
                }
            }
            "BootSourceOverrideEnabled" => {}
            "BootSourceOverrideMode" => mode = Some(parsed(value, &pointer)?),
            _ => return Err(refused_property(&present["Boot"], name, &pointer)),
        }
    }
    if let Some(value) = boot.get("BootSourceOverrideEnabled") {
        wanted.enabled = parsed(value, "#/Boot/BootSourceOverrideEnabled")?;
    }
    Ok((wanted, mode))
}

fn refused_property(present: &Value, name: &str, pointer: &str) -> RedfishError {
    if present.get(name).is_some() {
        RedfishError::property_not_writable(pointer)
    } else {
        RedfishError::property_unknown(pointer)
    }
}

fn parsed<T: DeserializeOwned>(value: &Value, pointer: &str) -> Result<T, RedfishError> {
    serde_json::from_value(value.clone())
        .map_err(|_| RedfishError::value_not_in_list(pointer, value))
}

pub(super) async fn reset(
    Extension(bmc): Extension<Arc<Bmc>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RedfishError> {
    let body = json_object(&headers, body)?;
    let value = body.get("ResetType");
    let value = value.ok_or_else(|| RedfishError::property_missing("#/ResetType"))?;
    let kind = parsed(value, "#/ResetType")?;
    let machine = bmc.machine();
    tracing::info!(
        serial = machine.inventory().serial_number,
        ?kind,
        "reset requested"
    );
    if bmc.faults.get().ignore_power_commands {
        return Ok(StatusCode::NO_CONTENT);
    }
    let done = match kind {
        ResetType::On | ResetType::ForceOn => machine.power_on().await,
        ResetType::ForceOff => machine.force_off().await,
        ResetType::GracefulShutdown => machine.shut_down().await,
        ResetType::ForceRestart => machine.restart().await,
    };
    match done {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(RedfishError::machine(&error)),
    }
}
