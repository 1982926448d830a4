//! The audit trail.

use bessemer_wire::api::AuditEntry;
use reqwest::Method;

use crate::transport::{Call, with_query};
use crate::{Client, Document, Error};

impl Client {
    /// One page of the entries after the one with sequence number `after`, oldest first, at most
    /// `limit` (1 to 1000) of them. An empty page means that there are no more yet.
    ///
    /// # Errors
    /// When the API does not answer with them: it does so for operators only.
    pub async fn audit(&self, after: i64, limit: u32) -> Result<Vec<Document<AuditEntry>>, Error> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let url = with_query(
            self.at(&["audit"])?,
            &[("after", &after), ("limit", &limit)],
        );
        let mut entries = Vec::new();
        self.page(Call::new(Method::GET, url), &mut entries).await?;
        Ok(entries)
    }
}
