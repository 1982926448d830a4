//! Rebuilding and switching servers; stopping, holding and retiring nodes: what the API refuses,
//! and what it records.

use crate::support::offer::{M1, image, offer, sized};
use crate::support::{Answer, Api, PUBLIC_KEY, at_rest, machine};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Action, Cleanliness, Goal, Phase};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

/// A site with the active server `web1` on node `n1`, which has 100 GiB; images `os`, `new` and
/// `huge`; and the token of another project.
async fn site() -> (Api, NodeId, String) {
    let api = Api::start().await;
    let node = api.available_node(1, machine(M1.0, M1.1)).await;
    offer(&api).await;
    let key = json!({ "name": "phone", "public_key": PUBLIC_KEY });
    api.post("/v1/keys", key).await.expect(201);
    image(&api, "new", Ok(sized(3 << 30, 600 << 20))).await;
    image(&api, "huge", Ok(sized(200 << 30, 600 << 20))).await;
    let order = json!({ "name": "web1", "flavor": "m1", "image": "os", "networks": [{ "network": "web" }],
        "keys": ["laptop"], "user_data": "planted-user-data" });
    api.post("/v1/servers", order).await.expect(201);
    let server = api.site.store.node_by_id(node).await.unwrap().server;
    api.move_node(node, |state| {
        at_rest(state, Phase::Active);
        state.cleanliness = Cleanliness::Dirty;
        state.written_for = server;
    })
    .await;
    let stranger = api.token("stranger", Role::Member, "other").await;
    (api, node, stranger)
}

async fn generation(api: &Api) -> u64 {
    api.site.store.node("n1").await.unwrap().spec.generation.0
}

async fn rebuild(api: &Api, body: Value) -> Answer {
    api.post("/v1/servers/web1/rebuild", body).await
}

#[track_caller]
fn says(document: &Value, words: &str) {
    assert!(document.to_string().contains(words), "{words}: {document}");
}

#[tokio::test]
async fn a_rebuild_is_planned_and_then_begun() {
    let (api, node, _) = site().await;
    let before = api.get("/v1/servers/web1").await.expect(200);
    let request = json!({ "image": "new", "keys": ["phone"] });
    let plan = api
        .post("/v1/servers/web1/rebuild/plan", request.clone())
        .await
        .expect(200);
    assert_eq!(
        (&plan["disk"]["name"], &plan["plan"]["posts"]),
        (&json!("nvme0n1"), &json!(1))
    );
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let irreversible = steps.iter().filter(|step| step["irreversible"] == true);
    let irreversible: Vec<_> = irreversible.map(|step| &step["step"]).collect();
    assert_eq!(irreversible, ["write_image"]);
    assert_eq!(generation(&api).await, 2, "a plan changes nothing");

    let server = rebuild(&api, request).await.expect(202);
    assert_eq!(server["status"], "building");
    for same in ["id", "address", "networks", "node", "created_at"] {
        assert_eq!(server[same], before[same], "{same}");
    }
    assert_ne!(server["image"], before["image"]);
    assert!(server["rebuilt_at"].is_string() && server["active_at"].is_null());
    says(&server["reason"], "to be rebuilt");
    let record = api.site.store.server(None, "web1").await.unwrap();
    assert_eq!(record.keys[0].0, "phone");
    let Goal::Deployed(deployment) = record.goal else {
        panic!("{:?}", record.goal);
    };
    let disk = deployment
        .root_disk
        .as_ref()
        .expect("a rebuild stays on its disk");
    assert_eq!(
        (disk.name.as_str(), disk.serial.as_str()),
        ("nvme0n1", "D1")
    );

    api.move_node(node, |state| state.phase = Phase::Deploying)
        .await;
    let refused = rebuild(&api, json!({})).await.problem(409, "conflict");
    says(&refused, "is being built");
    api.move_node(node, |state| at_rest(state, Phase::Failed))
        .await;
    // What is not given stays as it is.
    rebuild(&api, json!({})).await.expect(202);
    let again = api.site.store.server(None, "web1").await.unwrap();
    assert_eq!(
        (again.image, &again.keys[0].0),
        (record.image, &"phone".into())
    );
    assert!(again.user_data_sealed.is_some());
}

#[tokio::test]
async fn user_data_is_replaced_or_removed() {
    let (api, node, _) = site().await;
    let sealed = async || {
        let server = api.site.store.server(None, "web1").await.unwrap();
        server.user_data_sealed
    };
    let before = sealed().await;
    let answer = rebuild(&api, json!({ "user_data": "planted-secret" })).await;
    assert!(!answer.text.contains("planted"), "{}", answer.text);
    answer.expect(202);
    assert_ne!(sealed().await, before);
    api.move_node(node, |state| at_rest(state, Phase::Active))
        .await;
    rebuild(&api, json!({ "user_data": "" })).await.expect(202);
    assert_eq!(sealed().await, None);
}

