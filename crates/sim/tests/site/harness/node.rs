//! One simulated machine with its controller and its inside.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bessemer_core::lifecycle::Standby;
use bessemer_sim::agent::Host;
use bessemer_sim::ipmi::IpmiServer;
use bessemer_sim::machine::{Machine, SimulatedMachine};
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Faults, IpmiSettings, Transport};
use bessemer_tls::SelfSigned;
use bessemer_wire::api::{BmcCreate, BmcTrust, NodeCreate, NodePortCreate};
use tokio::task::JoinHandle;

use super::Site;
use super::real_agent::{self, Shown};

pub(crate) const USERNAME: &str = "operator";
pub(crate) const PASSWORD: &str = "planted-bmc-password";

pub(crate) struct SimNode {
    pub(crate) name: String,
    pub(crate) machine: Arc<SimulatedMachine>,
    pub(crate) host: Arc<Host>,
    bmc: Arc<Bmc>,
    /// `None` only while it starts again.
    server: Option<BmcServer>,
    /// Its other face, where a test wants it.
    ipmi: Option<IpmiServer>,
    /// What the kernel shows of it, if the real agent runs on it.
    shown: Option<Shown>,
    inside: JoinHandle<()>,
}

impl SimNode {
    pub(super) async fn start(site: &Site, number: u16, tls: bool) -> Self {
        Self::inside(site, number, SimulatedMachine::numbered(number), tls).await
    }

    /// The same with two drives of the same size.
    pub(super) async fn with_two_drives(site: &Site, number: u16) -> Self {
        Self::inside(
            site,
            number,
            SimulatedMachine::with_two_drives(number),
            false,
        )
        .await
    }

    /// The same with two NICs.
    pub(super) async fn with_two_nics(site: &Site, number: u16) -> Self {
        let machine = SimulatedMachine::with_two_nics(number);
        Self::inside(site, number, machine, false).await
    }

    async fn inside(site: &Site, number: u16, machine: SimulatedMachine, tls: bool) -> Self {
        let machine = Arc::new(machine);
        let drives = machine.inventory().drives.iter().enumerate();
        let disks = drives.map(|(index, drive)| {
            let disk = site.path(&format!("disk{number}.{index}"));
            File::create(&disk)
                .unwrap()
                .set_len(drive.capacity_bytes)
                .unwrap();
            disk
        });
        let host = Arc::new(Host::new(&machine, disks.collect()).expect("a NIC and a drive"));
        let credentials = Credentials {
            username: USERNAME.into(),
            password: PASSWORD.into(),
        };
        let bmc = Bmc::new(machine.clone(), credentials);
        let listen = SocketAddr::from((site.address, 0));
        let transport = if tls {
            https(site, "first")
        } else {
            Transport::Http
        };
        let server = BmcServer::start(bmc.clone(), listen, transport);
        Self {
            name: format!("node{number}"),
            inside: host.clone().inhabit(&machine, site.firmware()),
            server: Some(server.await.unwrap()),
            machine,
            host,
            bmc,
            ipmi: None,
            shown: None,
        }
    }

    /// The same with the real agent in the place of the simulated one.
    pub(super) async fn with_the_real_agent(site: &Site, number: u16) -> Self {
        let mut node = Self::start(site, number, false).await;
        node.inside.abort();
        let shown = Shown::of(&node.host, site.path(&format!("machine{number}")));
        let (machine, host) = (node.machine.clone(), node.host.clone());
        let root = shown.root().to_owned();
        node.inside = real_agent::inhabit(machine, host, root, site.firmware());
        node.shown = Some(shown);
        node
    }

    /// What the kernel shows of it to the real agent.
    pub(crate) fn shown(&self) -> &Shown {
        self.shown.as_ref().expect("the real agent runs on it")
    }

