//! Events: pages, and the stream that can be taken up again.

use std::time::Duration;

use crate::support::{Api, node};
use bessemer_wire::event::Event;
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Reads a stream event by event.
struct Stream {
    response: Response,
    buffer: String,
}

impl Stream {
    async fn open(api: &Api, token: &str, path: &str, last_event_id: Option<i64>) -> Self {
        let mut request = api.request(Method::GET, path).bearer_auth(token);
        request = request.header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event with its id; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(i64, Event)> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                let Some(data) = field("data:") else { continue };
                let event: Event = serde_json::from_str(data).unwrap();
                assert_eq!(field("event:"), Some(event.kind.as_str()));
                return Some((field("id:").unwrap().parse().unwrap(), event));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let chunk = chunk.await.expect("a stream never falls silent").unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn events_are_read_in_pages() {
    let api = Api::start().await;
    for number in 1..=3 {
        api.node(number).await;
    }
    let first = api.get("/v1/events?limit=2").await.expect(200);
    let sequences = |page: &Value| -> Vec<i64> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|event| event["sequence"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(sequences(&first), [1, 2]);
    assert_eq!(first["next"], "2");
    let second = api.get("/v1/events?limit=2&cursor=2").await.expect(200);
    assert_eq!(sequences(&second), [3]);
    assert_eq!(second.get("next"), None);
    assert_eq!(second["items"][0]["kind"], "node.enrolled");
    let none = api.get("/v1/events?after=3").await.expect(200);
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_is_taken_up_again() {
    let api = Api::start().await;
    api.node(1).await;
    let mut stream = Stream::open(&api, &api.admin, "/v1/events", None).await;
    let mut all = Stream::open(&api, &api.admin, "/v1/events?after=0", None).await;
    // A stream without a beginning begins now.
    api.node(2).await;
    let (id, event) = stream.next().await.unwrap();
    assert_eq!(
        (id, event.sequence, event.kind.as_str()),
        (2, 2, "node.enrolled")
    );
    assert_eq!(all.next().await.unwrap().0, 1);
    assert_eq!(all.next().await.unwrap().0, 2);

    drop(stream);
    api.node(3).await;
    api.node(4).await;
    let mut stream = Stream::open(&api, &api.admin, "/v1/events?after=0", Some(2)).await;
    assert_eq!(
        stream.next().await.unwrap().0,
        3,
        "the header says where it goes on"
    );
    assert_eq!(stream.next().await.unwrap().0, 4);

    let wrong = api
        .request(Method::GET, "/v1/events")
        .bearer_auth(&api.admin);
    let wrong = wrong
        .header("accept", "text/event-stream")
        .header("last-event-id", "x");
    api.send(wrong).await.problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let api = Api::start().await;
    let request = json!({ "name": "watcher", "role": "admin" });
    let created = api.post("/v1/tokens", request).await.expect(201);
    let secret = created["secret"].as_str().unwrap();
    let mut stream = Stream::open(&api, secret, "/v1/events", None).await;
    api.node(1).await;
    assert!(stream.next().await.is_some());
    assert_eq!(api.site.metrics.event_streams.get(), 1);
    api.delete("/v1/tokens/watcher").await.expect(204);
    api.post("/v1/nodes", node(2)).await.expect(201);
    assert!(
        stream.next().await.is_none(),
        "what happens after the revocation is not told"
    );
    assert_eq!(api.site.metrics.event_streams.get(), 0);
}
