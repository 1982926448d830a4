//! Who may ask, and how every kind of wrong request is answered.

use crate::support::{Api, node};
use bessemer_wire::api::Role;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn only_valid_tokens_open_anything() {
    let api = Api::start().await;
    let without = api.send(api.request(Method::GET, "/v1/nodes")).await;
    let document = without.problem(401, "unauthenticated");
    assert!(
        document["remedy"]
            .as_str()
            .unwrap()
            .contains("Authorization: Bearer")
    );
    assert!(
        without.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );

    let planted = "planted-but-wrong";
    let wrong = api.call_as(planted, Method::GET, "/v1/nodes", None).await;
    wrong.problem(401, "unauthenticated");
    assert!(!wrong.text.contains(planted));
    let basic = api
        .request(Method::GET, "/v1/nodes")
        .basic_auth("a", Some(&api.admin));
    api.send(basic).await.problem(401, "unauthenticated");
    // Not even what is wrong with the request is told to strangers.
    let body = api.request(Method::POST, "/v1/nodes").body("{");
    api.send(body).await.problem(401, "unauthenticated");

    api.get("/v1/nodes").await.expect(200);
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_any_more() {
    let api = Api::start().await;
    let request = json!({ "name": "ci", "role": "member", "project": "web" });
    let created = api.post("/v1/tokens", request.clone()).await.expect(201);
    let secret = created["secret"].as_str().unwrap();
    api.call_as(secret, Method::GET, "/v1/flavors", None)
        .await
        .expect(200);
    api.post("/v1/tokens", request)
        .await
        .wrong(409, "conflict", "name", "ci");

    let listed = api.get("/v1/tokens").await;
    assert!(!listed.text.contains(secret), "a secret is shown once");
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 2);

    api.delete("/v1/tokens/ci").await.expect(204);
    let refused = api.call_as(secret, Method::GET, "/v1/flavors", None).await;
    refused.problem(401, "unauthenticated");
    api.delete("/v1/tokens/ci").await.problem(404, "not-found");

    // The last way in stays.
    api.delete("/v1/tokens/admin")
        .await
        .problem(409, "conflict");
    api.get("/v1/tokens").await.expect(200);
}

#[tokio::test]
async fn tokens_are_made_for_a_project() {
    let api = Api::start().await;
    let nobody = json!({ "name": "ci", "role": "member" });
    api.post("/v1/tokens", nobody)
        .await
        .wrong(422, "invalid-field", "project", "which");
    let named = json!({ "name": "a b", "role": "admin" });
    api.post("/v1/tokens", named)
        .await
        .wrong(422, "invalid-field", "name", "`a b`");
    let role = json!({ "name": "a", "role": "king" });
    api.post("/v1/tokens", role)
        .await
        .wrong(422, "invalid-field", "role", "king");
}

#[tokio::test]
async fn members_may_not_do_what_operators_do() {
    let api = Api::start().await;
    let member = api.token("m", Role::Member, "web").await;
    for (method, path) in [
        (Method::GET, "/v1/nodes"),
        (Method::GET, "/v1/nodes/n1"),
        (Method::DELETE, "/v1/nodes/n1"),
        (Method::GET, "/v1/nodes/n1/history"),
        (Method::GET, "/v1/nodes/n1/explain"),
        (Method::POST, "/v1/nodes/n1/hold"),
        (Method::POST, "/v1/nodes/n1/unhold"),
        (Method::POST, "/v1/nodes/n1/provide"),
        (Method::POST, "/v1/nodes/n1/abort"),
        (Method::POST, "/v1/nodes/n1/retire"),
        (Method::GET, "/v1/tokens"),
        (Method::DELETE, "/v1/tokens/admin"),
        (Method::DELETE, "/v1/images/i"),
        (Method::DELETE, "/v1/flavors/f"),
    ] {
        let refused = api.call_as(&member, method.clone(), path, None).await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text);
        refused.problem(403, "forbidden");
    }
    for path in ["/v1/nodes", "/v1/tokens", "/v1/images", "/v1/flavors"] {
        // Refused before the body is looked at.
        let refused = api
            .call_as(&member, Method::POST, path, Some(json!({})))
            .await;
        refused.problem(403, "forbidden");
    }
    let power = Some(json!({ "power": "on" }));
    let refused = api
        .call_as(&member, Method::PUT, "/v1/nodes/n1/power", power)
        .await;
    refused.problem(403, "forbidden");
    for path in [
        "/v1/images",
        "/v1/flavors",
        "/v1/networks",
        "/v1/keys",
        "/v1/servers",
        "/v1/events",
    ] {
        api.call_as(&member, Method::GET, path, None)
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn wrong_paths_methods_and_parameters_are_problems() {
    let api = Api::start().await;
    api.get("/v1/nowhere").await.problem(404, "no-such-route");
    api.get("/").await.problem(404, "no-such-route");
    let wrong = api.call(Method::PATCH, "/v1/nodes", None).await;
    wrong.problem(405, "method-not-allowed");
    let allowed = wrong.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    for path in [
        "/v1/nodes?limit=0",
        "/v1/nodes?limit=1001",
        "/v1/nodes?limit=many",
        "/v1/nodes?phase=asleep",
        "/v1/nodes?colour=red",
        "/v1/nodes?cursor=nonsense",
        "/v1/servers?cursor=1_2",
        "/v1/events?after=x",
    ] {
        let refused = api.get(path).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text);
        refused.problem(400, "invalid-parameter");
    }
    let missing = api.get("/v1/nodes/nobody").await.problem(404, "not-found");
    assert!(missing["detail"].as_str().unwrap().contains("nobody"));
}

