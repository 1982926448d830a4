//! What each call of the API costs, with a thousand nodes registered, on either database.
//!
//! The figures of a call are its own: the conductor is kept busy elsewhere while nodes are created
//! (see `nodes::SilentNodes`), and every node is at rest while they are read. What a call includes
//! is the token's look-up, the database, and an answer read to its last byte.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bessemer_core::id::NodeId;
use bessemer_wire::api::{Node, Page};
use bytes::Bytes;
use hyper::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::counted::Counted;
use crate::figure::figure;
use crate::figures::{milliseconds, percentile, progress};
use crate::nodes::{self, NODES, SilentNodes};
use crate::process::{Folder, Kept, Server};

/// Calls that are measured: enough for a second of CPU time, which is counted in steps of 10 ms.
const GETS: u16 = 8000;
const LISTS: u16 = 100;

/// The nodes have no management controllers that could be asked.
const NO_POWER_CHECKS: &str = "[bmc]\npower_check = 0\n";

/// Addresses that are reserved.
const ADDRESSES: u16 = 2000;

/// Connections of many who ask at once.
const MANY: u16 = 16;

/// The longest wait for the conductor to bring every node to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call to be made.
type Call = (Method, String, Bytes);

/// Measures calls, by one connection and by many at once.
pub(crate) async fn measure(program: &Path, kept: Kept) -> anyhow::Result<()> {
    let folder = Folder::on(kept, NO_POWER_CHECKS).await?;
    let mut server = Server::start(program, &folder, false).await?;
    let token = server.first_token().await?;
    sleep(Duration::from_secs(1)).await;
    tell(kept, "rss_before_calls", server.resident()?, "MB");
    let asked = Asked {
        server: &server,
        token: &token,
        kept,
    };
    let ids = asked.create().await?;
    server.stop().await?;

    nodes::write_inventories(&folder, &ids).await?;
    let server = Server::start(program, &folder, false).await?;
    let start_up = server.start_up.as_secs_f64();
    tell(kept, "start_up_1000_nodes", start_up, "s");
    let asked = Asked {
        server: &server,
        token: &token,
        kept,
    };
    asked.read().await?;
    tell(kept, "rss_1000_nodes", server.resident()?, "MB");
    server.stop().await
}

/// Tells a figure that depends on the database.
fn tell(kept: Kept, name: &str, value: f64, unit: &str) {
    figure(&format!("{name}{}", kept.suffix()), value, unit);
}

/// A server whose calls are measured.
struct Asked<'s> {
    server: &'s Server,
    token: &'s str,
    kept: Kept,
}

