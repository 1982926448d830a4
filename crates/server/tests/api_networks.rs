//! Networks, subnets and addresses: what is refused, and who may do what with which.

mod api_support;

use api_support::offer::{image, sized};
use api_support::{Answer, Api, PUBLIC_KEY, at_rest, machine};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::Phase;
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

const PROVISIONING: &str = "parked_vlan = 4000\n[provisioning]\naddress = '10.77.0.1'\n\
    subnet = '10.77.0.0/24'\npool_first = '10.77.0.50'\npool_last = '10.77.0.99'\nvlan = 100";

/// VLANs 10, 11 (the parked one), 12 and 13.
const POOLS: &str = "parked_vlan = 11\n[fabric]\nvlan_pool = '10-13'\nvni_pool = '7000-7001'\n\
    networks_per_project = 2\naddresses_per_project = 2";

fn subnet() -> Value {
    json!({
        "cidr": "192.168.100.0/24", "gateway": "192.168.100.1", "dns": ["192.168.100.1"],
        "pools": [{ "first": "192.168.100.10", "last": "192.168.100.20" }],
    })
}

fn network() -> Value {
    json!({ "name": "web", "vlan": 200, "subnets": [subnet()] })
}

async fn member_post(api: &Api, token: &str, path: &str, body: Value) -> Answer {
    api.call_as(token, Method::POST, path, Some(body)).await
}

async fn member_get(api: &Api, token: &str, path: &str) -> Answer {
    api.call_as(token, Method::GET, path, None).await
}

/// What a list names, in its order.
fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("is a list");
    let name = |item: &Value| item[field].as_str().expect("is text").to_owned();
    items.iter().map(name).collect()
}

#[tokio::test]
async fn networks_never_touch_the_sites_own() {
    let api = Api::start_with(PROVISIONING).await;
    for (field, value, words) in [
        ("vlan", json!(100), "provisioning"),
        ("vlan", json!(4000), "parked"),
        ("vlan", json!(0), "1 to 4094"),
        ("vlan", json!(4095), "1 to 4094"),
        ("vlan", json!(70_000), "expected u16"),
        ("vlan", Value::Null, "`fabric.vlan_pool`"),
        ("mtu", json!(100), "1280"),
        ("name", json!("a b"), "is no name"),
        ("vni", json!(7), "vlan network has none"),
    ] {
        let mut request = network();
        request[field] = value;
        let refused = api.post("/v1/networks", request).await;
        refused.wrong(422, "invalid-field", field, words);
    }
    let mut request = network();
    (request["scope"], request["project"]) = (json!("shared"), json!("default"));
    let refused = api.post("/v1/networks", request).await;
    refused.wrong(422, "invalid-field", "project", "Only private networks");
    for vni in [0, 16_777_216] {
        let request = json!({ "name": "far", "kind": "vxlan", "vni": vni });
        let refused = api.post("/v1/networks", request).await;
        refused.wrong(422, "invalid-field", "vni", "1 to 16777215");
    }
    // An agent leaves once nobody answers for the conductor's address any more.
    let mut request = network();
    request["subnets"][0] = json!({ "cidr": "10.77.0.0/16" });
    let refused = api.post("/v1/networks", request).await;
    refused.wrong(409, "conflict", "subnets[0].cidr", "on which machines boot");

    let created = api.post("/v1/networks", network()).await.expect(201);
    assert_eq!(
        (&created["mtu"], &created["servers"]),
        (&json!(1500), &json!(0))
    );
    assert_eq!(
        (&created["kind"], &created["scope"]),
        (&json!("vlan"), &json!("public"))
    );
    let usage = json!({ "pool": 11, "free": 11, "allocated": 0, "reserved": 0 });
    assert_eq!(created["subnets"][0]["usage"], usage);
    let mut other = network();
    other["name"] = json!("other");
    let refused = api.post("/v1/networks", other.clone()).await;
    refused.wrong(409, "conflict", "vlan", "web");
    other["vlan"] = json!(201);
    let refused = api.post("/v1/networks", other).await;
    refused.wrong(409, "conflict", "subnets[0].cidr", "of network `web`");
    api.delete("/v1/networks/web").await.expect(204);
}

