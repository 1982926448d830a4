//! The API on loopback with a real store, and what the tests of it have in common.
//!
//! No conductor runs: a test moves nodes itself, by the same claims and commits, so that every
//! state an API call can meet is there when the test wants it.

pub(crate) mod offer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_core::hardware::{
    Cpu, Disk, FirmwareMode, Inventory, MachineIdentity, Nic, Transport,
};
use bessemer_core::id::{NodeId, ProjectId, TokenId};
use bessemer_core::lifecycle::{Cleanliness, NodeState, Phase, Step};
use bessemer_server::api;
use bessemer_server::bells::{AgentBells, Bell};
use bessemer_server::bmcs::BmcPool;
use bessemer_server::clock::Clock;
use bessemer_server::config::Config;
use bessemer_server::fabric::Fabric;
use bessemer_server::heard::Heard;
use bessemer_server::hearing::Hearing;
use bessemer_server::images::ImageLibrary;
use bessemer_server::keyring::{Keyring, digest};
use bessemer_server::metrics::Metrics;
use bessemer_server::ramdisk::Ramdisk;
use bessemer_server::sightings::Sightings;
use bessemer_server::site::{ProgressBoard, Site};
use bessemer_store::{Claim, Commit, Gate, Location, Store, StoreOptions, TokenRecord, Work};
use bessemer_tls::{Trust, client_config};
use bessemer_wire::api::Role;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// An Ed25519 public key, as `ssh-keygen` writes it.
pub(crate) const PUBLIC_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example";

