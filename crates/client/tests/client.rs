//! The client against a server on loopback that answers as the API does, and as nothing should.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bessemer_client::{Client, Error};
use bessemer_wire::api::{NetworkRequest, ServerCreate};
use futures_util::stream;
use serde_json::{Value, json};

/// Serves `router` on a port of its own for as long as the test runs.
async fn serve(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(&url, Some("secret-token")).unwrap()
}

fn token(name: &str) -> Value {
    json!({
        "id": "00000000-0000-0000-0000-000000000001", "name": name, "role": "admin",
        "project": "00000000-0000-0000-0000-000000000002",
        "created_at": "2026-11-21T10:00:00Z", "grown_later": [1.50, "x"],
    })
}

fn event(sequence: i64) -> Value {
    json!({ "sequence": sequence, "at": "2026-11-21T10:00:00Z", "kind": "node.state",
        "message": format!("event {sequence}") })
}

fn order() -> ServerCreate {
    ServerCreate {
        name: "web-1".into(),
        flavor: "small".into(),
        image: "debian".into(),
        networks: vec![NetworkRequest {
            network: "tenant".into(),
            addresses: vec![],
            port: None,
            mode: None,
        }],
        keys: vec!["laptop".into()],
        user_data: None,
    }
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_kept_as_they_came() {
    async fn tokens(headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Json<Value> {
        assert_eq!(headers["authorization"], "Bearer secret-token");
        let page = match query.first().map(|(key, value)| (&**key, &**value)) {
            None => json!({ "items": [token("a"), token("b")], "next": "after b & a" }),
            Some(("cursor", "after b & a")) => json!({ "items": [token("c")] }),
            other => panic!("unexpected query {other:?}"),
        };
        Json(page)
    }
    let client = serve(Router::new().route("/v1/tokens", get(tokens))).await;
    let tokens = client.tokens().await.unwrap();
    let names: Vec<_> = tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(tokens[2].json(), token("c").to_string());
    assert_eq!(
        serde_json::to_string(&tokens[2]).unwrap(),
        token("c").to_string()
    );
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    async fn tokens() -> Json<Value> {
        Json(json!({ "items": [], "next": "again" }))
    }
    let client = serve(Router::new().route("/v1/tokens", get(tokens))).await;
    assert!(matches!(client.tokens().await, Err(Error::Endless { .. })));
}

#[tokio::test]
async fn names_are_one_segment_of_the_path_whatever_is_in_them() {
    async fn node(Path(name): Path<String>) -> Response {
        let problem = json!({ "type": "urn:x", "title": "No such node", "status": 404,
            "detail": name, "remedy": "List them", "new_field": true });
        let media_type = [("content-type", "application/problem+json")];
        (StatusCode::NOT_FOUND, media_type, problem.to_string()).into_response()
    }
    let client = serve(Router::new().route("/v1/nodes/{node}", get(node))).await;
    let error = client.node("a/../b?c#d é").await.unwrap_err();
    assert!(error.is_not_found() && !error.is_outage());
    assert_eq!(error.to_string(), "No such node: a/../b?c#d é\nList them");
    for name in ["", ".", ".."] {
        let error = client.node(name).await.unwrap_err();
        assert!(matches!(error, Error::BadName(_)), "{name:?}: {error}");
    }
}

#[tokio::test]
async fn answers_that_are_not_the_apis_are_errors_a_person_understands() {
    async fn odd(Path(name): Path<String>) -> Response {
        match name.as_str() {
            "proxy" => (StatusCode::BAD_GATEWAY, "<html>no</html>").into_response(),
            "redirect" => (StatusCode::FOUND, [("location", "/v1/nodes/json")]).into_response(),
            "json" => Json(json!({ "id": 1 })).into_response(),
            "machine" => {
                let problem = json!({ "type": "urn:bessemer:problem:machine-timeout", "status": 504,
                    "title": "The machine did not answer in time", "detail": "It is silent." });
                (StatusCode::GATEWAY_TIMEOUT, Json(problem)).into_response()
            }
            _ => Body::from_stream(stream::repeat_with(|| {
                Ok::<_, Infallible>(vec![b' '; 1 << 20])
            }))
            .into_response(),
        }
    }
    let client = serve(Router::new().route("/v1/nodes/{node}", get(odd))).await;

    let error = client.node("proxy").await.unwrap_err();
    assert!(
        error.is_outage() && error.to_string().contains("502"),
        "{error}"
    );
    let error = client.node("machine").await.unwrap_err();
    assert!(
        !error.is_outage(),
        "the API is there, only the machine is not"
    );
    let error = client.node("redirect").await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 302, .. }),
        "{error}"
    );
    let error = client.node("json").await.unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
    let error = client.node("endless").await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_sent_again_under_the_same_key() {
    async fn create(State(count): State<Arc<AtomicUsize>>, request: Request) -> Response {
        assert_eq!(request.headers()["idempotency-key"], "key-1");
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => {
                // The head promises more than ever comes: the connection breaks in the answer.
                let broken = stream::iter([Ok("{\"id\":"), Err(std::io::Error::other("lost"))]);
                (StatusCode::CREATED, Body::from_stream(broken)).into_response()
            }
            1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => {
                let problem = json!({ "type": "urn:x", "title": "Conflict", "status": 409,
                    "detail": "the name is taken" });
                (StatusCode::CONFLICT, Json(problem)).into_response()
            }
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .route("/v1/servers", post(create))
        .with_state(Arc::clone(&count));
    let client = serve(router).await;
    let error = client.create_server(&order(), "key-1").await.unwrap_err();
    assert_eq!(error.status(), Some(409));
    assert_eq!(count.load(Ordering::Relaxed), 3, "a refusal is final");
}

#[tokio::test]
async fn nobody_there_is_an_outage_that_says_where() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url, None).unwrap().health().await.unwrap_err();
    assert!(error.is_outage());
    assert_eq!(
        error.to_string(),
        format!("the API at {url} cannot be reached")
    );
}

