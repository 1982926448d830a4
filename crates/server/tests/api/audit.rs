//! The audit trail: what is in it, what is not, and who reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{Api, PUBLIC_KEY};
use bessemer_store::{Gate, Location, Store, StoreOptions, When};
use bessemer_wire::api::{AuditEntry, Role};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

async fn entries(api: &Api) -> Vec<Value> {
    let page = api.get("/v1/audit").await.expect(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn whoever_changes_something_is_written_down_with_the_outcome() {
    let api = Api::start().await;
    let member = api.token("m", Role::Member, "web").await;
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    let created = api
        .call_as(&member, Method::POST, "/v1/keys", Some(key.clone()))
        .await;
    let location = created.headers["location"].to_str().unwrap().to_owned();
    let id = created.headers["x-request-id"].to_str().unwrap().to_owned();
    created.expect(201);
    api.call_as(&member, Method::POST, "/v1/keys", Some(key))
        .await
        .problem(409, "conflict");
    api.call_as(&member, Method::DELETE, "/v1/nodes/n1?force=true", None)
        .await
        .problem(403, "forbidden");

    let entries = entries(&api).await;
    let ours: Vec<_> = entries
        .iter()
        .filter(|entry| entry["token_name"] == "m")
        .collect();
    assert_eq!(ours.len(), 3, "{entries:#?}");
    let [made, again, forbidden] = ours[..] else {
        panic!("three");
    };
    assert_eq!(made["request"], id);
    assert_eq!(made["method"], "POST");
    assert_eq!(made["path"], "/v1/keys");
    assert_eq!(made["role"], "member");
    assert_eq!(made["peer"], "127.0.0.1");
    assert_eq!(made["outcome"]["status"], 201);
    assert_eq!(made["outcome"]["location"], location);
    assert_eq!(again["outcome"]["problem"], "urn:bessemer:problem:conflict");
    assert_eq!(forbidden["path"], "/v1/nodes/n1");
    assert_eq!(forbidden["outcome"]["status"], 403);
    let numbers: Vec<_> = ours
        .iter()
        .map(|entry| entry["sequence"].as_i64())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    // What was sent is nowhere: it may be a secret.
    assert!(!json!(entries).to_string().contains("ssh-ed25519"));
}

#[tokio::test]
async fn reading_and_strangers_are_not_written_down() {
    let api = Api::start().await;
    let before = entries(&api).await.len();
    api.get("/v1/nodes").await.expect(200);
    api.call_as("not-a-token", Method::DELETE, "/v1/nodes/n1", None)
        .await
        .problem(401, "unauthenticated");
    assert_eq!(entries(&api).await.len(), before);
}

#[tokio::test]
async fn operators_read_it_page_by_page() {
    let api = Api::start().await;
    for number in 0..3 {
        let path = format!("/v1/keys/none-{number}");
        api.delete(&path).await.problem(404, "not-found");
    }
    let first = api.get("/v1/audit?limit=2").await.expect(200);
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let rest = api
        .get(&format!("/v1/audit?limit=2&cursor={next}"))
        .await
        .expect(200);
    assert_eq!(rest["items"][0]["path"], "/v1/keys/none-2");
    assert!(rest["next"].is_null());
    api.get("/v1/audit?limit=0")
        .await
        .wrong(400, "invalid-parameter", "limit", "1 to");
    let member = api.token("m", Role::Member, "web").await;
    api.call_as(&member, Method::GET, "/v1/audit", None)
        .await
        .problem(403, "forbidden");
}

/// A server that dies before it has noted the answer leaves the request, and what was done for it.
#[tokio::test]
async fn what_is_cut_off_is_there_without_an_outcome() {
    let gate: Gate = Arc::new(|point| point.name != "audit_outcome" || point.when != When::Before);
    let api = Api::start_through(gate).await;
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    api.call_as(&api.admin, Method::POST, "/v1/keys", Some(key))
        .await
        .expect(201);
    let cut_off = on_another_store(&api).await;
    let [made] = &cut_off[..] else {
        panic!("one request: {cut_off:?}")
    };
    assert_eq!((made.path.as_str(), &made.outcome), ("/v1/keys", &None));
}

/// What a server that dies in a commit has not done was never asked for.
#[tokio::test]
async fn a_request_and_what_it_changes_are_there_together_or_not_at_all() {
    let died = Arc::new(Notify::new());
    let dies = died.clone();
    let gate: Gate = Arc::new(move |point| {
        let lives = point.name != "create_key_pair" || point.when != When::Before;
        if !lives {
            dies.notify_one();
        }
        lives
    });
    let api = Api::start_through(gate).await;
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    let asking = api.call_as(&api.admin, Method::POST, "/v1/keys", Some(key));
    tokio::select! {
        answer = asking => panic!("answered by the dead: {}", answer.text),
        () = died.notified() => {}
    }
    assert!(on_another_store(&api).await.is_empty());
}

/// Whatever may change something is written down, by whichever route it comes.
#[tokio::test]
async fn no_route_that_changes_something_is_missing() {
    let api = Api::start().await;
    let document = serde_json::to_value(bessemer_server::api::openapi()).unwrap();
    let mut asked = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template.replace(['{', '}'], "");
        let methods = item.as_object().unwrap().keys();
        let methods = methods.map(|method| method.to_uppercase());
        for method in methods.filter(|method| method != "GET") {
            let called = Method::from_bytes(method.as_bytes()).unwrap();
            let admin = &api.admin;
            let answer = api.call_as(admin, called, &path, Some(json!({}))).await;
            let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
            asked.push(json!([id, method, path, answer.status.as_u16()]));
        }
    }
    assert!(asked.len() > 40, "{asked:#?}");
    let written = api.get("/v1/audit?limit=1000").await.expect(200);
    let written: Vec<_> = written["items"].as_array().unwrap().iter().collect();
    let told = written.iter().map(|entry| {
        let status = &entry["outcome"]["status"];
        json!([entry["request"], entry["method"], entry["path"], status])
    });
    assert_eq!(told.collect::<Vec<_>>(), asked);
}

/// A client that hangs up has its request in the trail, and how it ended, whether or not something was done.
#[tokio::test]
async fn what_a_client_does_not_wait_for_has_an_outcome() {
    for when in [When::Before, When::After] {
        let reached = Arc::new(Notify::new());
        let reaches = reached.clone();
        let gate: Gate = Arc::new(move |point| {
            let ends = (point.name, point.when) != ("create_key_pair", when);
            if !ends {
                reaches.notify_one();
            }
            ends
        });
        let api = Api::start_through(gate).await;
        let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
        let asking = api.call_as(&api.admin, Method::POST, "/v1/keys", Some(key));
        tokio::select! {
            answer = asking => panic!("answered: {}", answer.text),
            () = reached.notified() => {}
        }
        let told = async {
            loop {
                let entries = entries(&api).await;
                let told = entries.iter().find(|entry| entry["path"] == "/v1/keys");
                match told.and_then(|entry| entry["outcome"]["status"].as_u64()) {
                    Some(status) => break status,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), told);
        assert_eq!(in_time.await.expect("its outcome"), 499);
    }
}

/// The audit trail as a server reads it that is started after this one died.
async fn on_another_store(api: &Api) -> Vec<AuditEntry> {
    let location = Location::Sqlite(api.folder.path().join("bessemer.db"));
    let store = Store::open(&location, StoreOptions::default())
        .await
        .unwrap();
    store.audit_after(0, 1000).await.unwrap()
}

/// What writes the trail goes on after a panic, with what it had left behind.
#[tokio::test]
async fn a_panic_loses_no_outcome() {
    let panics = Arc::new(AtomicU32::new(0));
    let counted = panics.clone();
    let gate: Gate = Arc::new(move |point| {
        let first = (point.name, point.when) == ("audit_outcome", When::Before)
            && counted.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(!first, "planted");
        true
    });
    let api = Api::start_through(gate).await;
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    api.post("/v1/keys", key).await.expect(201);
    // Reading the trail would write it: it is the task that has to.
    let panicked = async {
        while panics.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), panicked);
    in_time.await.expect("the trail is written again");
    let written = entries(&api).await;
    let made = written.iter().find(|entry| entry["path"] == "/v1/keys");
    assert_eq!(made.unwrap()["outcome"]["status"], 201);
    assert_eq!(api.site.supervisor.panics(), 1);
}
