//! Ordering servers: what can be wrong with an order, and that nothing is half-done then.

use crate::support::offer::{M1, image, offer, sized};
use crate::support::{Answer, Api, PUBLIC_KEY, at_rest, machine};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Goal, Phase};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

/// A site with everything that an order names: nodes `n1` to `n{nodes}` of flavor `m1`, image
/// `os`, network `web`, key `laptop`.
async fn site(nodes: u8) -> (Api, Vec<NodeId>) {
    let api = Api::start().await;
    let mut ids = Vec::new();
    for number in 1..=nodes {
        ids.push(api.available_node(number, machine(M1.0, M1.1)).await);
    }
    offer(&api).await;
    (api, ids)
}

fn order(name: &str) -> Value {
    json!({ "name": name, "flavor": "m1", "image": "os", "networks": [{ "network": "web" }],
        "keys": ["laptop"] })
}

/// Orders under an `Idempotency-Key`.
async fn order_once(api: &Api, key: &str, body: &Value) -> Answer {
    let request = api
        .request(Method::POST, "/v1/servers")
        .bearer_auth(&api.admin);
    api.send(request.header("idempotency-key", key).json(body))
        .await
}

/// No server, and every node still free.
async fn nothing_done(api: &Api, nodes: usize) {
    assert_eq!(api.get("/v1/servers").await.expect(200)["items"], json!([]));
    let free = api.site.store.available_nodes(100).await.unwrap();
    assert_eq!(free.len(), nodes);
}

#[tokio::test]
async fn an_order_is_planned_and_then_placed() {
    let (api, ids) = site(1).await;
    let plan = api
        .post("/v1/servers/plan", order("web1"))
        .await
        .expect(200);
    assert_eq!(plan["node_name"], "n1");
    assert_eq!(plan["plan"]["posts"], 1);
    let steps = plan["plan"]["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step["step"] == "write_image" && step["irreversible"] == true)
    );
    nothing_done(&api, 1).await;

    let mut request = order("web1");
    request["user_data"] = json!("#cloud-config\n# planted-user-data\n");
    let answer = api.post("/v1/servers", request).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let server = answer.expect(201);
    assert_eq!(
        location,
        format!("/v1/servers/{}", server["id"].as_str().unwrap())
    );
    assert_eq!(server["status"], "building");
    assert_eq!(server["address"], "192.168.100.10");
    assert_eq!(server["default_user"], "debian");
    assert_eq!(server["node"], json!(ids[0]));
    assert_eq!(
        server["plan"], plan["plan"],
        "what is foretold is what was shown"
    );
    assert_eq!(server["posts"], 0);
    for path in [
        location.as_str(),
        "/v1/servers/web1",
        "/v1/servers",
        "/v1/events",
    ] {
        assert!(
            !api.get(path).await.text.contains("planted-user-data"),
            "{path}"
        );
    }
    assert_eq!(api.get("/v1/flavors/m1").await.expect(200)["available"], 0);
    let network = api.get("/v1/networks/web").await.expect(200);
    assert_eq!(network["servers"], 1);
    assert_eq!(network["subnets"][0]["usage"]["allocated"], 1);
    assert_eq!(server["networks"][0]["network"], network["id"]);

    let node = api.site.store.node("n1").await.unwrap();
    assert!(matches!(node.spec.goal, Goal::Deployed(_)));
    api.delete("/v1/nodes/n1").await.problem(409, "conflict");
    api.post("/v1/nodes/n1/hold", json!({ "reason": "fan is loud" }))
        .await
        .problem(409, "conflict");
}

#[tokio::test]
async fn a_server_goes_through_its_states() {
    let (api, ids) = site(1).await;
    api.post("/v1/servers", order("web1")).await.expect(201);
    api.move_node(ids[0], |state| {
        state.phase = Phase::Deploying;
        state.posts += 1;
    })
    .await;
    let server = api.get("/v1/servers/web1").await.expect(200);
    assert_eq!(
        (&server["status"], &server["posts"]),
        (&json!("building"), &json!(1))
    );
    api.move_node(ids[0], |state| at_rest(state, Phase::Active))
        .await;
    let server = api.get("/v1/servers/web1").await.expect(200);
    assert_eq!(server["status"], "active");
    assert!(server["active_at"].is_string(), "{server}");

    for path in ["/v1/flavors/m1", "/v1/networks/web", "/v1/images/os"] {
        let document = api.delete(path).await.problem(409, "conflict");
        assert!(
            document["detail"].as_str().unwrap().contains("`web1`"),
            "{document}"
        );
    }
    let deleting = api.delete("/v1/servers/web1").await.expect(202);
    assert_eq!(deleting["status"], "deleting");
    // Again changes nothing.
    api.delete("/v1/servers/web1").await.expect(202);
    let node = api.site.store.node("n1").await.unwrap();
    assert_eq!(
        (node.spec.goal, node.spec.generation.0),
        (Goal::Available, 3)
    );
}