#[tokio::test]
async fn an_impossible_rebuild_is_refused_before_anything_happens() {
    let (api, node, stranger) = site().await;
    for (body, kind, field) in [
        (json!({ "image": "m9" }), "unknown-reference", "image"),
        (
            json!({ "image": "huge" }),
            "image-larger-than-disk",
            "image",
        ),
        (json!({ "keys": ["m9"] }), "unknown-reference", "keys[0]"),
        (json!({ "keys": [] }), "invalid-field", "keys"),
        (
            json!({ "user_data": "x".repeat(65_537) }),
            "invalid-field",
            "user_data",
        ),
        (json!({ "flavor": "m1" }), "invalid-field", "flavor"),
    ] {
        for path in ["/v1/servers/web1/rebuild", "/v1/servers/web1/rebuild/plan"] {
            let refused = api.post(path, body.clone()).await.problem(422, kind);
            assert_eq!(refused["field"], field);
        }
    }
    // Somebody else's server does not exist.
    for path in ["/v1/servers/web1/rebuild", "/v1/servers/web1/rebuild/plan"] {
        let refused = api
            .call_as(&stranger, Method::POST, path, Some(json!({})))
            .await;
        refused.problem(404, "not-found");
    }
    assert_eq!(generation(&api).await, 2);
    api.delete("/v1/servers/web1").await.expect(202);
    let refused = rebuild(&api, json!({})).await.problem(409, "conflict");
    says(&refused, "being given back");
    api.move_node(node, |state| state.phase = Phase::Releasing)
        .await;
    rebuild(&api, json!({})).await.problem(409, "conflict");
}

#[tokio::test]
async fn of_two_simultaneous_rebuilds_one_is_carried_out() {
    let (api, ..) = site().await;
    let (one, other) = tokio::join!(
        rebuild(&api, json!({ "image": "new" })),
        rebuild(&api, json!({ "image": "os" }))
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409], "{} {}", one.text, other.text);
    assert_eq!(generation(&api).await, 3);
}

#[tokio::test]
async fn a_rebuild_sent_again_under_its_key_is_the_same_one() {
    let (api, ..) = site().await;
    let send = async |key: &str, body: Value| {
        let request = api.request(Method::POST, "/v1/servers/web1/rebuild");
        let request = request.bearer_auth(&api.admin).json(&body);
        api.send(request.header("idempotency-key", key)).await
    };
    send("a", json!({ "image": "new" })).await.expect(202);
    send("a", json!({ "image": "new" })).await.expect(200);
    assert_eq!(generation(&api).await, 3);
    let other = send("a", json!({ "image": "os" })).await;
    other.problem(422, "idempotency-mismatch");
}

#[tokio::test]
async fn an_active_server_is_switched_by_its_tenant() {
    let (api, node, stranger) = site().await;
    let path = "/v1/servers/web1/power";
    let put = async |body: Value| api.call(Method::PUT, path, Some(body)).await;
    let asked = put(json!({ "power": "off" })).await.expect(202);
    assert_eq!(asked["request"]["status"], "pending");
    assert_eq!(asked["request"]["force"], false);
    let newest = async || {
        let newest = api.site.store.newest_intent(node).await.unwrap();
        newest.unwrap().0.action
    };
    assert_eq!(newest().await, Action::ShutDown { seconds: 120 });
    let refused = put(json!({ "power": "restart" })).await;
    says(&refused.problem(409, "conflict"), "force");
    put(json!({ "power": "off", "force": true }))
        .await
        .expect(202);
    assert_eq!(newest().await, Action::PowerOff);
    let events = api.get("/v1/events").await.expect(200);
    says(&events, "power off by force is asked for by `admin`");

    for (body, field) in [
        (json!({ "power": "cycle" }), "power"),
        (
            json!({ "power": "off", "shut_down_seconds": 5 }),
            "shut_down_seconds",
        ),
        (json!({ "power": "off", "hard": true }), "hard"),
    ] {
        let refused = put(body).await.problem(422, "invalid-field");
        assert_eq!(refused["field"], field);
    }
    for method in [Method::GET, Method::PUT] {
        let body = json!({ "power": "off" });
        let refused = api.call_as(&stranger, method, path, Some(body)).await;
        refused.problem(404, "not-found");
    }
}

#[tokio::test]
async fn a_restart_sent_again_under_its_key_happens_once() {
    let (api, node, _) = site().await;
    let send = async |body: Value| {
        let request = api.request(Method::PUT, "/v1/servers/web1/power");
        let request = request.bearer_auth(&api.admin).json(&body);
        api.send(request.header("idempotency-key", "a")).await
    };
    let restart = json!({ "power": "restart", "shut_down_seconds": 60 });
    let first = send(restart.clone()).await.expect(202);
    let again = send(restart).await.expect(202);
    assert_eq!(first["request"]["id"], again["request"]["id"]);
    let (intent, _) = api.site.store.newest_intent(node).await.unwrap().unwrap();
    let shut_down_seconds = 60;
    assert_eq!(intent.action, Action::Restart { shut_down_seconds });
    let other = send(json!({ "power": "off" })).await;
    other.problem(422, "idempotency-mismatch");
}

