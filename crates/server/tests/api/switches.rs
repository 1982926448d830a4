//! Sites, racks and switches: making, listing, changing and forgetting them, and what they have to do
//! with nodes and networks.

use bessemer_core::lifecycle::Phase;
use bessemer_wire::api::Role;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::offer::{M1, offer};
use crate::support::{Answer, Api, at_rest, machine, node};

const PROVISIONING: &str = "[provisioning]\naddress = '10.77.0.1'\nsubnet = '10.77.0.0/24'\n\
                            pool_first = '10.77.0.50'\npool_last = '10.77.0.99'\nvlan = 10\n\
                            [fabric]\nvlan_pool = '100-102'";

fn switch(name: &str) -> Value {
    json!({ "name": name, "driver": "ovsdb", "address": "unix:/none" })
}

/// A certificate with its key, both PEM.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["leaf1".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn set(request: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[name] = value;
}

async fn patch(api: &Api, path: &str, body: Value) -> Answer {
    api.call(Method::PATCH, path, Some(body)).await
}

async fn names(api: &Api, path: &str) -> Vec<String> {
    let page = api.get(path).await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn sites_racks_and_switches_are_made_changed_and_deleted() {
    let api = Api::start().await;
    let site = json!({ "name": "fra1", "description": "Frankfurt" });
    api.post("/v1/sites", site.clone()).await.expect(201);
    api.post("/v1/sites", site)
        .await
        .wrong(409, "conflict", "name", "fra1");
    let rack = json!({ "name": "a07", "site": "fra1", "position": "row A" });
    let made = api.post("/v1/racks", rack).await.expect(201);
    assert_eq!(
        (&made["site_name"], &made["position"]),
        (&json!("fra1"), &json!("row A"))
    );
    let unknown = json!({ "name": "a08", "site": "fra2" });
    api.post("/v1/racks", unknown)
        .await
        .wrong(422, "unknown-reference", "site", "fra2");

    let mut leaf1 = switch("leaf1");
    set(&mut leaf1, "/rack", json!("a07"));
    let made = api.post("/v1/switches", leaf1).await.expect(201);
    assert_eq!(made["rack"], "a07");
    assert_eq!(made["tunnel_vlans"], "3000-3999");
    assert_eq!(made["health"]["failing"], false);
    let changed = json!({ "largest_mtu": 9000, "address": "tcp:10.0.0.1:6640", "rack": null });
    let changed = patch(&api, "/v1/switches/leaf1", changed).await.expect(200);
    assert_eq!(changed["address"], "tcp:10.0.0.1:6640");
    assert_eq!(
        (&changed["largest_mtu"], &changed["rack"]),
        (&json!(9000), &Value::Null)
    );
    let back = json!({ "rack": "a07", "largest_mtu": null });
    let back = patch(&api, "/v1/switches/leaf1", back).await.expect(200);
    assert_eq!(
        (&back["largest_mtu"], &back["rack"]),
        (&Value::Null, &json!("a07"))
    );

    let mut machine = node(1);
    set(&mut machine, "/rack", json!("a07"));
    set(&mut machine, "/ports/0/switch", json!("leaf1"));
    set(&mut machine, "/ports/0/switch_port", json!("p1"));
    let machine = api.post("/v1/nodes", machine).await.expect(201);
    assert_eq!(machine["rack"], "a07");
    assert_eq!(names(&api, "/v1/nodes?rack=a07").await, ["n1"]);
    assert_eq!(api.get("/v1/racks/a07").await.json()["nodes"], 1);
    patch(&api, "/v1/nodes/n1", json!({ "rack": "a08" }))
        .await
        .wrong(422, "unknown-reference", "rack", "a08");
    let out = patch(&api, "/v1/nodes/n1", json!({ "rack": null })).await;
    assert_eq!(out.expect(200)["rack"], Value::Null);
    let none = names(&api, "/v1/nodes?rack=a07").await;
    assert!(none.is_empty(), "{none:?}");
    api.delete("/v1/nodes/n1?force=true").await.expect(204);

    let moved = json!({ "position": "row B" });
    let moved = patch(&api, "/v1/racks/a07", moved).await.expect(200);
    assert_eq!(
        (&moved["position"], &moved["switches"]),
        (&json!("row B"), &json!(1))
    );
    let told = json!({ "description": "" });
    let told = patch(&api, "/v1/sites/fra1", told).await.expect(200);
    assert_eq!(
        (&told["description"], &told["racks"]),
        (&json!(""), &json!(1))
    );

    for (path, user) in [("/v1/sites/fra1", "a07"), ("/v1/racks/a07", "leaf1")] {
        let refused = api.delete(path).await;
        refused.problem(409, "conflict");
        assert!(refused.text.contains(user), "{}", refused.text);
    }
    for path in ["/v1/switches/leaf1", "/v1/racks/a07", "/v1/sites/fra1"] {
        api.delete(path).await.expect(204);
        api.get(path).await.problem(404, "not-found");
    }
    let events = api.get("/v1/events").await.expect(200);
    let kinds = events["items"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds.join(" "),
        "site.created rack.created switch.created switch.changed switch.changed \
         node.enrolled node.deleted rack.changed \
         site.changed switch.deleted rack.deleted site.deleted"
    );
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let api = Api::start().await;
    for (rack, site) in [("r1", "east"), ("r2", "east"), ("r3", "west")] {
        api.post("/v1/sites", json!({ "name": site })).await;
        let rack = json!({ "name": rack, "site": site });
        api.post("/v1/racks", rack).await.expect(201);
    }
    for (name, rack, driver) in [
        ("b", Some("r1"), "ovsdb"),
        ("a", Some("r2"), "flat"),
        ("d", Some("r3"), "ovsdb"),
        ("c", None, "ovsdb"),
    ] {
        let mut request = json!({ "name": name, "driver": driver, "rack": rack });
        if driver == "ovsdb" {
            set(&mut request, "/address", json!("unix:/x"));
        }
        api.post("/v1/switches", request).await.expect(201);
    }
    for (query, expected) in [
        ("", "a b c d"),
        ("?sort=-name", "d c b a"),
        ("?sort=created_at", "b a d c"),
        ("?sort=-created_at", "c d a b"),
        ("?rack=r1", "b"),
        ("?site=east", "a b"),
        ("?driver=flat", "a"),
        ("?site=east&driver=ovsdb", "b"),
    ] {
        let found = names(&api, &format!("/v1/switches{query}")).await;
        assert_eq!(found.join(" "), expected, "{query}");
    }
    assert_eq!(names(&api, "/v1/racks?site=east").await, ["r1", "r2"]);
    assert_eq!(names(&api, "/v1/sites?sort=-name").await, ["west", "east"]);
    for sort in ["name", "-name", "created_at", "-created_at"] {
        let whole = names(&api, &format!("/v1/switches?sort={sort}")).await;
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/switches?sort={sort}&limit=1{cursor}");
            let page = api.get(&path).await.expect(200);
            paged.push(page["items"][0]["name"].as_str().unwrap().to_owned());
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, whole, "{sort}");
    }
    api.get("/v1/switches?rack=r9")
        .await
        .problem(422, "unknown-reference");
}