#[tokio::test]
async fn a_deployment_can_be_given_back_in_its_middle() {
    let (api, ids) = site(1).await;
    api.post("/v1/servers", order("web1")).await.expect(201);
    api.move_node(ids[0], |state| state.phase = Phase::Deploying)
        .await;
    assert_eq!(
        api.delete("/v1/servers/web1").await.expect(202)["status"],
        "deleting"
    );
    assert_eq!(
        api.site.store.node("n1").await.unwrap().spec.goal,
        Goal::Available
    );
}

#[tokio::test]
async fn what_an_order_names_must_exist() {
    let (api, _) = site(1).await;
    for (field, value, named, kind, words) in [
        (
            "flavor",
            json!("m9"),
            "flavor",
            "unknown-reference",
            "flavor `m9`",
        ),
        (
            "image",
            json!("m9"),
            "image",
            "unknown-reference",
            "image `m9`",
        ),
        (
            "networks",
            json!([{ "network": "m9" }]),
            "networks[0].network",
            "unknown-reference",
            "network `m9`",
        ),
        (
            "keys",
            json!(["laptop", "m9"]),
            "keys[1]",
            "unknown-reference",
            "key `m9`",
        ),
        ("keys", json!([]), "keys", "invalid-field", "POST /v1/keys"),
        ("name", json!("Web_1"), "name", "invalid-field", "DNS label"),
        (
            "user_data",
            json!("x".repeat(65_537)),
            "user_data",
            "invalid-field",
            "65536",
        ),
        (
            "flavour",
            json!("m1"),
            "flavour",
            "invalid-field",
            "unknown field",
        ),
    ] {
        let mut request = order("web1");
        request[field] = value;
        for path in ["/v1/servers", "/v1/servers/plan"] {
            let refused = api.post(path, request.clone()).await;
            assert_eq!(refused.problem(422, kind)["field"], named);
            assert!(
                refused.text.to_lowercase().contains(&words.to_lowercase()),
                "{}",
                refused.text
            );
        }
    }
    nothing_done(&api, 1).await;
}

#[tokio::test]
async fn an_image_must_be_ready_and_fit_the_disk() {
    let (api, _) = site(1).await;
    image(&api, "broken", Err("planets were not aligned".into())).await;
    image(&api, "huge", Ok(sized(100 << 30, 1 << 20))).await;
    image(&api, "monstrous", Ok(sized(1 << 40, 1 << 20))).await;
    let with = |image: &str| {
        let mut request = order("web1");
        request["image"] = json!(image);
        request
    };
    let refused = api.post("/v1/servers", with("broken")).await;
    refused.wrong(409, "image-not-ready", "image", "planets");
    // The disk has as many bytes as the image, and none for the config drive.
    for image in ["huge", "monstrous"] {
        for path in ["/v1/servers", "/v1/servers/plan"] {
            let refused = api.post(path, with(image)).await;
            refused.wrong(
                422,
                "image-larger-than-disk",
                "image",
                "the largest one of flavor m1",
            );
        }
    }
    nothing_done(&api, 1).await;
}

#[tokio::test]
async fn when_no_node_is_free_it_is_said_what_is_short() {
    let (api, ids) = site(2).await;
    api.post("/v1/servers", order("web1")).await.expect(201);
    api.move_node(ids[1], |state| state.phase = Phase::Cleaning)
        .await;
    let refused = api.post("/v1/servers", order("web2")).await;
    refused.wrong(
        409,
        "no-matching-node",
        "flavor",
        "2 nodes have this hardware",
    );
    assert!(refused.text.contains("1 cleaning") && refused.text.contains("1 ordered"));

    let mut hardware = bessemer_core::flavor::FlavorHardware::of(&machine(31_800, 100));
    hardware.memory_mib = 65_536;
    api.post(
        "/v1/flavors",
        json!({ "name": "big", "hardware": hardware }),
    )
    .await
    .expect(201);
    let mut request = order("web2");
    request["flavor"] = json!("big");
    let refused = api.post("/v1/servers/plan", request).await;
    refused.wrong(
        409,
        "no-matching-node",
        "flavor",
        "memory_mib is 31800, wanted 65536",
    );
}