impl Asked<'_> {
    async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.server.api, Some(self.token)).await
    }

    /// Creates the nodes, and measures that without the conductor; then lets it bring them to rest, and
    /// measures its turns.
    async fn create(&self) -> anyhow::Result<Vec<NodeId>> {
        progress("creating 1,000 nodes");
        let mut api = self.connect().await?;
        let silent = SilentNodes::register(&mut api).await?;
        let before = turns(&mut api).await?;
        let create = |number| {
            let node = nodes::request(number)?;
            Ok((Method::POST, "/v1/nodes".into(), node))
        };
        self.calls("create_node", 1, NODES, create).await?;
        self.come_and_go().await?;
        // Held, a node comes to rest in one turn and without a call to its management controller.
        let hold = |number| Ok(hold(&format!("node-{number}")));
        self.calls("hold_node", 1, NODES, hold).await?;
        self.addresses(&mut api).await?;
        let after = turns(&mut api).await?;
        ensure!(
            before == after,
            "the conductor took {} turns while calls were measured: has it more places than there \
             are silent nodes?",
            after - before
        );
        self.turns(&mut api, silent).await?;
        let page = api.get("/v1/nodes?limit=1000").await?;
        let page: Page<Node> = serde_json::from_slice(&page)?;
        Ok(page.items.into_iter().map(|node| node.id).collect())
    }

    /// Creates nodes by many connections, and deletes them.
    async fn come_and_go(&self) -> anyhow::Result<()> {
        let create = |number| {
            let (_, node) = nodes::passing(number)?;
            Ok((Method::POST, "/v1/nodes".into(), node))
        };
        self.calls("create_node", MANY, NODES, create).await?;
        let delete = |number| {
            let (name, _) = nodes::passing(number)?;
            let path = format!("/v1/nodes/{name}?force=true");
            Ok((Method::DELETE, path, Bytes::new()))
        };
        self.calls("delete_node", MANY, NODES, delete).await
    }

    /// Reserves addresses in a pool of 64 Ki: what an order does for each subnet of its networks, with
    /// a request and a commit of its own.
    async fn addresses(&self, api: &mut Connection) -> anyhow::Result<()> {
        progress("reserving addresses");
        let network = Bytes::from_static(
            br#"{"name":"addresses","vlan":100,"subnets":[{"cidr":"10.0.0.0/15"}]}"#,
        );
        api.call(Method::POST, "/v1/networks", network).await?;
        let reserve = |_| {
            let request = Bytes::from_static(br#"{"network":"addresses"}"#);
            Ok((Method::POST, "/v1/addresses".into(), request))
        };
        self.calls("reserve_address", 1, ADDRESSES, reserve).await
    }

    /// Lets the conductor work on every node, and forgets the silent ones, whose handful of calls and
    /// failures is in the figure.
    async fn turns(&self, api: &mut Connection, silent: SilentNodes) -> anyhow::Result<()> {
        progress("bringing them to rest");
        let cpu = self.server.cpu()?;
        let before = turns(api).await?;
        let silent = silent.hang_up();
        let all_held = async {
            for id in &silent {
                let (method, path, reason) = hold(&id.to_string());
                api.call(method, &path, reason).await?;
            }
            let all = f64::from(NODES) + silent.len() as f64;
            while Counted::by(api).await?.nodes("held")? < all {
                sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, all_held)
            .await
            .context("the conductor has not brought every node to rest in time")??;
        let taken = turns(api).await? - before;
        let spent = milliseconds(self.server.cpu()? - cpu);
        tell(self.kept, "conductor_turn_cpu", spent / taken, "ms");
        for id in silent {
            let path = format!("/v1/nodes/{id}");
            api.call(Method::DELETE, &path, Bytes::new()).await?;
        }
        Ok(())
    }

    async fn read(&self) -> anyhow::Result<()> {
        for connections in [1, MANY] {
            progress(&format!("getting nodes, connections: {connections}"));
            let node = |number| Ok(get(format!("/v1/nodes/node-{}", number % NODES)));
            self.calls("get_node", connections, GETS, node).await?;
            progress("listing nodes");
            let list = |_| Ok(get("/v1/nodes?limit=1000".into()));
            let calls = self.calls("list_1000_nodes", connections, LISTS, list);
            calls.await?;
            let list = |_| Ok(get("/v1/nodes?limit=1000&detail=true".into()));
            let calls = self.calls("list_1000_nodes_detail", connections, LISTS, list);
            calls.await?;
        }
        Ok(())
    }

    /// Makes `count` calls, which `call` tells by their number, by some connections that each ask again
    /// as soon as they have their answer. Tells CPU time of the server for each, the time to the whole
    /// answer, and how many are answered a second.
    async fn calls(
        &self,
        name: &str,
        connections: u16,
        count: u16,
        call: impl Fn(u16) -> anyhow::Result<Call>,
    ) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for first in 0..connections {
            let numbers = (first..count).step_by(connections.into());
            let calls: Vec<_> = numbers.map(&call).collect::<Result<_, _>>()?;
            clients.push((self.connect().await?, calls));
        }
        let cpu = self.server.cpu()?;
        let begun = Instant::now();
        let mut asking = JoinSet::new();
        for (client, calls) in clients {
            asking.spawn(make(client, calls));
        }
        let mut times = Vec::new();
        while let Some(client) = asking.join_next().await {
            times.extend(client??);
        }
        let name = match connections {
            1 => name.to_owned(),
            many => format!("{name}_{many}_connections"),
        };
        let (took, count) = (begun.elapsed().as_secs_f64(), f64::from(count));
        let spent = milliseconds(self.server.cpu()? - cpu);
        let tell = |what, value, unit| tell(self.kept, &format!("{name}_{what}"), value, unit);
        tell("cpu", spent / count, "ms");
        tell("rate", count / took, "1/s");
        tell("p50", milliseconds(percentile(&times, 0.5)), "ms");
        tell("p99", milliseconds(percentile(&times, 0.99)), "ms");
        Ok(())
    }
}

/// Makes calls one after the other; how long each took.
async fn make(mut client: Connection, calls: Vec<Call>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(calls.len());
    for (method, path, body) in calls {
        let begun = Instant::now();
        client.call(method, &path, body).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Turns of the conductor.
async fn turns(api: &mut Connection) -> anyhow::Result<f64> {
    let counted = Counted::by(api).await?;
    counted.get("bessemer_conductor_reconciles_total")
}

fn get(path: String) -> Call {
    (Method::GET, path, Bytes::new())
}

fn hold(node: &str) -> Call {
    let reason = Bytes::from_static(br#"{"reason":"benchmark"}"#);
    (Method::POST, format!("/v1/nodes/{node}/hold"), reason)
}
