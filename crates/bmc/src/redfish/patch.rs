//! Changing a resource that may have been changed since it was read.
//!
//! DSP0266, section 6.5, and RFC 9110, section 13.1.1: a service may demand that a change names the
//! entity tag of what was read. BMCs that hand out tags which then never match, that want any tag
//! (`*`), or that take none, are all about; so a refused tag leads to the next way of putting it.

use hyper::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::RedfishBmc;
use super::resource::Resource;
use crate::Error;

/// Any state of the resource (RFC 9110, section 13.1.1).
const ANY: &str = "*";

impl RedfishBmc {
    /// Changes what was read as `seen`. What is asked for must be right whatever the rest of the
    /// resource says by now.
    pub(super) async fn patch(
        &self,
        seen: &Resource,
        body: &Value,
        deadline: Instant,
    ) -> Result<(), Error> {
        let read = seen.strong_etag().map(str::to_owned);
        let refusal = match self.send_patch(seen, body, read.as_deref(), deadline).await {
            Err(error) if is_about_the_tag(&error) => error,
            result => return result,
        };
        // Somebody else, or the BMC itself, changed the resource since it was read.
        let fresh = self.client.get(&seen.path, deadline).await?;
        let fresh = fresh.etag().map(str::to_owned);
        let mut tried = vec![read];
        let mut last = refusal;
        for tag in [fresh, Some(ANY.to_owned()), None] {
            if tried.contains(&tag) {
                continue;
            }
            match self.send_patch(seen, body, tag.as_deref(), deadline).await {
                Err(error) if is_about_the_tag(&error) => last = error,
                result => return result,
            }
            tried.push(tag);
        }
        Err(last)
    }

    async fn send_patch(
        &self,
        seen: &Resource,
        body: &Value,
        etag: Option<&str>,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.system_may_change();
        self.client
            .write(Method::PATCH, &seen.path, body, etag, deadline)
            .await
    }
}

/// "Precondition Failed" or "Precondition Required" (RFC 6585, section 3).
fn is_about_the_tag(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused {
            status: 412 | 428,
            ..
        }
    )
}
