//! Images by the API: imported, uploaded, shown and deleted.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Answer, Api};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file with these bytes in the site's folder, and their SHA-256.
fn file(api: &Api, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = api.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (path, sha256(bytes))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
    assert_eq!(image["format"], "raw");
    assert_eq!(image["checksum"], format!("sha256:{sha256}"));
    assert_eq!(image["progress"], Value::Null);
    assert_eq!(image["virtual_size"], disk.len());
    assert_eq!(image["default_user"], "me");
    assert_eq!(image["network_configuration"], "cloud_init");

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
    // The event is told right after the state is stored.
    let mut news = api.site.store.news();
    let told = async || {
        let events = api.get("/v1/events").await.expect(200);
        let events = events["items"].as_array().unwrap().clone();
        let failed = |event: &&Value| event["kind"] == "image.failed";
        events.iter().filter(failed).count()
    };
    while told().await != 2 {
        let changed = tokio::time::timeout(Duration::from_secs(30), news.changed());
        changed.await.expect("both failures are told").unwrap();
    }
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
        upload_size: None,
        checksum: sha256,
        checksum_url: None,
        credentials_sealed: None,
        format: None,
        virtual_size: None,
        data_bytes: None,
        default_user: None,
        network_configuration: Default::default(),
        created_at: api.site.now(),
    };
    api.site.store.create_image(&record).await.unwrap();
    api.site.images.resume_imports(&api.site).await.unwrap();
    assert_eq!(imported(&api, "os").await["status"], "ready");
}

async fn upload(api: &Api, image: &str, offset: u64, body: &[u8]) -> Answer {
    let path = format!("/v1/images/{image}/content?offset={offset}");
    let request = api.request(Method::PUT, &path).bearer_auth(&api.admin);
    api.send(request.body(body.to_vec())).await
}

#[tokio::test]
async fn an_image_is_uploaded_in_as_many_pieces_as_it_takes() {
    let api = Api::start().await;
    let disk = disk(&api);
    let sum = sha256(&disk);
    let announced = json!({ "name": "os", "upload_bytes": disk.len(), "sha256": sum, "default_user": "me",
            "network_configuration": "networkd" });
    let begun = api.post("/v1/images", announced).await.expect(202);
    assert_eq!(
        (&begun["status"], &begun["source"]),
        (&json!("uploading"), &Value::Null)
    );
    let progress =
        |bytes: usize| json!({ "step": "uploading", "bytes": bytes, "total": disk.len() });
    assert_eq!(begun["progress"], progress(0));

    let half = disk.len() / 2;
    let answer = upload(&api, "os", 0, &disk[..half]).await.expect(202);
    assert_eq!(
        (&answer["status"], &answer["progress"]),
        (&json!("uploading"), &progress(half))
    );
    upload(&api, "os", 0, &disk)
        .await
        .wrong(409, "conflict", "offset", &half.to_string());
    let too_much = [&disk[half..], b"x"].concat();
    let refused = upload(&api, "os", half as u64, &too_much).await;
    assert!(
        refused.problem(409, "conflict")["detail"]
            .as_str()
            .unwrap()
            .contains("upload_bytes")
    );
    // What of it was within the limit may have been kept.
    let shown = api.get("/v1/images/os").await.expect(200);
    let arrived = shown["progress"]["bytes"].as_u64().unwrap();

    // A restart in between changes nothing.
    api.site.images.resume_imports(&api.site).await.unwrap();
    let rest = &disk[usize::try_from(arrived).unwrap()..];
    upload(&api, "os", arrived, rest).await.expect(202);
    let image = imported(&api, "os").await;
    assert_eq!(image["status"], "ready", "{image}");
    upload(&api, "os", 0, &disk).await.problem(409, "conflict");

    for (body, field) in [
        (json!({ "name": "a", "upload_bytes": 7 }), "sha256"),
        (
            json!({ "name": "a", "upload_bytes": 0, "sha256": sum }),
            "upload_bytes",
        ),
        (
            json!({ "name": "a", "upload_bytes": 1_u64 << 40, "sha256": sum }),
            "upload_bytes",
        ),
        (
            json!({ "name": "a", "source": "/etc/hostname", "upload_bytes": 7, "sha256": sum }),
            "source",
        ),
        (json!({ "name": "a", "sha256": sum }), "source"),
    ] {
        let refused = api.post("/v1/images", body).await;
        assert_eq!(refused.problem(422, "invalid-field")["field"], field);
    }
    let member = api.token("m", bessemer_wire::api::Role::Member, "p").await;
    let request = api.request(Method::PUT, "/v1/images/os/content");
    let refused = api.send(request.bearer_auth(member).body("x")).await;
    refused.problem(403, "forbidden");
}

#[tokio::test]
async fn a_deleted_upload_leaves_nothing() {
    let api = Api::start().await;
    let announced = json!({ "name": "os", "upload_bytes": 100, "sha256": "a".repeat(64) });
    api.post("/v1/images", announced).await.expect(202);
    upload(&api, "os", 0, b"some of it").await.expect(202);
    api.delete("/v1/images/os").await.expect(204);
    let left = std::fs::read_dir(api.folder.path().join("images")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".chunks"]);
}

