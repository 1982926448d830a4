//! Everything that a request can be refused for, and how that is told: the one place where
//! errors of the server become answers.
//!
//! Handlers give a [`Refusal`]: which kind of problem, what is wrong with this very request, which
//! field is at fault and what to do about it. It becomes a problem document (RFC 9457) only in
//! [`super::observe`], which knows the request's id. Kinds are a promise to programs: their names
//! never change (pinned by a test below).
//!
//! What a person cannot act on (a failing database, a bug) is logged with its cause and told
//! without it, since causes may hold what is not the caller's business.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bessemer_wire::problem::Problem;
use tracing::{debug, error};

use crate::keyring::KeyringError;

/// After how many seconds a caller may try again when the server cannot work now.
const RETRY_AFTER: &str = "2";

/// The media type of problem documents (RFC 9457, section 6.1).
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal $name:literal $title:literal,)*) => {
        /// The kinds of problems.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them: status and name, for the document and its test.
            #[cfg(test)]
            const ALL: &'static [(u16, &'static str)] = &[$(($status, $name),)*];

            fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The body is not JSON.
    MalformedJson = 400 "malformed-json" "The request is not JSON",
    /// A query parameter, path or header is not what it should be.
    InvalidParameter = 400 "invalid-parameter" "A parameter makes no sense",
    /// No token, or one that is not (any more) valid.
    Unauthenticated = 401 "unauthenticated" "Who are you?",
    /// The token is valid but may not do this.
    Forbidden = 403 "forbidden" "This token may not do that",
    /// The thing that the path names does not exist, or not for this caller.
    NotFound = 404 "not-found" "There is no such thing",
    /// The path is none of the API's.
    NoSuchRoute = 404 "no-such-route" "The API has no such path",
    /// The path exists, but not with this method.
    MethodNotAllowed = 405 "method-not-allowed" "Not with this method",
    /// Something unique is taken, or the thing is in a state that does not allow this.
    Conflict = 409 "conflict" "That is not possible now",
    /// No free node has what the flavor demands.
    NoMatchingNode = 409 "no-matching-node" "No matching node is free",
    /// No free node's ports can carry what was ordered.
    NetworksNotCarried = 409 "networks-not-carried" "No node can carry these networks",
    /// The image is still being imported, or its import failed.
    ImageNotReady = 409 "image-not-ready" "The image is not ready",
    /// Every VLAN id or VNI of the site's pool is in use.
    PoolExhausted = 409 "pool-exhausted" "The site's pool is exhausted",
    /// Every address of the network's pool is in use.
    AddressesExhausted = 409 "addresses-exhausted" "The network has no free address",
    /// The body is larger than 1 MiB.
    BodyTooLarge = 413 "body-too-large" "The request is too large",
    /// The body says that it is something else than JSON.
    UnsupportedMediaType = 415 "unsupported-media-type" "The request is not JSON",
    /// A field is missing, unknown, of the wrong type, or its value makes no sense.
    InvalidField = 422 "invalid-field" "A field makes no sense",
    /// A field names something that does not exist.
    UnknownReference = 422 "unknown-reference" "A field names something that does not exist",
    /// No disk of a matching node can hold the image.
    ImageTooLarge = 422 "image-larger-than-disk" "The image is larger than the disk",
    /// The key was used for another request before.
    IdempotencyMismatch = 422 "idempotency-mismatch" "The Idempotency-Key belongs to another request",
    /// As many event streams are open as the server allows.
    TooManyStreams = 429 "too-many-streams" "Too many event streams",
    /// Our own fault.
    Internal = 500 "internal" "The server failed",
    /// The machine did not do what it was asked to.
    MachineFailed = 502 "machine-failed" "The machine did not do it",
    /// The switch did not do what it was asked to.
    SwitchFailed = 502 "switch-failed" "The switch did not do it",
    /// The database cannot be reached.
    Unavailable = 503 "unavailable" "The server cannot work now",
    /// The machine did not do in time what it was asked to.
    MachineTimeout = 504 "machine-timeout" "The machine did not answer in time",
}

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    kind: Kind,
    detail: String,
    field: Option<String>,
    remedy: Option<String>,
}

