//! What servers are ordered from: flavors, networks and keys.

mod api_support;

use api_support::{Api, PUBLIC_KEY, machine};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn flavors_are_what_machines_have() {
    let api = Api::start().await;
    api.available_node(1, machine(31_800, 100)).await;
    api.available_node(2, machine(64_000, 100)).await;
    api.node(3).await;
    let flavor = |body: Value| api.post("/v1/flavors", body);
    let created = flavor(json!({ "name": "m1", "from_node": "n1" }))
        .await
        .expect(201);
    assert_eq!(created["hardware"]["memory_mib"], 32_768);
    assert_eq!(created["available"], 1);
    let listed = api.get("/v1/flavors").await.expect(200);
    assert_eq!(listed["items"][0]["available"], 1);

    flavor(json!({ "name": "m1", "from_node": "n1" }))
        .await
        .wrong(409, "conflict", "name", "m1");
    flavor(json!({ "name": "m2", "from_node": "n9" }))
        .await
        .wrong(422, "unknown-reference", "from_node", "n9");
    flavor(json!({ "name": "m2", "from_node": "n3" }))
        .await
        .wrong(422, "invalid-field", "from_node", "not been inspected");
    flavor(json!({ "name": "m2" }))
        .await
        .wrong(422, "invalid-field", "hardware", "either");
    let mut hardware = created["hardware"].clone();
    hardware["threads"] = json!(0);
    let body = json!({ "name": "m2", "hardware": hardware });
    flavor(body)
        .await
        .wrong(422, "invalid-field", "hardware.threads", "1 to");
    let mut hardware = created["hardware"].clone();
    hardware["gpus"] = json!(8);
    let body = json!({ "name": "m2", "hardware": hardware });
    flavor(body)
        .await
        .wrong(422, "invalid-field", "hardware.gpus", "gpus");
    api.delete("/v1/flavors/m1").await.expect(204);
    api.get("/v1/flavors/m1").await.problem(404, "not-found");
}

fn network() -> Value {
    json!({
        "name": "web", "vlan": 200, "subnet": "192.168.100.0/24", "gateway": "192.168.100.1",
        "dns": ["192.168.100.1"], "pool_first": "192.168.100.10", "pool_last": "192.168.100.20",
    })
}

#[tokio::test]
async fn networks_never_touch_the_sites_own() {
    let config = "parked_vlan = 4000\n[provisioning]\naddress = '10.77.0.1'\n\
                  subnet = '10.77.0.0/24'\npool_first = '10.77.0.50'\npool_last = '10.77.0.99'\n\
                  vlan = 100";
    let api = Api::start_with(config).await;
    for (field, value, named, words) in [
        ("vlan", json!(100), "vlan", "provisioning"),
        ("vlan", json!(4000), "vlan", "parked"),
        ("vlan", json!(0), "vlan", "1 to 4094"),
        ("vlan", json!(4095), "vlan", "1 to 4094"),
        ("vlan", json!(70_000), "vlan", "expected u16"),
        ("subnet", json!("192.168.100.1/24"), "subnet", "host bits"),
        (
            "gateway",
            json!("192.168.101.1"),
            "gateway",
            "no host address",
        ),
        ("gateway", json!("192.168.100.15"), "gateway", "pool"),
        (
            "pool_first",
            json!("192.168.100.0"),
            "pool_first",
            "no host address",
        ),
        (
            "pool_last",
            json!("192.168.100.255"),
            "pool_last",
            "no host address",
        ),
        ("pool_last", json!("192.168.100.9"), "pool_last", "before"),
        ("dns", json!(["0.0.0.0"]), "dns[0]", "address"),
        ("dns", json!(["nowhere"]), "dns[0]", "IPv4"),
        ("mtu", json!(100), "mtu", "1280"),
    ] {
        let mut request = network();
        request[field] = value;
        let refused = api.post("/v1/networks", request).await;
        refused.wrong(422, "invalid-field", named, words);
    }
    let mut large = network();
    large["subnet"] = json!("10.0.0.0/8");
    large["gateway"] = Value::Null;
    large["pool_first"] = json!("10.0.0.1");
    large["pool_last"] = json!("10.1.0.1");
    api.post("/v1/networks", large)
        .await
        .wrong(422, "invalid-field", "pool_last", "65536");

    let created = api.post("/v1/networks", network()).await.expect(201);
    assert_eq!(
        (&created["mtu"], &created["used"]),
        (&json!(1500), &json!(0))
    );
    let mut other = network();
    other["name"] = json!("other");
    api.post("/v1/networks", other)
        .await
        .wrong(409, "conflict", "vlan", "web");
    api.delete("/v1/networks/web").await.expect(204);
}

#[tokio::test]
async fn keys_belong_to_a_project() {
    let api = Api::start().await;
    let member = api.token("m", Role::Member, "web").await;
    let key = json!({ "name": "laptop", "public_key": format!("{PUBLIC_KEY}\n") });
    let created = api
        .call_as(&member, Method::POST, "/v1/keys", Some(key.clone()))
        .await
        .expect(201);
    assert_eq!(created["public_key"], PUBLIC_KEY);
    let again = api
        .call_as(&member, Method::POST, "/v1/keys", Some(key))
        .await;
    again.wrong(409, "conflict", "name", "laptop");
    // Another project neither sees nor deletes it.
    assert_eq!(api.get("/v1/keys").await.expect(200)["items"], json!([]));
    api.delete("/v1/keys/laptop")
        .await
        .problem(404, "not-found");

    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted\n-----END OPENSSH PRIVATE KEY-----";
    for (text, words) in [
        (private, "private key"),
        ("ssh-ed25519 AAAA", "damaged"),
        ("", "line"),
    ] {
        let request = json!({ "name": "x", "public_key": text });
        let refused = api.post("/v1/keys", request).await;
        refused.wrong(422, "invalid-field", "public_key", words);
        assert!(!refused.text.contains("planted"));
    }
    api.call_as(&member, Method::DELETE, "/v1/keys/laptop", None)
        .await
        .expect(204);
}
