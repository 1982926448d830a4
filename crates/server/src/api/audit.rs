//! The audit trail: every request that may change something is written down together with what it
//! changes, and its outcome after. One that cannot be written down changes nothing.
//!
//! Requests without a valid token are told to the log and counted, and not written down: a stranger
//! must not be able to fill the database.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bessemer_core::Timestamp;
use bessemer_store::{Asked, NewAuditRequest};
use bessemer_wire::api::{AuditEntry, AuditOutcome, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Admin, Answer, Caller, Query};
use super::observe::RequestId;
use super::page;
use super::problem::Refusal;
use crate::serving::peer_of;
use crate::site::Site;

/// The status of requests whose client did not wait for an answer. No standard has one; this is what nginx
/// logs then.
const CLIENT_GONE: u16 = 499;

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
    let asked = Asked::new(asked(&caller, id, &parts, site.now()));
    parts.extensions.insert(caller);
    let mut unanswered = Unanswered(Some((&site, &asked)));
    let carried_out = next.run(Request::from_parts(parts, body));
    let response = asked.carry_out(carried_out).await;
    let outcome = outcome(&site, &response);
    let noted = site.store.audit_outcome(&asked, outcome).await;
    unanswered.0 = None;
    match noted {
        Ok(()) => response,
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// A request that has no answer yet. If it is dropped, its client has hung up, and it is carried out no
/// further.
struct Unanswered<'a>(Option<(&'a Site, &'a Asked)>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some((site, asked)) = self.0 {
            let outcome = AuditOutcome {
                at: site.now(),
                status: CLIENT_GONE,
                problem: None,
                location: None,
            };
            site.store.audit_abandoned(asked, outcome);
        }
    }
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

/// What is written down of a request.
fn asked(caller: &Caller, request: String, parts: &Parts, at: Timestamp) -> NewAuditRequest {
    let token = caller.token();
    NewAuditRequest {
        request,
        at,
        token: token.id,
        token_name: token.name.clone(),
        role: token.role,
        project: token.project,
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        peer: peer_of(&parts.extensions),
    }
}