#[tokio::test]
async fn what_is_wrong_with_a_subnet_is_named() {
    let api = Api::start_with(PROVISIONING).await;
    let ends = |first: &str, last: &str| json!([{ "first": first, "last": last }]);
    for (field, value, named, words) in [
        ("cidr", json!("192.168.100.1/24"), "cidr", "host bits"),
        ("cidr", json!("2001:db8::/48"), "cidr", "64 to 126"),
        (
            "gateway",
            json!("192.168.101.1"),
            "gateway",
            "no host address",
        ),
        ("gateway", json!("192.168.100.15"), "gateway", "pool"),
        (
            "pools",
            ends("192.168.100.0", "192.168.100.9"),
            "pools[0].first",
            "no host address",
        ),
        (
            "pools",
            ends("192.168.100.10", "192.168.100.255"),
            "pools[0].last",
            "no host address",
        ),
        (
            "pools",
            ends("192.168.100.10", "192.168.100.9"),
            "pools[0].last",
            "before",
        ),
        ("dns", json!(["0.0.0.0"]), "dns[0]", "address"),
        ("dns", json!(["nowhere"]), "dns[0]", "IP address"),
        (
            "routes",
            json!([{ "destination": "10.0.0.0/8", "next_hop": "10.0.0.1" }]),
            "routes[0].next_hop",
            "no host address",
        ),
    ] {
        let mut request = network();
        request["subnets"][0][field] = value;
        let refused = api.post("/v1/networks", request).await;
        let named = format!("subnets[0].{named}");
        refused.wrong(422, "invalid-field", &named, words);
    }
    let mut large = network();
    large["subnets"][0] = json!({ "cidr": "10.0.0.0/8", "pools": ends("10.0.0.1", "10.1.0.1") });
    let refused = api.post("/v1/networks", large).await;
    refused.wrong(422, "invalid-field", "subnets[0].pools[0].last", "65536");

    // One by one, and changed later.
    api.post("/v1/networks", network()).await.expect(201);
    let six = json!({ "cidr": "2001:db8:7::/64", "gateway": "fe80::1" });
    let made = api.post("/v1/networks/web/subnets", six.clone()).await;
    let location = made.headers["location"].to_str().unwrap().to_owned();
    let made = made.expect(201);
    assert_eq!(made["usage"]["pool"], 65_536);
    let refused = api.post("/v1/networks/web/subnets", six).await;
    refused.wrong(409, "conflict", "cidr", "overlaps");
    let patch = async |body: Value| api.call(Method::PATCH, &location, Some(body)).await;
    let changed = patch(json!({ "gateway": null, "dns": ["2001:db8::53"] })).await;
    let changed = changed.expect(200);
    assert_eq!(
        (&changed["gateway"], &changed["dns"]),
        (&Value::Null, &json!(["2001:db8::53"]))
    );
    assert_eq!(changed["pools"], made["pools"], "what is absent stays");
    let refused = patch(json!({ "gateway": "2001:db8:7::5" })).await;
    refused.wrong(422, "invalid-field", "gateway", "pool");
    let found = api.get("/v1/subnets/2001:db8:7::%2F64").await.expect(200);
    assert_eq!(found["id"], made["id"]);
    let listed = api.get("/v1/subnets?network=web").await.expect(200);
    assert_eq!(
        names(&listed, "cidr"),
        ["192.168.100.0/24", "2001:db8:7::/64"]
    );
    api.delete(&location).await.expect(204);
    api.get(&location).await.problem(404, "not-found");
}

