//! A thousand nodes whose switch ports somebody moves at once: two servers on one PostgreSQL database
//! put them back, on one real Open vSwitch. `make bench` tells the figures.

use std::time::{Duration, Instant};

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{
    Cleanliness, NodeState, Phase, PortControl, PortRole, Standby, Step,
};
use bessemer_core::net::MacAddress;
use bessemer_server::config::DatabaseUrl;
use bessemer_store::{BmcRecord, Commit, Location, NewNode, Store, StoreOptions, Work};
use bessemer_wire::api::{BmcTrust, NodePort};
use uuid::Uuid;

use crate::conductors::postgres;
use crate::figure::figure;
use crate::harness::{Site, eager};
use crate::switches::vswitch::{Vswitch, cpu_of};

const NODES: u16 = 1000;

/// The VLAN that their ports are moved to.
const ELSEWHERE: &str = "7";

/// The longest that it may take.
const SETTLED: Duration = Duration::from_secs(60);

/// A node for rent, parked on the port `n` with its number of the switch `leaf1`.
async fn create(store: &Store, number: u16) {
    let [high, low] = number.to_be_bytes();
    let mac = MacAddress::new([0x52, 0x54, 1, 0, high, low]).unwrap();
    let id = NodeId(Uuid::from_u128(0x1000 + u128::from(number)));
    let now = Timestamp::now();
    let node = NewNode {
        id,
        name: format!("many{number}"),
        rack: None,
        bmc: BmcRecord {
            url: format!("http://127.0.0.1:1/{number}"),
            username: "root".into(),
            password_sealed: vec![],
            ipmi_key_sealed: None,
            trust: BmcTrust::Insecure,
        },
        ports: vec![NodePort {
            switch: Some("leaf1".into()),
            switch_port: Some(format!("n{number}")),
            ..NodePort::bare(mac)
        }],
        port_groups: vec![],
        port_control: PortControl::Switched,
        boot_method: None,
        standby: Standby::Never,
        root_disk_hint: None,
    };
    store.create_node(node, now).await.unwrap();
    let claim = store.claim_due("setup", now, 60_000).await.unwrap();
    let claim = claim.expect("the new one is due");
    let parked = Some(PortRole::Parked);
    store.expect_ports(claim, parked, now).await.unwrap();
    let work = store.work(claim).await.unwrap();
    store.commit(claim, available(&work), now).await.unwrap();
}

/// The decision that a node has become available, as it is after cleaning.
pub(crate) fn available(work: &Work) -> Commit {
    let before = work.node.state.clone();
    Commit {
        next: NodeState {
            generation: work.node.spec.generation,
            phase: Phase::Available,
            step: Step::Rest,
            cleanliness: Cleanliness::Clean,
            ..before.clone()
        },
        before,
        intent: None,
        wake_at: None,
        news: work.news,
        kexec: None,
        events: vec![],
    }
}

fn elsewhere(vswitch: &Vswitch) -> usize {
    let tag = format!("tag={ELSEWHERE}");
    let found = vswitch.vsctl(&["--bare", "--columns=name", "find", "Port", &tag]);
    found.split_whitespace().count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which wants a machine of its own: `make bench` takes it"]
async fn the_ports_of_a_thousand_nodes_are_put_back_by_two_servers() {
    let vswitch = Vswitch::with_ports(NODES, ELSEWHERE);
    let url = postgres::new_database().await;
    let database = DatabaseUrl(url.clone());
    let mut site = Site::start_as(eager(), None, |config| {
        config.database_url = Some(database);
        config.port_check = 1;
        config.provisioning.as_mut().unwrap().vlan = Some(10);
    })
    .await;
    site.know_switch("leaf1", &vswitch.socket()).await;
    site.stop().await;
    let location = Location::Postgres(url);
    let store = Store::open(&location, StoreOptions::default()).await;
    let store = store.unwrap();
    for number in 0..NODES {
        create(&store, number).await;
    }
    store.close().await;
    assert_eq!(elsewhere(&vswitch), usize::from(NODES));

    let (cpu, begun) = (cpu_of(std::process::id()), Instant::now());
    site.start_again(None).await;
    site.start_second(None).await;
    while elsewhere(&vswitch) > 0 {
        assert!(begun.elapsed() < 10 * SETTLED, "it never ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let settled = begun.elapsed();
    figure("port_drift_settle", settled.as_secs_f64(), "s");
    let spent = cpu_of(std::process::id()) - cpu;
    let each = spent.as_secs_f64() * 1e3 / f64::from(NODES);
    figure("port_drift_cpu_conductors", each, "ms");
    assert!(settled < SETTLED, "settled in {settled:?}");
    // Each was put back once, by one of the two.
    let all_told = async || {
        let events = site.events().await;
        let told = events
            .iter()
            .filter(|event| event.kind == "node.ports_drifted");
        (told.count() >= usize::from(NODES)).then_some(events)
    };
    let events = site.wait("every drift to be told", all_told).await;
    let drifted = events
        .iter()
        .filter(|event| event.kind == "node.ports_drifted");
    let mut nodes: Vec<_> = drifted.filter_map(|event| event.node).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), usize::from(NODES));
}
