//! Servers on networks: reserved addresses, networks of an order, and what may change under servers.

use crate::networks::{POOLS, member_get, member_post, names, network};
use crate::support::offer::{image, sized};
use crate::support::{Api, PUBLIC_KEY, at_rest, machine};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::Phase;
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

/// A site with what orders name, for project `one`: nodes `n1` to `n{nodes}` of flavor `m1`, image
/// `os`, public network `web`, key `laptop`. With its token.
async fn site(nodes: u8) -> (Api, String, Vec<NodeId>) {
    let api = Api::start_with(POOLS).await;
    let mut ids = Vec::new();
    for number in 1..=nodes {
        ids.push(api.available_node(number, machine(31_800, 100)).await);
    }
    let hardware = bessemer_core::flavor::FlavorHardware::of(&machine(31_800, 100));
    let flavor = json!({ "name": "m1", "hardware": hardware });
    api.post("/v1/flavors", flavor).await.expect(201);
    api.post("/v1/networks", network()).await.expect(201);
    let one = api.token("one", Role::Member, "one").await;
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    member_post(&api, &one, "/v1/keys", key).await.expect(201);
    image(&api, "os", Ok(sized(2 << 30, 600 << 20))).await;
    (api, one, ids)
}

fn order(name: &str, networks: Value) -> Value {
    json!({ "name": name, "flavor": "m1", "image": "os", "networks": networks, "keys": ["laptop"] })
}

