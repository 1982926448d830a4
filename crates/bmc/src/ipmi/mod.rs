//! BMCs that speak IPMI 2.0 over LAN (RMCP+; *IPMI v2.0 rev 1.1*, to which all sections here refer).
//!
//! For machines whose BMC has no Redfish worth the name, and for the serial console, which Redfish
//! has nothing for. A client of our own, because UDP is where the work is: answers get lost, come
//! twice, late, or to a session that the BMC has forgotten, and what matters is what is done then.
//!
//! From the wire up: [`wire`] is the bytes; `link` sends and repeats; `suites` and `session` open an
//! RMCP+ session (cipher suite 17, or 3); `client` sends one command at a time and opens the session
//! again when it is lost; `power`, `boot`, `identity`, `fru` and `sensors` are what is done with it;
//! `console` is Serial over LAN, in a session of its own.

mod boot;
mod client;
mod console;
mod endpoint;
mod fru;
mod identity;
mod link;
mod power;
mod sensors;
mod session;
mod suites;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use bessemer_core::hardware::MachineIdentity;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use endpoint::IpmiEndpoint;
pub use fru::Fru;
pub use sensors::{Record as SensorRecord, Sensor};
pub use suites::numbers as cipher_suites;

use self::client::{Client, Command};
use crate::{
    Bmc, BmcInventory, BootDevice, BootMode, Capabilities, Credentials, Error, Exchange, Identity,
    LeftAlone, PowerAction, PowerState, SerialConsole,
};
pub(crate) use client::is_busy;

const GET_SOL_CONFIGURATION: Command = Command {
    name: "Get SOL Configuration Parameters",
    network_function: 0x0c,
    number: 0x22,
};

/// This channel's parameter 1, whether Serial over LAN is enabled (table 26-5).
const SOL_ENABLE: [u8; 4] = [0x0e, 1, 0, 0];

/// How long saying goodbye may take: nobody waits for its outcome.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Everything needed to talk to one IPMI BMC.
#[derive(Clone)]
pub struct IpmiConfig {
    /// Where it is.
    pub endpoint: IpmiEndpoint,
    /// The account: name up to 16 bytes, password up to 20.
    pub credentials: Credentials,
    /// The BMC's key K_g (section 13.33), up to 20 bytes, where one is set beside the passwords.
    pub key: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for IpmiConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IpmiConfig")
            .field("endpoint", &self.endpoint)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A BMC that speaks IPMI 2.0. Opens a session at the first call, and keeps it for the next ones.
#[derive(Debug)]
pub struct IpmiBmc {
    client: Arc<Client>,
}

impl IpmiBmc {
    /// Prepares to talk to a BMC; sends nothing yet.
    ///
    /// # Errors
    /// [`Error::Unusable`] when name, password or key do not fit into IPMI.
    pub fn new(config: IpmiConfig) -> Result<Self, Error> {
        let client = Client::new(config.endpoint, config.credentials, config.key)?;
        Ok(Self {
            client: Arc::new(client),
        })
    }

    async fn read_capabilities(&self, deadline: Instant) -> Result<Capabilities, Error> {
        let answer = self
            .client
            .ask(GET_SOL_CONFIGURATION, &SOL_ENABLE, deadline)
            .await?;
        // Parameter revision, then the parameter.
        let enabled = answer.data.get(1).is_some_and(|value| value & 1 == 1);
        Ok(Capabilities {
            pxe: true,
            graceful_off: true,
            serial_over_lan: answer.code == 0 && enabled,
            ..Capabilities::default()
        })
    }

    fn none<'a, T: Send + 'a>(&self, wanted: &str) -> BoxFuture<'a, Result<T, Error>> {
        let error = Error::NotOffered {
            bmc: self.client.bmc().to_owned(),
            wanted: format!("{wanted} by IPMI"),
            offered: Vec::new(),
        };
        async move { Err(error) }.boxed()
    }
}

impl Bmc for IpmiBmc {
    fn address(&self) -> &str {
        self.client.bmc()
    }

    fn identity(&self, deadline: Instant) -> BoxFuture<'_, Result<Identity, Error>> {
        self.read_identity(deadline).boxed()
    }

    fn power(&self, deadline: Instant) -> BoxFuture<'_, Result<PowerState, Error>> {
        self.read_power(deadline).boxed()
    }

    fn set_power(
        &self,
        action: PowerAction,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.bring_power(action, deadline).boxed()
    }

    fn set_power_of<'a>(
        &'a self,
        machine: &'a MachineIdentity,
        action: PowerAction,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let identity = self.read_identity(deadline).await?;
            identity.expect(machine, self.address())?;
            self.bring_power(action, deadline).await
        }
        .boxed()
    }

    fn set_boot_once(
        &self,
        device: BootDevice,
        mode: BootMode,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.override_boot(device, mode, deadline).boxed()
    }

    /// IPMI's boot flags name the mode of the one boot only.
    fn set_boot_mode(&self, _: BootMode, _: Instant) -> BoxFuture<'_, Result<(), Error>> {
        self.none("change of the boot mode")
    }

    fn capabilities(&self, deadline: Instant) -> BoxFuture<'_, Result<Capabilities, Error>> {
        self.read_capabilities(deadline).boxed()
    }

    fn insert_media<'a>(&'a self, _: &'a str, _: Instant) -> BoxFuture<'a, Result<(), Error>> {
        self.none("virtual media")
    }

    fn eject_media(&self, _: Instant) -> BoxFuture<'_, Result<(), Error>> {
        self.none("virtual media")
    }

    fn inventory(&self, _: Instant) -> BoxFuture<'_, Result<BmcInventory, Error>> {
        let nothing = BmcInventory {
            unread: vec![
                "IPMI tells neither processors, memory, network interfaces nor disks; the agent does"
                    .to_owned(),
            ],
            ..BmcInventory::default()
        };
        async move { Ok(nothing) }.boxed()
    }

    fn open_console(&self, deadline: Instant) -> BoxFuture<'_, Result<SerialConsole, Error>> {
        console::open(&self.client, deadline).boxed()
    }

    fn exchanges(&self) -> Vec<Exchange> {
        self.client.exchanges()
    }

    fn requests(&self) -> u64 {
        self.client.requests()
    }

    fn left_alone(&self) -> Option<LeftAlone> {
        self.client.governor().left_alone()
    }

    fn insist(&self) {
        self.client.governor().insist();
    }

    /// There is none: IPMI is datagrams.
    fn keep_connection(&self, _keep: bool) {}

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            // The BMC forgets the session by itself if this does not come to an end.
            let _ = tokio::time::timeout(CLOSE_LIMIT, self.client.close()).await;
        }
        .boxed()
    }
}

impl Drop for IpmiBmc {
    /// Sessions are few on a BMC.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if let Some(session) = self.client.take_session() {
            runtime.spawn(session.close());
        }
    }
}
