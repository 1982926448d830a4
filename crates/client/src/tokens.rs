//! API tokens.

use bessemer_wire::api::{Token, TokenCreate, TokenCreated};

use crate::{Client, Document, Error};

impl Client {
    /// Makes a token (`POST /v1/tokens`); the answer has its secret, this once.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_token(&self, token: &TokenCreate) -> Result<Document<TokenCreated>, Error> {
        self.post(&["tokens"], token).await
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn tokens(&self) -> Result<Vec<Document<Token>>, Error> {
        self.list(&["tokens"], &[]).await
    }

    /// Revokes a token, by name or id: from now on it opens nothing.
    ///
    /// # Errors
    /// When there is no such token.
    pub async fn delete_token(&self, token: &str) -> Result<(), Error> {
        self.delete(&["tokens", token]).await
    }
}
