//! Inputs that broke something once.

use std::time::Duration;

use bessemer_bmc::redfish::{Endpoint, Security, read};
use bessemer_fabric::read_ovsdb;
use bessemer_fuzz::measure::cost;
use serde_json::{Value, json};

/// Each port was looked for among all ports, each time anew: a switch that sent some thousand rows kept a
/// thread of the server busy for minutes.
#[test]
fn a_switch_that_sends_thousands_of_ports_is_read_in_time() {
    let reference = |number: usize| json!(["uuid", format!("{number:08}")]);
    let interfaces =
        (0..3000).map(|number| json!({"_uuid": reference(number), "name": format!("e{number}")}));
    let ports = (0..3000).map(|number| {
        json!({
            "_uuid": reference(10_000 + number), "name": format!("p{number}"),
            "interfaces": ["set", [reference(number), reference(number / 2)]], "tag": 7,
        })
    });
    let rows: Vec<Value> = interfaces.chain(ports).collect();
    let message = json!({"id": 1, "error": null, "result": [{"rows": rows}]}).to_string();
    assert!(message.len() < 1 << 20, "it is one that is read");
    let mut states = Vec::new();
    let spent = cost(|| states = read_ovsdb(message.as_bytes()));
    // Ports have names and UUIDs, too, so they are read as interfaces as well.
    assert_eq!(states.len(), 6000);
    assert!(spent.time < Duration::from_secs(10), "{:?}", spent.time);
}

/// Hundreds of resources, each with texts of megabytes, were kept as an inventory, and stored.
#[test]
fn a_bmc_that_pads_its_texts_has_little_of_them_kept() {
    let at = Endpoint::new("http://127.0.0.1:8000", Security::UnencryptedHttp).unwrap();
    let long = "x".repeat(1 << 20);
    let body = json!({
        "Id": long, "Model": long, "SerialNumber": long, "Manufacturer": long, "BiosVersion": long,
        "MediaTypes": vec![long.as_str(); 3], "Image": long,
        "Members": [{"@odata.id": long}], "Members@odata.nextLink": long,
    });
    let reading = read(body.to_string().as_bytes(), &at).unwrap();
    let kept = format!("{reading:?}").len();
    assert!(kept < 20_000, "{kept} bytes are kept");
}