#[tokio::test]
async fn a_switch_that_makes_no_sense_is_refused_by_field() {
    let api = Api::start_with(PROVISIONING).await;
    let (pem, key) = certificate();
    let (_, other_key) = certificate();
    for (change, field, words) in [
        (json!({ "name": "a/b" }), "name", "no name"),
        (json!({ "address": "" }), "address", "1 to 200"),
        (json!({ "address": "leaf1" }), "address", "unix:"),
        (json!({ "address": "ssl:leaf1:6640" }), "authority", "TLS"),
        (json!({ "authority": "x" }), "authority", ""),
        (json!({ "certificate": pem }), "key", "certificate"),
        (json!({ "key": key }), "certificate", "key"),
        (
            json!({ "authority": pem, "certificate": pem, "key": other_key }),
            "certificate",
            "",
        ),
        (json!({ "certificate": "x", "key": key }), "certificate", ""),
        (json!({ "rack": "r9" }), "rack", "r9"),
        (json!({ "driver": "flat" }), "address", "not spoken to"),
        (json!({ "largest_mtu": 1000 }), "largest_mtu", "1280"),
        (json!({ "parked_vlan": 0 }), "parked_vlan", "1 to 4094"),
        (json!({ "rescue_vlan": 4095 }), "rescue_vlan", "1 to 4094"),
        (json!({ "parked_vlan": 10 }), "provisioning_vlan", "parked"),
        (json!({ "standby_vlan": 4094 }), "standby_vlan", "parked"),
        (
            json!({ "tunnel_vlans": "3000-4095" }),
            "tunnel_vlans",
            "4094",
        ),
        (
            json!({ "certificate": pem, "key": key }),
            "authority",
            "certificate",
        ),
        (
            json!({ "tunnel_address": "10.50.0.1", "tunnel_vlans": "5-20" }),
            "tunnel_vlans",
            "VLAN 10",
        ),
        (
            json!({ "tunnel_address": "0.0.0.0" }),
            "tunnel_address",
            "0.0.0.0",
        ),
        (
            json!({ "tunnel_address": "ff02::1" }),
            "tunnel_address",
            "ff02::1",
        ),
        (
            json!({ "physical_network": "" }),
            "physical_network",
            "1 to 63",
        ),
    ] {
        let mut request = switch("leaf1");
        for (key, value) in change.as_object().unwrap() {
            set(&mut request, &format!("/{key}"), value.clone());
        }
        let refused = api.post("/v1/switches", request).await;
        let kind = if field == "rack" {
            "unknown-reference"
        } else {
            "invalid-field"
        };
        refused.wrong(422, kind, field, words);
        assert!(!refused.text.contains("PRIVATE"), "{}", refused.text);
    }
    // The same holds for changes, of the whole that they lead to.
    api.post("/v1/switches", switch("leaf1")).await.expect(201);
    let change = json!({ "address": "ssl:leaf1:6640" });
    patch(&api, "/v1/switches/leaf1", change)
        .await
        .wrong(422, "invalid-field", "authority", "TLS");
    // Where machines boot, it must be known where.
    let api = Api::start_with(&PROVISIONING.replace("vlan = 10\n", "")).await;
    api.post("/v1/switches", switch("leaf1")).await.wrong(
        422,
        "invalid-field",
        "provisioning_vlan",
        "provisioning.vlan",
    );
    let mut own = switch("leaf1");
    set(&mut own, "/provisioning_vlan", json!(12));
    api.post("/v1/switches", own).await.expect(201);
}

