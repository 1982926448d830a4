//! What the tests have in common: a database, a clock that is turned by hand, and a small site of
//! nodes, an image, a flavor and a network.

use bessemer_core::Timestamp;
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::{Cpu, Disk, FirmwareMode, Inventory, MachineIdentity, Transport};
use bessemer_core::id::{FlavorId, ImageId, NetworkId, NodeId, ProjectId, ServerId, SubnetId};
use bessemer_core::lifecycle::{
    Cleanliness, Goal, HandOver, NodeState, Phase, PortControl, Standby, Step,
};
use bessemer_core::net::MacAddress;
use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_core::plan::Plan;
use bessemer_core::subnet::{AddressPool, SubnetPlan};
use bessemer_store::{
    BmcRecord, Candidate, Claim, Commit, FlavorRecord, Gate, ImageRecord, Location, NewAttachment,
    NewNetwork, NewNode, NewSubnet, NodeRecord, NumberFrom, Order, Store, StoreOptions, Work,
};
use bessemer_wire::api::{BmcTrust, ImageStatus, NodePort};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

/// A database that nobody else uses.
pub(crate) struct Site {
    pub(crate) location: Location,
    /// Holds the file of SQLite.
    _folder: Option<tempfile::TempDir>,
}

pub(crate) const LEASE: i64 = 60_000;

/// Kept out of everything.
pub(crate) fn held() -> Goal {
    Goal::Held {
        reason: "fan is loud".into(),
    }
}

/// The time, in seconds after some fixed moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("is a time")
}

/// Ids that a test can tell apart.
pub(crate) fn uuid(kind: u128, number: u32) -> Uuid {
    Uuid::from_u128((kind << 64) | u128::from(number))
}

pub(crate) fn node_id(number: u32) -> NodeId {
    NodeId(uuid(1, number))
}

pub(crate) fn server_id(number: u32) -> ServerId {
    ServerId(uuid(2, number))
}

pub(crate) const fn project() -> ProjectId {
    ProjectId(Uuid::from_u128(3))
}

pub(crate) const fn image() -> ImageId {
    ImageId(Uuid::from_u128(4))
}

pub(crate) const fn flavor() -> FlavorId {
    FlavorId(Uuid::from_u128(5))
}

pub(crate) const fn network() -> NetworkId {
    NetworkId(Uuid::from_u128(6))
}

pub(crate) const fn subnet() -> SubnetId {
    SubnetId(Uuid::from_u128(7))
}

impl Site {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            location: Location::Sqlite(folder.path().join("bessemer.db")),
            _folder: Some(folder),
        }
    }

    pub(crate) async fn postgres() -> Self {
        Self {
            location: Location::Postgres(crate::postgres::new_database().await),
            _folder: None,
        }
    }

    pub(crate) async fn open(&self) -> Store {
        let opened = Store::open(&self.location, StoreOptions::default()).await;
        opened.expect("opens")
    }

    /// Writes to the database as nobody should.
    pub(crate) async fn tamper(&self, sql: String) {
        let sql = sqlx::AssertSqlSafe(sql);
        match &self.location {
            Location::Sqlite(path) => {
                let url = format!("sqlite://{}", path.display());
                let mut connection = SqliteConnection::connect(&url).await.expect("connects");
                sqlx::raw_sql(sql)
                    .execute(&mut connection)
                    .await
                    .expect("writes");
            }
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.expect("connects");
                sqlx::raw_sql(sql)
                    .execute(&mut connection)
                    .await
                    .expect("writes");
            }
        }
    }

    pub(crate) async fn open_with(&self, gate: Gate) -> Store {
        let options = StoreOptions {
            gate: Some(gate),
            ..StoreOptions::default()
        };
        Store::open(&self.location, options).await.expect("opens")
    }
}

pub(crate) fn mac(number: u32) -> MacAddress {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddress::new([0x52, 0x54, a, b, c, d]).expect("is a NIC's")
}

pub(crate) fn new_node(number: u32) -> NewNode {
    NewNode {
        standby: Standby::ByFlavor,
        id: node_id(number),
        name: format!("node{number}"),
        rack: None,
        bmc: BmcRecord {
            url: format!("https://bmc{number}"),
            username: "root".into(),
            password_sealed: vec![0, 255, 7],
            ipmi_key_sealed: None,
            trust: BmcTrust::Insecure,
        },
        ports: vec![NodePort {
            switch: Some("tor".into()),
            ..NodePort::bare(mac(number))
        }],
        port_groups: vec![],
        port_control: PortControl::Switched,
        boot_method: None,
        root_disk_hint: None,
    }
}

pub(crate) fn inventory() -> Inventory {
    Inventory {
        identity: MachineIdentity {
            serial: "S1".into(),
            uuid: None,
        },
        manufacturer: "Maker".into(),
        product: "Product".into(),
        firmware_version: "1".into(),
        firmware_mode: FirmwareMode::Uefi,
        cpu: Cpu {
            model: "Processor".into(),
            architecture: "x86_64".into(),
            sockets: 1,
            cores: 4,
            threads: 8,
        },
        memory_mib: 32_000,
        disks: vec![Disk {
            name: "nvme0n1".into(),
            size_bytes: 480 << 30,
            model: String::new(),
            serial: String::new(),
            wwn: None,
            rotational: false,
            transport: Transport::Nvme,
        }],
        nics: vec![],
    }
}

/// Registers a node.
pub(crate) async fn enroll(store: &Store, number: u32) -> NodeRecord {
    let created = store
        .create_node(new_node(number), at(i64::from(number)))
        .await;
    created.expect("is registered")
}