impl Refusal {
    /// A refusal of this kind. `detail` says what is wrong with this very request; it never holds
    /// a secret, nor text of the request that could be one.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            remedy: None,
        }
    }

    /// A field of the request body has a value that makes no sense.
    pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidField, detail).field(field)
    }

    /// A field of the request body names something that does not exist.
    pub(super) fn unknown(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::UnknownReference, detail).field(field)
    }

    /// Our own fault: `cause` goes to the log only.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        error!(%cause, "request failed");
        Self::new(Kind::Internal, "Something went wrong that should not.")
            .remedy("Try again; if it stays, look into the server's log for this request's id.")
    }

    /// The field at fault: a JSON path such as `ports[0].mac`.
    pub(super) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What to do about it.
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What an answer without a document means, by its status: that of a router or layer which
    /// knows nothing of problems.
    pub(super) fn of_status(status: StatusCode) -> Option<Self> {
        Some(match status {
            StatusCode::NOT_FOUND => {
                Self::new(Kind::NoSuchRoute, "There is nothing under this path.")
                    .remedy("See /docs for what there is.")
            }
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                Kind::MethodNotAllowed,
                "This path does not know that method.",
            )
            .remedy("See the Allow header for the methods that it knows."),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            status if status.is_server_error() => Self::internal(&status),
            _ => return None,
        })
    }

    /// The body is larger than the API takes.
    pub(super) fn too_large() -> Self {
        let limit = super::extract::MAX_BODY >> 20;
        Self::new(
            Kind::BodyTooLarge,
            format!("The body has more than {limit} MiB."),
        )
        .remedy("Nothing that the API takes is that large: check what is being sent.")
    }

    /// The problem document.
    pub(super) fn document(&self, request_id: String) -> Problem {
        Problem {
            kind: format!("urn:bessemer:problem:{}", self.kind.name()),
            title: self.kind.title().into(),
            status: self.kind.status(),
            detail: self.detail.clone(),
            field: self.field.clone(),
            remedy: self.remedy.clone(),
            request_id: Some(request_id),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The answer is a bare status that carries the refusal; [`super::observe`] writes the document.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        if self.kind == Kind::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"bessemer\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.kind == Kind::Unavailable {
            let pause = HeaderValue::from_static(RETRY_AFTER);
            response.headers_mut().insert(header::RETRY_AFTER, pause);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<bessemer_store::Error> for Refusal {
    fn from(error: bessemer_store::Error) -> Self {
        use bessemer_store::Error;
        match error {
            Error::NotFound { .. } => Self::new(Kind::NotFound, sentence(&error)),
            Error::Conflict {
                field: Some(field),
                message,
            } if field == "Idempotency-Key" => {
                Self::new(Kind::IdempotencyMismatch, sentence(&message)).field(field)
            }
            Error::Conflict { field, message } => {
                let refusal = Self::new(Kind::Conflict, sentence(&message));
                Self { field, ..refusal }
            }
            Error::Exhausted {
                what: "address", ..
            } => Self::new(Kind::AddressesExhausted, sentence(&error)).remedy(
                "Delete servers or release addresses that are not needed, enlarge the pool, or use \
                 another network.",
            ),
            Error::Exhausted { what, .. } => Self::new(Kind::PoolExhausted, sentence(&error))
                .field(what.to_ascii_lowercase())
                .remedy(
                    "Delete networks that are not needed, or have an operator enlarge the pool.",
                ),
            Error::NoNode => Self::new(Kind::NoMatchingNode, sentence(&error))
                .field("flavor")
                .remedy("Somebody else was faster: order again."),
            Error::Cursor(_) => Self::new(Kind::InvalidParameter, sentence(&error))
                .field("cursor")
                .remedy("Pass `next` of the page before as it was given."),
            // Told to the log once, by the store: not once a request.
            Error::Away(cause) => {
                debug!(%cause, "the database is away");
                Self::new(
                    Kind::Unavailable,
                    "The database does not answer at present.",
                )
                .remedy("Try again in a moment.")
            }
            Error::DiskFull(cause) => {
                error!(%cause, "the disk of the database is full");
                Self::new(Kind::Unavailable, "The disk of the database is full.").remedy(
                    "An operator frees space where the database is: nothing is lost, and nothing needs \
                     to be restarted.",
                )
            }
            Error::CannotWrite(cause) => {
                error!(%cause, "the database cannot write");
                Self::new(Kind::Unavailable, "The database cannot write to its disk.").remedy(
                    "An operator looks whether that is mounted read-only or failing; the server's log \
                     tells more.",
                )
            }
            Error::Database(cause) => {
                error!(%cause, "the database failed");
                Self::new(
                    Kind::Unavailable,
                    "The database does not answer as it should.",
                )
                .remedy("Try again in a moment; operators find the cause in the server's log.")
            }
            Error::LeaseLost | Error::Corrupt { .. } | Error::Setup(_) => Self::internal(&error),
        }
    }
}

impl From<KeyringError> for Refusal {
    fn from(error: KeyringError) -> Self {
        Self::internal(&error)
    }
}

/// `text` as a sentence: first letter large, a full stop at the end.
pub(super) fn sentence(text: &dyn std::fmt::Display) -> String {
    let text = text.to_string();
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{}{stop}", first.unwrap_or_default(), characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs decide by these names: they are a promise (invariant 7).
    #[test]
    fn kinds_are_pinned() {
        let kinds: Vec<_> = Kind::ALL
            .iter()
            .map(|(status, name)| format!("{status} {name}"))
            .collect();
        assert_eq!(
            kinds.join("\n"),
            "400 malformed-json\n400 invalid-parameter\n401 unauthenticated\n403 forbidden\n\
             404 not-found\n404 no-such-route\n405 method-not-allowed\n409 conflict\n\
             409 no-matching-node\n409 networks-not-carried\n409 image-not-ready\n409 pool-exhausted\n\
         409 addresses-exhausted\n\
             413 body-too-large\n415 unsupported-media-type\n422 invalid-field\n\
             422 unknown-reference\n422 image-larger-than-disk\n422 idempotency-mismatch\n\
             429 too-many-streams\n500 internal\n502 machine-failed\n502 switch-failed\n503 unavailable\n\
             504 machine-timeout"
        );
    }

    #[test]
    fn the_document_says_everything() {
        let document = Refusal::invalid("ports[0].mac", "It is taken.")
            .remedy("Use another.")
            .document("r1".into());
        assert_eq!(
            serde_json::to_value(document).unwrap(),
            serde_json::json!({
                "type": "urn:bessemer:problem:invalid-field",
                "title": "A field makes no sense",
                "status": 422,
                "detail": "It is taken.",
                "field": "ports[0].mac",
                "remedy": "Use another.",
                "request_id": "r1",
            })
        );
    }

    #[test]
    fn causes_are_not_told() {
        let cause = bessemer_store::Error::Setup("postgres://u:planted@h".into());
        let document = Refusal::from(cause).document(String::new());
        assert!(
            !serde_json::to_string(&document)
                .unwrap()
                .contains("planted")
        );
    }
}
