//! Root disk hints: what is refused, whose hint decides, and what an order fixes.

use crate::support::offer::{M1, offer};
use crate::support::{Api, machine};
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::Inventory;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::Goal;
use reqwest::Method;
use serde_json::{Value, json};

/// A machine with two solid-state disks of 100 GiB, `nvme0n1` (serial D1) and `nvme1n1` (serial D2).
fn two_disks() -> Inventory {
    let mut machine = machine(M1.0, M1.1);
    let mut second = machine.disks[0].clone();
    (second.name, second.serial) = ("nvme1n1".into(), "D2".into());
    second.wwn = Some("eui.2".into());
    machine.disks.push(second);
    machine
}

/// A site with node `n1` of these disks, and everything that an order names but flavor `m2`.
async fn site(machine: Inventory) -> (Api, NodeId) {
    let api = Api::start().await;
    let node = api.available_node(1, machine).await;
    offer(&api).await;
    (api, node)
}

async fn flavor(api: &Api, hint: Value) {
    let hardware = FlavorHardware::of(&two_disks());
    let flavor = json!({ "name": "m2", "hardware": hardware, "root_disk_hint": hint });
    api.post("/v1/flavors", flavor).await.expect(201);
}

async fn set(api: &Api, hint: Value) -> Value {
    let change = json!({ "root_disk_hint": hint });
    let node = api.call(Method::PATCH, "/v1/nodes/n1", Some(change)).await;
    node.expect(200)
}

fn order(name: &str) -> Value {
    json!({ "name": name, "flavor": "m2", "image": "os", "networks": [{ "network": "web" }],
        "keys": ["laptop"] })
}

/// Serial number of the disk that an order would be written to.
async fn planned(api: &Api) -> Value {
    let plan = api.post("/v1/servers/plan", order("web1")).await;
    plan.expect(200)["disk"]["serial"].clone()
}

#[tokio::test]
async fn a_nodes_hint_comes_before_its_flavors_and_that_before_the_rule() {
    let (api, node) = site(two_disks()).await;
    flavor(&api, json!({ "wwn": "0x2" })).await;
    assert_eq!(planned(&api).await, "D2");
    let shown = api.get("/v1/nodes/n1").await.expect(200);
    let chosen = &shown["root_disk"][0];
    assert_eq!(chosen["decided_by"], "flavor");
    // The hardware of `m1` is another one.
    assert_eq!(shown["root_disk"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&chosen["flavor"], &chosen["disk"]["serial"]),
        (&json!("m2"), &json!("D2"))
    );

    let shown = set(&api, json!({ "serial": "D1" })).await;
    assert_eq!(shown["root_disk_hint"], json!({ "serial": "D1" }));
    assert_eq!(shown["root_disk"][0]["decided_by"], "node");
    assert_eq!(planned(&api).await, "D1");
    let shown = set(&api, Value::Null).await;
    assert_eq!(shown["root_disk_hint"], Value::Null);
    assert_eq!(planned(&api).await, "D2");

    // Fixed by what it is, not by where it is today.
    api.post("/v1/servers", order("web1")).await.expect(201);
    let record = api.site.store.node_by_id(node).await.unwrap();
    let Goal::Deployed(deployment) = record.spec.goal else {
        panic!("{:?}", record.spec.goal);
    };
    assert_eq!(deployment.root_disk, Some(two_disks().disks[1].identity()));
    let shown = api.get("/v1/nodes/n1").await.expect(200);
    assert_eq!(shown["root_disk"][0]["decided_by"], "order");
    assert_eq!(shown["root_disk"][0]["disk"]["serial"], "D2");
    let listed = api.get("/v1/nodes").await.expect(200);
    assert_eq!(
        listed["items"][0]["root_disk"],
        json!([]),
        "it takes more than one look"
    );
}