/// A running API.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) site: Site,
    /// The secret of a token with the role `admin`, of the project `default`.
    pub(crate) admin: String,
    pub(crate) folder: TempDir,
    client: reqwest::Client,
    task: JoinHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The document, if the status is as expected.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The problem document, if it is of this kind and everything it must be.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let document = self.json();
        assert_eq!(
            document["type"],
            format!("urn:bessemer:problem:{kind}"),
            "{document}"
        );
        assert_eq!(document["status"], status);
        assert_eq!(
            self.headers["x-request-id"],
            document["request_id"].as_str().unwrap()
        );
        assert!(
            document["detail"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{document}"
        );
        document
    }

    /// The problem, which must name this field and hold these words.
    pub(crate) fn wrong(&self, status: u16, kind: &str, field: &str, words: &str) {
        let document = self.problem(status, kind);
        assert_eq!(document["field"], field, "{document}");
        assert!(self.text.contains(words), "`{words}` is not in {document}");
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With this configuration (TOML, without `data`).
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_as(config, StoreOptions::default()).await
    }

    /// Whose store calls `gate` at every commit.
    pub(crate) async fn start_through(gate: Gate) -> Self {
        let options = StoreOptions {
            gate: Some(gate),
            ..StoreOptions::default()
        };
        Self::start_as("", options).await
    }

    async fn start_as(config: &str, options: StoreOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str(config).unwrap();
        config.check().unwrap();
        let location = Location::Sqlite(folder.path().join("bessemer.db"));
        let supervisor = options.supervisor.clone();
        let store = Store::open(&location, options).await.unwrap();
        let keyring = Arc::new(Keyring::of_folder(folder.path(), true).unwrap());
        let site = Site {
            config: Arc::new(config),
            clock: Clock::default(),
            bmcs: Arc::new(BmcPool::new(keyring.clone())),
            keyring,
            images: ImageLibrary::open(&folder.path().join("images")).unwrap(),
            metrics: Arc::new(Metrics::default()),
            supervisor,
            progress: ProgressBoard::default(),
            sightings: Sightings::new(Uuid::new_v4(), Clock::default()),
            ramdisk: Ramdisk::new(Vec::new()),
            heard: Heard::default(),
            hearing: Arc::new(Hearing::from(bessemer_core::Timestamp::now())),
            agents: AgentBells::new(store.clone()),
            fabric: Arc::new(Fabric::default()),
            placing: bessemer_server::api::Placing::default(),
            surveys: Arc::default(),
            peers: Arc::new(bessemer_server::peers::Peers::alone(None)),
            boot_media_base: None,
            bell: Bell::new(store.clone()),
            store,
        };
        let mut api = Self::serve(site, folder).await;
        api.admin = api.token("admin", Role::Admin, "default").await;
        api
    }

    /// The API of another server on the same database, which knows the same admin.
    pub(crate) async fn of_another_server(&self) -> Self {
        let site = Site {
            fabric: Arc::new(Fabric::default()),
            placing: bessemer_server::api::Placing::default(),
            surveys: Arc::default(),
            ..self.site.clone()
        };
        let mut api = Self::serve(site, tempfile::tempdir().unwrap()).await;
        api.admin.clone_from(&self.admin);
        api
    }

    async fn serve(site: Site, folder: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = api::router(site.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let tls = client_config(&Trust::InsecureNoVerification).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            url,
            site,
            admin: String::new(),
            folder,
            client,
            task,
        }
    }

    /// A new token, straight into the store; gives its secret.
    pub(crate) async fn token(&self, name: &str, role: Role, project: &str) -> String {
        let store = &self.site.store;
        let new = ProjectId(Uuid::now_v7());
        let project = store.project_by_name_or_create(project, new).await.unwrap();
        let token = TokenRecord {
            id: TokenId(Uuid::now_v7()),
            name: name.into(),
            role,
            project: project.id,
            created_at: Timestamp::now(),
        };
        let secret = self.site.keyring.random_secret().unwrap();
        store.create_token(&token, &digest(&secret)).await.unwrap();
        secret
    }

    /// A request without a token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client
            .request(method, url)
            .timeout(Duration::from_secs(30))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// A request of the admin.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_as(&self.admin, method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.request(method, path).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Registers the node number `number`.
    pub(crate) async fn node(&self, number: u8) -> NodeId {
        let node = self.post("/v1/nodes", node(number)).await.expect(201);
        node["id"].as_str().unwrap().parse().unwrap()
    }

    /// Registers the node number `number` and lets it become available, as `machine` is.
    pub(crate) async fn available_node(&self, number: u8, machine: Inventory) -> NodeId {
        let id = self.node(number).await;
        self.site.store.set_inventory(id, &machine).await.unwrap();
        self.move_node(id, |state| at_rest(state, Phase::Available))
            .await;
        id
    }

    /// Changes where a node is, as the conductor would.
    pub(crate) async fn move_node(&self, id: NodeId, change: impl FnOnce(&mut NodeState)) {
        let (claim, work) = self.claim(id).await;
        let mut next = work.node.state.clone();
        change(&mut next);
        next.generation = work.node.spec.generation;
        self.give_back(claim, work, next).await;
    }

    /// Claims a node, whether it is due or not.
    pub(crate) async fn claim(&self, id: NodeId) -> (Claim, Work) {
        let store = &self.site.store;
        store.wake(id, Timestamp::now()).await.unwrap();
        loop {
            let claim = store
                .claim_due("test", Timestamp::now(), 60_000)
                .await
                .unwrap();
            let claim = claim.expect("a node that was woken is due");
            let work = store.work(claim).await.unwrap();
            if claim.node == id {
                return (claim, work);
            }
            let state = work.node.state.clone();
            self.give_back(claim, work, state).await;
        }
    }

    pub(crate) async fn give_back(&self, claim: Claim, work: Work, next: NodeState) {
        let commit = Commit {
            before: work.node.state,
            next,
            intent: None,
            wake_at: None,
            news: work.news,
            kexec: None,
            events: Vec::new(),
        };
        self.site
            .store
            .commit(claim, commit, Timestamp::now())
            .await
            .unwrap();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Puts a state to rest in `phase`, with clean disks.
pub(crate) fn at_rest(state: &mut NodeState, phase: Phase) {
    state.phase = phase;
    state.step = Step::Rest;
    state.cleanliness = Cleanliness::Clean;
    state.deadline = None;
    state.retry_at = None;
}

/// A request to register node number `number`.
pub(crate) fn node(number: u8) -> Value {
    json!({
        "name": format!("n{number}"),
        "bmc": {
            "url": format!("https://bmc{number}.example"),
            "username": "root",
            "password": "planted-password",
            "trust": "insecure",
        },
        "ports": [{ "mac": format!("52:54:00:00:00:{number:02x}") }],
    })
}

/// A machine with this much memory and one disk of this size in GiB.
pub(crate) fn machine(memory_mib: u64, disk_gib: u64) -> Inventory {
    Inventory {
        identity: MachineIdentity {
            serial: "S1".into(),
            uuid: None,
        },
        manufacturer: "Maker".into(),
        product: "Box".into(),
        firmware_version: "1".into(),
        firmware_mode: FirmwareMode::Uefi,
        cpu: Cpu {
            model: "CPU".into(),
            architecture: "x86_64".into(),
            sockets: 1,
            cores: 4,
            threads: 8,
        },
        memory_mib,
        disks: vec![Disk {
            name: "nvme0n1".into(),
            size_bytes: disk_gib << 30,
            model: "Disk".into(),
            serial: "D1".into(),
            wwn: None,
            rotational: false,
            transport: Transport::Nvme,
        }],
        nics: vec![Nic {
            name: "eth0".into(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            link: true,
            speed_mbps: Some(10_000),
            driver: "virtio_net".into(),
            lldp: None,
        }],
    }
}
