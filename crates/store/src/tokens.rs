//! API tokens: known only by a digest of their secret.
//!
//! Every request asks whose its token is, which would be a tenth of what reading a node costs, and over a
//! connection to PostgreSQL most of it: so an answer is believed for [`BELIEVED`]. A token that is revoked
//! stops working at once at the server that revokes it (on SQLite there is no other one), and within a
//! second elsewhere, whatever becomes of messages between them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::database::Row;
use crate::nodes::as_id;
use crate::records::TokenRecord;
use crate::store::Store;
use crate::value::{name, values};

/// How long a token is taken for what it was.
const BELIEVED: Duration = Duration::from_millis(500);

/// Tokens that are remembered at most; then all are forgotten.
const MOST_KNOWN: usize = 4096;

/// Tokens that were looked up a moment ago, by the digests of their secrets.
#[derive(Default)]
pub(crate) struct KnownTokens(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Rises when one is revoked: what was read before that is not to be remembered after it.
    revocations: u64,
    tokens: HashMap<String, (Instant, TokenRecord)>,
}

impl KnownTokens {
    fn known(&self) -> MutexGuard<'_, Known> {
        // At worst, a panicking holder has forgotten a token.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token, if it was looked up a moment ago; or else what to remember the answer with.
    fn get(&self, secret_hash: &str) -> Result<TokenRecord, Asking> {
        let known = self.known();
        let found = known.tokens.get(secret_hash);
        match found.filter(|(asked_at, _)| asked_at.elapsed() < BELIEVED) {
            Some((_, token)) => Ok(token.clone()),
            None => Err(Asking {
                at: Instant::now(),
                revocations: known.revocations,
            }),
        }
    }

    fn remember(&self, secret_hash: &str, token: &TokenRecord, asking: &Asking) {
        let mut known = self.known();
        if known.revocations != asking.revocations {
            return;
        }
        if known.tokens.len() >= MOST_KNOWN {
            known.tokens.clear();
        }
        let token = (asking.at, token.clone());
        known.tokens.insert(secret_hash.to_owned(), token);
    }
}

/// The moment before a token is looked up.
struct Asking {
    at: Instant,
    revocations: u64,
}

/// Forgets every token when it is dropped: however a revocation ends, it may have been committed.
struct ForgetAll<'k>(&'k KnownTokens);

impl Drop for ForgetAll<'_> {
    fn drop(&mut self) {
        let mut known = self.0.known();
        known.revocations += 1;
        known.tokens.clear();
    }
}

impl Store {
    /// Writes down a new token; `secret_hash` is a digest of its secret.
    ///
    /// [`Error::Conflict`] if there is one of this name.
    pub async fn create_token(&self, token: &TokenRecord, secret_hash: &str) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO token (id, name, role, project, secret_hash, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let values = values![
            token.id,
            &token.name,
            name("role", &token.role)?,
            token.project,
            secret_hash,
            token.created_at
        ];
        self.insert_named("create_token", SQL, values, ("token", &token.name))
            .await
    }

    /// The token whose secret has this digest. One that another server has revoked may be told for half
    /// a second more.
    pub async fn token_by_hash(&self, secret_hash: &str) -> Result<Option<TokenRecord>, Error> {
        let asking = match self.known_tokens().get(secret_hash) {
            Ok(token) => return Ok(Some(token)),
            Err(asking) => asking,
        };
        let token = self.read_token(secret_hash).await?;
        if let Some(token) = &token {
            self.known_tokens().remember(secret_hash, token, &asking);
        }
        Ok(token)
    }

    async fn read_token(&self, secret_hash: &str) -> Result<Option<TokenRecord>, Error> {
        const SQL: &str = "SELECT id, name, role, project, created_at FROM token
            WHERE secret_hash = $1";
        let row = self.database().row(SQL, values![secret_hash]).await?;
        row.as_ref().map(token_record).transpose()
    }

    /// Ends a token, by its name or id.
    pub async fn revoke_token(&self, name_or_id: &str) -> Result<(), Error> {
        // By name only if no token has this id.
        const SQL: &str = "DELETE FROM token WHERE id = $2
            OR (name = $1 AND NOT EXISTS (SELECT 1 FROM token AS other WHERE other.id = $2))";
        let mut write = self.write("revoke_token").await?;
        let values = values![name_or_id, as_id(name_or_id)];
        if write.execute(SQL, values).await? == 0 {
            return Err(Error::not_found("token", name_or_id));
        }
        let _afterwards = ForgetAll(self.known_tokens());
        write.commit().await
    }

    /// Every token, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        const SQL: &str = "SELECT id, name, role, project, created_at FROM token
            ORDER BY created_at, id";
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(token_record).collect()
    }

    /// How many tokens there are.
    pub async fn token_count(&self) -> Result<u64, Error> {
        const SQL: &str = "SELECT COUNT(*) AS tokens FROM token";
        let row = self.database().row(SQL, values![]).await?;
        row.map_or(Ok(0), |row| row.number("tokens"))
    }
}

fn token_record(row: &Row) -> Result<TokenRecord, Error> {
    Ok(TokenRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        role: row.name("role")?,
        project: row.parsed("project")?,
        created_at: row.time("created_at")?,
    })
}
