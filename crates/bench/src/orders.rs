//! What an order asks of the machine's BMC: counted, not timed.
//!
//! A BMC answers one request at a time, each in a tenth of a second or in several, so requests are
//! what an order waits for before anything boots. The server runs in this process, so that the
//! simulated machine's firmware can ask it what to boot; BMC and agent speak the real protocols.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bessemer_client::Client;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Standby;
use bessemer_server::config::Config;
use bessemer_server::{Server, StartOptions};
use bessemer_sim::agent::{Firmware, Host};
use bessemer_sim::machine::{Machine, SimulatedMachine};
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Transport};
use bessemer_wire::api::{
    BmcCreate, BmcTrust, Node, NodeCreate, NodePortCreate, NodeUpdate, ServerStatus,
};

use crate::figure::figure;
use crate::figures::progress;
use crate::firmware::{make_ramdisk, offered};
use crate::offer::{self, until};

/// The longest that an order, a release or an import may take.
const PATIENCE: Duration = Duration::from_secs(60);

const NODE: &str = "node1";
const ACCOUNT: (&str, &str) = ("operator", "bench");

/// Orders a machine that is off, one that idles in the agent, and one that is off and boots the
/// agent from a medium that its BMC fetches.
pub(crate) async fn measure() -> anyhow::Result<()> {
    progress("ordering a simulated machine");
    let folder = tempfile::Builder::new()
        .prefix("bessemer-bench-")
        .tempdir()?;
    make_ramdisk(&folder.path().join("ramdisk"))?;
    let config: Config = toml::from_str(&configuration(folder.path()))?;
    let server = Server::start(config, StartOptions::default()).await?;
    let token = server.first_token.clone().context("a first start")?;
    let api = Client::new(&format!("http://{}", server.api_address), Some(&token))?;
    let machine = Enclosure::start(folder.path(), firmware(&server)?).await?;
    let bench = Bench { api, machine };
    bench.prepare(folder.path()).await?;
    bench
        .order("bmc_requests_order_off", Standby::Always, None)
        .await?;
    let medium = BootMethod::VirtualMedia;
    bench
        .order("bmc_requests_order_idle", Standby::Never, Some(medium))
        .await?;
    bench
        .order("bmc_requests_order_virtual_media", Standby::Never, None)
        .await?;
    server.stop().await;
    Ok(())
}

fn configuration(folder: &Path) -> String {
    format!(
        "data = '{0}/data'\n[api]\nlisten = '127.0.0.1:0'\n[phone_home]\nlisten = '127.0.0.1:0'\n\
         [boot_media]\nlisten = '127.0.0.1:0'\n[provisioning]\nramdisk = '{0}/ramdisk'\naddress = '127.0.0.1'\nsubnet = '127.0.0.0/8'\n\
         pool_first = '127.0.1.1'\npool_last = '127.0.1.9'\nagent_port = 0\nboot_port = 0\n",
        folder.display()
    )
}

/// Stands for DHCP and the boot file.
fn firmware(server: &Server) -> anyhow::Result<Firmware> {
    let site = server.site.clone();
    let pin = server.agent_fingerprint.context("an agent certificate")?;
    Ok(Arc::new(move |mac| {
        let site = site.clone();
        Box::pin(async move { offered(&site, pin, mac).await })
    }))
}

/// A simulated machine with its BMC.
struct Enclosure {
    host: Arc<Host>,
    bmc: Arc<Bmc>,
    server: BmcServer,
}

impl Enclosure {
    async fn start(folder: &Path, firmware: Firmware) -> anyhow::Result<Self> {
        let machine = Arc::new(SimulatedMachine::numbered(1));
        let disk = folder.join("disk");
        let drive = &machine.inventory().drives[0];
        File::create(&disk)?.set_len(drive.capacity_bytes)?;
        let host = Arc::new(Host::new(&machine, vec![disk]).context("a NIC and a drive")?);
        let credentials = Credentials {
            username: ACCOUNT.0.into(),
            password: ACCOUNT.1.into(),
        };
        let bmc = Bmc::new(machine.clone(), credentials);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = BmcServer::start(bmc.clone(), listen, Transport::Http).await?;
        // It lives as long as this process.
        drop(host.clone().inhabit(&machine, firmware));
        Ok(Self { host, bmc, server })
    }

    fn registration(&self) -> NodeCreate {
        NodeCreate {
            name: NODE.into(),
            rack: None,
            bmc: BmcCreate {
                url: self.server.url(),
                username: ACCOUNT.0.into(),
                password: ACCOUNT.1.into(),
                trust: BmcTrust::Insecure,
                ipmi_key: None,
            },
            ports: vec![NodePortCreate::bare(self.host.mac)],
            port_groups: Vec::new(),
            boot_method: None,
            root_disk_hint: None,
            standby: Standby::ByFlavor,
        }
    }
}

struct Bench {
    api: Client,
    machine: Enclosure,
}

impl Bench {
    /// What an operator does once.
    async fn prepare(&self, folder: &Path) -> anyhow::Result<()> {
        let api = &self.api;
        api.create_node(&self.machine.registration()).await?;
        self.node_until("for rent", |node| node.provision_state == "available")
            .await?;
        offer::make(&self.api, folder, NODE).await
    }

    /// Orders the machine, tells how many requests its BMC got for that, and gives it back to
    /// wait for the next order as `then` says, and boot `by` this method.
    async fn order(&self, name: &str, then: Standby, by: Option<BootMethod>) -> anyhow::Result<()> {
        let api = &self.api;
        let before = self.machine.bmc.requests();
        api.create_server(&offer::order("server"), name).await?;
        let active = async || Ok(api.server("server").await?.status == ServerStatus::Active);
        until("the server to be active", PATIENCE, active).await?;
        let requests = self.machine.bmc.requests() - before;
        figure(name, requests as f64, "requests");
        let update = NodeUpdate {
            standby: Some(then),
            boot_method: by.map(Some),
            ..NodeUpdate::default()
        };
        api.update_node(NODE, &update).await?;
        api.delete_server("server").await?;
        self.node_until("for rent again", |node| {
            node.state.settled() && node.provision_state == "available"
        })
        .await
    }

    async fn node_until(&self, what: &str, is: impl Fn(&Node) -> bool) -> anyhow::Result<()> {
        let is = async || Ok(is(&*self.api.node(NODE).await?));
        until(what, PATIENCE, is).await
    }
}