#[tokio::test]
async fn addresses_are_reserved_moved_and_released() {
    let (api, one, ids) = site(2).await;
    let two = api.token("two", Role::Member, "two").await;
    let reserve =
        async |token: &str, body: Value| member_post(&api, token, "/v1/addresses", body).await;
    let kept = json!({ "network": "web", "address": "192.168.100.15", "description": "balancer" });
    let answer = reserve(&one, kept.clone()).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let kept_address = answer.expect(201);
    assert_eq!(kept_address["reserved"], true);
    assert_eq!(kept_address["description"], "balancer");
    assert_eq!(kept_address["server"], Value::Null);
    let refused = reserve(&two, kept).await;
    refused.wrong(409, "conflict", "address", "reserved already");
    member_get(&api, &one, &location).await.expect(200);
    member_get(&api, &two, &location)
        .await
        .problem(404, "not-found");
    for (body, kind, field, words) in [
        (
            json!({ "address": "192.168.101.1" }),
            "invalid-field",
            "address",
            "no host address",
        ),
        (
            json!({ "address": "192.168.100.1" }),
            "invalid-field",
            "address",
            "gateway",
        ),
        (
            json!({ "address": "192.168.100.99" }),
            "invalid-field",
            "address",
            "in no pool",
        ),
        (
            json!({ "subnet": "10.0.0.0/8" }),
            "unknown-reference",
            "subnet",
            "no subnet",
        ),
        (
            json!({ "network": "nowhere" }),
            "unknown-reference",
            "network",
            "nowhere",
        ),
        (
            json!({ "project": "two" }),
            "unknown-reference",
            "project",
            "two",
        ),
        (
            json!({ "description": "x".repeat(201) }),
            "invalid-field",
            "description",
            "200",
        ),
    ] {
        let mut request = json!({ "network": "web" });
        request
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        reserve(&one, request).await.wrong(422, kind, field, words);
    }
    let nobody = json!({ "network": "web", "address": "192.168.100.99", "nobody": true });
    reserve(&one, nobody.clone())
        .await
        .problem(403, "forbidden");
    let nobodys = api.post("/v1/addresses", nobody).await.expect(201);
    assert_eq!(nobodys["project"], Value::Null);
    let next = reserve(&one, json!({ "network": "web" })).await.expect(201);
    assert_eq!(next["address"], "192.168.100.10");
    let refused = reserve(&one, json!({ "network": "web" })).await;
    assert!(
        refused.text.contains("as many as it may"),
        "{}",
        refused.text
    );
    refused.problem(409, "conflict");

    // A server has it, and then another one.
    let with = json!([{ "network": "web", "addresses": ["192.168.100.15"] }]);
    let server = member_post(&api, &one, "/v1/servers", order("web1", with)).await;
    assert_eq!(server.expect(201)["address"], "192.168.100.15");
    let plain = json!([{ "network": "web" }]);
    let other = member_post(&api, &one, "/v1/servers", order("web2", plain))
        .await
        .expect(201);
    let to = format!("{location}/move");
    let refused = member_post(&api, &one, &to, json!({ "server": "web9" })).await;
    refused.wrong(422, "unknown-reference", "server", "web9");
    let moved = member_post(&api, &one, &to, json!({ "server": "web2" }))
        .await
        .expect(200);
    assert_eq!(moved["server"], other["id"]);
    let server = member_get(&api, &one, "/v1/servers/web1").await.expect(200);
    assert_eq!(server["address"], Value::Null);
    let server = member_get(&api, &one, "/v1/servers/web2").await.expect(200);
    let addresses = &server["networks"][0]["addresses"];
    assert_eq!(
        (&addresses[0]["address"], &addresses[1]["address"]),
        (&json!("192.168.100.11"), &json!("192.168.100.15"))
    );

    // Lists, and who had it when.
    let list = async |query: &str| {
        let list = member_get(&api, &one, &format!("/v1/addresses?{query}")).await;
        names(&list.expect(200), "address").join(" ")
    };
    assert_eq!(
        list("sort=-address").await,
        "192.168.100.15 192.168.100.11 192.168.100.10"
    );
    assert_eq!(list("allocated=false").await, "192.168.100.10");
    assert_eq!(
        list("server=web2&network=web").await,
        "192.168.100.11 192.168.100.15"
    );
    let two_sees = member_get(&api, &two, "/v1/addresses").await.expect(200);
    assert_eq!(two_sees["items"], json!([]));
    assert_eq!(
        names(&api.get("/v1/addresses").await.expect(200), "address").len(),
        4
    );
    let path = "/v1/addresses/history?address=192.168.100.15";
    let history = member_get(&api, &one, path).await.expect(200);
    let holders: Vec<_> = history["items"].as_array().unwrap().iter().collect();
    let holders: Vec<_> = holders.iter().map(|entry| &entry["server_name"]).collect();
    assert_eq!(holders, [&json!("web2"), &json!("web1"), &Value::Null]);
    assert!(
        history["items"][0].get("node").is_none(),
        "the operators' business"
    );
    let operators = api.get(path).await.expect(200);
    assert_eq!(operators["items"][0]["node"], json!(ids[1]));
    let then = format!("{path}&at=2020-01-01T00:00:00Z");
    assert_eq!(
        member_get(&api, &one, &then).await.expect(200)["items"],
        json!([])
    );
    assert_eq!(
        member_get(&api, &two, path).await.expect(200)["items"],
        json!([])
    );

    // Released, it goes with its server.
    let release = |path: String| {
        let (api, one) = (&api, &one);
        async move { api.call_as(one, Method::DELETE, &path, None).await }
    };
    release(location.clone()).await.expect(204);
    assert_eq!(
        member_get(&api, &one, &location).await.expect(200)["reserved"],
        false
    );
    release(location.clone()).await.problem(409, "conflict");
    release("/v1/networks/web/addresses/192.168.100.10".into())
        .await
        .expect(204);
    release("/v1/networks/web/addresses/192.168.100.10".into())
        .await
        .problem(404, "not-found");
    release("/v1/networks/web/addresses/nonsense".into())
        .await
        .problem(400, "invalid-parameter");
}

