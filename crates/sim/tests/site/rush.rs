//! A thousand orders at once for half as many nodes, at two servers on one PostgreSQL database.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bessemer_client::{Client, Error};
use bessemer_core::Timestamp;
use bessemer_core::flavor::FlavorHardware;
use bessemer_core::hardware::Inventory;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{HandOver, PortControl, Standby, Timing};
use bessemer_core::network::NetworkKind;
use bessemer_server::config::DatabaseUrl;
use bessemer_sim::agent::Host;
use bessemer_sim::machine::SimulatedMachine;
use bessemer_store::{BmcRecord, Location, NewNode, Store, StoreOptions};
use bessemer_wire::api::{
    BmcTrust, FlavorCreate, KeyPairCreate, NetworkCreate, NodePort, Server, SubnetCreate,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::conductors::postgres;
use crate::figure::figure;
use crate::harness::{PUBLIC_KEY, Site, image, order, says};
use crate::thousand::available;

const NODES: u16 = 500;

/// How often one orders again: a turn is waited for for a minute.
const MOST_TRIES: u32 = 10;

/// Nodes that are written at the same time.
const AT_ONCE: u16 = 16;

fn id(number: u16) -> NodeId {
    NodeId(Uuid::from_u128(0x1000 + u128::from(number)))
}

fn inventory(number: u16) -> Inventory {
    let machine = SimulatedMachine::numbered(number);
    let host = Host::new(&machine, vec!["/nonexistent".into()]);
    host.expect("a NIC and a drive").inventory
}

/// Controllers of all nodes, which take calls and never say anything: so conductors begin with what
/// was ordered, and wait.
fn silence() -> tokio::net::TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
        .unwrap();
    socket.listen(1024).unwrap()
}

async fn create(store: &Store, number: u16, port: u16) {
    let [high, low] = number.to_be_bytes();
    let inventory = inventory(number);
    let node = NewNode {
        id: id(number),
        name: format!("many{number}"),
        rack: None,
        bmc: BmcRecord {
            url: format!("http://127.66.{high}.{low}:{port}"),
            username: "root".into(),
            password_sealed: vec![],
            ipmi_key_sealed: None,
            trust: BmcTrust::Insecure,
        },
        ports: vec![NodePort::bare(inventory.nics[0].mac)],
        port_groups: vec![],
        port_control: PortControl::Flat,
        boot_method: None,
        standby: Standby::Never,
        root_disk_hint: None,
    };
    store.create_node(node, Timestamp::now()).await.unwrap();
    store
        .set_identity(id(number), &inventory.identity)
        .await
        .unwrap();
    store.set_inventory(id(number), &inventory).await.unwrap();
}

/// Makes whichever node is due one that is for rent.
async fn make_available(store: &Store) {
    let now = Timestamp::now();
    // There is one for each that was created, which others may be looking at just now.
    let claim = loop {
        if let Some(claim) = store.claim_due("setup", now, 60_000).await.unwrap() {
            break claim;
        }
    };
    let work = store.work(claim).await.unwrap();
    store.commit(claim, available(&work), now).await.unwrap();
}

/// Writes the nodes, which no server may see meanwhile.
async fn create_nodes(location: &Location, nodes: u16, port: u16) {
    let store = Store::open(location, StoreOptions::default())
        .await
        .unwrap();
    let mut writers = JoinSet::new();
    for first in 0..AT_ONCE {
        let store = store.clone();
        writers.spawn(async move {
            for number in (first..nodes).step_by(AT_ONCE.into()) {
                create(&store, number, port).await;
            }
        });
    }
    writers.join_all().await;
    // Not before all that is known of each is written: one with news is due again, and would be taken for
    // another one.
    let mut writers = JoinSet::new();
    for first in 0..AT_ONCE {
        let store = store.clone();
        writers.spawn(async move {
            for _ in (first..nodes).step_by(AT_ONCE.into()) {
                make_available(&store).await;
            }
        });
    }
    writers.join_all().await;
    store.close().await;
}

