//! The audit trail: every request that may change something is written down before it is carried
//! out, and its outcome after. One that cannot be written down is not carried out.
//!
//! Requests without a valid token are told to the log and counted, and not written down: a stranger
//! must not be able to fill the database.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bessemer_store::NewAuditRequest;
use bessemer_wire::api::{AuditEntry, AuditOutcome, Page};
use serde::Deserialize;
use tracing::error;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Admin, Answer, Caller, Query};
use super::observe::RequestId;
use super::page;
use super::problem::Refusal;
use crate::site::Site;
use crate::tls_listener::peer_of;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only entries after the one with this sequence number; `next` of the page before.
    after: Option<i64>,
    /// The same as `after`.
    cursor: Option<i64>,
    /// How many entries at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Who asked for what, oldest first. Nothing of it is ever changed or deleted.
#[utoipa::path(get, path = "/v1/audit", tag = "site", operation_id = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(site): State<Site>,
    _: Admin,
    Query(query): Query<AuditQuery>,
) -> Answer<Page<AuditEntry>> {
    let limit = page::limit(query.limit)?;
    let after = query.cursor.or(query.after).unwrap_or(0);
    let items = site.store.audit_after(after, limit).await?;
    Ok(Json(page::numbered(items, limit, |entry| entry.sequence)))
}

/// The layer that writes requests down.
pub(super) async fn write_down(State(site): State<Site>, request: Request, next: Next) -> Response {
    if reads_only(request.method()) {
        return next.run(request).await;
    }
    let caller = match Caller::of(request.headers(), &site).await {
        Ok(caller) => caller,
        // Its handler refuses it, if there is one.
        Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => {
            return next.run(request).await;
        }
        Err(refusal) => return refusal.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    let id = match parts.extensions.get::<RequestId>() {
        Some(RequestId(id)) => id.clone(),
        None => return Refusal::internal(&"the request has no id").into_response(),
    };
    let asked = caller.asks(
        &id,
        parts.method.as_str(),
        parts.uri.path(),
        peer_of(&parts.extensions),
    );
    if let Err(error) = site.store.audit_request(&asked, site.now()).await {
        return Refusal::from(error).into_response();
    }
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Err(error) = site
        .store
        .audit_outcome(&id, &outcome(&site, &response))
        .await
    {
        error!(%error, "the outcome of request {id} is missing in the audit trail");
    }
    response
}

fn reads_only(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn outcome(site: &Site, response: &Response) -> AuditOutcome {
    let refusal = response.extensions().get::<Refusal>().cloned();
    let refusal = refusal.or_else(|| Refusal::of_status(response.status()));
    let location = response.headers().get(header::LOCATION);
    AuditOutcome {
        at: site.now(),
        status: response.status().as_u16(),
        problem: refusal.map(|refusal| refusal.document(String::new()).kind),
        location: location.and_then(|place| place.to_str().ok().map(str::to_owned)),
    }
}

impl Caller {
    fn asks<'a>(
        &'a self,
        request: &'a str,
        method: &'a str,
        path: &'a str,
        peer: Option<IpAddr>,
    ) -> NewAuditRequest<'a> {
        let token = self.token();
        NewAuditRequest {
            request,
            token: token.id,
            token_name: &token.name,
            role: token.role,
            project: token.project,
            method,
            path,
            peer,
        }
    }
}
