//! Paths, methods and what every answer has in common.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, OriginalUri, Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::Bmc;
use super::authentication::{TOKEN_HEADER, require};
use super::error::RedfishError;
use super::faults::Passing;
use super::resources::{self, SESSIONS, SYSTEM};
use super::{media, metadata, system};

const XML: (HeaderName, &str) = (header::CONTENT_TYPE, "application/xml;charset=utf-8");

/// No request of the verbs offered here needs more.
const BODY_LIMIT: usize = 16 * 1024;

/// The HTTP service of every controller. Which one is asked stands in the request's extensions: so
/// ten thousand controllers share one table of routes.
pub(super) fn router() -> Router {
    let open = Router::new()
        .route("/redfish", get(versions))
        .route("/redfish/v1", get(service_root))
        .route("/redfish/v1/", get(service_root))
        .route("/redfish/v1/odata", get(odata))
        .route("/redfish/v1/$metadata", get(service_metadata))
        .route(metadata::OWN_SCHEMA.0, get(own_schema))
        .route(SESSIONS, post(log_in));
    let closed = Router::new()
        .route(SESSIONS, get(list_sessions))
        .route(
            &format!("{SESSIONS}/{{id}}"),
            get(show_session).merge(delete(log_out)),
        )
        .route(SYSTEM, get(system::show).patch(system::change))
        .route(
            &format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
            post(system::reset),
        )
        .route(&media::drive_path(), get(media::show))
        .route(
            &format!("{}/Actions/VirtualMedia.InsertMedia", media::drive_path()),
            post(media::insert),
        )
        .route(
            &format!("{}/Actions/VirtualMedia.EjectMedia", media::drive_path()),
            post(media::eject),
        )
        .fallback(read_only_resource)
        .layer(from_fn(require));
    Router::new()
        .merge(open)
        .merge(closed)
        .method_not_allowed_fallback(|| async { RedfishError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(misbehave))
}

/// Applies the faults that concern every request, and the headers every answer carries.
async fn misbehave(Extension(bmc): Extension<Arc<Bmc>>, request: Request, next: Next) -> Response {
    bmc.requests.fetch_add(1, Ordering::Relaxed);
    let delay = bmc.faults.get().answer_delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut response = match passing_fault(&bmc, &request) {
        Some(response) => response,
        None => next.run(request).await,
    };
    let hidden = bmc.faults.get().hidden;
    if !hidden.is_empty() {
        response = without(response, &hidden).await;
    }
    if bmc.faults.take(Passing::EmptyBody) {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("odata-version"),
        HeaderValue::from_static("4.0"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The answer to a request that is not even looked at.
fn passing_fault(bmc: &Bmc, request: &Request) -> Option<Response> {
    if bmc.faults.take_unavailable_answer() {
        return Some(RedfishError::unavailable().into_response());
    }
    if bmc.faults.take(Passing::ServerError) {
        return Some(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    let changes = !request.method().is_safe() && request.uri().path() != SESSIONS;
    if changes && bmc.faults.get().forbid_changes {
        return Some(RedfishError::insufficient_privilege().into_response());
    }
    let refused = bmc.faults.take(Passing::ClientError);
    refused.then(|| RedfishError::malformed_json().into_response())
}

/// The same answer without these keys and texts, wherever they stand in it.
async fn without(response: Response, hidden: &[&str]) -> Response {
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.unwrap_or_default();
    let Ok(mut value) = serde_json::from_slice(&body) else {
        return (head, body).into_response();
    };
    hide(&mut value, hidden);
    head.headers.remove(header::CONTENT_LENGTH);
    (head, value.to_string()).into_response()
}

fn hide(value: &mut Value, hidden: &[&str]) {
    match value {
        Value::Object(object) => {
            object.retain(|key, _| !hidden.contains(&key.as_str()));
            object.values_mut().for_each(|value| hide(value, hidden));
        }
        Value::Array(values) => {
            values.retain(|value| !value.as_str().is_some_and(|text| hidden.contains(&text)));
            values.iter_mut().for_each(|value| hide(value, hidden));
        }
        _ => {}
    }
}

async fn versions() -> Json<Value> {
    Json(json!({"v1": "/redfish/v1/"}))
}

async fn service_root(Extension(bmc): Extension<Arc<Bmc>>) -> Json<Value> {
    Json(resources::service_root(&bmc))
}

async fn odata() -> Json<Value> {
    Json(resources::odata())
}

async fn service_metadata() -> impl IntoResponse {
    ([XML], metadata::document())
}

async fn own_schema() -> impl IntoResponse {
    ([XML], metadata::OWN_SCHEMA.1)
}

/// Every resource that can only be read.
async fn read_only_resource(
    Extension(bmc): Extension<Arc<Bmc>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Value>, RedfishError> {
    let path = uri.path().trim_end_matches('/');
    let resource = resources::find(&bmc, path).await;
    let resource = resource.ok_or_else(|| RedfishError::not_found(uri.path()))?;
    if method == Method::GET || method == Method::HEAD {
        Ok(Json(resource))
    } else {
        Err(RedfishError::method_not_allowed())
    }
}

async fn log_in(
    Extension(bmc): Extension<Arc<Bmc>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, RedfishError> {
    let body = json_object(&headers, body)?;
    let text = |name: &str| -> Result<String, RedfishError> {
        let value = body.get(name).and_then(Value::as_str);
        Ok(value
            .ok_or_else(|| RedfishError::property_missing(&format!("#/{name}")))?
            .to_owned())
    };
    let username = text("UserName")?;
    bmc.check_password(&username, &text("Password")?)?;
    let session = bmc.sessions.open(&username, Instant::now());
    let session = session.ok_or_else(RedfishError::too_many_sessions)?;
    let location = format!("{SESSIONS}/{}", session.id);
    let headers = [(header::LOCATION, location), (TOKEN_HEADER, session.token)];
    let body = resources::session(&session.id, &username);
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}

async fn list_sessions(Extension(bmc): Extension<Arc<Bmc>>) -> Json<Value> {
    let ids = bmc.sessions.ids(Instant::now());
    Json(resources::collection(
        SESSIONS,
        "SessionCollection",
        "Session Collection",
        ids.iter().map(|id| format!("{SESSIONS}/{id}")),
    ))
}

async fn show_session(
    Extension(bmc): Extension<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, RedfishError> {
    match bmc.sessions.username(&id, Instant::now()) {
        Some(username) => Ok(Json(resources::session(&id, &username))),
        None => Err(RedfishError::not_found(&format!("{SESSIONS}/{id}"))),
    }
}

async fn log_out(
    Extension(bmc): Extension<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<StatusCode, RedfishError> {
    if bmc.sessions.close(&id, Instant::now()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(RedfishError::not_found(&format!("{SESSIONS}/{id}")))
    }
}

/// A request's JSON object.
pub(super) fn json_object(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<serde_json::Map<String, Value>, RedfishError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(RedfishError::not_json());
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => RedfishError::too_large(),
        _ => RedfishError::malformed_json(),
    })?;
    serde_json::from_slice(&body).map_err(|_| RedfishError::malformed_json())
}
