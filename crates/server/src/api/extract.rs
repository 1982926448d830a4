//! How a handler gets what it needs of a request: who asks, the body, path and query; each
//! checked, and refused with a problem that says what and where.

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bessemer_core::id::ProjectId;
use bessemer_store::TokenRecord;
use bessemer_wire::api::Role;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::{Kind, Refusal, sentence};
use crate::keyring::digest;
use crate::site::Site;

/// The largest request body in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Who asks.
///
/// Every request asks whose its token is, so that revoking one works at once.
#[derive(Clone)]
pub(super) struct Caller {
    token: TokenRecord,
    /// For those who ask again whether the token is still valid.
    pub(super) secret_hash: String,
}

impl Caller {
    /// Who `headers` say it is.
    pub(super) async fn of(headers: &HeaderMap, site: &Site) -> Result<Self, Refusal> {
        let secret = bearer(headers)?;
        let secret_hash = digest(secret);
        let token = site.store.token_by_hash(&secret_hash).await?;
        let token = token.ok_or_else(|| {
            Refusal::new(
                Kind::Unauthenticated,
                "The token is not, or no longer, valid.",
            )
            .remedy("Check it for typing errors, or ask an operator for a new one.")
        })?;
        // For the access log: what was done by whom.
        tracing::Span::current().record("token", token.name.as_str());
        Ok(Self { token, secret_hash })
    }

    /// Its token.
    pub(super) fn token(&self) -> &TokenRecord {
        &self.token
    }

    /// The name of its token, for what is told of who did what.
    pub(super) fn name(&self) -> &str {
        &self.token.name
    }

    /// Whether it may do everything.
    pub(super) fn is_admin(&self) -> bool {
        self.token.role == Role::Admin
    }

    /// The project that new things belong to.
    pub(super) fn project(&self) -> ProjectId {
        self.token.project
    }

    /// The project whose things it sees; `None` for all.
    pub(super) fn scope(&self) -> Option<ProjectId> {
        (!self.is_admin()).then_some(self.token.project)
    }
}

impl FromRequestParts<Site> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        // The audit trail has asked already.
        match parts.extensions.get::<Self>() {
            Some(caller) => Ok(caller.clone()),
            None => Self::of(&parts.headers, site).await,
        }
    }
}

/// The secret of an `Authorization: Bearer …` header (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let refusal = |detail: &str| {
        Refusal::new(Kind::Unauthenticated, detail)
            .remedy("Send the header `Authorization: Bearer <token>`.")
    };
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| refusal("The request has no token."))?
        .to_str()
        .map_err(|_| refusal("The Authorization header is not ASCII."))?;
    match value.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(secret.trim()),
        _ => Err(refusal("The Authorization header holds no bearer token.")),
    }
}

/// An operator. Everybody else is refused.
pub(super) struct Admin(pub(super) Caller);

impl FromRequestParts<Site> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, site).await?;
        if !caller.is_admin() {
            return Err(Refusal::new(
                Kind::Forbidden,
                "This needs a token with the role `admin`; yours has `member`.",
            )
            .remedy("Ask an operator of this site."));
        }
        Ok(Self(caller))
    }
}

/// Path parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Refusal))]
pub(super) struct Path<T>(pub(super) T);

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Kind::InvalidParameter, sentence(&rejection.body_text()))
    }
}

/// Query parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Refusal))]
pub(super) struct Query<T>(pub(super) T);

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        let text = text
            .strip_prefix("Failed to deserialize query string: ")
            .unwrap_or(&text);
        Self::new(Kind::InvalidParameter, sentence(&text))
    }
}

/// A JSON body.
///
/// Errors in it are told by line and column where it is no JSON, and by field where it is not what
/// was asked for. Values are not repeated: they may be secrets.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Site> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Refusal> {
        check_media_type(request.headers())?;
        let bytes =
            Bytes::from_request(request, site)
                .await
                .map_err(|rejection| match rejection {
                    BytesRejection::FailedToBufferBody(rejection)
                        if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE =>
                    {
                        Refusal::too_large()
                    }
                    rejection => {
                        Refusal::new(Kind::MalformedJson, sentence(&rejection.body_text()))
                    }
                })?;
        parse(&bytes).map(Self)
    }
}

