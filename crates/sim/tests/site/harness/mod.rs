//! A whole site in one process: the real server with a real store in a temporary folder, and
//! simulated machines whose controllers and agents speak to it over loopback.
//!
//! The server runs in a runtime of its own, so that it can be killed as a process is: everything
//! it was doing ends where it stands, and another one starts on the same folder and the same
//! ports. Every site has a loopback address of its own, so that no outgoing connection of another
//! test can take one of its ports meanwhile.

#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod disk;
pub(crate) mod firmware;
pub(crate) mod image;
pub(crate) mod node;
mod process;
mod real_agent;
pub(crate) mod trap;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_core::lifecycle::{HandOver, Timing};
use bessemer_core::network::NetworkKind;
use bessemer_core::subnet::AddressPool;
use bessemer_server::config::Config;
use bessemer_server::{Server, StartOptions};
use bessemer_sim::agent::{Firmware, Parameters};
use bessemer_store::{Gate, StoreOptions};
use bessemer_wire::api::{
    FlavorCreate, ImageCreate, ImageStatus, KeyPairCreate, NetworkCreate, NetworkRequest, Node,
    Server as Rented, ServerCreate, ServerStatus, SubnetCreate, SwitchCreate,
};
use bessemer_wire::event::Event;
use bessemer_wire::problem::Problem;
use tempfile::TempDir;

pub(crate) use node::SimNode;
use process::{Booting, Running, configuration, own_address, phone_home, show_logs_if_asked};

/// The longest that anything may take. Nothing takes nearly as long; the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(15);

pub(crate) const PUBLIC_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example";

pub(crate) struct Site {
    pub(crate) api: Client,
    /// The first admin's token.
    pub(crate) token: String,
    pub(crate) address: Ipv4Addr,
    folder: TempDir,
    config: Config,
    running: Option<Running>,
    /// Another server on the same database, if there is one.
    second: Option<Running>,
    /// How that one is started.
    second_config: Option<Config>,
    booting: Booting,
    machines: AtomicU32,
}

/// Retries at once; otherwise what a real site has.
pub(crate) fn eager() -> Timing {
    Timing {
        retry_pause: 0,
        ..Timing::default()
    }
}