#[tokio::test]
async fn an_order_is_on_networks_that_it_may_use_and_that_go_together() {
    let (api, one, ids) = site(2).await;
    let two = api.token("two", Role::Member, "two").await;
    let private = json!({ "name": "theirs", "subnets": [{ "cidr": "10.0.0.0/24" }] });
    member_post(&api, &two, "/v1/networks", private)
        .await
        .expect(201);
    let place = async |networks: Value| {
        let planned = member_post(
            &api,
            &one,
            "/v1/servers/plan",
            order("web1", networks.clone()),
        );
        let planned = planned.await;
        let placed = member_post(&api, &one, "/v1/servers", order("web1", networks)).await;
        assert_eq!(placed.status.is_success(), planned.status.is_success());
        placed
    };
    for (networks, kind, field, words) in [
        (json!([]), "invalid-field", "networks", "1 to"),
        (
            json!([{ "network": "theirs" }]),
            "unknown-reference",
            "networks[0].network",
            "theirs",
        ),
        (
            json!([{ "network": "web", "colour": 1 }]),
            "invalid-field",
            "networks[0].colour",
            "nknown field",
        ),
        (
            json!([{ "network": "web", "addresses": ["192.168.101.1"] }]),
            "invalid-field",
            "networks[0].addresses[0]",
            "no host address",
        ),
        (
            json!([{ "network": "web", "addresses": ["192.168.100.99"] }]),
            "invalid-field",
            "networks[0].addresses[0]",
            "in no pool",
        ),
        (
            json!([{ "network": "web", "addresses": ["192.168.100.12", "192.168.100.13"] }]),
            "invalid-field",
            "networks[0].addresses[1]",
            "second address",
        ),
    ] {
        place(networks).await.wrong(422, kind, field, words);
    }
    // Outside of the pools with an operator's help.
    let reserved = json!({ "network": "web", "address": "192.168.100.99", "project": "one" });
    api.post("/v1/addresses", reserved).await.expect(201);
    let fixed = json!([{ "network": "web", "addresses": ["192.168.100.99"] }]);
    assert_eq!(place(fixed).await.expect(201)["address"], "192.168.100.99");

    // Nothing in use is deleted.
    api.move_node(ids[0], |state| at_rest(state, Phase::Active))
        .await;
    let refused = api.delete("/v1/networks/web").await;
    assert!(refused.text.contains("`web1`"), "{}", refused.text);
    refused.problem(409, "conflict");
}

#[tokio::test]
async fn a_server_is_on_several_networks() {
    let (api, one, ids) = site(2).await;
    let make = async |body: Value| {
        let made = member_post(&api, &one, "/v1/networks", body).await;
        made.expect(201)
    };
    let backend = make(json!({ "name": "backend", "subnets": [
        { "cidr": "2001:db8:7::/64" }, { "cidr": "10.0.0.0/24" }] }))
    .await;
    make(json!({ "name": "jumbo", "mtu": 9000 })).await;
    // Made after the tenant had chosen the same addresses.
    let late = json!({ "name": "late", "vlan": 300, "subnets": [{ "cidr": "10.0.0.0/16" }] });
    api.post("/v1/networks", late).await.expect(201);
    let place = async |networks: Value| {
        let order = order("web1", networks);
        let planned = member_post(&api, &one, "/v1/servers/plan", order.clone()).await;
        let placed = member_post(&api, &one, "/v1/servers", order).await;
        assert_eq!(placed.status.is_success(), planned.status.is_success());
        placed
    };
    for (networks, status, kind, field, words) in [
        (
            json!([{ "network": "web" }, { "network": "web" }]),
            422,
            "invalid-field",
            "networks[1].network",
            "named twice",
        ),
        (
            json!([{ "network": "backend" }, { "network": "late" }]),
            422,
            "invalid-field",
            "networks[1].network",
            "overlaps 10.0.0.0/24 of network backend",
        ),
        (
            json!([{ "network": "web", "port": "eth0/1" }]),
            422,
            "invalid-field",
            "networks[0].port",
            "`eth0/1` is no name",
        ),
        (
            json!([{ "network": "web", "mode": "both" }]),
            422,
            "invalid-field",
            "networks[0].mode",
            "native",
        ),
        (
            json!(vec![json!({ "network": "web" }); 9]),
            422,
            "invalid-field",
            "networks",
            "1 to 8",
        ),
        (
            json!([{ "network": "web", "port": "52:54:00:99:99:99" }]),
            409,
            "networks-not-carried",
            "networks",
            "has no port or port group `52:54:00:99:99:99`",
        ),
        (
            json!([{ "network": "web", "mode": "native" }, { "network": "backend",
                "mode": "native" }]),
            409,
            "networks-not-carried",
            "networks",
            "both native",
        ),
        (
            json!([{ "network": "web" }, { "network": "jumbo" }]),
            409,
            "networks-not-carried",
            "networks",
            "MTU of 9000",
        ),
    ] {
        place(networks).await.wrong(status, kind, field, words);
    }
    let node = api.site.store.node_by_id(ids[1]).await.unwrap();
    let port = node.ports[0].mac.to_string();
    let networks = json!([{ "network": "web", "mode": "tagged" },
        { "network": "backend", "port": port, "addresses": ["2001:db8:7::7"] }]);
    let server = place(networks).await.expect(201);
    // Only the second node has that port.
    assert_eq!(server["node"], json!(ids[1]));
    assert_eq!(server["address"], "192.168.100.10");
    let places = server["networks"].as_array().unwrap();
    assert_eq!(places.len(), 2);
    assert_eq!(
        (&places[0]["mode"], &places[0]["port"]),
        (&json!("tagged"), &Value::Null)
    );
    assert_eq!(places[1]["network"], backend["id"]);
    assert_eq!(places[1]["port"], json!(port));
    let addresses = places[1]["addresses"].as_array().unwrap();
    let addresses: Vec<_> = addresses.iter().map(|each| &each["address"]).collect();
    assert_eq!(addresses, [&json!("10.0.0.1"), &json!("2001:db8:7::7")]);
    for path in ["/v1/networks/web", "/v1/networks/backend"] {
        let shown = member_get(&api, &one, path).await.expect(200);
        assert_eq!(shown["servers"], 1, "{path}");
    }
}