#[tokio::test]
async fn only_an_active_server_is_switched() {
    let (api, node, _) = site().await;
    let off = || Some(json!({ "power": "off", "force": true }));
    let path = "/v1/servers/web1/power";
    rebuild(&api, json!({})).await.expect(202);
    // Not taken up yet, and then under way.
    let refused = api.call(Method::PUT, path, off()).await;
    says(&refused.problem(409, "conflict"), "is not active");
    api.move_node(node, |state| state.phase = Phase::Deploying)
        .await;
    let refused = api.call(Method::PUT, path, off()).await;
    says(&refused.problem(409, "conflict"), "is not active");
    api.move_node(node, |state| at_rest(state, Phase::Failed))
        .await;
    let refused = api.call(Method::PUT, path, off()).await;
    says(&refused.problem(409, "conflict"), "rebuild it");
}

#[tokio::test]
async fn operators_say_why() {
    let (api, _, _) = site().await;
    api.node(2).await;
    for verb in ["hold", "abort", "retire"] {
        let path = format!("/v1/nodes/n2/{verb}");
        for (body, field) in [
            (json!({}), "reason"),
            (json!({ "reason": "" }), "reason"),
            (json!({ "reason": "x".repeat(201) }), "reason"),
            (json!({ "reason": "a\nb" }), "reason"),
            (json!({ "why": "x" }), "why"),
        ] {
            let refused = api.post(&path, body).await.problem(422, "invalid-field");
            assert_eq!(refused["field"], field, "{verb}");
        }
        let missing = format!("/v1/nodes/n9/{verb}");
        let refused = api.post(&missing, json!({ "reason": "x" })).await;
        refused.problem(404, "not-found");
    }
    let store = &api.site.store;
    assert_eq!(store.node("n2").await.unwrap().spec.goal, Goal::Available);
}

#[tokio::test]
async fn somebodys_server_is_neither_held_nor_retired() {
    let (api, ..) = site().await;
    for verb in ["hold", "retire"] {
        let path = format!("/v1/nodes/n1/{verb}");
        let refused = api.post(&path, json!({ "reason": "sold" })).await;
        says(&refused.problem(409, "conflict"), "delete the server first");
    }
    // At rest there is nothing to stop.
    let refused = api
        .post("/v1/nodes/n1/abort", json!({ "reason": "x" }))
        .await;
    says(&refused.problem(409, "conflict"), "nothing to stop");
    assert_eq!(generation(&api).await, 2);
}

#[tokio::test]
async fn a_node_is_stopped_held_and_retired() {
    let api = Api::start().await;
    let id = api.node(1).await;
    let reason = |text: &str| json!({ "reason": text });
    let refused = api.call(Method::POST, "/v1/nodes/n1/unhold", None).await;
    says(&refused.problem(409, "conflict"), "is not held");

    let stopped = api.post("/v1/nodes/n1/abort", reason("wrong rack")).await;
    assert_eq!(stopped.expect(200)["generation"], 2);
    let node = api.site.store.node("n1").await.unwrap();
    assert_eq!(node.spec.abort.as_deref(), Some("wrong rack"));
    api.move_node(id, |state| at_rest(state, Phase::Failed))
        .await;

    let held = api.post("/v1/nodes/n1/hold", reason("new fans")).await;
    assert_eq!(held.expect(200)["generation"], 3);
    api.move_node(id, |state| at_rest(state, Phase::Held)).await;
    // Another reason is another wish; the same one is not.
    let held = api.post("/v1/nodes/n1/hold", reason("new fans")).await;
    assert_eq!(held.expect(200)["generation"], 3);
    let held = api.post("/v1/nodes/n1/hold", reason("no fans")).await;
    assert_eq!(held.expect(200)["generation"], 4);
    let back = api.call(Method::POST, "/v1/nodes/n1/unhold", None).await;
    assert_eq!(back.expect(200)["generation"], 5);

    let retired = api.post("/v1/nodes/n1/retire", reason("sold")).await;
    assert_eq!(retired.expect(200)["generation"], 6);
    let events = api.get("/v1/events").await.expect(200);
    says(&events, "is to be retired, says `admin`: sold");
    api.move_node(id, |state| at_rest(state, Phase::Retired))
        .await;
    let shown = api.get("/v1/nodes/n1").await.expect(200);
    assert_eq!(shown["provision_state"], "retired");
    let back = api.call(Method::POST, "/v1/nodes/n1/provide", None).await;
    assert_eq!(back.expect(200)["generation"], 7);
    api.move_node(id, |state| at_rest(state, Phase::Available))
        .await;
    let refused = api.delete("/v1/nodes/n1").await.problem(409, "conflict");
    says(&refused, "retire it first");
    api.delete("/v1/nodes/n1?force=true").await.expect(204);
}
