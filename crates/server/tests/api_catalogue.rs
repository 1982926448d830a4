//! What servers are ordered from: images, flavors, networks and keys.

mod api_support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use api_support::{Answer, Api, PUBLIC_KEY, machine};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file with these bytes in the site's folder, and their SHA-256.
fn file(api: &Api, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = api.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let sha256 = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (path, sha256)
}

/// A disk of 8 MiB with a partition table and a partition that holds data.
fn disk(api: &Api) -> Vec<u8> {
    let path = api.folder.path().join("blank");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let table = b"label: gpt\nstart=2048, size=4096, type=linux\n";
    sfdisk.stdin.take().unwrap().write_all(table).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    let mut disk = std::fs::read(&path).unwrap();
    disk[1 << 20..][..4096].fill(7);
    disk
}

/// Waits until the import is through; by events, as everybody would.
async fn imported(api: &Api, name: &str) -> Value {
    let mut news = api.site.store.news();
    loop {
        let image = api.get(&format!("/v1/images/{name}")).await.expect(200);
        if image["status"] != "importing" {
            return image;
        }
        let changed = tokio::time::timeout(Duration::from_secs(30), news.changed());
        changed.await.expect("the import comes to an end").unwrap();
    }
}

async fn import(api: &Api, name: &str, source: &str, sha256: &str) -> Answer {
    let request = json!({ "name": name, "source": source, "sha256": sha256, "default_user": "me" });
    api.post("/v1/images", request).await
}

#[tokio::test]
async fn an_image_is_imported_in_the_background() {
    let api = Api::start().await;
    let disk = disk(&api);
    let (path, sha256) = file(&api, "disk.raw", &disk);
    let begun = import(&api, "os", path.to_str().unwrap(), &sha256)
        .await
        .expect(202);
    assert_eq!(begun["status"], "importing");
    let image = imported(&api, "os").await;
    assert_eq!(image["status"], "ready", "{image}");
    assert_eq!(image["virtual_size"], disk.len());
    assert_eq!(image["default_user"], "me");

    let id = image["id"].as_str().unwrap().parse().unwrap();
    let map = api.site.images.map(id).await.unwrap();
    assert_eq!(map.data_bytes(), image["data_bytes"].as_u64().unwrap());
    for (index, chunk) in map.chunks().iter().enumerate() {
        let stored = api.site.images.chunk(id, index).await.unwrap();
        assert!(chunk.matches(&stored));
        let mut bytes = vec![0; chunk.length as usize];
        let mut unpacker = bessemer_image::chunk::Unpacker::new().unwrap();
        unpacker.unpack(&stored, &mut bytes).unwrap();
        let start = usize::try_from(chunk.offset).unwrap();
        assert_eq!(bytes, disk[start..start + bytes.len()]);
    }
    assert!(api.site.images.chunk(id, 99).await.is_err());

    import(&api, "os", path.to_str().unwrap(), &sha256)
        .await
        .wrong(409, "conflict", "name", "os");
    api.delete("/v1/images/os").await.expect(204);
    api.get("/v1/images/os").await.problem(404, "not-found");
    assert!(api.site.images.map(id).await.is_err(), "its bytes are gone");
}

#[tokio::test]
async fn a_wrong_checksum_or_no_image_is_told_and_leaves_nothing() {
    let api = Api::start().await;
    let (path, sha256) = file(&api, "text", b"this is not a disk image at all");
    let wrong = "0".repeat(64);
    import(&api, "wrong", path.to_str().unwrap(), &wrong)
        .await
        .expect(202);
    let image = imported(&api, "wrong").await;
    assert_eq!(image["status"], "failed");
    let message = image["message"].as_str().unwrap();
    assert!(
        message.contains(&sha256) && message.contains(&wrong),
        "{message}"
    );

    import(&api, "text", path.to_str().unwrap(), &sha256)
        .await
        .expect(202);
    let image = imported(&api, "text").await;
    assert_eq!(image["status"], "failed");
    assert!(
        image["message"]
            .as_str()
            .unwrap()
            .contains("not a disk image"),
        "{image}"
    );

    let left = std::fs::read_dir(api.folder.path().join("images")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".chunks"], "nothing of them is kept");
    let events = api.get("/v1/events").await.expect(200);
    let failed = events["items"].as_array().unwrap().iter();
    assert_eq!(
        failed
            .filter(|event| event["kind"] == "image.failed")
            .count(),
        2
    );
    api.delete("/v1/images/wrong").await.expect(204);
}

