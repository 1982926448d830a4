//! Resources, errors and preconditions.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{RESET, Rig, SESSIONS, SYSTEM, expect_error};

#[tokio::test]
async fn the_service_root_is_open_and_nothing_else_is() {
    let rig = Rig::start().await;
    for path in [
        "/redfish",
        "/redfish/v1",
        "/redfish/v1/",
        "/redfish/v1/odata",
    ] {
        let response = rig
            .anonymous(Method::GET, path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["odata-version"], "4.0", "{path}");
    }
    for path in [
        SYSTEM,
        SESSIONS,
        "/redfish/v1/Systems",
        "/redfish/v1/nowhere",
    ] {
        let response = rig
            .anonymous(Method::GET, path)
            .send()
            .await
            .expect("an answer");
        assert!(
            response.headers().contains_key("www-authenticate"),
            "{path}"
        );
        expect_error(response, StatusCode::UNAUTHORIZED, "NoValidSession").await;
    }
}

/// Adds every `@odata.id` within `value` to `links`.
fn collect_links(value: &Value, links: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(link) = object.get("@odata.id").and_then(Value::as_str) {
                links.insert(link.to_owned());
            }
            object
                .values()
                .for_each(|value| collect_links(value, links));
        }
        Value::Array(array) => array.iter().for_each(|value| collect_links(value, links)),
        _ => {}
    }
}

#[tokio::test]
async fn every_link_leads_to_the_resource_it_names() {
    let rig = Rig::start().await;
    let mut known = BTreeSet::from(["/redfish/v1/".to_owned()]);
    let mut visited = BTreeSet::new();
    while let Some(link) = known.difference(&visited).next().cloned() {
        let resource = rig.get(&link).await;
        assert_eq!(resource["@odata.id"], link.as_str());
        assert!(resource["@odata.type"].is_string(), "{link} has a type");
        collect_links(&resource, &mut known);
        visited.insert(link);
    }
    for expected in [
        "/redfish/v1/Chassis/1",
        "/redfish/v1/Managers/1",
        "/redfish/v1/SessionService",
        "/redfish/v1/Systems/1/EthernetInterfaces/NIC1",
        "/redfish/v1/Chassis/1/Drives/Drive1",
        "/redfish/v1/Systems/1/Processors/CPU1",
        "/redfish/v1/Systems/1/Memory/DIMM1",
    ] {
        assert!(
            visited.contains(expected),
            "{expected} is linked from somewhere"
        );
    }
}