/// What shares a port has no longer packets than the untagged network on it, and none has longer ones than
/// the switch forwards.
#[tokio::test]
async fn an_mtu_that_a_server_cannot_follow_is_refused() {
    let (api, one, _) = site(1).await;
    let switch =
        json!({ "name": "leaf1", "driver": "ovsdb", "address": "unix:/none", "largest_mtu": 9000 });
    api.post("/v1/switches", switch).await.expect(201);
    let ports = api.get("/v1/nodes/n1/ports").await.expect(200);
    let path = format!(
        "/v1/nodes/n1/ports/{}",
        ports["items"][0]["mac"].as_str().unwrap()
    );
    let cable = json!({ "switch": "leaf1", "switch_port": "p1" });
    api.call(Method::PATCH, &path, Some(cable))
        .await
        .expect(200);
    let backend = json!({ "name": "backend", "subnets": [{ "cidr": "10.0.0.0/24" }] });
    member_post(&api, &one, "/v1/networks", backend)
        .await
        .expect(201);
    let networks = json!([{ "network": "web" }, { "network": "backend" }]);
    let order = order("web1", networks);
    member_post(&api, &one, "/v1/servers", order)
        .await
        .expect(201);
    let set = async |network: &str, mtu: u16| {
        let (path, body) = (format!("/v1/networks/{network}"), json!({ "mtu": mtu }));
        api.call(Method::PATCH, &path, Some(body)).await
    };
    for (network, mtu) in [("backend", 9000), ("web", 1400)] {
        let refused = set(network, mtu).await;
        assert!(refused.text.contains("`web1`"), "{}", refused.text);
        refused.wrong(409, "conflict", "mtu", "native on the same port");
    }
    set("web", 9001)
        .await
        .wrong(409, "conflict", "mtu", "forwards at most 9000");
    assert_eq!(
        api.get("/v1/networks/backend").await.expect(200)["mtu"],
        1500
    );
    // In an order in which it never is, it is not.
    for (network, mtu) in [
        ("web", 9000),
        ("backend", 9000),
        ("backend", 1400),
        ("web", 1400),
    ] {
        assert_eq!(set(network, mtu).await.expect(200)["mtu"], mtu);
    }
}
