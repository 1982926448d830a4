//! Who may talk to the controller: HTTP Basic or a session token (DSP0266, section
//! "Authentication").

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Bmc;
use super::error::RedfishError;

/// Header that carries a session's token.
pub(super) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-auth-token");

/// Lets a request through if it shows a live session or the right password.
pub(super) async fn require(
    Extension(bmc): Extension<Arc<Bmc>>,
    request: Request,
    next: Next,
) -> Response {
    match bmc.authenticate(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

impl Bmc {
    fn authenticate(&self, headers: &HeaderMap) -> Result<(), RedfishError> {
        if let Some(token) = headers.get(TOKEN_HEADER) {
            let known = token
                .to_str()
                .is_ok_and(|token| self.sessions.accept(token, Instant::now()));
            let good = known && !self.faults.get().reject_credentials;
            return if good {
                Ok(())
            } else {
                Err(RedfishError::unauthorized())
            };
        }
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            return Err(RedfishError::unauthorized());
        };
        let (username, password) = authorization
            .to_str()
            .ok()
            .and_then(basic_credentials)
            .ok_or_else(RedfishError::unauthorized)?;
        self.check_password(&username, &password)
    }

    /// # Errors
    /// When the account or the password is wrong.
    pub(super) fn check_password(
        &self,
        username: &str,
        password: &str,
    ) -> Result<(), RedfishError> {
        let good = username == self.credentials.username
            && password == self.credentials.password
            && !self.faults.get().reject_credentials;
        if good {
            Ok(())
        } else {
            Err(RedfishError::bad_credentials())
        }
    }
}

/// User name and password of an `Authorization: Basic` header (RFC 7617).
fn basic_credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}
