//! One client per management controller, kept, so that logins are reused and a BMC is never asked
//! two things at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_bmc::ipmi::{IpmiBmc, IpmiConfig, IpmiEndpoint};
use bessemer_bmc::redfish::{Endpoint, Limits, RedfishBmc, RedfishConfig, Security};
use bessemer_bmc::{Bmc, Credentials};
use bessemer_core::cause::Cause;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::reason::Failure;
use bessemer_store::{BmcRecord, NodeRecord};
use bessemer_tls::Trust;
use bessemer_wire::api::BmcTrust;
use zeroize::Zeroizing;

use crate::keyring::{Keyring, purpose};

/// Controllers whose connections are kept between looks at their power states. Each costs some 26 kB, most of
/// it buffers of HTTP and TLS; to make one anew for a look, with TLS, 0.3 ms of CPU time
/// (docs/benchmarks.md).
const MOST_KEPT: usize = 2048;

/// The clients of all management controllers that have been talked to.
pub struct BmcPool {
    keyring: Arc<Keyring>,
    clients: Mutex<HashMap<NodeId, Entry>>,
}

struct Entry {
    /// What the client was made from: a change makes a new one.
    made_from: (String, String, Vec<u8>, Option<Vec<u8>>, BmcTrust),
    client: Arc<dyn Bmc>,
    /// The newest generation of the node that has been asked something of the client for.
    served: Option<Generation>,
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
        let client = self.at(node.id, &node.bmc)?;
        client.keep_connection(true);
        Ok(client)
    }

    /// The same for one look now and then at the controller of `node`, which is reached as `bmc` says.
    pub fn to_look(&self, node: NodeId, bmc: &BmcRecord) -> Result<Arc<dyn Bmc>, Failure> {
        let client = self.at(node, bmc)?;
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        client.keep_connection(clients.len() <= MOST_KEPT);
        Ok(client)
    }

    fn at(&self, node: NodeId, bmc: &BmcRecord) -> Result<Arc<dyn Bmc>, Failure> {
        let made_from = (
            bmc.url.clone(),
            bmc.username.clone(),
            bmc.password_sealed.clone(),
            bmc.ipmi_key_sealed.clone(),
            bmc.trust.clone(),
        );
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = clients
            .get(&node)
            .filter(|entry| entry.made_from == made_from)
        {
            return Ok(entry.client.clone());
        }
        let client = self.connect(node, bmc)?;
        clients.insert(
            node,
            Entry {
                made_from,
                client: client.clone(),
                served: None,
            },
        );
        Ok(client)
    }

    /// Whether nothing has been asked yet of the controller of `node` for this generation of what is
    /// wanted of it; from then on, something has.
    pub fn is_new_wish(&self, node: NodeId, generation: Generation) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = clients.get_mut(&node);
        entry.is_some_and(|entry| entry.served.replace(generation) != Some(generation))
    }

    /// How many controllers are left alone at this moment.
    pub fn left_alone(&self) -> usize {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = clients.values();
        alone
            .filter(|entry| entry.client.left_alone().is_some())
            .count()
    }

    /// The client of a node's management controller, if there is one already.
    pub fn known(&self, node: NodeId) -> Option<Arc<dyn Bmc>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&node).map(|entry| entry.client.clone())
    }

    /// Ends the client of a node that is forgotten.
    pub fn forget(&self, node: NodeId) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.remove(&node);
    }

    fn connect(&self, node: NodeId, bmc: &BmcRecord) -> Result<Arc<dyn Bmc>, Failure> {
        let operator = |message: String| Failure::operator(Cause::BmcSettingsWrong, message);
        let sealed = &bmc.password_sealed;
        let password = self
            .keyring
            .open(&purpose::bmc_password(node), sealed)
            .map_err(|error| operator(error.to_string()))?;
        let password = String::from_utf8(password)
            .map_err(|_| operator("the stored BMC password is not text; enter it again".into()))?;
        let credentials = Credentials::new(bmc.username.clone(), password);
        let sealed = bmc.ipmi_key_sealed.as_ref();
        let ipmi_key = sealed
            .map(|sealed| self.keyring.open(&purpose::ipmi_key(node), sealed))
            .transpose()
            .map_err(|error| operator(error.to_string()))?
            .map(Zeroizing::new);
        let failure = |error: bessemer_bmc::Error| error.failure();
        if is_ipmi(&bmc.url) {
            let client = IpmiBmc::new(IpmiConfig {
                endpoint: IpmiEndpoint::new(&bmc.url).map_err(failure)?,
                credentials,
                key: ipmi_key,
            });
            return Ok(Arc::new(client.map_err(failure)?));
        }
        let security = security(&bmc.url, &bmc.trust).map_err(operator)?;
        let client = RedfishBmc::new(RedfishConfig {
            endpoint: Endpoint::new(&bmc.url, security).map_err(failure)?,
            credentials,
            ipmi_key,
            system: None,
            limits: Limits::default(),
        });
        Ok(Arc::new(client.map_err(failure)?))
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

/// Whether `url` is that of an IPMI service; otherwise it is one of Redfish.
pub(crate) fn is_ipmi(url: &str) -> bool {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("ipmi"))
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