#[tokio::test]
async fn wrong_bodies_are_told_by_place() {
    let api = Api::start().await;
    let post = |body: String| {
        let request = api
            .request(Method::POST, "/v1/nodes")
            .bearer_auth(&api.admin);
        api.send(
            request
                .header("content-type", "application/json")
                .body(body),
        )
    };
    let broken = post("{\n  \"name\": n1\n}".into()).await;
    let document = broken.problem(400, "malformed-json");
    assert!(
        document["detail"]
            .as_str()
            .unwrap()
            .contains("line 2, column"),
        "{document}"
    );
    post(String::new()).await.problem(400, "malformed-json");
    post("[".repeat(100_000))
        .await
        .problem(400, "malformed-json");
    post("{\"name\": \"\\ud800\"}".into())
        .await
        .problem(400, "malformed-json");

    let mut unknown = node(1);
    unknown["bmc"]["passwort"] = json!("planted-secret");
    let refused = api.post("/v1/nodes", unknown).await;
    refused.wrong(422, "invalid-field", "bmc.passwort", "nknown field");
    assert!(!refused.text.contains("planted-secret"));

    let mut wrong_type = node(1);
    wrong_type["bmc"]["password"] = json!(8_675_309);
    let refused = api.post("/v1/nodes", wrong_type).await;
    refused.wrong(422, "invalid-field", "bmc.password", "expected a string");
    assert!(!refused.text.contains("8675309"));

    let mut missing = node(1);
    missing.as_object_mut().unwrap().remove("bmc");
    api.post("/v1/nodes", missing)
        .await
        .wrong(422, "invalid-field", "bmc", "issing field");

    let form = api
        .request(Method::POST, "/v1/nodes")
        .bearer_auth(&api.admin);
    let form = form
        .header("content-type", "application/x-www-form-urlencoded")
        .body("a=b");
    api.send(form).await.problem(415, "unsupported-media-type");

    // Nothing of all this has left anything behind.
    assert_eq!(api.get("/v1/nodes").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn oversized_bodies_are_refused() {
    let api = Api::start().await;
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(1 << 20));
    for path in ["/v1/nodes", "/v1/servers", "/v1/keys", "/v1/images"] {
        let request = api.request(Method::POST, path).bearer_auth(&api.admin);
        let request = request
            .header("content-type", "application/json")
            .body(large.clone());
        let document = api.send(request).await.problem(413, "body-too-large");
        assert!(document["detail"].as_str().unwrap().contains("1 MiB"));
    }
}

#[tokio::test]
async fn a_task_that_panics_is_seen_from_outside() {
    let api = Api::start().await;
    let supervisor = api.site.supervisor.clone();
    let keeper = supervisor.clone();
    let task = tokio::spawn(async move {
        let start = || async { std::panic::panic_any("planted") };
        keeper.keep("the watch over a test", start).await;
    });
    let get = |path: &'static str| api.send(api.request(Method::GET, path));
    // It is down for a second first, then for two, and so on.
    let health = loop {
        let health = get("/healthz").await.expect(200);
        if health["status"] != "ok" {
            break health;
        }
    };
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["down"], json!(["the watch over a test"]));
    let metrics = get("/metrics").await.text;
    assert!(metrics.contains("\nbessemer_tasks_down "), "{metrics}");
    assert!(
        !metrics.contains("\nbessemer_panics_total 0\n"),
        "{metrics}"
    );
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let health = get("/healthz").await.expect(200);
    assert_eq!(
        (&health["status"], health.get("down")),
        (&json!("ok"), None)
    );
}

#[tokio::test]
async fn what_watches_over_the_server_needs_no_token() {
    let api = Api::start().await;
    api.get("/v1/nodes").await.expect(200);
    let open = |path: &'static str| api.send(api.request(Method::GET, path));
    assert_eq!(open("/healthz").await.expect(200)["status"], "ok");
    let metrics = open("/metrics").await;
    assert_eq!(metrics.status, 200);
    for line in [
        "bessemer_nodes{phase=\"available\"} 0",
        "bessemer_servers 0",
        "bessemer_conductor_reconciles_total 0",
        "bessemer_panics_total 0",
        "bessemer_tasks_down 0",
        "_count{method=\"GET\",route=\"/v1/nodes\",status=\"200\"} 1",
    ] {
        assert!(
            metrics.text.contains(line),
            "{line} is not in\n{}",
            metrics.text
        );
    }
    assert_eq!(open("/openapi.json").await.expect(200)["openapi"], "3.1.0");
    let page = open("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("swagger-ui"));
    for file in [
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/swagger-initializer.js",
    ] {
        let file = open(file).await;
        assert!(
            file.status == 200 && !file.text.contains("https://petstore"),
            "{file:?}"
        );
    }
}
