//! Servers: ordering, showing and giving them back.

use std::time::Duration;

use bessemer_wire::api::{
    Server, ServerCreate, ServerExplanation, ServerPlan, ServerPower, ServerPowerRequest,
    ServerRebuild,
};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use crate::transport::{Call, MOST_PER_PAGE};
use crate::{Client, Document, Error};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The pauses between the times that an order is sent, while its answer is lost.
const ORDER_PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// `server` is a name or an id throughout.
impl Client {
    /// Orders a server (`POST /v1/servers`) under `idempotency_key`: however often one order is
    /// sent under one key, it is carried out once. So it is sent again, up to three times, when
    /// the API cannot be reached or its answer is lost.
    ///
    /// # Errors
    /// When it is refused, or nothing came back.
    pub async fn create_server(
        &self,
        order: &ServerCreate,
        idempotency_key: &str,
    ) -> Result<Document<Server>, Error> {
        let call = || Ok(Call::new(Method::POST, self.at(&["servers"])?).json(order));
        self.once(call, idempotency_key).await
    }

    /// Sends what is carried out once under its key, again while its answer is lost.
    async fn once<T: DeserializeOwned>(
        &self,
        call: impl Fn() -> Result<Call, Error>,
        idempotency_key: &str,
    ) -> Result<Document<T>, Error> {
        let key = HeaderValue::from_str(idempotency_key)
            .map_err(|_| Error::BadName(idempotency_key.to_owned()))?;
        let mut pauses = ORDER_PAUSES.iter();
        loop {
            let mut call = call()?;
            call.headers.insert(IDEMPOTENCY_KEY, key.clone());
            match (self.document(call).await, pauses.next()) {
                (Err(error), Some(pause)) if error.is_outage() => tokio::time::sleep(*pause).await,
                (result, _) => return result,
            }
        }
    }

    /// Has a server written anew (`POST /v1/servers/{server}/rebuild`), once under this key.
    ///
    /// # Errors
    /// When it is refused, or nothing came back.
    pub async fn rebuild_server(
        &self,
        server: &str,
        rebuild: &ServerRebuild,
        idempotency_key: &str,
    ) -> Result<Document<Server>, Error> {
        let path = ["servers", server, "rebuild"];
        let call = || Ok(Call::new(Method::POST, self.at(&path)?).json(rebuild));
        self.once(call, idempotency_key).await
    }

    /// What a rebuild would do, without doing it.
    ///
    /// # Errors
    /// When the rebuild would be refused.
    pub async fn plan_rebuild(
        &self,
        server: &str,
        rebuild: &ServerRebuild,
    ) -> Result<Document<ServerPlan>, Error> {
        self.post(&["servers", server, "rebuild", "plan"], rebuild)
            .await
    }

    /// What a server is doing, what it waits for, and what is likely wrong
    /// (`GET /v1/servers/{server}/explain`).
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn explain_server(&self, server: &str) -> Result<Document<ServerExplanation>, Error> {
        self.get(&["servers", server, "explain"]).await
    }

    /// Whether a server's machine is on, and what was asked of it last.
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn server_power(&self, server: &str) -> Result<Document<ServerPower>, Error> {
        self.get(&["servers", server, "power"]).await
    }

    /// Asks for an active server to be switched (`PUT /v1/servers/{server}/power`), once under this
    /// key. [`Self::server_power`] shows how far it is.
    ///
    /// # Errors
    /// When the server is not active, or an earlier request is under way.
    pub async fn switch_server(
        &self,
        server: &str,
        request: &ServerPowerRequest,
        idempotency_key: &str,
    ) -> Result<Document<ServerPower>, Error> {
        let path = ["servers", server, "power"];
        let call = || Ok(Call::new(Method::PUT, self.at(&path)?).json(request));
        self.once(call, idempotency_key).await
    }

    /// What an order would do, without doing it (`POST /v1/servers/plan`).
    ///
    /// # Errors
    /// When the order would be refused.
    pub async fn plan_server(&self, order: &ServerCreate) -> Result<Document<ServerPlan>, Error> {
        self.post(&["servers", "plan"], order).await
    }

    /// All servers of the project; for operators, of all projects.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn servers(&self) -> Result<Vec<Document<Server>>, Error> {
        self.list(&["servers"], &[("limit", MOST_PER_PAGE)]).await
    }

    /// One server.
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn server(&self, server: &str) -> Result<Document<Server>, Error> {
        self.get(&["servers", server]).await
    }

    /// Gives a server back: it shows `deleting` until it is gone, and is then not found.
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn delete_server(&self, server: &str) -> Result<(), Error> {
        self.delete(&["servers", server]).await
    }
}