#[tokio::test]
async fn events_stream_in_pieces_and_resume() {
    async fn events(headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
        assert_eq!(headers["accept"], "text/event-stream");
        assert_eq!(headers["last-event-id"], "6");
        assert_eq!(query, [("after".to_owned(), "6".to_owned())]);
        let text = format!(
            ": keep-alive\n\nid: 7\ndata: {}\n\ndata: not an event\n\nid: 8\r\ndata: {}\r\n\r\n",
            event(7),
            event(8)
        );
        let pieces: Vec<_> = text.into_bytes().chunks(3).map(<[u8]>::to_vec).collect();
        let stream = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
        let media_type = [("content-type", "text/event-stream")];
        (media_type, Body::from_stream(stream)).into_response()
    }
    let client = serve(Router::new().route("/v1/events", get(events))).await;
    let mut stream = client.events_stream(Some(6)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().sequence, 7);
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
    let last = stream.next().await.unwrap().unwrap();
    assert_eq!(last.json(), event(8).to_string());
    assert!(stream.next().await.is_none());
}

#[test]
fn addresses_and_tokens_that_cannot_be_used_are_refused_at_once() {
    for url in [
        "",
        "localhost:8480",
        "ftp://host",
        "http://host/v1",
        "http://host?x",
    ] {
        let error = Client::new(url, None).unwrap_err();
        assert!(matches!(error, Error::BadUrl { .. }), "{url}: {error}");
    }
    let error = Client::new("http://me:hidden@host", None).unwrap_err();
    assert!(!error.to_string().contains("hidden"), "{error}");
    for token in ["", "two words", "line\nline", "ключ"] {
        let error = Client::new("http://host", Some(token)).unwrap_err();
        assert!(matches!(error, Error::BadToken), "{error}");
        assert!(token.is_empty() || !error.to_string().contains(token));
    }
    let client = Client::new("http://host:1/", Some("hidden")).unwrap();
    assert_eq!(client.url(), "http://host:1");
    assert!(!format!("{client:?}").contains("hidden"));
}