/// A store that calls `gate` at every commit.
fn through(gate: Option<Gate>) -> StoreOptions {
    StoreOptions {
        gate,
        ..StoreOptions::default()
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(eager(), None).await
    }

    /// A site with this timing, whose store calls `gate` at every commit.
    pub(crate) async fn start_with(timing: Timing, gate: Option<Gate>) -> Self {
        Self::start_as(timing, gate, |_| {}).await
    }

    /// A site whose configuration is changed by `change` before it starts.
    pub(crate) async fn start_as(
        timing: Timing,
        gate: Option<Gate>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_on(through(gate), timing, change).await
    }

    /// The same, whose store is opened with these options.
    pub(crate) async fn start_on(
        store: StoreOptions,
        timing: Timing,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        show_logs_if_asked();
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        let (data, ramdisk) = (folder.path().join("data"), folder.path().join("ramdisk"));
        let mut config = configuration(&data, ramdisk, address, timing);
        change(&mut config);
        let running = Running::start(config.clone(), store).await;
        let token = running.server.first_token.clone().expect("a first start");
        config.api.listen = running.server.api_address;
        config.phone_home = running.server.phone_home_address.map(phone_home);
        if let Some(provisioning) = &mut config.provisioning {
            provisioning.agent_port = running.server.agent_address.unwrap().port();
            provisioning.boot_port = running.server.boot_address.unwrap().port();
        }
        let mut site = Self {
            api: Client::new(&format!("http://{}", config.api.listen), Some(&token)).unwrap(),
            token,
            address,
            folder,
            config,
            running: None,
            second: None,
            second_config: None,
            booting: Booting::default(),
            machines: AtomicU32::new(0),
        };
        site.run(running);
        site
    }

    fn run(&mut self, running: Running) {
        self.booting.point_to(&running);
        self.running = Some(running);
    }

    fn take_running(&mut self) -> Running {
        self.booting.clear();
        self.running.take().expect("a running server")
    }

    /// Ends the server where it stands, as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        self.take_running().kill().await;
    }

    /// Stops the server as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        self.take_running().stop().await;
    }

    /// Starts a server again on the same folder and ports.
    pub(crate) async fn start_again(&mut self, gate: Option<Gate>) {
        let running = Running::start(self.config.clone(), through(gate)).await;
        assert_eq!(running.server.first_token, None, "there is one already");
        self.run(running);
    }

    /// Starts another server on the same PostgreSQL database, for other agents.
    pub(crate) async fn start_second(&mut self, gate: Option<Gate>) {
        let mut config = self.config.clone();
        let any_port = SocketAddr::from((own_address(), 0));
        config.api.listen = any_port;
        config.phone_home = Some(phone_home(any_port));
        let provisioning = config.provisioning.as_mut().expect("boot services");
        (provisioning.agent_port, provisioning.boot_port) = (0, 0);
        if let IpAddr::V4(address) = any_port.ip() {
            provisioning.address = address;
        }
        let second = Running::start(config.clone(), through(gate)).await;
        config.api.listen = second.server.api_address;
        config.phone_home = second.server.phone_home_address.map(phone_home);
        if let Some(provisioning) = &mut config.provisioning {
            provisioning.agent_port = second.server.agent_address.unwrap().port();
            provisioning.boot_port = second.server.boot_address.unwrap().port();
        }
        self.second_config = Some(config);
        self.second = Some(second);
    }

    /// Stops the second server as SIGTERM does.
    pub(crate) async fn stop_second(&mut self) {
        self.second.take().expect("a second server").stop().await;
    }

    /// Starts it again on the same ports.
    pub(crate) async fn start_second_again(&mut self) {
        let config = self.second_config.clone().expect("a second server");
        self.second = Some(Running::start(config, StoreOptions::default()).await);
    }

    /// The one that [`Self::start_second`] started.
    pub(crate) fn second(&self) -> &Server {
        &self.second.as_ref().expect("a second server").server
    }

    /// Machines that boot from now on find the second server.
    pub(crate) fn boot_from_second(&self) {
        self.booting
            .point_to(self.second.as_ref().expect("a second server"));
    }

    /// Ends the second server as `kill -9` does.
    pub(crate) async fn kill_second(&mut self) {
        if let Some(running) = &self.running {
            self.booting.point_to(running);
        }
        self.second.take().expect("a second server").kill().await;
    }

    /// What a second server on the same folder says.
    pub(crate) async fn start_a_second_one(&self) -> String {
        let mut config = self.config.clone();
        config.api.listen.set_port(0);
        config.provisioning = None;
        config.phone_home = None;
        match Server::start(config, StartOptions::default()).await {
            Ok(_) => panic!("two servers work in one folder"),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn timing(&mut self) -> &mut Timing {
        &mut self.config.timing
    }

    pub(crate) fn server(&self) -> &Server {
        &self.running.as_ref().expect("a running server").server
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client with another token.
    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(self.api.url(), Some(token)).unwrap()
    }

    /// A new machine with its controller, not registered yet.
    pub(crate) async fn machine(&self) -> SimNode {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        SimNode::start(self, number as u16, false).await
    }

    /// The same with two NICs.
    pub(crate) async fn machine_with_two_nics(&self) -> SimNode {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        SimNode::with_two_nics(self, number as u16).await
    }

    /// The same, whose controller speaks TLS.
    pub(crate) async fn machine_with_tls(&self) -> SimNode {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        SimNode::start(self, number as u16, true).await
    }

    /// The same with two drives of the same size.
    pub(crate) async fn machine_with_two_drives(&self) -> SimNode {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        SimNode::with_two_drives(self, number as u16).await
    }

    /// The same as [`Self::machine`], on which the real agent runs.
    pub(crate) async fn machine_with_the_real_agent(&self) -> SimNode {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        SimNode::with_the_real_agent(self, number as u16).await
    }

    /// Makes the switch of this name known, whose database is at this socket.
    pub(crate) async fn know_switch(&self, name: &str, socket: &Path) {
        let request = serde_json::json!({
            "name": name,
            "driver": "ovsdb",
            "address": format!("unix:{}", socket.display()),
        });
        let request: SwitchCreate = serde_json::from_value(request).unwrap();
        self.api.create_switch(&request).await.unwrap();
    }

    /// A new machine that is registered and for rent.
    pub(crate) async fn available(&self) -> SimNode {
        let node = self.machine().await;
        self.api.create_node(&node.request()).await.unwrap();
        self.wait_for_state(&node, "available").await;
        node
    }

    /// What servers are made of: image `small`, flavor `metal` (as `node` is), network `tenants`
    /// and key `me`.
    pub(crate) async fn offer(&self, node: &SimNode) {
        self.offer_like(&node.name).await;
    }

    /// The same, `metal` being as the node of this name is.
    pub(crate) async fn offer_like(&self, node: &str) {
        self.import("small", image::small()).await;
        let flavor = FlavorCreate {
            name: "metal".into(),
            hardware: None,
            from_node: Some(node.to_owned()),
            standby: false,
            hand_over: HandOver::default(),
            root_disk_hint: None,
        };
        self.api.create_flavor(&flavor).await.unwrap();
        let network = NetworkCreate {
            name: "tenants".into(),
            kind: NetworkKind::Vlan,
            scope: None,
            project: None,
            vlan: Some(100),
            vni: None,
            mtu: None,
            physical_network: None,
            subnets: vec![SubnetCreate {
                cidr: "192.168.100.0/24".parse().unwrap(),
                gateway: Some(Ipv4Addr::new(192, 168, 100, 1).into()),
                dns: vec![Ipv4Addr::new(192, 168, 100, 53).into()],
                routes: vec![],
                pools: Some(vec![AddressPool {
                    first: Ipv4Addr::new(192, 168, 100, 10).into(),
                    last: Ipv4Addr::new(192, 168, 100, 99).into(),
                }]),
            }],
        };
        self.api.create_network(&network).await.unwrap();
        let key = KeyPairCreate {
            name: "me".into(),
            public_key: PUBLIC_KEY.into(),
        };
        self.api.create_key(&key).await.unwrap();
    }

    /// Imports an image and waits until it is ready.
    pub(crate) async fn import(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        let request = ImageCreate {
            name: name.into(),
            source: Some(path.to_str().unwrap().into()),
            sha256: Some(image::sha256(content)),
            default_user: Some("debian".into()),
            ..ImageCreate::default()
        };
        self.api.create_image(&request).await.unwrap();
        self.wait(&format!("image {name} to be ready"), async || {
            let image = self.api.image(name).await.unwrap();
            assert_ne!(image.status, ImageStatus::Failed, "{:?}", image.message);
            (image.status == ImageStatus::Ready).then_some(())
        })
        .await;
    }

    /// A site with one node for rent, and all that a server is made of.
    pub(crate) async fn ready() -> (Self, SimNode) {
        Self::ready_with(eager(), None).await
    }

    pub(crate) async fn ready_with(timing: Timing, gate: Option<Gate>) -> (Self, SimNode) {
        let site = Self::start_with(timing, gate).await;
        let node = site.available().await;
        site.offer(&node).await;
        (site, node)
    }

    /// Orders a server and does not wait for it.
    pub(crate) async fn order(&self, name: &str) -> Rented {
        let order = self.api.create_server(&order(name), name).await;
        order.unwrap().into_value()
    }

    /// Orders a server and waits until it is active.
    pub(crate) async fn deploy(&self, name: &str) -> Rented {
        self.order(name).await;
        self.wait_for_active(name).await
    }

    /// Gives a server back and waits until its node is for rent again.
    pub(crate) async fn release(&self, name: &str, node: &SimNode) {
        self.api.delete_server(name).await.unwrap();
        self.wait_for_state(node, "available").await;
        assert!(self.api.server(name).await.unwrap_err().is_not_found());
    }

    pub(crate) async fn wait_for_active(&self, name: &str) -> Rented {
        self.wait(&format!("server {name} to be active"), async || {
            let server = self.unless_away(self.api.server(name).await)?;
            (server.status == ServerStatus::Active).then(|| server.into_value())
        })
        .await
    }

    pub(crate) async fn wait_for_state(&self, node: &SimNode, state: &str) -> Node {
        let what = format!("{} to be {state}", node.name);
        self.wait_for_node(node, &what, |node| node.provision_state == state)
            .await
    }

    pub(crate) async fn wait_for_node(
        &self,
        node: &SimNode,
        what: &str,
        condition: impl Fn(&Node) -> bool,
    ) -> Node {
        self.wait(what, async || {
            let node = self.unless_away(self.api.node(&node.name).await)?;
            condition(&node).then(|| node.into_value())
        })
        .await
    }

    pub(crate) async fn node(&self, node: &SimNode) -> Node {
        self.api.node(&node.name).await.unwrap().into_value()
    }

    /// What DHCP and the boot file would tell this machine now, if anything.
    pub(crate) async fn offered(&self, node: &SimNode) -> Option<Parameters> {
        self.firmware()(node.host.mac).await
    }

    /// Waits until this machine is expected to boot.
    pub(crate) async fn boot_of(&self, node: &SimNode) -> Parameters {
        let what = format!("{} to be expected to boot", node.name);
        self.wait(&what, async || self.offered(node).await).await
    }

    /// All events so far.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.sequence);
            let page = self.api.events(after, 1000).await.unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page.into_iter().map(|event| event.into_value()));
        }
    }

    /// Waits until this task has panicked and is going to be started again, as `/healthz` tells.
    pub(crate) async fn wait_for_down(&self, task: &str) {
        self.wait(&format!("{task} to be down"), async || {
            let supervisor = &self.server().site.supervisor;
            supervisor.down().contains(&task).then_some(())
        })
        .await;
    }

    /// Waits until every task goes on that has panicked.
    pub(crate) async fn wait_for_none_down(&self) {
        self.wait("every task to go on", async || {
            let supervisor = &self.server().site.supervisor;
            supervisor.down().is_empty().then_some(())
        })
        .await;
    }

    /// Waits for something, and says where everything stands if it does not come.
    pub(crate) async fn wait<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        match tokio::time::timeout(LIMIT, looking).await {
            Ok(found) => found,
            Err(_) => {
                let nodes = self.api.nodes(None, false).await;
                let nodes = nodes.map(|nodes| {
                    let state = |node: bessemer_client::Document<Node>| node.json().to_owned();
                    nodes.into_iter().map(state).collect::<Vec<_>>()
                });
                panic!("waited in vain for {what}: {nodes:#?}");
            }
        }
    }

    /// What came back, unless there is no server at this moment.
    fn unless_away<T>(&self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.is_outage() => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn firmware(&self) -> Firmware {
        self.booting.firmware()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.booting.clear();
        for running in self.running.take().into_iter().chain(self.second.take()) {
            running.abandon();
        }
    }
}

/// An order of what [`Site::offer`] offers.
pub(crate) fn order(name: &str) -> ServerCreate {
    ServerCreate {
        name: name.into(),
        flavor: "metal".into(),
        image: "small".into(),
        networks: vec![NetworkRequest {
            network: "tenants".into(),
            addresses: vec![],
            port: None,
            mode: None,
        }],
        keys: vec!["me".into()],
        user_data: None,
    }
}

/// The problem document of a refusal.
#[track_caller]
pub(crate) fn problem<T>(result: Result<T, Error>) -> Problem {
    match result {
        Err(Error::Problem(problem)) => *problem,
        Err(error) => panic!("not a problem document: {error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// Checks that a text says what it should.
#[track_caller]
pub(crate) fn says(text: impl std::fmt::Display, words: &[&str]) {
    let text = text.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}
