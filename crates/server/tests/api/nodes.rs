//! Registering, listing, switching, holding and forgetting nodes.

use std::time::Duration;

use crate::support::{Api, at_rest, machine, node};
use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{Goal, Outcome, Phase};
use bessemer_core::reason::Failure;
use bessemer_wire::agent::Progress;
use bessemer_wire::api::{Node, Page};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_boot_method_is_given_at_enrolment_changed_and_taken_back() {
    let api = Api::start().await;
    let mut request = node(1);
    request["boot_method"] = json!("pxe");
    let created = api.post("/v1/nodes", request).await.expect(201);
    assert_eq!(created["boot_method"], "pxe");
    let patch = async |body| {
        let answer = api.call(Method::PATCH, "/v1/nodes/n1", Some(body)).await;
        (answer.status.as_u16(), answer.text)
    };
    for (change, expected) in [
        (
            json!({"boot_method": "virtual_media"}),
            json!("virtual_media"),
        ),
        (json!({}), json!("virtual_media")),
        (json!({ "boot_method": null }), json!(null)),
    ] {
        let (status, text) = patch(change).await;
        assert_eq!(status, 200, "{text}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["boot_method"], expected);
    }
    for wrong in [json!({"boot_method": "floppy"}), json!({"colour": "red"})] {
        let (status, text) = patch(wrong).await;
        assert_eq!(status, 422, "{text}");
    }
}

#[tokio::test]
async fn a_node_is_registered_and_its_password_kept_secret() {
    let api = Api::start().await;
    let answer = api.post("/v1/nodes", node(1)).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let created = answer.expect(201);
    assert_eq!(
        location,
        format!("/v1/nodes/{}", created["id"].as_str().unwrap())
    );
    assert_eq!(created["provision_state"], "verifying");
    assert_eq!(created["generation"], 1);
    assert_eq!(created["bmc"]["url"], "https://bmc1.example");

    for path in [
        "/v1/nodes/n1",
        &location,
        "/v1/nodes",
        "/v1/nodes?detail=true",
        "/v1/events",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains("planted-password"), "{path}");
    }
    // The conductor was rung, and the password can be read by it and by nobody else.
    tokio::time::timeout(Duration::from_secs(5), api.site.bell.rung())
        .await
        .unwrap();
    for file in ["bessemer.db", "bessemer.db-wal"] {
        let bytes = std::fs::read(api.folder.path().join(file)).unwrap_or_default();
        assert!(
            !bytes
                .windows(16)
                .any(|window| window == b"planted-password"),
            "{file}"
        );
    }
    let record = api.site.store.node("n1").await.unwrap();
    let purpose = bessemer_server::keyring::purpose::bmc_password(record.id);
    let opened = api
        .site
        .keyring
        .open(&purpose, &record.bmc.password_sealed)
        .unwrap();
    assert_eq!(opened, b"planted-password");
}

