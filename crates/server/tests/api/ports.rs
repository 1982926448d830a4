//! Ports of nodes, groups of them, and which order gets which: what is refused, and in what words.

use crate::support::offer::{image, sized};
use crate::support::{Answer, Api, PUBLIC_KEY, at_rest, machine, node};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::Phase;
use reqwest::Method;
use serde_json::{Value, json};

const FIRST: &str = "52:54:00:00:00:01";
const SECOND: &str = "52:54:00:00:00:02";
const THIRD: &str = "52:54:00:00:00:03";

/// A request to register node 1 with three NICs: two on `leaf1`, one on `leaf2`.
fn three_ports() -> Value {
    let mut request = node(1);
    request["ports"] = json!([
        { "mac": FIRST, "switch": "leaf1", "switch_port": "p1" },
        { "mac": SECOND, "switch": "leaf1", "switch_port": "p2" },
        { "mac": THIRD, "switch": "leaf2", "switch_port": "p1" },
    ]);
    request
}

fn group(name: &str, members: &[&str]) -> Value {
    json!({ "name": name, "members": members })
}

/// A site with node 1, which rests.
async fn site() -> (Api, NodeId) {
    let api = Api::start().await;
    for name in ["leaf1", "leaf2"] {
        let switch = json!({ "name": name, "driver": "ovsdb", "address": "unix:/none" });
        api.post("/v1/switches", switch).await.expect(201);
    }
    let created = api.post("/v1/nodes", three_ports()).await.expect(201);
    let id: NodeId = created["id"].as_str().unwrap().parse().unwrap();
    rest(&api, id).await;
    (api, id)
}

async fn rest(api: &Api, id: NodeId) {
    api.site
        .store
        .set_inventory(id, &machine(1024, 100))
        .await
        .unwrap();
    api.move_node(id, |state| at_rest(state, Phase::Available))
        .await;
}

async fn patch(api: &Api, path: &str, body: Value) -> Answer {
    api.call(Method::PATCH, path, Some(body)).await
}

#[tokio::test]
async fn ports_are_bonded_when_they_are_registered_or_later() {
    let (api, id) = site().await;
    let groups = "/v1/nodes/n1/port-groups";
    let answer = api.post(groups, group("bond0", &[SECOND, FIRST])).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/nodes/{id}/port-groups/bond0"));
    let made = answer.expect(201);
    let expected = json!({ "name": "bond0", "mode": "lacp", "members": [FIRST, SECOND] });
    assert_eq!(made, expected);
    assert_eq!(api.get(&location).await.expect(200), expected);
    let shown = api.get("/v1/nodes/n1").await.expect(200);
    assert_eq!(shown["port_groups"], json!([expected]));
    let listed = api.get("/v1/nodes/n1/ports").await.expect(200);
    assert_eq!(
        listed["items"][0],
        json!({ "mac": FIRST, "switch": "leaf1", "switch_port": "p1", "group": "bond0",
            "boots": true, "name": "eth0", "link": true, "speed_mbps": 10000, "lldp": null })
    );
    assert_eq!(listed["items"][1]["link"], Value::Null, "it was not found");

    // Two switches are no place for LACP.
    let all = json!({ "members": [FIRST, SECOND, THIRD] });
    let refused = patch(&api, &location, all.clone()).await;
    refused.wrong(422, "invalid-field", "members", "form no MLAG pair");
    let mut changed = all;
    changed["mode"] = json!("active_backup");
    let changed = patch(&api, &location, changed).await.expect(200);
    assert_eq!(changed["mode"], "active_backup");
    assert_eq!(changed["members"].as_array().unwrap().len(), 3);
    let refused = patch(&api, &location, json!({ "mode": "lacp" })).await;
    refused.wrong(422, "invalid-field", "members", "leaf1 and leaf2");
    api.delete(&location).await.expect(204);
    api.get(&location).await.problem(404, "not-found");
    let events = api.get("/v1/events").await;
    assert!(
        events
            .text
            .contains("port group bond0 (active_backup) is deleted of node `n1`")
    );

    let mut request = three_ports();
    (request["name"], request["bmc"]["url"]) = (json!("n2"), json!("https://bmc2.example"));
    for (index, port) in request["ports"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        port["mac"] = json!(format!("52:54:00:00:01:0{index}"));
        port["switch_port"] = json!(format!("p{}", index + 7));
    }
    request["port_groups"] = json!([group("g", &["52:54:00:00:01:00", "52:54:00:00:01:01"])]);
    let created = api.post("/v1/nodes", request).await.expect(201);
    assert_eq!(created["port_groups"][0]["mode"], "lacp");
    assert_eq!(created["ports"][1]["group"], "g");
}

