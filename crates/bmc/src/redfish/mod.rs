//! BMCs that speak Redfish (DMTF DSP0266, *Redfish Specification*; property names from DSP0268).
//!
//! A thin client of our own, because what matters here (verified power, one-shot boot, vendor
//! quirks, distrust) is what generic clients leave out. The parts, from the wire up:
//! `connection` is the one that there is to a BMC; `transport` sends one bounded HTTP request; `client` keeps the one-at-a-time rule and the
//! session; `tasks` sees requests through that take longer; `resource` reads JSON that may lack anything; `system` finds the machine; `goal` is how
//! anything is brought about; `power`, `boot`, `media` and `inventory` are what is done with it;
//! `quirks` is where makers differ.

mod boot;
mod client;
mod connection;
mod endpoint;
mod goal;
mod inventory;
mod media;
mod patch;
mod power;
mod quirks;
mod reading;
mod remembered;
mod resource;
mod system;
mod tasks;
mod transport;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_core::hardware::MachineIdentity;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use endpoint::{Endpoint, Security};
pub use reading::{Reading, read};
pub use transport::Limits;

use self::client::Client;
use self::media::Companions;
use self::remembered::Remembered;
use self::resource::Resource;
use self::system::Look;
use crate::ipmi::{IpmiBmc, IpmiConfig, IpmiEndpoint};
use crate::{
    Bmc, BmcInventory, BootDevice, BootMode, Capabilities, Credentials, Error, Exchange, Identity,
    LeftAlone, PowerAction, PowerState, SerialConsole,
};

/// How long logging out may take: nobody waits for its outcome.
const LOGOUT_LIMIT: Duration = Duration::from_secs(5);

/// Everything needed to talk to one Redfish BMC.
#[derive(Clone)]
pub struct RedfishConfig {
    /// Where it is and how the connection is secured.
    pub endpoint: Endpoint,
    /// The account.
    pub credentials: Credentials,
    /// The BMC's key K_g for IPMI, by which its serial console is reached, if one is set there.
    pub ipmi_key: Option<Zeroizing<Vec<u8>>>,
    /// `Id` of the computer system, for a BMC that manages several.
    pub system: Option<String>,
    /// Bounds on single requests.
    pub limits: Limits,
}

impl std::fmt::Debug for RedfishConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedfishConfig")
            .field("endpoint", &self.endpoint)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A BMC that speaks Redfish. Connects at the first call, and keeps its login for the next ones.
#[derive(Debug)]
pub struct RedfishBmc {
    /// How its serial console is reached.
    console: IpmiConfig,
    client: Arc<Client>,
    wanted_system: Option<String>,
    system_path: Remembered<String>,
    last_look: Mutex<Option<Look>>,
    system_changes: AtomicU64,
    drive_path: Remembered<String>,
    /// The drive as it was last seen, with an image of ours in it.
    filled_drive: Mutex<Option<Resource>>,
    reset_types: Remembered<Vec<String>>,
    /// What this BMC was seen to take beside an image.
    companions: Mutex<Option<Companions>>,
}

impl RedfishBmc {
    /// Prepares to talk to a BMC; sends nothing yet.
    ///
    /// # Errors
    /// When no TLS configuration can be made of what the endpoint trusts.
    pub fn new(config: RedfishConfig) -> Result<Self, Error> {
        let console = IpmiConfig {
            endpoint: IpmiEndpoint::of_host(&config.endpoint.host_and_port().0),
            credentials: config.credentials.clone(),
            key: config.ipmi_key,
        };
        let client = Client::new(config.endpoint, config.credentials, config.limits)?;
        Ok(Self {
            console,
            client: Arc::new(client),
            wanted_system: config.system,
            system_path: Remembered::default(),
            last_look: Mutex::default(),
            system_changes: AtomicU64::new(0),
            drive_path: Remembered::default(),
            filled_drive: Mutex::default(),
            reset_types: Remembered::default(),
            companions: Mutex::default(),
        })
    }
}

impl Bmc for RedfishBmc {
    fn address(&self) -> &str {
        self.client.bmc()
    }

    fn identity(&self, deadline: Instant) -> BoxFuture<'_, Result<Identity, Error>> {
        async move { Ok(system::identity(&self.system(deadline).await?)) }.boxed()
    }

    fn power(&self, deadline: Instant) -> BoxFuture<'_, Result<PowerState, Error>> {
        async move { Ok(power::state(&self.system_in_passing(deadline).await?)) }.boxed()
    }

    fn set_power(
        &self,
        action: PowerAction,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let system = match action {
                PowerAction::On => self.system_before(&power::ON, deadline).await?,
                _ => self.system(deadline).await?,
            };
            self.bring_power(system, action, deadline).await
        }
        .boxed()
    }

    /// What says which machine it is says its power state, too.
    fn set_power_of<'a>(
        &'a self,
        machine: &'a MachineIdentity,
        action: PowerAction,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let system = self.system(deadline).await?;
            system::identity(&system).expect(machine, self.address())?;
            self.bring_power(system, action, deadline).await
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

    fn set_boot_mode(&self, mode: BootMode, deadline: Instant) -> BoxFuture<'_, Result<(), Error>> {
        self.change_boot_mode(mode, deadline).boxed()
    }

    fn capabilities(&self, deadline: Instant) -> BoxFuture<'_, Result<Capabilities, Error>> {
        self.read_capabilities(deadline).boxed()
    }

    fn insert_media<'a>(
        &'a self,
        url: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.insert(url, deadline).boxed()
    }

    fn eject_media(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Error>> {
        self.eject(deadline).boxed()
    }

    fn inventory(&self, deadline: Instant) -> BoxFuture<'_, Result<BmcInventory, Error>> {
        async move { inventory::read(&self.client, &self.system(deadline).await?, deadline).await }
            .boxed()
    }

    /// Redfish has no console of its own; a BMC that offers one carries it over IPMI, on the same
    /// host and with the same account.
    fn open_console(&self, deadline: Instant) -> BoxFuture<'_, Result<SerialConsole, Error>> {
        async move {
            IpmiBmc::new(self.console.clone())?
                .open_console(deadline)
                .await
        }
        .boxed()
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

    fn keep_connection(&self, keep: bool) {
        self.client.keep_connection(keep);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.client.log_out(Instant::now() + LOGOUT_LIMIT).boxed()
    }
}

impl Drop for RedfishBmc {
    /// Sessions are few on a BMC, and one left open blocks others for half an hour.
    fn drop(&mut self) {
        if !self.client.may_be_logged_in() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = Arc::clone(&self.client);
            runtime.spawn(async move { client.log_out(Instant::now() + LOGOUT_LIMIT).await });
        }
    }
}
