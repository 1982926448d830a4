//! What servers are ordered from: flavors and keys. Networks are in `networks.rs`.

use crate::support::{Api, PUBLIC_KEY, machine};
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
