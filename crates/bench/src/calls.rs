//! What each call of the API costs, with a thousand nodes registered.
//!
//! The figures of a call are its own: the conductor is kept busy elsewhere while nodes are created
//! (see `nodes::SilentNodes`), and every node is at rest while they are read. What a call includes
//! is the token's look-up, the database, and an answer read to its last byte.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bessemer_core::id::NodeId;
use bytes::Bytes;
use hyper::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::figures::{figure, milliseconds, percentile, progress};
use crate::nodes::{self, NODES, SilentNodes};
use crate::process::{Folder, Server};

/// Calls that are measured: enough for a second of CPU time, which is counted in steps of 10 ms.
const GETS: u16 = 4000;
const LISTS: u16 = 60;

/// Addresses that are reserved.
const ADDRESSES: u16 = 2000;

/// How long requests are counted for their rate.
const RATE_TIME: Duration = Duration::from_secs(3);

/// The longest wait for the conductor to bring every node to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures calls, one after the other and from several connections.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let mut server = Server::start(program, &folder, false).await?;
    let token = server.first_token().await?;
    let mut api = Connection::open(server.api, Some(&token)).await?;
    let ids = create(&server, &mut api).await?;
    server.stop().await?;

    nodes::write_inventories(&folder, &ids).await?;
    let server = Server::start(program, &folder, false).await?;
    figure("start_up_1000_nodes", server.start_up.as_secs_f64(), "s");
    let mut api = Connection::open(server.api, Some(&token)).await?;
    read(&server, &mut api).await?;
    for connections in [1, 16] {
        rate(&server, &token, connections).await?;
    }
    figure("rss_1000_nodes", server.resident()?, "MB");
    server.stop().await
}

/// Creates the nodes, and measures that without the conductor; then lets it bring them to rest, and
/// measures its turns.
async fn create(server: &Server, api: &mut Connection) -> anyhow::Result<Vec<NodeId>> {
    progress("creating 1,000 nodes");
    let silent = SilentNodes::register(api).await?;
    let before = metric(api, "bessemer_conductor_reconciles_total").await?;
    let mut calls = Calls::begin(server)?;
    let mut ids = Vec::new();
    for number in 0..NODES {
        let request = nodes::request(number)?;
        let answer = calls.time(api.call(Method::POST, "/v1/nodes", request));
        ids.push(nodes::id(&answer.await?)?);
    }
    calls.tell("create_node")?;
    // Held, a node comes to rest in one turn and without a call to its management controller.
    let mut calls = Calls::begin(server)?;
    for id in &ids {
        calls.time(hold(api, *id)).await?;
    }
    calls.tell("hold_node")?;
    addresses(server, api).await?;
    let after = metric(api, "bessemer_conductor_reconciles_total").await?;
    ensure!(
        before == after,
        "the conductor took {} turns while calls were measured: has it more places than there are \
         silent nodes?",
        after - before
    );
    turns(server, api, silent).await?;
    Ok(ids)
}

