//! The OpenAPI document that is checked in is the one that the handlers make.
//!
//! After a change of the API: `UPDATE_OPENAPI=1 cargo test -p bessemer-server --test api openapi`.

use std::path::Path;

use bessemer_server::api::openapi;
use serde_json::Value;

#[test]
fn the_document_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/openapi.json is not what the handlers make: look at what has changed, then run\n\
         UPDATE_OPENAPI=1 cargo test -p bessemer-server --test api openapi"
    );
}

#[test]
fn the_document_is_sound() {
    let document = serde_json::to_value(openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name} says nothing");
            assert!(
                operation["responses"]["default"].is_object(),
                "{name} has no problem"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                let described = response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty());
                assert!(described, "{name} {status} is not described");
            }
            let open = matches!(path.as_str(), "/healthz" | "/metrics");
            assert_eq!(open, operation.get("security").is_some(), "{name}");
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
    references(&document, &document);
}

/// Every reference leads somewhere.
fn references(part: &Value, document: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let pointer = reference
                    .strip_prefix('#')
                    .expect("a reference within the document");
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            map.values().for_each(|value| references(value, document));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, document)),
        _ => {}
    }
}