/// Absent is fine; anything but JSON is a mistake worth telling, such as `curl --data` alone.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let media = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    if media == "application/json" || media.ends_with("+json") {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::UnsupportedMediaType,
        "The Content-Type is not `application/json`.",
    )
    .remedy("Send JSON with the header `Content-Type: application/json`."))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{') => {}
        None => {
            return Err(Refusal::new(Kind::MalformedJson, "The body is empty.")
                .remedy("Send a JSON object; see /docs for its fields."));
        }
        // serde would also take a struct as the array of its fields, which nobody means to send.
        Some(_) => {
            serde_json::from_slice::<IgnoredAny>(bytes)
                .map_err(|error| refuse_json(&error, "."))?;
            return Err(Refusal::new(
                Kind::InvalidField,
                "The body is not a JSON object.",
            ));
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value: Result<T, _> = serde_path_to_error::deserialize(&mut deserializer);
    let value = value.map_err(|error| {
        let path = error.path().to_string();
        refuse_json(error.inner(), &path)
    })?;
    deserializer
        .end()
        .map_err(|error| refuse_json(&error, "."))?;
    Ok(value)
}

fn refuse_json(error: &serde_json::Error, path: &str) -> Refusal {
    if !error.is_data() {
        let text = error.to_string();
        // serde_json ends every message with where.
        let what = text.split(" at line ").next().unwrap_or_default();
        return Refusal::new(
            Kind::MalformedJson,
            format!(
                "Not JSON at line {}, column {}: {what}.",
                error.line(),
                error.column()
            ),
        );
    }
    let message = without_value(&error.to_string());
    let named = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))
        .or_else(|| message.strip_prefix("duplicate field `"))
        .and_then(|rest| rest.split('`').next());
    let refusal = Refusal::new(Kind::InvalidField, sentence(&message));
    match (path, named) {
        (".", Some(name)) => refusal.field(name),
        (".", None) => refusal,
        (path, Some(name)) if last_segment(path) != name => refusal.field(format!("{path}.{name}")),
        (path, _) => refusal.field(path),
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// serde's message without where it was and without the value that was found, which could be a
/// password in the wrong place.
fn without_value(message: &str) -> String {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    for prefix in ["invalid type: ", "invalid value: "] {
        let Some(rest) = message.strip_prefix(prefix) else {
            continue;
        };
        let expected = rest
            .rsplit_once(", expected ")
            .map_or("something else", |parts| parts.1);
        let found = rest.split([' ', ',']).next().unwrap_or("something else");
        return format!("{prefix}found {found}, expected {expected}");
    }
    message.to_owned()
}

/// A JSON answer: the type that the OpenAPI document knows.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_wire::api::NodeCreate;

    fn refused(body: &str) -> (String, String, Option<String>) {
        let document = match parse::<NodeCreate>(body.as_bytes()) {
            Ok(_) => panic!("{body} is accepted"),
            Err(refusal) => refusal.document(String::new()),
        };
        let kind = document
            .kind
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        (kind, document.detail, document.field)
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_by_place() {
        let bmc = r#"{"url":"https://b","username":"u","password":"p"}"#;
        for (body, kind, detail, field) in [
            ("", "malformed-json", "empty", None),
            (
                "{\n  \"name\": ?}",
                "malformed-json",
                "line 2, column 11",
                None,
            ),
            ("{\"name\":", "malformed-json", "line 1", None),
            ("{}", "invalid-field", "issing field `name`", Some("name")),
            (
                r#"{"colour":1}"#,
                "invalid-field",
                "nknown field `colour`",
                Some("colour"),
            ),
            (
                r#"{"name":"n","bmc":{"urls":1}}"#,
                "invalid-field",
                "`urls`",
                Some("bmc.urls"),
            ),
            (
                r#"{"name":7}"#,
                "invalid-field",
                "expected a string",
                Some("name"),
            ),
            (r#"["n"]"#, "invalid-field", "", None),
        ] {
            let (found_kind, found_detail, found_field) = refused(body);
            assert_eq!(found_kind, kind, "{body}");
            assert!(found_detail.contains(detail), "{body}: {found_detail}");
            if field.is_some() {
                assert_eq!(found_field.as_deref(), field, "{body}: {found_detail}");
            }
        }
        let port = format!(r#"{{"name":"n","bmc":{bmc},"ports":[{{"mac":"x"}}]}}"#);
        assert_eq!(refused(&port).2.as_deref(), Some("ports[0].mac"));
        let more = format!(r#"{{"name":"n","bmc":{bmc},"ports":[]}} true"#);
        assert_eq!(refused(&more).0, "malformed-json");
    }

    #[test]
    fn values_are_not_repeated() {
        for password in [
            "8675309",
            "[8675309]",
            "{\"a\":8675309}",
            "8675309.5",
            "-8675309",
        ] {
            let body = format!(
                r#"{{"name":"n","bmc":{{"url":"https://b","username":"u","password":{password}}}}}"#
            );
            let (_, detail, field) = refused(&body);
            assert!(!detail.contains("8675309"), "{detail}");
            assert_eq!(field.as_deref(), Some("bmc.password"));
        }
    }
}
