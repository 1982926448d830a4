//! API tokens: known only by a digest of their secret.

use crate::Error;
use crate::database::Row;
use crate::nodes::as_id;
use crate::records::TokenRecord;
use crate::store::Store;
use crate::value::{name, values};

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

    /// The token whose secret has this digest.
    pub async fn token_by_hash(&self, secret_hash: &str) -> Result<Option<TokenRecord>, Error> {
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