#[tokio::test]
async fn projects_have_networks_of_their_own() {
    let api = Api::start_with(POOLS).await;
    let one = api.token("one", Role::Member, "one").await;
    let two = api.token("two", Role::Member, "two").await;
    let storage = json!({ "name": "storage", "scope": "shared", "vlan": 500,
        "subnets": [{ "cidr": "10.9.0.0/24" }] });
    api.post("/v1/networks", storage).await.expect(201);
    let backend = json!({ "name": "backend", "subnets": [{ "cidr": "10.0.0.0/24" }] });
    let make =
        async |token: &str, body: Value| member_post(&api, token, "/v1/networks", body).await;
    let mine = make(&one, backend.clone()).await.expect(201);
    assert_eq!(
        (&mine["scope"], &mine["vlan"]),
        (&json!("private"), &json!(10))
    );
    let theirs = make(&two, backend.clone()).await.expect(201);
    assert_eq!(theirs["vlan"], 12, "11 is the parked one");

    // Nobody sees, or touches, another project's.
    let seen = member_get(&api, &one, "/v1/networks").await.expect(200);
    assert_eq!(names(&seen, "name"), ["backend", "storage"]);
    let path = format!("/v1/networks/{}", theirs["id"].as_str().unwrap());
    for (method, body) in [
        (Method::GET, None),
        (Method::PATCH, Some(json!({ "mtu": 9000 }))),
        (Method::DELETE, None),
    ] {
        let refused = api.call_as(&one, method, &path, body).await;
        refused.problem(404, "not-found");
    }
    let theirs = format!(
        "/v1/subnets/{}",
        theirs["subnets"][0]["id"].as_str().unwrap()
    );
    member_get(&api, &one, &theirs)
        .await
        .problem(404, "not-found");
    // Its own it changes; what is everybody's it does not.
    let patch = |path: &str| {
        let path = path.to_owned();
        let (api, one) = (&api, &one);
        async move {
            api.call_as(one, Method::PATCH, &path, Some(json!({ "mtu": 9000 })))
                .await
        }
    };
    assert_eq!(patch("/v1/networks/backend").await.expect(200)["mtu"], 9000);
    patch("/v1/networks/storage")
        .await
        .problem(403, "forbidden");
    let more = json!({ "cidr": "10.8.0.0/24" });
    let refused = member_post(&api, &one, "/v1/networks/storage/subnets", more).await;
    refused.problem(403, "forbidden");
    let delete = |path: &'static str| api.call_as(&one, Method::DELETE, path, None);
    delete("/v1/networks/storage")
        .await
        .problem(403, "forbidden");

    for (field, value, status, kind, words) in [
        ("scope", json!("shared"), 403, "forbidden", "operators"),
        ("vlan", json!(10), 403, "forbidden", "pool"),
        ("project", json!("two"), 422, "unknown-reference", "two"),
        ("name", json!("storage"), 409, "conflict", "storage"),
    ] {
        let mut request = json!({ "name": "more" });
        request[field] = value;
        make(&one, request).await.wrong(status, kind, field, words);
    }
    let overlapping = json!({ "name": "more", "subnets": [{ "cidr": "10.9.0.0/16" }] });
    let refused = make(&one, overlapping).await;
    refused.wrong(409, "conflict", "subnets[0].cidr", "`storage`");

    // As many as a project may have, and as many as the pool has.
    let second = make(&one, json!({ "name": "more" })).await.expect(201);
    assert_eq!(second["vlan"], 13);
    let refused = make(&one, json!({ "name": "third" })).await;
    let document = refused.problem(409, "conflict");
    assert!(
        document["detail"]
            .as_str()
            .unwrap()
            .contains("2 networks of its own")
    );
    let refused = make(&two, json!({ "name": "more" })).await;
    refused.wrong(
        409,
        "pool-exhausted",
        "vlan",
        "`fabric.vlan_pool` (10-13) has no free VLAN",
    );
    let far = make(&two, json!({ "name": "far", "kind": "vxlan" }))
        .await
        .expect(201);
    assert_eq!((&far["vni"], &far["vlan"]), (&json!(7000), &Value::Null));

    // Operators see all, and make private ones for others.
    let sorted = api
        .get("/v1/networks?sort=-created_at&scope=private&kind=vlan")
        .await;
    assert_eq!(
        names(&sorted.expect(200), "name"),
        ["more", "backend", "backend"]
    );
    let page = api.get("/v1/networks?sort=-name&limit=2").await.expect(200);
    assert_eq!(names(&page, "name"), ["storage", "more"]);
    let cursor = page["next"].as_str().unwrap();
    let rest = api
        .get(&format!("/v1/networks?sort=-name&limit=3&cursor={cursor}"))
        .await;
    assert_eq!(
        names(&rest.expect(200), "name"),
        ["far", "backend", "backend"]
    );
    let of_one = api.get("/v1/networks?project=one").await.expect(200);
    assert_eq!(names(&of_one, "name"), ["backend", "more"]);
    let refused = api.get("/v1/networks?sort=colour").await;
    refused.problem(400, "invalid-parameter");
    api.get("/v1/networks/backend")
        .await
        .problem(409, "conflict");
    delete("/v1/networks/more").await.expect(204);
    let made = json!({ "name": "made", "scope": "private", "project": "two", "vlan": 600 });
    let made = api.post("/v1/networks", made).await.expect(201);
    let seen = member_get(&api, &two, "/v1/networks/made")
        .await
        .expect(200);
    assert_eq!(seen["id"], made["id"]);
    member_get(&api, &one, "/v1/networks/made")
        .await
        .problem(404, "not-found");
}

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