/// A state that is reached by committing it.
pub(crate) fn state(before: &NodeState, phase: Phase, step: Step) -> NodeState {
    NodeState {
        phase,
        step,
        cleanliness: if phase == Phase::Available {
            Cleanliness::Clean
        } else {
            before.cleanliness
        },
        ..before.clone()
    }
}

/// What changes nothing but the state.
pub(crate) fn to(work: &Work, next: NodeState) -> Commit {
    Commit {
        before: work.node.state.clone(),
        next,
        intent: None,
        wake_at: None,
        news: work.news,
        kexec: None,
        events: vec![],
    }
}

/// Claims the node that is due.
pub(crate) async fn claim(store: &Store, now: Timestamp) -> Claim {
    let claimed = store.claim_due("worker", now, LEASE).await;
    claimed.expect("no error").expect("a node is due")
}

/// Claims the node of this number, which is due; others that are due are not touched.
pub(crate) async fn claim_of(store: &Store, number: u32, now: Timestamp) -> Claim {
    let mut found = None;
    let claims = store.claim_some_due("worker", now, LEASE, usize::from(u8::MAX));
    for (claim, _) in claims.await.expect("no error") {
        match claim.node == node_id(number) {
            true => found = Some(claim),
            false => store.give_back(claim).await.expect("is ours"),
        }
    }
    found.expect("the node is due")
}

/// Takes one due node to this phase and step.
pub(crate) async fn reach(store: &Store, phase: Phase, step: Step, now: Timestamp) -> NodeId {
    let claim = claim(store, now).await;
    let work = store.work(claim).await.expect("is ours");
    let next = NodeState {
        generation: work.node.spec.generation,
        ..state(&work.node.state, phase, step)
    };
    store
        .commit(claim, to(&work, next), now)
        .await
        .expect("commits");
    claim.node
}

/// Registers nodes 1 to `count` and makes them available.
pub(crate) async fn available_nodes(store: &Store, count: u32) {
    for number in 1..=count {
        let node = enroll(store, number).await;
        store
            .set_inventory(node.id, &inventory())
            .await
            .expect("is stored");
        reach(store, Phase::Available, Step::Rest, at(1000)).await;
    }
}

/// Makes the project, the image, the flavor and a network with `addresses` addresses.
pub(crate) async fn stock(store: &Store, addresses: u8) {
    let made = store.project_by_name_or_create("demo", project()).await;
    assert_eq!(made.expect("is made").id, project());
    let image = ImageRecord {
        id: image(),
        name: "debian".into(),
        status: ImageStatus::Importing,
        message: None,
        source: "file:///debian.qcow2".into(),
        upload_size: None,
        checksum: format!("sha256:{}", "0".repeat(64)),
        checksum_url: None,
        credentials_sealed: None,
        format: None,
        virtual_size: None,
        data_bytes: None,
        default_user: Some("debian".into()),
        network_configuration: bessemer_core::network_data::NetworkConfiguration::Wicked,
        created_at: at(0),
    };
    store.create_image(&image).await.expect("is made");
    let flavor = FlavorRecord {
        id: flavor(),
        name: "small".into(),
        hardware: FlavorHardware::of(&inventory()),
        standby: false,
        hand_over: HandOver::TryKexec,
        root_disk_hint: None,
    };
    store.create_flavor(&flavor, at(1)).await.expect("is made");
    store
        .create_network(&new_network(addresses), at(2))
        .await
        .expect("is made");
}

/// A public network of VLAN 100 with `addresses` addresses.
pub(crate) fn new_network(addresses: u8) -> NewNetwork {
    NewNetwork {
        id: network(),
        name: "tenant".into(),
        kind: NetworkKind::Vlan,
        scope: NetworkScope::Public,
        project: None,
        number: NumberFrom::Given(100),
        mtu: 1500,
        physical_network: None,
        subnets: vec![NewSubnet {
            id: subnet(),
            plan: plan(
                "192.168.100.0/24",
                "192.168.100.10",
                &format!("192.168.100.{}", 9 + addresses),
            ),
        }],
        limit: None,
    }
}

/// A subnet with one pool.
pub(crate) fn plan(cidr: &str, first: &str, last: &str) -> SubnetPlan {
    SubnetPlan {
        cidr: cidr.parse().expect("is a subnet"),
        gateway: None,
        dns: vec![],
        routes: vec![],
        pools: vec![AddressPool {
            first: first.parse().expect("is an address"),
            last: last.parse().expect("is an address"),
        }],
    }
}

/// A server's place on a network, with nothing said about it.
pub(crate) fn on(network: NetworkId) -> NewAttachment {
    NewAttachment {
        network,
        port: None,
        mode: None,
        addresses: vec![],
    }
}

/// How many addresses of the network's subnets servers have.
pub(crate) async fn allocated(store: &Store) -> u64 {
    let network = store.network(None, "tenant").await.expect("is there");
    network.subnets.iter().map(|each| each.allocated).sum()
}

/// Order number `number`, for any of the nodes 1 to `candidates`.
pub(crate) fn order(number: u32, candidates: u32) -> Order {
    let plan = Plan {
        steps: vec![],
        posts: 1,
        expected_seconds: 60,
    };
    Order {
        server: server_id(number),
        name: format!("server{number}"),
        project: project(),
        flavor: flavor(),
        image: image(),
        image_bytes: 640 << 20,
        hand_over: HandOver::TryKexec,
        attachments: vec![on(network())],
        keys: vec![("me".into(), "ssh-ed25519 AAAA me".into())],
        user_data_sealed: None,
        candidates: (1..=candidates)
            .map(|node| Candidate {
                node: node_id(node),
                wirings: 0,
                plan: plan.clone(),
                root_disk: inventory().disks[0].identity(),
                local_networks: vec![],
            })
            .collect(),
        idempotency: None,
    }
}
