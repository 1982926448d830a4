//! One client per management controller, kept, so that logins are reused and a BMC is never asked
//! two things at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_bmc::redfish::{Endpoint, Limits, RedfishBmc, RedfishConfig, Security};
use bessemer_bmc::{Bmc, Credentials};
use bessemer_core::id::NodeId;
use bessemer_core::reason::{Failure, FailureClass};
use bessemer_store::NodeRecord;
use bessemer_tls::Trust;
use bessemer_wire::api::BmcTrust;

use crate::keyring::{Keyring, purpose};

/// The clients of all management controllers that have been talked to.
pub struct BmcPool {
    keyring: Arc<Keyring>,
    clients: Mutex<HashMap<NodeId, Entry>>,
}

struct Entry {
    /// What the client was made from: a change makes a new one.
    made_from: (String, String, Vec<u8>, BmcTrust),
    client: Arc<dyn Bmc>,
}

impl BmcPool {
    /// No clients yet; passwords are opened with `keyring`.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self {
            keyring,
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// The client of `node`'s management controller.
    pub fn of(&self, node: &NodeRecord) -> Result<Arc<dyn Bmc>, Failure> {
        let bmc = &node.bmc;
        let made_from = (
            bmc.url.clone(),
            bmc.username.clone(),
            bmc.password_sealed.clone(),
            bmc.trust.clone(),
        );
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = clients
            .get(&node.id)
            .filter(|entry| entry.made_from == made_from)
        {
            return Ok(entry.client.clone());
        }
        let client: Arc<dyn Bmc> = Arc::new(self.connect(node)?);
        clients.insert(
            node.id,
            Entry {
                made_from,
                client: client.clone(),
            },
        );
        Ok(client)
    }

    fn connect(&self, node: &NodeRecord) -> Result<RedfishBmc, Failure> {
        let operator = |message: String| Failure {
            class: FailureClass::Operator,
            message,
        };
        let sealed = &node.bmc.password_sealed;
        let password = self
            .keyring
            .open(&purpose::bmc_password(node.id), sealed)
            .map_err(|error| operator(error.to_string()))?;
        let password = String::from_utf8(password)
            .map_err(|_| operator("the stored BMC password is not text; enter it again".into()))?;
        let security = security(&node.bmc.url, &node.bmc.trust).map_err(operator)?;
        let endpoint =
            Endpoint::new(&node.bmc.url, security).map_err(|error| operator(error.to_string()))?;
        RedfishBmc::new(RedfishConfig {
            endpoint,
            credentials: Credentials::new(node.bmc.username.clone(), password),
            system: None,
            limits: Limits::default(),
        })
        .map_err(|error| Failure {
            class: error.class(),
            message: error.to_string(),
        })
    }

    /// Logs out everywhere.
    pub async fn close(&self) {
        let clients: Vec<_> = {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients.drain().map(|(_, entry)| entry.client).collect()
        };
        futures_util::future::join_all(clients.iter().map(|client| client.close())).await;
    }
}

/// How a connection to `url` is secured under `trust`; the error says what does not go together.
pub(crate) fn security(url: &str, trust: &BmcTrust) -> Result<Security, String> {
    Ok(match trust {
        BmcTrust::System => Security::Tls(Trust::System),
        BmcTrust::Pinned(fingerprint) => {
            let fingerprint = fingerprint.parse().map_err(|error| format!("{error}"))?;
            Security::Tls(Trust::Pinned(fingerprint))
        }
        BmcTrust::Insecure if url.starts_with("http://") => Security::UnencryptedHttp,
        BmcTrust::Insecure => Security::Tls(Trust::InsecureNoVerification),
    })
}
