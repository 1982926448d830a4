//! The audit trail: who asked for what, when, from where, with which outcome.
//!
//! Nothing here changes or deletes a row. A request is written down before anything of it is done and
//! its outcome after, so that none is missing whenever the server dies; one without an outcome was cut
//! off. Numbers rise in the order in which requests become visible, as those of events do.

use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{ProjectId, TokenId};
use bessemer_wire::api::{AuditEntry, AuditOutcome, Role};

use crate::Error;
use crate::database::Row;
use crate::store::Store;
use crate::value::{name, values};

/// A request that is about to be carried out.
#[derive(Clone, Debug)]
pub struct NewAuditRequest<'a> {
    /// As the answer and the log name it.
    pub request: &'a str,
    /// The token that asks.
    pub token: TokenId,
    /// Its name.
    pub token_name: &'a str,
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project: ProjectId,
    /// The method of HTTP.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Where the connection comes from.
    pub peer: Option<IpAddr>,
}

impl Store {
    /// Writes down that something is asked for.
    pub async fn audit_request(
        &self,
        request: &NewAuditRequest<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        // The counter's row stays locked until the commit, so numbers become visible in order.
        const NUMBER: &str =
            "UPDATE counter SET value = value + 1 WHERE name = 'audit' RETURNING value";
        const SQL: &str =
            "INSERT INTO audit_request (sequence, request, asked_at, token, token_name,
            role, project, method, path, peer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let mut write = self.write("audit_request").await?;
        let number = write.row(NUMBER, values![]).await?;
        let number = number.ok_or_else(|| Error::Corrupt {
            what: "counter",
            message: "there is no row `audit`".into(),
        })?;
        let values = values![
            number.integer("value")?,
            request.request,
            now,
            request.token,
            request.token_name,
            name("role", &request.role)?,
            request.project,
            request.method,
            request.path,
            request.peer.map(|peer| peer.to_string())
        ];
        write.execute(SQL, values).await?;
        write.commit_quietly().await
    }

    /// Writes down what became of it.
    pub async fn audit_outcome(&self, request: &str, outcome: &AuditOutcome) -> Result<(), Error> {
        const SQL: &str =
            "INSERT INTO audit_outcome (request, answered_at, status, problem, location)
            VALUES ($1, $2, $3, $4, $5)";
        let mut write = self.write("audit_outcome").await?;
        let values = values![
            request,
            outcome.at,
            u32::from(outcome.status),
            outcome.problem.clone(),
            outcome.location.clone()
        ];
        write.execute(SQL, values).await?;
        write.commit_quietly().await
    }

    /// At most `limit` entries after `sequence`, oldest first.
    pub async fn audit_after(&self, sequence: i64, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        const SQL: &str =
            "SELECT sequence, audit_request.request, asked_at, token, token_name, role,
            project, method, path, peer, answered_at, status, problem, location
            FROM audit_request LEFT JOIN audit_outcome
            ON audit_outcome.request = audit_request.request
            WHERE sequence > $1 ORDER BY sequence LIMIT $2";
        let rows = self.database().rows(SQL, values![sequence, limit]);
        rows.await?.iter().map(entry).collect()
    }
}

fn entry(row: &Row) -> Result<AuditEntry, Error> {
    let outcome = row.optional_time("answered_at")?.map(|at| {
        Ok::<_, Error>(AuditOutcome {
            at,
            status: row.number("status")?,
            problem: row.optional_text("problem")?,
            location: row.optional_text("location")?,
        })
    });
    Ok(AuditEntry {
        sequence: row.integer("sequence")?,
        request: row.text("request")?,
        at: row.time("asked_at")?,
        token: row.parsed("token")?,
        token_name: row.text("token_name")?,
        role: row.name("role")?,
        project: row.parsed("project")?,
        method: row.text("method")?,
        path: row.text("path")?,
        peer: row.optional_parsed("peer")?,
        outcome: outcome.transpose()?,
    })
}