/// What is ordered: addresses enough for all, and a flavor as the nodes are.
async fn offer(site: &Site) {
    site.import("small", image::small()).await;
    let flavor = FlavorCreate {
        name: "metal".into(),
        hardware: Some(FlavorHardware::of(&inventory(1))),
        from_node: None,
        standby: false,
        hand_over: HandOver::default(),
        root_disk_hint: None,
    };
    site.api.create_flavor(&flavor).await.unwrap();
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
            cidr: "10.66.0.0/16".parse().unwrap(),
            gateway: None,
            dns: vec![],
            routes: vec![],
            pools: None,
        }],
    };
    site.api.create_network(&network).await.unwrap();
    let key = KeyPairCreate {
        name: "me".into(),
        public_key: PUBLIC_KEY.into(),
    };
    site.api.create_key(&key).await.unwrap();
}

/// A thousand connections have two ends in this process.
fn allow_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Sends all orders at once, half of them to each server.
async fn rush(servers: [Client; 2], orders: u16) -> (Vec<Server>, Vec<Error>) {
    let begin = Arc::new(tokio::sync::Barrier::new(orders.into()));
    let mut under_way = JoinSet::new();
    for number in 0..orders {
        let api = servers[usize::from(number) % servers.len()].clone();
        let begin = begin.clone();
        under_way.spawn(async move {
            let name = format!("web{number}");
            begin.wait().await;
            let mut tries = 0;
            loop {
                tries += 1;
                match api.create_server(&order(&name), &name).await {
                    // On a busy machine, the last ones have to ask again.
                    Err(error) if error.is_outage() && tries < MOST_TRIES => {}
                    result => return result,
                }
            }
        });
    }
    let (mut placed, mut refused) = (Vec::new(), Vec::new());
    for result in under_way.join_all().await {
        match result {
            Ok(server) => placed.push(server.into_value()),
            Err(error) => refused.push(error),
        }
    }
    (placed, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_orders_for_five_hundred_nodes_as_many_succeed() {
    allow_open_files();
    let controllers = silence();
    let port = controllers.local_addr().unwrap().port();
    let url = postgres::new_database().await;
    let database = DatabaseUrl(url.clone());
    let mut site = Site::start_as(Timing::default(), None, |config| {
        config.database_url = Some(database);
    })
    .await;
    offer(&site).await;
    site.stop().await;
    create_nodes(&Location::Postgres(url), NODES, port).await;
    site.start_again(None).await;
    site.start_second(None).await;
    let second = format!("http://{}", site.second().api_address);
    let second = Client::new(&second, Some(&site.token)).unwrap();

    let begun = Instant::now();
    let servers = [site.api.clone(), second.clone()];
    let (placed, refused) = rush(servers, 2 * NODES).await;
    figure(
        "orders_1000_settle_postgresql",
        begun.elapsed().as_secs_f64(),
        "s",
    );

    let number = usize::from(NODES);
    for refusal in &refused {
        let Error::Problem(problem) = refusal else {
            panic!("an order was neither placed nor refused: {refusal}");
        };
        assert_eq!(problem.kind, "urn:bessemer:problem:no-matching-node");
        says(
            problem,
            &[
                &format!("No node of flavor metal is free: {NODES} nodes have this hardware"),
                "order another flavor",
            ],
        );
    }
    assert_eq!((placed.len(), refused.len()), (number, number));
    let nodes: HashSet<_> = placed.iter().map(|server| server.node).collect();
    let addresses: HashSet<_> = placed.iter().filter_map(|server| server.address).collect();
    assert_eq!((nodes.len(), addresses.len()), (number, number));
    // No order is lost, and none was carried out that was refused: both servers say so.
    let names: HashSet<_> = placed.into_iter().map(|server| server.name).collect();
    for api in [&site.api, &second] {
        let servers = api.servers().await.unwrap();
        let known: HashSet<_> = servers.iter().map(|server| server.name.clone()).collect();
        assert_eq!((servers.len(), &known), (number, &names));
    }
    let network = site.api.network("tenants").await.unwrap();
    assert_eq!(network.subnets[0].usage.allocated, u64::from(NODES));
}
