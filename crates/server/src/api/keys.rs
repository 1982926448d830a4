//! SSH public keys of the caller's project.

mod public_key;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::KeyPairId;
use bessemer_store::KeyPairRecord;
use bessemer_wire::api::{KeyPair, KeyPairCreate, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Answer, Body, Caller, Path};
use super::problem::Refusal;
use super::{answer_with, page, values};
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(delete))
}

/// List the project's keys.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    responses((status = 200, body = Page<KeyPair>)))]
async fn list(State(site): State<Site>, caller: Caller) -> Answer<Page<KeyPair>> {
    let keys = site.store.key_pairs(caller.project()).await?;
    Ok(Json(page::whole(keys.into_iter().map(view).collect())))
}

/// Add an SSH public key to the project.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body = KeyPairCreate,
    responses((status = 201, body = KeyPair)))]
async fn create(
    State(site): State<Site>,
    caller: Caller,
    Body(request): Body<KeyPairCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    let key = KeyPairRecord {
        id: KeyPairId(Uuid::now_v7()),
        project: caller.project(),
        name: request.name,
        public_key: public_key::check(&request.public_key)?,
    };
    site.store.create_key_pair(&key).await?;
    let location = format!("/v1/keys/{}", key.id);
    Ok(answer_with(StatusCode::CREATED, &location, view(key)))
}

/// Delete a key.
///
/// Servers that it opens stay open to it.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys", operation_id = "delete_key",
    params(("key" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<StatusCode, Refusal> {
    let key = site.store.key_pair(caller.project(), &key).await?;
    site.store.delete_key_pair(key.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key as the API shows it.
fn view(key: KeyPairRecord) -> KeyPair {
    KeyPair {
        id: key.id,
        name: key.name,
        public_key: key.public_key,
    }
}