#[tokio::test]
async fn without_exactly_one_disk_the_node_is_not_sold() {
    let (api, _) = site(two_disks()).await;
    flavor(&api, Value::Null).await;
    for (hint, says) in [
        (
            json!({ "serial": "D9" }),
            "no disk answers to the root disk hint `serial=D9`",
        ),
        (
            json!({ "rotational": false }),
            "several disks answer to the root disk hint `rotational=false`",
        ),
        (
            json!({ "name": "sda", "model": "Disk" }),
            "`model=Disk,name=sda`",
        ),
    ] {
        let shown = set(&api, hint).await;
        assert_eq!(shown["root_disk"][0]["disk"], Value::Null);
        for path in ["/v1/servers/plan", "/v1/servers"] {
            let refused = api.post(path, order("web1")).await;
            refused.wrong(409, "no-matching-node", "flavor", says);
            let remedy = refused.json()["remedy"].as_str().unwrap().to_owned();
            assert!(
                remedy.contains("node set n1 --root-disk serial="),
                "{remedy}"
            );
            for seen in ["n1", "nvme0n1", "serial number D1", "serial number D2"] {
                assert!(refused.text.contains(seen), "{seen}: {}", refused.text);
            }
        }
        let offered = api.get("/v1/flavors/m2").await.expect(200);
        assert_eq!(offered["available"], 0);
    }
    set(&api, json!({ "serial": "d2" })).await;
    let offered = api.get("/v1/flavors/m2").await.expect(200);
    assert_eq!(offered["available"], 1);
    assert_eq!(planned(&api).await, "D2");
}

#[tokio::test]
async fn disks_that_cannot_be_told_apart_need_a_hint_for_another_one() {
    let mut machine = two_disks();
    for disk in &mut machine.disks {
        (disk.serial, disk.wwn) = (String::new(), None);
    }
    let (api, _) = site(machine).await;
    flavor(&api, Value::Null).await;
    let refused = api.post("/v1/servers", order("web1")).await;
    refused.wrong(
        409,
        "no-matching-node",
        "flavor",
        "cannot be told from another disk",
    );
    refused.wrong(409, "no-matching-node", "flavor", "--root-disk");
}

#[tokio::test]
async fn a_hinted_disk_that_is_too_small_is_named() {
    let mut machine = two_disks();
    machine.disks[1].size_bytes = 1 << 30;
    let (api, _) = site(machine.clone()).await;
    let hardware = FlavorHardware::of(&machine);
    let flavor =
        json!({ "name": "m2", "hardware": hardware, "root_disk_hint": { "serial": "D2" } });
    api.post("/v1/flavors", flavor).await.expect(201);
    let refused = api.post("/v1/servers", order("web1")).await;
    refused.wrong(
        409,
        "no-matching-node",
        "flavor",
        "which the root disk hint `serial=D2` names",
    );
    refused.wrong(409, "no-matching-node", "flavor", "that of flavor m2");
}

#[tokio::test]
async fn hints_that_make_no_sense_are_refused_at_once() {
    let (api, _) = site(two_disks()).await;
    let hardware = FlavorHardware::of(&two_disks());
    for (hint, words) in [
        (json!({}), "at least one property"),
        (json!({ "serial": "" }), "`serial` needs a value"),
        (json!({ "model": "a,b" }), "`model` needs a value"),
        (json!({ "wwn": "x".repeat(129) }), "`wwn` needs a value"),
        (
            json!({ "min_size_gib": 800, "max_size_gib": 400 }),
            "at least 800 GiB and at most 400 GiB",
        ),
    ] {
        let change = json!({ "root_disk_hint": hint });
        let refused = api.call(Method::PATCH, "/v1/nodes/n1", Some(change)).await;
        refused.wrong(422, "invalid-field", "root_disk_hint", words);
        let mut request = crate::support::node(2);
        request["root_disk_hint"] = hint.clone();
        let refused = api.post("/v1/nodes", request).await;
        refused.wrong(422, "invalid-field", "root_disk_hint", words);
        let request = json!({ "name": "m2", "hardware": hardware, "root_disk_hint": hint });
        let refused = api.post("/v1/flavors", request).await;
        refused.wrong(422, "invalid-field", "root_disk_hint", words);
    }
    let unknown = json!({ "root_disk_hint": { "vendor": "x" } });
    let refused = api.call(Method::PATCH, "/v1/nodes/n1", Some(unknown)).await;
    refused.problem(422, "invalid-field");
    assert!(refused.text.contains("vendor"), "{}", refused.text);
    // The flavor's own disks are all solid state, of 100 GiB.
    for hint in [
        json!({ "rotational": true }),
        json!({ "min_size_gib": 400 }),
    ] {
        let request = json!({ "name": "m2", "hardware": hardware, "root_disk_hint": hint });
        let refused = api.post("/v1/flavors", request).await;
        refused.wrong(
            422,
            "invalid-field",
            "root_disk_hint",
            "No disk of the flavor's hardware",
        );
    }
    let shown = api.get("/v1/nodes/n1").await.expect(200);
    assert_eq!(shown["root_disk_hint"], Value::Null);
}