#[tokio::test]
async fn an_exhausted_network_refuses_before_a_node_is_taken() {
    let (api, _) = site(3).await;
    api.post("/v1/servers", order("web1")).await.expect(201);
    api.post("/v1/servers", order("web2")).await.expect(201);
    let refused = api.post("/v1/servers", order("web3")).await;
    refused.wrong(409, "addresses-exhausted", "networks", "192.168.100.0/24");
    assert_eq!(api.site.store.available_nodes(100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_order_sent_twice_is_one_server() {
    let (api, _) = site(1).await;
    let first = order_once(&api, "k1", &order("web1")).await.expect(201);
    // The last node is taken, by this very order: the answer is the same all the same. Neither
    // the order of the fields nor spaces make it another one.
    let spelt = r#"{"keys":["laptop"], "networks":[{"network":"web"}],"image":"os","flavor":"m1","name":"web1"}"#;
    let request = api
        .request(Method::POST, "/v1/servers")
        .bearer_auth(&api.admin);
    let request = request
        .header("idempotency-key", "k1")
        .header("content-type", "application/json");
    let again = api.send(request.body(spelt)).await.expect(200);
    assert_eq!(again["id"], first["id"]);

    let other = order_once(&api, "k1", &order("web2")).await;
    other.wrong(
        422,
        "idempotency-mismatch",
        "Idempotency-Key",
        "another request",
    );
    order_once(&api, "k2", &order("web1"))
        .await
        .problem(409, "no-matching-node");
    order_once(&api, "", &order("web1"))
        .await
        .problem(400, "invalid-parameter");
    order_once(&api, &"k".repeat(256), &order("web1"))
        .await
        .problem(400, "invalid-parameter");
    assert_eq!(
        api.get("/v1/servers").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn simultaneous_orders_get_nodes_of_their_own() {
    let (api, _) = site(2).await;
    let (one, two) = tokio::join!(
        api.post("/v1/servers", order("web1")),
        api.post("/v1/servers", order("web2"))
    );
    let (one, two) = (one.expect(201), two.expect(201));
    assert_ne!(one["node"], two["node"]);
    assert_ne!(one["address"], two["address"]);

    // The same order at the same time is one order, even for the last node.
    let (api, _) = site(1).await;
    let body = order("web1");
    let same = || order_once(&api, "k", &body);
    let (one, two, three) = tokio::join!(same(), same(), same());
    let mut statuses = [one.status, two.status, three.status].map(|status| status.as_u16());
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [200, 200, 201],
        "{} {} {}",
        one.text,
        two.text,
        three.text
    );
    assert_eq!(one.json()["id"], two.json()["id"]);
    assert_eq!(one.json()["id"], three.json()["id"]);
}

#[tokio::test]
async fn members_see_only_their_own_servers() {
    let (api, _) = site(2).await;
    api.post("/v1/servers", order("web1")).await.expect(201);
    let member = api.token("m", Role::Member, "shop").await;
    let get = |path: &'static str| api.call_as(&member, Method::GET, path, None);
    assert_eq!(get("/v1/servers").await.expect(200)["items"], json!([]));
    get("/v1/servers/web1").await.problem(404, "not-found");
    api.call_as(&member, Method::DELETE, "/v1/servers/web1", None)
        .await
        .problem(404, "not-found");
    // Nor do they order with others' keys.
    let refused = api
        .call_as(&member, Method::POST, "/v1/servers", Some(order("web1")))
        .await;
    refused.wrong(422, "unknown-reference", "keys[0]", "laptop");

    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    api.call_as(&member, Method::POST, "/v1/keys", Some(key))
        .await
        .expect(201);
    // The same name in another project is another server.
    api.call_as(&member, Method::POST, "/v1/servers", Some(order("web1")))
        .await
        .expect(201);
    assert_eq!(
        get("/v1/servers").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        api.get("/v1/servers").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // And an operator must say which one is meant.
    api.get("/v1/servers/web1").await.problem(409, "conflict");
    let events = get("/v1/events").await.expect(200);
    let mut kinds = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["kind"]);
    assert!(kinds.all(|kind| kind == "server.ordered"), "{events}");
}
