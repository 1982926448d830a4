//! Networks and subnets: what is refused, and who may do what with which. Servers on them are in
//! `servers_on_networks.rs`.

use crate::support::{Answer, Api};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

const PROVISIONING: &str = "parked_vlan = 4000\n[provisioning]\naddress = '10.77.0.1'\n\
    subnet = '10.77.0.0/24'\npool_first = '10.77.0.50'\npool_last = '10.77.0.99'\nvlan = 100";

/// VLANs 10, 11 (the parked one), 12 and 13.
pub(crate) const POOLS: &str = "parked_vlan = 11\n[fabric]\nvlan_pool = '10-13'\nvni_pool = '7000-7001'\n\
    networks_per_project = 2\naddresses_per_project = 2";

fn subnet() -> Value {
    json!({
        "cidr": "192.168.100.0/24", "gateway": "192.168.100.1", "dns": ["192.168.100.1"],
        "pools": [{ "first": "192.168.100.10", "last": "192.168.100.20" }],
    })
}

pub(crate) fn network() -> Value {
    json!({ "name": "web", "vlan": 200, "subnets": [subnet()] })
}

pub(crate) async fn member_post(api: &Api, token: &str, path: &str, body: Value) -> Answer {
    api.call_as(token, Method::POST, path, Some(body)).await
}

pub(crate) async fn member_get(api: &Api, token: &str, path: &str) -> Answer {
    api.call_as(token, Method::GET, path, None).await
}

/// What a list names, in its order.
pub(crate) fn names(list: &Value, field: &str) -> Vec<String> {
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
