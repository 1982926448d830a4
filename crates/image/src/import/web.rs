//! Who is asked on the web, and how far a redirect may lead.

use reqwest::redirect::{Attempt, Policy};
use reqwest::{RequestBuilder, Url};

use crate::{Error, Result};

/// Redirects that are followed: mirrors use two or three.
const MOST_REDIRECTS: usize = 10;

/// A user name and a password for HTTP's basic authentication (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(…)")
    }
}

/// A URL, and the client and credentials to ask for it with.
#[derive(Debug, Clone)]
pub struct Web {
    /// The client; [`redirects`] is the policy it should have.
    pub client: reqwest::Client,
    /// Where.
    pub url: Url,
    /// Sent to this host only, not to one that a redirect leads to.
    pub credentials: Option<Credentials>,
}

impl Web {
    /// A request for it.
    pub(super) fn get(&self) -> Result<RequestBuilder> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(Error::Download(
                format!("{} is not http or https", self.url.scheme()),
                None,
            ));
        }
        let request = self.client.get(self.url.clone());
        Ok(match &self.credentials {
            Some(Credentials { username, password }) => {
                request.basic_auth(username, Some(password))
            }
            None => request,
        })
    }
}

/// Redirects are followed, but not in circles, not for ever, and not from `https` to `http`. The
/// client itself drops credentials when another host is asked.
pub fn redirects() -> Policy {
    Policy::custom(|attempt: Attempt<'_>| {
        let previous = attempt.previous();
        let secure = previous.last().is_some_and(|url| url.scheme() == "https");
        if previous.contains(attempt.url()) {
            return attempt.error("the server redirects in a circle");
        }
        if previous.len() > MOST_REDIRECTS {
            return attempt.error("the server redirects more than ten times");
        }
        if secure && attempt.url().scheme() != "https" {
            return attempt.error("the server redirects from https to something less");
        }
        attempt.follow()
    })
}