#[tokio::test]
async fn the_password_of_a_source_is_used_and_never_shown() {
    let api = Api::start().await;
    let disk = disk(&api);
    let (url, requests) = web_server(disk.clone()).await;
    let order = json!({
        "name": "os",
        "source": format!("{url}/disk.raw"),
        "sha256": sha256(&disk),
        "credentials": { "username": "me", "password": "planted" },
    });
    let begun = api.post("/v1/images", order.clone()).await;
    assert!(!begun.text.contains("planted"));
    begun.expect(202);
    let image = imported(&api, "os").await;
    assert_eq!(image["status"], "ready", "{image}");
    // me:planted
    let asked = requests.lock().unwrap().join("\n").to_lowercase();
    assert!(
        asked.contains("authorization: basic bwu6cgxhbnrlza=="),
        "{asked}"
    );
    assert!(!image.to_string().contains("planted"));
    let database = std::fs::read(api.folder.path().join("bessemer.db")).unwrap();
    let wal = std::fs::read(api.folder.path().join("bessemer.db-wal")).unwrap_or_default();
    let everything = [database, wal].concat();
    assert!(!everything.windows(7).any(|bytes| bytes == b"planted"));
    let record = api.site.store.image("os").await.unwrap();
    assert_eq!(record.credentials_sealed, None, "nobody needs it any more");

    let mut local = order.clone();
    local["name"] = "local".into();
    local["source"] = "/etc/hostname".into();
    let refused = api.post("/v1/images", local).await;
    assert_eq!(
        refused.problem(422, "invalid-field")["field"],
        "credentials"
    );
}

/// A web server on loopback that gives everybody the same, and what it was asked.
async fn web_server(content: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = requests.clone();
    let answer = move |request: axum::extract::Request| {
        let head = format!("{} {:?}", request.uri(), request.headers());
        let head = head.replace("\"authorization\": \"", "authorization: ");
        seen.lock().unwrap().push(head);
        let content = content.clone();
        async move { content }
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

#[tokio::test]
async fn a_proxy_is_asked_where_one_is_configured() {
    let disk_of = Api::start().await;
    let disk = disk(&disk_of);
    let (proxy, requests) = web_server(disk.clone()).await;
    let api = Api::start_with(&format!("[images]\nproxy = '{proxy}'")).await;
    let source = "http://images.invalid/pool/disk.raw";
    let order = json!({ "name": "os", "source": source, "sha256": sha256(&disk) });
    api.post("/v1/images", order).await.expect(202);
    let image = imported(&api, "os").await;
    assert_eq!(image["status"], "ready", "{image}");
    assert!(requests.lock().unwrap()[0].starts_with(source));
}

#[tokio::test]
async fn a_list_of_checksums_beside_the_file_is_enough() {
    let api = Api::start().await;
    let disk = disk(&api);
    let (path, sum) = file(&api, "disk.raw", &disk);
    let sums = path.with_file_name("SHA256SUMS");
    std::fs::write(&sums, format!("{sum}  other.raw\n")).unwrap();
    let order = |name: &str| json!({ "name": name, "source": path.to_str().unwrap() });
    api.post("/v1/images", order("elsewhere")).await.expect(202);
    let image = imported(&api, "elsewhere").await;
    assert_eq!(
        (&image["status"], &image["checksum"]),
        (&json!("failed"), &Value::Null)
    );
    let message = image["message"].as_str().unwrap();
    assert!(message.contains("does not name `disk.raw`"), "{message}");
    std::fs::write(&sums, format!("{sum}  disk.raw\n")).unwrap();
    api.post("/v1/images", order("os")).await.expect(202);
    let image = imported(&api, "os").await;
    assert_eq!(image["checksum"], format!("sha256:{sum}"), "{image}");
}

#[tokio::test]
async fn a_bomb_is_refused_by_name_and_leaves_nothing() {
    let api = Api::start().await;
    let huge = api.folder.path().join("huge.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&huge)
        .arg("20T")
        .status()
        .expect("qemu-img is needed for this test");
    assert!(made.success());
    let huge = std::fs::read(huge).unwrap();
    assert!(huge.len() < 1 << 20, "it is small");
    let (path, sha256) = file(&api, "bomb", &huge);
    import(&api, "bomb", path.to_str().unwrap(), &sha256)
        .await
        .expect(202);
    let image = imported(&api, "bomb").await;
    assert_eq!(image["status"], "failed");
    let message = image["message"].as_str().unwrap();
    assert!(message.contains("larger than the limit"), "{message}");
    let left = std::fs::read_dir(api.folder.path().join("images")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".chunks"], "nothing of it is kept");
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
        ("a", "http://example.org/x", "", "sha256"),
    ] {
        let refused = import(&api, name, source, sha256).await;
        assert_eq!(refused.problem(422, "invalid-field")["field"], field);
        assert!(!refused.text.contains("planted"));
    }
}
