//! What happens around every request: an id, a log line, a count, and the problem document.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, debug, field, info, info_span};
use uuid::Uuid;

use super::problem::{CONTENT_TYPE, Refusal};
use crate::site::Site;

/// The header that tells a caller how this request is named in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How a request is named in its answer, in the log and in the audit trail.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// The layer around everything. The id is always ours: one made up by a caller could be that of
/// another request.
pub(super) async fn observe(
    State(site): State<Site>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = Uuid::now_v7().simple().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = info_span!(
        "request", id, %method, path = request.uri().path(), token = field::Empty
    );
    let begun = Instant::now();
    let response = async {
        let response = told(next.run(request).await, &id);
        let (status, time) = (response.status().as_u16(), begun.elapsed());
        let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
        site.metrics
            .requests
            .count(method.as_str(), route, status, time);
        // Reading is most of the traffic and changes nothing: it is logged only when asked for.
        let quiet = method == Method::GET && status < 500;
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if quiet {
            debug!(status, microseconds, "answered");
        } else {
            info!(status, microseconds, "answered");
        }
        response
    };
    response.instrument(span).await
}

/// The response with its id, and with the problem document if it is a refusal.
fn told(mut response: Response, id: &str) -> Response {
    let refusal = response.extensions_mut().remove::<Refusal>();
    if let Some(refusal) = refusal.or_else(|| Refusal::of_status(response.status())) {
        // A problem document always serialises: it holds nothing but strings and a number.
        let body = serde_json::to_vec(&refusal.document(id.to_owned())).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What a panicking handler answers. The panic itself is in the log, by the process's panic hook.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Refusal::internal(&"a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn broken() -> &'static str {
        std::panic::panic_any("planted")
    }

    #[tokio::test]
    async fn a_panic_is_told_without_details() {
        let router = Router::new()
            .route("/", get(broken))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(axum::middleware::map_response(|response: Response| async {
                told(response, "r1")
            }));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("urn:bessemer:problem:internal") && !text.contains("planted"));
    }
}