#[tokio::test]
async fn the_key_of_a_switch_is_never_told() {
    let api = Api::start().await;
    let (pem, key) = certificate();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let mut request = switch("leaf1");
    set(&mut request, "/authority", json!(pem));
    set(&mut request, "/certificate", json!(pem));
    set(&mut request, "/key", json!(key));
    let made = api.post("/v1/switches", request).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["has_key"], true);
    let told = [
        made.text,
        api.get("/v1/switches/leaf1").await.text,
        api.get("/v1/switches").await.text,
        api.get("/v1/events").await.text,
    ];
    assert!(told.iter().all(|text| !text.contains(&secret)));
    for file in ["bessemer.db", "bessemer.db-wal"] {
        let bytes = std::fs::read(api.folder.path().join(file)).unwrap_or_default();
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{file}");
    }
    let stored = api.site.store.switch("leaf1").await.unwrap();
    let sealed = stored.settings.key_sealed.unwrap();
    let purpose = format!("switch-key/{id}");
    assert_eq!(
        api.site.keyring.open(&purpose, &sealed).unwrap(),
        key.as_bytes()
    );
    // A change of something else leaves it; without the certificate it goes.
    let change = json!({ "largest_mtu": 9000 });
    let kept = patch(&api, "/v1/switches/leaf1", change).await.expect(200);
    assert_eq!(kept["has_key"], true);
    let change = json!({ "certificate": null });
    let gone = patch(&api, "/v1/switches/leaf1", change).await.expect(200);
    assert_eq!(
        (&gone["has_key"], &gone["certificate"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn networks_and_switches_share_no_vlan() {
    let api = Api::start_with(PROVISIONING).await;
    let network = |name: &str, vlan: Option<u16>| json!({ "name": name, "vlan": vlan });
    api.post("/v1/networks", network("old", Some(3500)))
        .await
        .expect(201);
    let mut leaf1 = switch("leaf1");
    set(&mut leaf1, "/rescue_vlan", json!(3500));
    api.post("/v1/switches", leaf1.clone())
        .await
        .wrong(409, "conflict", "rescue_vlan", "`old`");
    set(&mut leaf1, "/rescue_vlan", json!(100));
    api.post("/v1/switches", leaf1).await.expect(201);
    // The pool counts once there are tunnels.
    let tunnels = json!({ "tunnel_address": "10.50.0.1" });
    patch(&api, "/v1/switches/leaf1", tunnels).await.wrong(
        409,
        "conflict",
        "tunnel_vlans",
        "`old`",
    );
    let tunnels = json!({ "tunnel_address": "10.50.0.1", "tunnel_vlans": "101,3000-3099" });
    patch(&api, "/v1/switches/leaf1", tunnels).await.expect(200);
    for vlan in [100, 101, 3050] {
        api.post("/v1/networks", network("new", Some(vlan)))
            .await
            .wrong(409, "conflict", "vlan", "leaf1");
    }
    // Of the site's pool 100-102 one is left.
    let made = api
        .post("/v1/networks", network("new", None))
        .await
        .expect(201);
    assert_eq!(made["vlan"], 102);
    let exhausted = api.post("/v1/networks", network("more", None)).await;
    exhausted.problem(409, "pool-exhausted");
}

#[tokio::test]
async fn a_switch_that_nodes_are_cabled_to_stays() {
    let api = Api::start_with(PROVISIONING).await;
    // Names that a pattern or another spelling would take for each other.
    for name in ["leaf_1", "leafx1", "Leaf_1"] {
        api.post("/v1/switches", switch(name)).await.expect(201);
    }
    let cabled = |number| {
        let mut node = node(number);
        set(&mut node, "/ports/0/switch", json!("leaf_1"));
        set(&mut node, "/ports/0/switch_port", json!("p1"));
        node
    };
    api.post("/v1/nodes", cabled(1)).await.expect(201);
    api.post("/v1/nodes", cabled(2))
        .await
        .wrong(409, "conflict", "ports[0].switch_port", "`n1`");
    let refused = api.delete("/v1/switches/leaf_1").await;
    refused.problem(409, "conflict");
    assert!(refused.text.contains("`n1`"), "{}", refused.text);
    let shown = api.get("/v1/switches/leaf_1").await.expect(200);
    assert_eq!(shown["nodes"], 1);
    for other in ["leafx1", "Leaf_1"] {
        api.delete(&format!("/v1/switches/{other}"))
            .await
            .expect(204);
    }
    let ports = api.get("/v1/switches/leaf_1/ports").await.expect(200);
    assert_eq!(ports["items"][0]["port"], "p1");
    assert_eq!(ports["items"][0]["node_name"], "n1");
    assert_eq!(
        ports["items"][0]["state"],
        Value::Null,
        "nobody has read it"
    );
    let read = api.get("/v1/switches/leaf_1/ports?read=true").await;
    read.problem(502, "switch-failed");
    assert!(read.text.contains("cannot be reached"), "{}", read.text);
    let shown = api.get("/v1/switches/leaf_1").await.expect(200);
    assert_eq!(shown["health"]["failing"], true);
    api.delete("/v1/nodes/n1?force=true").await.expect(204);
    api.delete("/v1/switches/leaf_1").await.expect(204);
}

#[tokio::test]
async fn a_port_is_on_the_physical_network_of_its_switch() {
    let api = Api::start_with(PROVISIONING).await;
    let mut leaf1 = switch("leaf1");
    set(&mut leaf1, "/physical_network", json!("storage"));
    api.post("/v1/switches", leaf1).await.expect(201);
    let mut cabled = node(1);
    set(&mut cabled, "/ports/0/switch", json!("leaf1"));
    set(&mut cabled, "/ports/0/switch_port", json!("p1"));
    let made = api.post("/v1/nodes", cabled).await.expect(201);
    let id = made["id"].as_str().unwrap().parse().unwrap();
    let store = &api.site.store;
    store.set_inventory(id, &machine(M1.0, M1.1)).await.unwrap();
    api.move_node(id, |state| at_rest(state, Phase::Available))
        .await;
    offer(&api).await;
    patch(
        &api,
        "/v1/networks/web",
        json!({ "physical_network": "dc" }),
    )
    .await
    .expect(200);
    let order = json!({
        "name": "web1", "flavor": "m1", "image": "os", "networks": [{ "network": "web" }],
        "keys": ["laptop"],
    });
    let refused = api.post("/v1/servers", order.clone()).await;
    refused.problem(409, "networks-not-carried");
    assert!(refused.text.contains("storage"), "{}", refused.text);
    // What is said of the port goes before what is said of its switch.
    let said = json!({ "physical_network": "dc" });
    patch(&api, "/v1/nodes/n1/ports/52:54:00:00:00:01", said)
        .await
        .expect(200);
    api.post("/v1/servers", order).await.expect(201);
}

#[tokio::test]
async fn what_one_server_is_told_counts_at_once_in_the_others() {
    let api = Api::start_with(PROVISIONING).await;
    let other = api.of_another_server().await;
    let cabled = |number, switch: &str| {
        let mut node = node(number);
        set(&mut node, "/ports/0/switch", json!(switch));
        set(&mut node, "/ports/0/switch_port", json!("p1"));
        node
    };
    for (number, name) in [(1, "leaf1"), (2, "leaf2")] {
        // The other one has looked, and there was no such switch.
        let refused = other.post("/v1/nodes", cabled(number, name)).await;
        refused.wrong(422, "unknown-reference", "ports[0].switch", name);
        api.post("/v1/switches", switch(name)).await.expect(201);
        let node = cabled(number, name);
        other.post("/v1/nodes", node).await.expect(201);
    }
    let moved = json!({ "address": "unix:/elsewhere" });
    patch(&api, "/v1/switches/leaf1", moved).await.expect(200);
    let read = other.get("/v1/switches/leaf1/ports?read=true").await;
    read.problem(502, "switch-failed");
    assert!(read.text.contains("/elsewhere"), "{}", read.text);
}

#[tokio::test]
async fn places_are_operators_business() {
    let api = Api::start().await;
    let member = api.token("web", Role::Member, "web").await;
    for path in [
        "/v1/sites",
        "/v1/racks",
        "/v1/switches",
        "/v1/switches/leaf1/ports",
    ] {
        let refused = api.call_as(&member, Method::GET, path, None).await;
        refused.problem(403, "forbidden");
    }
}
