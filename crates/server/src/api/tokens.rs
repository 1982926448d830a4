//! API tokens. Operators only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::{ProjectId, TokenId};
use bessemer_store::TokenRecord;
use bessemer_wire::api::{Page, Role, Token, TokenCreate, TokenCreated};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Admin, Answer, Body, Path};
use super::problem::{Kind, Refusal};
use super::{answer_with, page, values};
use crate::keyring::digest;
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// List tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    responses((status = 200, body = Page<Token>)))]
async fn list(State(site): State<Site>, _: Admin) -> Answer<Page<Token>> {
    let tokens = site.store.tokens().await?;
    Ok(Json(page::whole(tokens.into_iter().map(view).collect())))
}

/// Make a token.
///
/// The answer has its secret, this once: only a hash of it is kept.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token",
    request_body = TokenCreate,
    responses((status = 201, body = TokenCreated)))]
async fn create(
    State(site): State<Site>,
    Admin(caller): Admin,
    Body(request): Body<TokenCreate>,
) -> Result<impl IntoResponse, Refusal> {
    values::name("name", &request.name)?;
    let project = match (&request.project, request.role) {
        (Some(project), _) => project_of(&site, project).await?,
        (None, Role::Admin) => caller.project(),
        (None, Role::Member) => {
            return Err(Refusal::invalid(
                "project",
                "A member rents servers for a project: say which.",
            )
            .remedy("Give its name; it comes into being with its first token."));
        }
    };
    let secret = site.keyring.random_secret()?;
    let token = TokenRecord {
        id: TokenId(Uuid::now_v7()),
        name: request.name,
        role: request.role,
        project,
        created_at: site.now(),
    };
    site.store.create_token(&token, &digest(&secret)).await?;
    let location = format!("/v1/tokens/{}", token.id);
    let created = TokenCreated {
        token: view(token),
        secret,
    };
    Ok(answer_with(StatusCode::CREATED, &location, created))
}

/// Revoke a token: from now on it opens nothing.
///
/// The last one with the role `admin` stays, as nobody could make another.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "tokens", operation_id = "revoke_token",
    params(("token" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn revoke(
    State(site): State<Site>,
    _: Admin,
    Path(token): Path<String>,
) -> Result<StatusCode, Refusal> {
    let tokens = site.store.tokens().await?;
    let is_admin = |each: &&TokenRecord| each.role == Role::Admin;
    let mut admins = tokens.iter().filter(is_admin);
    if let (Some(last), None) = (admins.next(), admins.next())
        && (last.name == token || last.id.to_string() == token)
    {
        return Err(Refusal::new(
            Kind::Conflict,
            "This is the last token with the role `admin`.",
        )
        .remedy("Make another one first."));
    }
    site.store.revoke_token(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn project_of(site: &Site, name: &str) -> Result<ProjectId, Refusal> {
    values::name("project", name)?;
    Ok(site
        .store
        .project_by_name_or_create(name, ProjectId(Uuid::now_v7()))
        .await?
        .id)
}

/// The token as the API shows it.
fn view(token: TokenRecord) -> Token {
    Token {
        id: token.id,
        name: token.name,
        role: token.role,
        project: token.project,
        created_at: token.created_at,
    }
}