#[tokio::test]
async fn what_is_wrong_with_a_port_group_is_named() {
    let (api, _) = site().await;
    let groups = "/v1/nodes/n1/port-groups";
    for (request, field, words) in [
        (
            group("a b", &[FIRST, SECOND]),
            "name",
            "no name of a port group",
        ),
        (group(FIRST, &[FIRST, SECOND]), "name", "no MAC address"),
        (group("bond0", &[FIRST]), "members", "has 1 ports"),
        (group("bond0", &[]), "members", "has 0 ports"),
        (group("bond0", &[FIRST, FIRST]), "members[1]", "named twice"),
        (
            group("bond0", &[FIRST, THIRD]),
            "members",
            "use the mode active_backup",
        ),
        (
            group("bond0", &["52:54:00:00:00:09"]),
            "members[0]",
            "has no port 52:54:00:00:00:09",
        ),
    ] {
        let refused = api.post(groups, request.clone()).await;
        assert_eq!(refused.status, 422, "{request}");
        assert_eq!(refused.json()["field"], field, "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
        // The same when a node is registered.
        let mut whole = three_ports();
        (whole["name"], whole["port_groups"]) = (json!("n2"), json!([request]));
        let refused = api.post("/v1/nodes", whole).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
        assert!(refused.text.contains("port_groups"), "{}", refused.text);
    }
    api.post(groups, group("bond0", &[FIRST, SECOND]))
        .await
        .expect(201);
    let again = api.post(groups, group("bond0", &[SECOND, THIRD])).await;
    again.wrong(409, "conflict", "name", "has a port group `bond0` already");
    let other = api.post(groups, group("bond1", &[SECOND, THIRD])).await;
    other.wrong(
        422,
        "invalid-field",
        "members[0]",
        "is in port group `bond0` already",
    );
    let both = json!({ "name": "x", "mode": "both", "members": [FIRST, SECOND] });
    api.post(groups, both).await.problem(422, "invalid-field");
    for path in ["/v1/nodes/n1/port-groups/bond7", "/v1/nodes/n9/port-groups"] {
        api.get(path).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn cables_are_moved_while_a_node_rests_and_has_no_server() {
    let (api, id) = site().await;
    let path = |mac: &str| format!("/v1/nodes/n1/ports/{mac}");
    let moved = json!({ "switch": "leaf2", "switch_port": "p9", "physical_network": "storage" });
    let moved = patch(&api, &path(SECOND), moved).await.expect(200);
    assert_eq!(
        (
            &moved["switch"],
            &moved["switch_port"],
            &moved["physical_network"]
        ),
        (&json!("leaf2"), &json!("p9"), &json!("storage"))
    );
    let boots = patch(&api, &path(SECOND), json!({ "boots": true }))
        .await
        .expect(200);
    assert_eq!(boots["boots"], true);
    let listed = api.get("/v1/nodes/n1/ports").await.expect(200);
    let boots: Vec<_> = listed["items"].as_array().unwrap().iter().collect();
    let boots: Vec<_> = boots.iter().map(|port| port["boots"] == true).collect();
    assert_eq!(boots, [false, true, false]);
    let none = json!({ "switch": null, "switch_port": null, "physical_network": null });
    let unplugged = patch(&api, &path(FIRST), none.clone()).await.expect(200);
    assert_eq!(unplugged["switch"], Value::Null);

    for (mac, change, field, words) in [
        (SECOND, json!({ "switch": "leaf7" }), "switch", "leaf7"),
        (
            SECOND,
            json!({ "switch_port": null }),
            "switch_port",
            "without `switch_port`",
        ),
        (SECOND, json!({ "boots": false }), "boots", "has to boot"),
        (
            SECOND,
            json!({ "physical_network": "a b" }),
            "physical_network",
            "is no name",
        ),
        (
            SECOND,
            json!({ "switch_port": "p1" }),
            "switch_port",
            "is given for both",
        ),
        (SECOND, json!({ "colour": "red" }), "colour", "nknown field"),
        // The agent boots from it: it must be known where it is.
        (SECOND, none, "switch", "boot NIC"),
    ] {
        let refused = patch(&api, &path(mac), change).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.json()["field"], field, "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    patch(&api, &path("52:54:00:00:00:09"), json!({}))
        .await
        .problem(404, "not-found");
    patch(&api, &path("nonsense"), json!({}))
        .await
        .problem(400, "invalid-parameter");

    api.move_node(id, |state| {
        state.phase = Phase::Cleaning;
        state.step = bessemer_core::lifecycle::Step::Erase;
    })
    .await;
    let refused = patch(&api, &path(SECOND), json!({ "switch_port": "p5" })).await;
    assert!(
        refused
            .text
            .contains("is cleaning: wait until it is at rest"),
        "{}",
        refused.text
    );
    refused.problem(409, "conflict");
}

#[tokio::test]
async fn a_switch_port_leads_to_one_node() {
    let (api, _) = site().await;
    let mut other = node(2);
    other["ports"] =
        json!([{ "mac": "52:54:00:00:00:12", "switch": "leaf1", "switch_port": "p2" }]);
    let refused = api.post("/v1/nodes", other.clone()).await;
    refused.wrong(
        409,
        "conflict",
        "ports[0].switch_port",
        "already belongs to node `n1`",
    );
    other["ports"][0]["switch_port"] = json!("p7");
    let created = api.post("/v1/nodes", other).await.expect(201);
    rest(&api, created["id"].as_str().unwrap().parse().unwrap()).await;
    let path = "/v1/nodes/n2/ports/52:54:00:00:00:12";
    let refused = patch(
        &api,
        path,
        json!({ "switch": "leaf2", "switch_port": "p1" }),
    )
    .await;
    refused.wrong(
        409,
        "conflict",
        "switch_port",
        "already belongs to node `n1`",
    );
}

#[tokio::test]
async fn members_neither_see_ports_nor_say_what_networks_are_part_of() {
    let (api, _) = site().await;
    let member = api
        .token("one", bessemer_wire::api::Role::Member, "one")
        .await;
    for path in ["/v1/nodes/n1/ports", "/v1/nodes/n1/port-groups"] {
        let answer = api.call_as(&member, Method::GET, path, None).await;
        answer.problem(403, "forbidden");
    }
    let network = json!({ "name": "web", "physical_network": "public" });
    let refused = api
        .call_as(&member, Method::POST, "/v1/networks", Some(network))
        .await;
    refused.wrong(403, "forbidden", "physical_network", "Only operators");
    let wrong = json!({ "name": "web", "vlan": 200, "physical_network": "a b" });
    let refused = api.post("/v1/networks", wrong).await;
    refused.wrong(422, "invalid-field", "physical_network", "is no name");
}

/// What servers are made of, with the networks `web` in physical network `public`, and `storage`.
async fn offer(api: &Api) {
    image(api, "debian", Ok(sized(2 << 30, 600 << 20))).await;
    let flavor = json!({ "name": "metal", "from_node": "n1" });
    api.post("/v1/flavors", flavor).await.expect(201);
    for (name, vlan) in [("web", 200), ("storage", 201)] {
        let network = json!({ "name": name, "vlan": vlan, "physical_network": name });
        api.post("/v1/networks", network).await.expect(201);
    }
    let key = json!({ "name": "me", "public_key": PUBLIC_KEY });
    api.post("/v1/keys", key).await.expect(201);
}

fn order(networks: Value) -> Value {
    json!({ "name": "web1", "flavor": "metal", "image": "debian", "keys": ["me"],
        "networks": networks })
}

#[tokio::test]
async fn an_order_that_no_port_can_carry_is_refused_with_ports_and_physical_networks() {
    let (api, _) = site().await;
    offer(&api).await;
    let both = order(json!([{ "network": "web" }, { "network": "storage" }]));
    let place = async |order: &Value| {
        let planned = api.post("/v1/servers/plan", order.clone()).await;
        let placed = api.post("/v1/servers", order.clone()).await;
        assert_eq!(placed.status.is_success(), planned.status.is_success());
        placed
    };
    let refused = place(&both).await;
    for words in [
        "n1: network `web`",
        "physical network `web`",
        FIRST,
        SECOND,
        THIRD,
    ] {
        refused.wrong(409, "networks-not-carried", "networks", words);
    }
    let says = |mac: &str, name: &str| {
        let path = format!("/v1/nodes/n1/ports/{mac}");
        let body = json!({ "physical_network": name });
        let api = &api;
        async move { patch(api, &path, body).await.expect(200) }
    };
    says(FIRST, "web").await;
    let refused = place(&both).await;
    let words = format!("{FIRST} (physical network `web`)");
    refused.wrong(409, "networks-not-carried", "networks", &words);
    // Asked for where it does not lead to.
    let asked = order(json!([{ "network": "storage", "port": FIRST }]));
    let refused = place(&asked).await;
    refused.wrong(409, "networks-not-carried", "networks", "leads to `web`");
    let asked = order(json!([{ "network": "web", "port": "bond0" }]));
    let refused = place(&asked).await;
    refused.wrong(
        409,
        "networks-not-carried",
        "networks",
        "no port or port group `bond0`",
    );
    assert_eq!(api.get("/v1/servers").await.expect(200)["items"], json!([]));
    // As good as of the port: said of all ports of its switch.
    let storage = json!({ "physical_network": "storage" });
    patch(&api, "/v1/switches/leaf2", storage).await.expect(200);
    place(&both).await.expect(201);

    // From now on its ports carry networks, and these networks have servers.
    let path = format!("/v1/nodes/n1/ports/{FIRST}");
    let refused = patch(&api, &path, json!({ "physical_network": null })).await;
    assert!(
        refused.text.contains("elete the server first"),
        "{}",
        refused.text
    );
    refused.problem(409, "conflict");
    let refused = patch(
        &api,
        "/v1/networks/web",
        json!({ "physical_network": null }),
    )
    .await;
    refused.wrong(409, "conflict", "physical_network", "delete them first");
    let other = json!({ "physical_network": "backup" });
    let refused = patch(&api, "/v1/switches/leaf2", other).await;
    refused.wrong(409, "conflict", "physical_network", "`n1` has a server");
}