    /// Has its controller speak IPMI too: on the usual port of the controller's own address, where
    /// it is looked for, or on any.
    pub(crate) async fn speak_ipmi(&mut self, usual_port: bool) {
        let port = if usual_port { 623 } else { 0 };
        let listen = SocketAddr::from((self.server().address().ip(), port));
        self.ipmi = Some(IpmiServer::start(self.bmc.clone(), listen).await.unwrap());
    }

    /// Its IPMI service forgets all sessions, as when a controller restarts.
    pub(crate) async fn restart_ipmi(&mut self) {
        let listen = self.ipmi.take().expect("speaks IPMI").address();
        // The socket is free once the service's task has ended.
        let again = loop {
            match IpmiServer::start(self.bmc.clone(), listen).await {
                Ok(server) => break server,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.ipmi = Some(again);
    }

    fn server(&self) -> &BmcServer {
        self.server.as_ref().expect("a running controller")
    }

    /// Its controller, which speaks TLS, shows another certificate from now on.
    pub(crate) async fn renew_certificate(&mut self, site: &Site) {
        let listen = self.address();
        self.server = None;
        // The address is free once the old one's tasks have ended.
        while self.server.is_none() {
            let transport = https(site, "renewed");
            let server = BmcServer::start(self.bmc.clone(), listen, transport).await;
            self.server = server.ok();
            tokio::task::yield_now().await;
        }
    }

    /// Changes what its IPMI service has.
    pub(crate) fn set_ipmi(&self, change: impl FnOnce(&mut IpmiSettings)) {
        self.bmc.set_ipmi(change);
    }

    /// What registers it by IPMI.
    pub(crate) fn request_by_ipmi(&self) -> NodeCreate {
        let mut request = self.request();
        request.bmc.url = self.ipmi.as_ref().expect("speaks IPMI").url();
        request.bmc.trust = BmcTrust::System;
        request
    }

    /// What registers it.
    pub(crate) fn request(&self) -> NodeCreate {
        NodeCreate {
            standby: Standby::ByFlavor,
            name: self.name.clone(),
            rack: None,
            bmc: BmcCreate {
                url: self.server().url(),
                username: USERNAME.into(),
                password: PASSWORD.into(),
                trust: match self.server().fingerprint() {
                    Some(fingerprint) => BmcTrust::Pinned(fingerprint.to_string()),
                    None => BmcTrust::Insecure,
                },
                ipmi_key: None,
            },
            ports: vec![NodePortCreate::bare(self.host.mac)],
            port_groups: vec![],
            boot_method: None,
            root_disk_hint: None,
        }
    }

    /// The file of its first disk.
    pub(crate) fn disk(&self) -> &Path {
        &self.host.disks[0]
    }

    /// How often it has been switched on or restarted.
    pub(crate) fn boots(&self) -> u64 {
        self.machine.boot_count()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.bmc.faults().set(faults);
    }

    /// Requests that its controller has got so far.
    pub(crate) fn bmc_requests(&self) -> u64 {
        self.bmc.requests()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address()
    }

    /// The steps whose commands its agents have carried out since there were `before` of them, in
    /// order, with their generations.
    pub(crate) fn steps_since(&self, before: usize) -> Vec<(u64, String)> {
        let step = |id: &String| {
            let mut parts = id.split('.');
            let generation = parts.next().unwrap().parse().unwrap();
            (generation, parts.nth(2).unwrap().to_owned())
        };
        self.host.carried_out()[before..].iter().map(step).collect()
    }
}

impl Drop for SimNode {
    fn drop(&mut self) {
        self.inside.abort();
    }
}

/// Controllers of a site share a certificate for each `state` that they may be in.
fn https(site: &Site, state: &str) -> Transport {
    let names = [site.address.to_string()];
    let file = |end: &str| site.path(&format!("bmc-{state}-{end}.pem"));
    let (certificate, key) = (file("certificate"), file("key"));
    Transport::Https(SelfSigned::load_or_create(&certificate, &key, &names).unwrap())
}