#[tokio::test]
async fn an_interrupted_import_starts_again() {
    let api = Api::start().await;
    let (path, sha256) = file(&api, "disk.raw", &disk(&api));
    let record = bessemer_store::ImageRecord {
        id: bessemer_core::id::ImageId(uuid::Uuid::now_v7()),
        name: "os".into(),
        status: bessemer_wire::api::ImageStatus::Importing,
        message: None,
        source: path.to_str().unwrap().into(),
        sha256,
        virtual_size: None,
        data_bytes: None,
        default_user: None,
        created_at: api.site.now(),
    };
    api.site.store.create_image(&record).await.unwrap();
    api.site
        .images
        .resume_imports(&api.site.store)
        .await
        .unwrap();
    assert_eq!(imported(&api, "os").await["status"], "ready");
}

#[tokio::test]
async fn what_is_wrong_with_a_new_image_is_named() {
    let api = Api::start().await;
    let sum = "a".repeat(64);
    for (name, source, sha256, field) in [
        ("a/b", "/etc/hostname", sum.as_str(), "name"),
        ("a", "/etc/hostname", "abc", "sha256"),
        ("a", "relative/path", &sum, "source"),
        ("a", "/nowhere/at/all", &sum, "source"),
        ("a", "/etc", &sum, "source"),
        ("a", "file:///etc/hostname", &sum, "source"),
        ("a", "https://user:planted@example.org/x", &sum, "source"),
    ] {
        let refused = import(&api, name, source, sha256).await;
        assert_eq!(refused.problem(422, "invalid-field")["field"], field);
        assert!(!refused.text.contains("planted"));
    }
}

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

fn network() -> Value {
    json!({
        "name": "web", "vlan": 200, "subnet": "192.168.100.0/24", "gateway": "192.168.100.1",
        "dns": ["192.168.100.1"], "pool_first": "192.168.100.10", "pool_last": "192.168.100.20",
    })
}

#[tokio::test]
async fn networks_never_touch_the_sites_own() {
    let config = "parked_vlan = 4000\n[provisioning]\naddress = '10.77.0.1'\n\
                  subnet = '10.77.0.0/24'\npool_first = '10.77.0.50'\npool_last = '10.77.0.99'\n\
                  vlan = 100";
    let api = Api::start_with(config).await;
    for (field, value, named, words) in [
        ("vlan", json!(100), "vlan", "provisioning"),
        ("vlan", json!(4000), "vlan", "parked"),
        ("vlan", json!(0), "vlan", "1 to 4094"),
        ("vlan", json!(4095), "vlan", "1 to 4094"),
        ("vlan", json!(70_000), "vlan", "expected u16"),
        ("subnet", json!("192.168.100.1/24"), "subnet", "host bits"),
        (
            "gateway",
            json!("192.168.101.1"),
            "gateway",
            "no host address",
        ),
        ("gateway", json!("192.168.100.15"), "gateway", "pool"),
        (
            "pool_first",
            json!("192.168.100.0"),
            "pool_first",
            "no host address",
        ),
        (
            "pool_last",
            json!("192.168.100.255"),
            "pool_last",
            "no host address",
        ),
        ("pool_last", json!("192.168.100.9"), "pool_last", "before"),
        ("dns", json!(["0.0.0.0"]), "dns[0]", "address"),
        ("dns", json!(["nowhere"]), "dns[0]", "IPv4"),
        ("mtu", json!(100), "mtu", "1280"),
    ] {
        let mut request = network();
        request[field] = value;
        let refused = api.post("/v1/networks", request).await;
        refused.wrong(422, "invalid-field", named, words);
    }
    let mut large = network();
    large["subnet"] = json!("10.0.0.0/8");
    large["gateway"] = Value::Null;
    large["pool_first"] = json!("10.0.0.1");
    large["pool_last"] = json!("10.1.0.1");
    api.post("/v1/networks", large)
        .await
        .wrong(422, "invalid-field", "pool_last", "65536");

    let created = api.post("/v1/networks", network()).await.expect(201);
    assert_eq!(
        (&created["mtu"], &created["used"]),
        (&json!(1500), &json!(0))
    );
    let mut other = network();
    other["name"] = json!("other");
    api.post("/v1/networks", other)
        .await
        .wrong(409, "conflict", "vlan", "web");
    api.delete("/v1/networks/web").await.expect(204);
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