/// Reserves addresses in a pool of 64 Ki: what an order does for each subnet of its networks, with a
/// request and a commit of its own.
async fn addresses(server: &Server, api: &mut Connection) -> anyhow::Result<()> {
    progress("reserving addresses");
    let network = Bytes::from_static(
        br#"{"name":"addresses","vlan":100,"subnets":[{"cidr":"10.0.0.0/15"}]}"#,
    );
    api.call(Method::POST, "/v1/networks", network).await?;
    let mut calls = Calls::begin(server)?;
    for _ in 0..ADDRESSES {
        let request = Bytes::from_static(br#"{"network":"addresses"}"#);
        calls
            .time(api.call(Method::POST, "/v1/addresses", request))
            .await?;
    }
    calls.tell("reserve_address")
}

async fn hold(api: &mut Connection, id: NodeId) -> anyhow::Result<Bytes> {
    let path = format!("/v1/nodes/{id}/hold");
    let reason = Bytes::from_static(br#"{"reason":"benchmark"}"#);
    api.call(Method::POST, &path, reason).await
}

/// Lets the conductor work on every node, and forgets the silent ones, whose handful of calls and
/// failures is in the figure.
async fn turns(server: &Server, api: &mut Connection, silent: SilentNodes) -> anyhow::Result<()> {
    progress("bringing them to rest");
    let (cpu, reconciles) = (server.cpu()?, "bessemer_conductor_reconciles_total");
    let before = metric(api, reconciles).await?;
    let silent = silent.hang_up();
    let all_held = async {
        for id in &silent {
            hold(api, *id).await?;
        }
        let all = f64::from(NODES) + silent.len() as f64;
        while metric(api, "bessemer_nodes{phase=\"held\"}").await? < all {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all_held)
        .await
        .context("the conductor has not brought every node to rest in time")??;
    let turns = metric(api, reconciles).await? - before;
    let spent = milliseconds(server.cpu()? - cpu);
    figure("conductor_turn_cpu", spent / turns, "ms");
    for id in silent {
        let path = format!("/v1/nodes/{id}");
        api.call(Method::DELETE, &path, Bytes::new()).await?;
    }
    Ok(())
}

async fn read(server: &Server, api: &mut Connection) -> anyhow::Result<()> {
    progress("getting nodes one by one");
    let mut calls = Calls::begin(server)?;
    for number in 0..GETS {
        calls.time(api.get(&path(number))).await?;
    }
    calls.tell("get_node")?;

    for (name, path) in [
        ("list_1000_nodes", "/v1/nodes?limit=1000"),
        ("list_1000_nodes_detail", "/v1/nodes?limit=1000&detail=true"),
    ] {
        let answer = api.get(path).await?;
        progress(&format!("listing nodes: {} bytes an answer", answer.len()));
        let mut calls = Calls::begin(server)?;
        for _ in 0..LISTS {
            calls.time(api.get(path)).await?;
        }
        calls.tell(name)?;
    }
    Ok(())
}

fn path(number: u16) -> String {
    format!("/v1/nodes/node-{}", number % NODES)
}

/// How many nodes a second are got when each of some connections asks again as soon as it has its
/// answer.
async fn rate(server: &Server, token: &str, connections: u16) -> anyhow::Result<()> {
    progress(&format!("getting nodes, connections: {connections}"));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Connection::open(server.api, Some(token)).await?);
    }
    let cpu = server.cpu()?;
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for (first, mut client) in (0u16..).zip(clients) {
        asking.spawn(async move {
            let mut number = first;
            let mut answers = 0u32;
            while begun.elapsed() < RATE_TIME {
                client.get(&path(number)).await?;
                number = (number + connections) % NODES;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
    }
    let mut answers = 0;
    while let Some(client) = asking.join_next().await {
        answers += client??;
    }
    let answers = f64::from(answers);
    let name = format!("get_node_{connections}_connections");
    let rate = answers / begun.elapsed().as_secs_f64();
    figure(&format!("{name}_rate"), rate, "1/s");
    let spent = milliseconds(server.cpu()? - cpu);
    figure(&format!("{name}_cpu"), spent / answers, "ms");
    Ok(())
}

/// The value of one of the server's counters.
async fn metric(api: &mut Connection, name: &str) -> anyhow::Result<f64> {
    let answer = api.get("/metrics").await?;
    let text = std::str::from_utf8(&answer)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.with_context(|| format!("the server has no metric {name}"))?;
    Ok(value.trim().parse()?)
}

/// Calls of one kind, one after the other.
struct Calls<'s> {
    server: &'s Server,
    cpu: Duration,
    times: Vec<Duration>,
}

impl<'s> Calls<'s> {
    fn begin(server: &'s Server) -> anyhow::Result<Self> {
        Ok(Self {
            server,
            cpu: server.cpu()?,
            times: Vec::new(),
        })
    }

    /// Makes one call.
    async fn time<T>(
        &mut self,
        call: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let answer = call.await?;
        self.times.push(begun.elapsed());
        Ok(answer)
    }

    /// Tells CPU time of the server for each call, and the time to the whole answer.
    fn tell(self, name: &str) -> anyhow::Result<()> {
        let spent = milliseconds(self.server.cpu()? - self.cpu);
        let calls = self.times.len() as f64;
        figure(&format!("{name}_cpu"), spent / calls, "ms");
        for (suffix, of) in [("p50", 0.5), ("p99", 0.99)] {
            let time = milliseconds(percentile(&self.times, of));
            figure(&format!("{name}_{suffix}"), time, "ms");
        }
        Ok(())
    }
}