#[tokio::test]
async fn the_system_shows_what_the_machine_is_made_of() {
    let rig = Rig::start().await;
    let system = rig.get(SYSTEM).await;
    assert_eq!(system["Manufacturer"], "Bessemer");
    assert_eq!(system["SerialNumber"], "SIM00001");
    assert_eq!(system["UUID"], "5e550000-0000-4000-8000-000000000001");
    assert_eq!(system["PowerState"], "Off");
    assert_eq!(system["ProcessorSummary"]["CoreCount"], 4);
    assert_eq!(system["MemorySummary"]["TotalSystemMemoryGiB"], 16.0);
    let targets = &system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"];
    assert_eq!(*targets, json!(["None", "Pxe", "Hdd", "Cd", "UefiHttp"]));
    let nic = rig
        .get("/redfish/v1/Systems/1/EthernetInterfaces/NIC1")
        .await;
    assert_eq!(nic["MACAddress"], "52:54:00:51:00:01");
    let drive = rig.get("/redfish/v1/Chassis/1/Drives/Drive1").await;
    assert_eq!(drive["CapacityBytes"], 8_u64 << 30);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_refused() {
    let rig = Rig::start().await;
    let response = rig
        .request(Method::GET, "/redfish/v1/Systems/2")
        .send()
        .await;
    expect_error(
        response.expect("an answer"),
        StatusCode::NOT_FOUND,
        "ResourceMissingAtURI",
    )
    .await;
    for (method, path) in [
        (Method::DELETE, SYSTEM),
        (Method::GET, RESET),
        (Method::PATCH, "/redfish/v1/Chassis/1"),
        (Method::PUT, SESSIONS),
    ] {
        let response = rig.request(method, path).send().await.expect("an answer");
        expect_error(
            response,
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
        )
        .await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be_are_refused() {
    let rig = Rig::start().await;
    let send = async |body: String, content_type: &str| {
        let request = rig
            .request(Method::POST, RESET)
            .header("content-type", content_type);
        request.body(body).send().await.expect("an answer")
    };
    let answer = send("{\"ResetType\": ".to_owned(), "application/json").await;
    expect_error(answer, StatusCode::BAD_REQUEST, "MalformedJSON").await;
    let answer = send("[]".to_owned(), "application/json").await;
    expect_error(answer, StatusCode::BAD_REQUEST, "MalformedJSON").await;
    let answer = send(
        "ResetType=On".to_owned(),
        "application/x-www-form-urlencoded",
    )
    .await;
    expect_error(
        answer,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnrecognizedRequestBody",
    )
    .await;
    let answer = send(format!("\"{}\"", "x".repeat(64 * 1024)), "application/json").await;
    expect_error(answer, StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge").await;
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "Off");
}

#[tokio::test]
async fn a_patch_is_done_as_a_whole_or_not_at_all() {
    let rig = Rig::start().await;
    let boot = |name: &str, value: Value| json!({"Boot": {"BootSourceOverrideTarget": "Hdd", name: value}});
    let before = rig.get(SYSTEM).await;
    for (body, message, property) in [
        (json!({"Bot": {}}), "PropertyUnknown", "#/Bot"),
        (
            json!({"Manufacturer": "me"}),
            "PropertyNotWritable",
            "#/Manufacturer",
        ),
        (json!({}), "PropertyMissing", "#/Boot"),
        (
            boot("Nonsense", json!(1)),
            "PropertyUnknown",
            "#/Boot/Nonsense",
        ),
        (
            boot("BootSourceOverrideEnabled", json!("Twice")),
            "PropertyValueNotInList",
            "#/Boot/BootSourceOverrideEnabled",
        ),
        (
            boot("BootSourceOverrideMode", json!("Bios")),
            "PropertyValueNotInList",
            "#/Boot/BootSourceOverrideMode",
        ),
        (
            json!({"Boot": {"BootSourceOverrideTarget": "Floppy"}}),
            "PropertyValueNotInList",
            "#/Boot/BootSourceOverrideTarget",
        ),
    ] {
        let error = expect_error(rig.patch(&body).await, StatusCode::BAD_REQUEST, message).await;
        let properties = &error["error"]["@Message.ExtendedInfo"][0]["RelatedProperties"];
        assert_eq!(*properties, json!([property]));
    }
    assert_eq!(rig.get(SYSTEM).await, before);
}

#[tokio::test]
async fn an_old_entity_tag_changes_nothing() {
    let rig = Rig::start().await;
    let tag = rig.get(SYSTEM).await["@odata.etag"]
        .as_str()
        .expect("a tag")
        .to_owned();
    let patch = async |tag: &str, target: &str| {
        let body = json!({"Boot": {
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": target,
        }});
        let request = rig.request(Method::PATCH, SYSTEM).header("if-match", tag);
        request.json(&body).send().await.expect("an answer")
    };
    let changed = patch(&tag, "UefiHttp").await;
    assert_eq!(changed.status(), StatusCode::OK);
    let new_tag = changed.headers()["etag"].to_str().expect("text").to_owned();
    assert_ne!(new_tag, tag);
    expect_error(
        patch(&tag, "Hdd").await,
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
    )
    .await;
    assert_eq!(
        rig.get(SYSTEM).await["Boot"]["BootSourceOverrideTarget"],
        "UefiHttp"
    );
    assert_eq!(
        patch(&format!("W/{new_tag}"), "Hdd").await.status(),
        StatusCode::OK
    );
    assert_eq!(patch("*", "Pxe").await.status(), StatusCode::OK);
}
