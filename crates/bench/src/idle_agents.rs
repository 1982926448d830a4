//! What a thousand agents cost that wait for orders: each with a TLS connection of its own on which
//! a poll is open for minutes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::id::{BootId, NodeId};
use bessemer_core::lifecycle::{Cleanliness, NodeState, Phase, PortControl, Standby, Step};
use bessemer_core::net::MacAddress;
use bessemer_store::{
    BmcRecord, Commit, HelloOutcome, Location, NewBoot, NewNode, Store, StoreOptions,
};
use bessemer_tls::{SelfSigned, Trust, client_config};
use bessemer_wire::api::{BmcTrust, NodePort};
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use uuid::Uuid;

use crate::figure::figure;
use crate::figures::progress;
use crate::nodes::{NODES, inventory};
use crate::process::{Folder, Server};

/// From the first polls to the measurement: the shortest poll of an idle agent, so that the polls of
/// all come again, more of them than on average, while it is measured.
const SETTLING: Duration = Duration::from_secs(120);

/// How long CPU time is counted.
const COUNTED: Duration = Duration::from_secs(60);

/// How long a claim on a node lasts, in milliseconds.
const LEASE: i64 = 60_000;

/// Measures memory and CPU time of a server with as many idle agents.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    let folder = Folder::new()?;
    Server::start(program, &folder, true).await?.stop().await?;
    progress("writing nodes whose agents idle");
    let store = Store::open(
        &Location::Sqlite(folder.data().join("bessemer.db")),
        StoreOptions::default(),
    )
    .await?;
    for number in 0..NODES {
        write_idle_node(&store, number).await?;
    }
    // Only now: a call makes a node due, and the next one to be written would not be the only one.
    for number in 0..NODES {
        let_agent_call(&store, number).await?;
    }
    store.close().await;

    let server = Server::start(program, &folder, true).await?;
    let before = server.resident()?;
    progress("connecting agents");
    let connector = connector(&folder)?;
    let mut agents = JoinSet::new();
    for number in 0..NODES {
        let stream = connect(&connector, server.agents).await?;
        agents.spawn(idle(stream, number));
    }
    sleep(SETTLING).await;
    let (cpu, begun) = (server.cpu()?, Instant::now());
    sleep(COUNTED).await;
    let used = server.cpu()?.saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    ensure!(
        agents.try_join_next().is_none(),
        "an agent was turned away or cut off"
    );
    figure("rss_1000_idle_agents", server.resident()?, "MB");
    figure(
        "rss_per_idle_agent",
        (server.resident()? - before) * 1e3 / f64::from(NODES),
        "kB",
    );
    figure("cpu_1000_idle_agents", used * 1e3, "ms/s");
    agents.shutdown().await;
    server.stop().await
}

/// The secret of an agent's session: 64 hexadecimal digits.
fn session(number: u16) -> String {
    format!("{number:064x}")
}

fn node(number: u16) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number) + 1))
}

fn mac(number: u16) -> anyhow::Result<MacAddress> {
    let [high, low] = number.to_be_bytes();
    Ok(MacAddress::new([2, 4, high, low, 0, 0])?)
}

/// A node that is for rent and idles in its first boot of the agent.
async fn write_idle_node(store: &Store, number: u16) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let [high, low] = number.to_be_bytes();
    let id = node(number);
    let new = NewNode {
        id,
        name: format!("idle-{number}"),
        rack: None,
        bmc: BmcRecord {
            url: format!("http://127.4.{high}.{low}:1"),
            username: "bessemer".into(),
            password_sealed: Vec::new(),
            ipmi_key_sealed: None,
            trust: BmcTrust::Insecure,
        },
        ports: vec![NodePort::bare(mac(number)?)],
        port_groups: Vec::new(),
        port_control: PortControl::Flat,
        boot_method: None,
        root_disk_hint: None,
        standby: Standby::Always,
    };
    store.create_node(new, now).await?;
    let claim = store.claim_due("bench", now, LEASE).await?;
    let claim = claim.context("a new node is due")?;
    ensure!(claim.node == id, "another node was due");
    let boot = NewBoot {
        boot: BootId::of(id, 1),
        claim,
        mac: mac(number)?,
        method: BootMethod::UefiHttp,
        ramdisk: None,
    };
    let pool = Ipv4Addr::new(10, 0, 0, 1)..=Ipv4Addr::new(10, 0, 255, 254);
    store.prepare_boot(boot, pool, "bench", now).await?;
    let work = store.work(claim).await?;
    let commit = Commit {
        next: idle_state(&work.node.state, now),
        before: work.node.state,
        intent: None,
        wake_at: None,
        news: work.news,
        kexec: None,
        events: Vec::new(),
    };
    store.commit(claim, commit, now).await?;
    store.set_inventory(id, &inventory(number)?).await?;
    Ok(())
}

/// Its agent says hello.
async fn let_agent_call(store: &Store, number: u16) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let boot = BootId::of(node(number), 1);
    let digits = digest(&SHA256, session(number).as_bytes());
    let digits: String = digits
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let outcome = store.hello(boot, &digits, now, None).await?;
    ensure!(outcome == HelloOutcome::Accepted, "{outcome:?}");
    Ok(())
}

fn idle_state(before: &NodeState, now: Timestamp) -> NodeState {
    NodeState {
        phase: Phase::Available,
        step: Step::Standby,
        attempt: 1,
        boots: 1,
        posts: 1,
        standby: true,
        since: now,
        step_since: now,
        cleanliness: Cleanliness::Clean,
        ..before.clone()
    }
}

/// Believes the certificate that the server made at its first start.
fn connector(folder: &Folder) -> anyhow::Result<TlsConnector> {
    let at = |name| folder.data().join(name);
    let own = SelfSigned::load_or_create(
        &at("agent-certificate.pem"),
        &at("agent-key.pem"),
        &["127.0.0.1".to_owned()],
    )?;
    let config = client_config(&Trust::Pinned(own.fingerprint()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(
    connector: &TlsConnector,
    agents: SocketAddr,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(agents).await?;
    let name = ServerName::from(agents.ip());
    Ok(connector.connect(name, stream).await?)
}

/// Polls as an idle agent does, again and again; ends only if it is turned away or cut off.
async fn idle(mut stream: TlsStream<TcpStream>, number: u16) -> anyhow::Result<()> {
    let body = r#"{"status":{"status":"idle"},"hurry":false}"#;
    let request = format!(
        "POST /agent/v1/poll HTTP/1.1\r\nhost: conductor\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        session(number),
        body.len()
    );
    let mut answer = vec![0; 4096];
    loop {
        stream.write_all(request.as_bytes()).await?;
        // An answer to a poll is one small record.
        let length = stream.read(&mut answer).await?;
        ensure!(
            answer[..length].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..length])
        );
    }
}