/// Lists are written from the rows, single nodes from what was read of them.
#[tokio::test]
async fn a_node_looks_the_same_in_a_list_as_alone() {
    let api = Api::start().await;
    api.post("/v1/sites", json!({ "name": "here" }))
        .await
        .expect(201);
    let rack = json!({ "name": "r1", "site": "here" });
    api.post("/v1/racks", rack).await.expect(201);
    let mut bonded = node(1);
    bonded["ports"] = json!([
        { "mac": "52:54:00:01:00:01", "physical_network": "left" },
        { "mac": "52:54:00:01:00:02" },
        { "mac": "52:54:00:01:00:03", "boots": true },
    ]);
    bonded["port_groups"] = json!([{ "name": "bond0", "mode": "active_backup",
        "members": ["52:54:00:01:00:01", "52:54:00:01:00:02"] }]);
    bonded["boot_method"] = json!("pxe");
    bonded["root_disk_hint"] = json!({ "serial": "a \"quoted\" one" });
    bonded["bmc"]["username"] = json!("o'neill \"x\"");
    bonded["bmc"]["trust"] = json!({ "pinned": "ab".repeat(32) });
    bonded["rack"] = json!("r1");
    api.post("/v1/nodes", bonded).await.expect(201);
    let rented = api.available_node(2, machine(1024, 10)).await;
    api.move_node(rented, |state| state.phase = Phase::Failed)
        .await;
    let mut ipmi = node(3);
    ipmi["bmc"] = json!({ "url": "ipmi://bmc3.example", "username": "admin", "password": "p",
        "trust": "insecure", "ipmi_key": "0x0102" });
    api.post("/v1/nodes", ipmi).await.expect(201);
    let progress = Progress {
        step: "writing image".into(),
        bytes: 1,
        total: 2,
        rate: 1,
        eta_seconds: Some(1),
    };
    api.site.progress.set(rented, Some(progress));

    for detail in [false, true] {
        let path = format!("/v1/nodes?detail={detail}");
        let page = api.get(&path).await.expect(200);
        let typed: Page<Node> = serde_json::from_value(page.clone()).unwrap();
        assert_eq!((typed.items.len(), typed.next), (3, None));
        for listed in page["items"].as_array().unwrap() {
            let path = format!("/v1/nodes/{}", listed["id"].as_str().unwrap());
            let mut alone = api.get(&path).await.expect(200);
            alone["root_disk"] = json!([]);
            if !detail {
                alone["inventory"] = json!(null);
            }
            assert_eq!(listed, &alone);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_new_node_is_named() {
    let api = Api::start().await;
    let port = |mac: &str| json!({ "mac": mac });
    let ports: Vec<_> = (0..17)
        .map(|n| port(&format!("52:54:00:01:00:{n:02x}")))
        .collect();
    let twice = [port("52:54:00:00:00:01"), port("52-54-00-00-00-01")];
    for (field, value, named, words) in [
        ("/name", json!("N1"), "name", "DNS label"),
        ("/name", json!("a.b"), "name", "DNS label"),
        ("/name", json!(""), "name", "DNS label"),
        (
            "/name",
            json!("0194f1aa-0000-7000-8000-000000000000"),
            "name",
            "id",
        ),
        ("/bmc/url", json!("bmc1"), "bmc.url", "not a URL"),
        ("/bmc/url", json!("ftp://bmc1"), "bmc.url", "https"),
        ("/bmc/url", json!("https://bmc1/login"), "bmc.url", "path"),
        (
            "/bmc/trust",
            json!({ "pinned": "12:34" }),
            "bmc.trust.pinned",
            "fingerprint",
        ),
        ("/bmc/username", json!(""), "bmc.username", "1 to 64"),
        ("/bmc/password", json!(""), "bmc.password", "1 to 256"),
        (
            "/bmc/password",
            json!("p".repeat(257)),
            "bmc.password",
            "1 to 256",
        ),
        ("/ports", json!([]), "ports", "1 to 16"),
        ("/ports", json!(ports), "ports", "17"),
        ("/ports", json!(twice), "ports[1].mac", "twice"),
        (
            "/ports/0/mac",
            json!("01:00:5e:00:00:01"),
            "ports[0].mac",
            "NIC",
        ),
        (
            "/ports/0/switch",
            json!("leaf1"),
            "ports[0].switch_port",
            "switch_port",
        ),
        (
            "/ports/0/switch_port",
            json!("p1"),
            "ports[0].switch",
            "without `switch`",
        ),
    ] {
        let mut request = node(1);
        set(&mut request, field, value);
        api.post("/v1/nodes", request)
            .await
            .wrong(422, "invalid-field", named, words);
    }
    let mut clear = node(1);
    set(&mut clear, "/bmc/url", json!("http://bmc1"));
    set(&mut clear, "/bmc/trust", json!("system"));
    api.post("/v1/nodes", clear)
        .await
        .wrong(422, "invalid-field", "bmc.url", "not encrypted");
    let mut secret = node(1);
    set(&mut secret, "/bmc/url", json!("https://root:planted@bmc1"));
    let refused = api.post("/v1/nodes", secret).await;
    refused.wrong(422, "invalid-field", "bmc.url", "own fields");
    assert!(!refused.text.contains("planted"));
    assert_eq!(api.get("/v1/nodes").await.expect(200)["items"], json!([]));
}

/// Sets what is at `pointer`, or adds it.
fn set(request: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[name] = value;
}

#[tokio::test]
async fn two_nodes_never_share_a_name_a_bmc_or_a_mac() {
    let api = Api::start().await;
    api.node(1).await;
    for (field, named) in [
        ("/name", "name"),
        ("/bmc/url", "bmc.url"),
        ("/ports/0/mac", "ports[0].mac"),
    ] {
        let mut other = node(2);
        set(&mut other, field, node(1).pointer(field).unwrap().clone());
        api.post("/v1/nodes", other)
            .await
            .wrong(409, "conflict", named, "n1");
    }
    // Another spelling of the same BMC, and of the same MAC.
    let mut other = node(2);
    set(
        &mut other,
        "/bmc/url",
        json!("https://BMC1.example:443/redfish/v1/"),
    );
    api.post("/v1/nodes", other)
        .await
        .wrong(409, "conflict", "bmc.url", "n1");
    let mut other = node(2);
    let ports = json!([{ "mac": "52:54:00:00:00:02" }, { "mac": "52-54-00-00-00-01" }]);
    set(&mut other, "/ports", ports);
    api.post("/v1/nodes", other)
        .await
        .wrong(409, "conflict", "ports[1].mac", "n1");
    assert_eq!(
        api.get("/v1/nodes").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Nothing half-done: the second node's own MAC is still free.
    api.node(2).await;
}

#[tokio::test]
async fn where_switches_are_ours_it_must_be_known_where_a_node_is_cabled_to() {
    let config = "[provisioning]\naddress = '10.77.0.1'\nsubnet = '10.77.0.0/24'\n\
                  pool_first = '10.77.0.50'\npool_last = '10.77.0.99'\nvlan = 100";
    let api = Api::start_with(config).await;
    let leaf1 = json!({ "name": "leaf1", "driver": "ovsdb", "address": "unix:/none" });
    api.post("/v1/switches", leaf1).await.expect(201);
    api.post("/v1/nodes", node(1))
        .await
        .wrong(422, "invalid-field", "ports[0].switch", "leaf1");
    let mut unknown = node(1);
    set(&mut unknown, "/ports/0/switch", json!("leaf2"));
    set(&mut unknown, "/ports/0/switch_port", json!("p1"));
    let refused = api.post("/v1/nodes", unknown.clone()).await;
    refused.wrong(422, "unknown-reference", "ports[0].switch", "leaf1");
    set(&mut unknown, "/ports/0/switch", json!("leaf1"));
    let created = api.post("/v1/nodes", unknown).await.expect(201);
    assert_eq!(created["ports"][0]["switch_port"], "p1");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::start().await;
    for number in 1..=5 {
        api.available_node(number, machine(8192, 100)).await;
    }
    api.node(6).await;
    let mut path = "/v1/nodes?limit=2".to_owned();
    let mut names = Vec::new();
    loop {
        let page = api.get(&path).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            assert_eq!(
                item["inventory"],
                Value::Null,
                "a list is without inventory"
            );
            names.push(item["name"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/nodes?limit=2&cursor={next}");
    }
    assert_eq!(names, ["n1", "n2", "n3", "n4", "n5", "n6"]);

    let available = api
        .get("/v1/nodes?phase=available&detail=true")
        .await
        .expect(200);
    let items = available["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    assert_eq!(items[0]["inventory"]["memory_mib"], 8192);
    let enrolled = api.get("/v1/nodes?phase=enrolled").await.expect(200);
    assert_eq!(enrolled["items"][0]["name"], "n6");
}

#[tokio::test]
async fn a_node_is_held_provided_and_forgotten() {
    let api = Api::start().await;
    let id = api.available_node(1, machine(8192, 100)).await;
    let held = api
        .post("/v1/nodes/n1/hold", json!({ "reason": "fan is loud" }))
        .await
        .expect(200);
    assert_eq!(held["generation"], 2);
    // Asking again changes nothing.
    let held = api
        .post("/v1/nodes/n1/hold", json!({ "reason": "fan is loud" }))
        .await
        .expect(200);
    assert_eq!(held["generation"], 2);
    assert_eq!(
        api.site.store.node_by_id(id).await.unwrap().spec.goal,
        Goal::Held {
            reason: "fan is loud".into()
        }
    );
    api.move_node(id, |state| at_rest(state, Phase::Held)).await;

    let provided = api
        .call(Method::POST, "/v1/nodes/n1/provide", None)
        .await
        .expect(200);
    assert_eq!(provided["generation"], 3);
    assert_eq!(
        api.site.store.node_by_id(id).await.unwrap().spec.goal,
        Goal::Available
    );
    // A failed node goes on, however often it is asked for.
    api.move_node(id, |state| at_rest(state, Phase::Failed))
        .await;
    let provided = api
        .call(Method::POST, "/v1/nodes/n1/provide", None)
        .await
        .expect(200);
    assert_eq!(provided["generation"], 4);

    let history = api.get("/v1/nodes/n1/history?limit=2").await.expect(200);
    let phases: Vec<_> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["state"]["phase"])
        .collect();
    assert_eq!(phases, ["held", "failed"]);

    api.move_node(id, |state| {
        state.phase = Phase::Cleaning;
        state.step = bessemer_core::lifecycle::Step::Erase;
    })
    .await;
    api.delete("/v1/nodes/n1").await.problem(409, "conflict");
    api.move_node(id, |state| at_rest(state, Phase::Available))
        .await;
    let refused = api.delete("/v1/nodes/n1").await.problem(409, "conflict");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("retire it first"), "{detail}");
    api.move_node(id, |state| at_rest(state, Phase::Held)).await;
    api.delete("/v1/nodes/n1").await.expect(204);
    api.get("/v1/nodes/n1").await.problem(404, "not-found");
    // Everything that was unique is free again.
    api.node(1).await;
}

#[tokio::test]
async fn a_resting_node_is_switched_by_the_conductor() {
    let api = Api::start().await;
    let id = api.available_node(1, machine(8192, 100)).await;
    for (outcome, status) in [
        (Outcome::Done, 200),
        (
            Outcome::Failed {
                failure: Failure::operator(
                    Cause::BmcPasswordRefused,
                    "the BMC refuses the password",
                ),
            },
            502,
        ),
    ] {
        let conductor = async {
            loop {
                // What rings may still be what was asked for before.
                let rung = tokio::time::timeout(Duration::from_secs(10), api.site.bell.rung());
                rung.await.expect("the conductor is rung for");
                let (claim, work) = api.claim(id).await;
                let (intent, state) = (work.intent.clone(), work.node.state.clone());
                if let Some(intent) = &intent {
                    let (store, now) = (&api.site.store, Timestamp::now());
                    store
                        .record_outcome(claim, &intent.key, &outcome, &[], now)
                        .await
                        .unwrap();
                }
                api.give_back(claim, work, state).await;
                if intent.is_some() {
                    break;
                }
            }
        };
        let power = Some(json!({ "power": "on" }));
        let (answer, ()) = tokio::join!(
            api.call(Method::PUT, "/v1/nodes/n1/power", power),
            conductor
        );
        match status {
            200 => assert_eq!(answer.expect(200), json!({ "power": "on" })),
            status => {
                let document = answer.problem(status, "machine-failed");
                assert!(
                    document["detail"]
                        .as_str()
                        .unwrap()
                        .contains("refuses the password")
                );
            }
        }
    }
}

#[tokio::test]
async fn a_busy_node_is_not_switched() {
    let api = Api::start().await;
    api.node(1).await;
    let power = json!({ "power": "off" });
    let refused = api
        .call(Method::PUT, "/v1/nodes/n1/power", Some(power))
        .await;
    let document = refused.problem(409, "conflict");
    assert!(
        document["detail"].as_str().unwrap().contains("enrolled"),
        "{document}"
    );
    let wrong = json!({ "power": "cycle" });
    let refused = api
        .call(Method::PUT, "/v1/nodes/n1/power", Some(wrong))
        .await;
    refused.wrong(422, "invalid-field", "power", "cycle");
}
