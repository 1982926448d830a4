//! What a node costs the server over a whole life: enrolled, available, active, released, and available
//! again; with a thousand simulated machines that take no time of their own.
//!
//! Machines speak Redfish over TLS, boot the agent by virtual media, and write a real image to sparse
//! files. The fleet runs in this process, so that only the server's own work is in its CPU time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bessemer_client::Client;
use bessemer_core::lifecycle::Phase;
use bessemer_sim::fleet::{Fleet, register};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::counted::Counted;
use crate::figure::figure;
use crate::figures::{milliseconds, progress};
use crate::offer;
use crate::process::{Folder, Kept, Server};

/// How many machines.
const NODES: u16 = 1000;

/// Power checks are measured apart.
const NO_POWER_CHECKS: &str = "[bmc]\npower_check = 0\n";

/// What nodes are named, before their numbers.
const PREFIX: &str = "node-";

/// Between two looks at how far the nodes are.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest that one part of the cycle may take for all nodes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Measures a cycle of all nodes.
pub(crate) async fn measure(program: &Path, kept: Kept) -> anyhow::Result<()> {
    let folder = Folder::for_fleet(kept, NO_POWER_CHECKS).await?;
    let fleet = folder.fleet(NODES).await?;
    let mut server = Server::start(program, &folder, false).await?;
    let token = server.first_token().await?;
    let cycle = Cycle {
        api: Client::new(&format!("http://{}", server.api), Some(&token))?,
        counters: Connection::open(server.api, None).await?,
        fleet: &fleet,
        server: &server,
        kept,
    };
    cycle.run(&folder).await?;
    server.stop().await
}

/// What has been used up to a moment.
#[derive(Clone, Copy)]
struct Used {
    at: Instant,
    cpu: Duration,
    bmc_requests: u64,
    commits: f64,
    turns: f64,
}

struct Cycle<'c> {
    api: Client,
    counters: Connection,
    fleet: &'c Fleet,
    server: &'c Server,
    kept: Kept,
}

impl Cycle<'_> {
    async fn run(mut self, folder: &Folder) -> anyhow::Result<()> {
        progress("enrolling 1,000 machines");
        let begun = self.used().await?;
        register(&self.api, self.fleet.registrations(PREFIX), |_| {}).await?;
        self.all(Phase::Available).await?;
        let enrolled = self.used().await?;
        self.tell("enroll", begun, enrolled);

        offer::make(&self.api, folder.path(), &format!("{PREFIX}00001")).await?;
        progress("ordering all of them at once");
        let offered = self.used().await?;
        self.order().await?;
        self.all(Phase::Active).await?;
        let active = self.used().await?;
        self.tell("deploy", offered, active);

        progress("releasing all of them");
        self.release().await?;
        self.all(Phase::Available).await?;
        let released = self.used().await?;
        self.tell("release", active, released);
        // What was put on offer once is no node's.
        let whole = Used {
            at: begun.at + (offered.at - enrolled.at),
            cpu: begun.cpu + (offered.cpu - enrolled.cpu),
            bmc_requests: begun.bmc_requests,
            commits: begun.commits + (offered.commits - enrolled.commits),
            turns: begun.turns,
        };
        self.tell("full_cycle", whole, released);
        self.figure("rss_1000_nodes_cycled", self.server.resident()?, "MB");
        Ok(())
    }

    async fn used(&mut self) -> anyhow::Result<Used> {
        let counted = Counted::by(&mut self.counters).await?;
        Ok(Used {
            at: Instant::now(),
            cpu: self.server.cpu()?,
            bmc_requests: self.fleet.bmc_requests(),
            commits: counted.get("bessemer_store_commits_total")?,
            turns: counted.get("bessemer_conductor_reconciles_total")?,
        })
    }

    /// Tells what each node has taken in between.
    fn tell(&self, name: &str, from: Used, to: Used) {
        let each = |all: f64| all / f64::from(NODES);
        let figure = |what, value, unit| self.figure(&format!("{name}_{what}"), value, unit);
        figure("cpu", each(milliseconds(to.cpu - from.cpu)), "ms");
        let requests = to.bmc_requests - from.bmc_requests;
        figure("bmc_requests", each(requests as f64), "requests");
        figure("commits", each(to.commits - from.commits), "commits");
        figure("turns", each(to.turns - from.turns), "turns");
        figure("settle", (to.at - from.at).as_secs_f64(), "s");
    }

    fn figure(&self, name: &str, value: f64, unit: &str) {
        figure(&format!("{name}{}", self.kept.suffix()), value, unit);
    }

    /// Sends all orders at once, and tells how long it is until the last one is accepted.
    async fn order(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut orders = JoinSet::new();
        for number in 0..NODES {
            let api = self.api.clone();
            orders.spawn(async move {
                let name = server(number);
                api.create_server(&offer::order(&name), &name).await
            });
        }
        while let Some(placed) = orders.join_next().await {
            placed?.context("an order is refused although there is a node for each")?;
        }
        let took = begun.elapsed().as_secs_f64();
        self.figure("orders_1000_accepted", took, "s");
        Ok(())
    }

    async fn release(&self) -> anyhow::Result<()> {
        let mut releases = JoinSet::new();
        for number in 0..NODES {
            let api = self.api.clone();
            releases.spawn(async move { api.delete_server(&server(number)).await });
        }
        while let Some(released) = releases.join_next().await {
            released??;
        }
        Ok(())
    }

    /// Waits until every node has settled in `phase`.
    async fn all(&mut self, phase: Phase) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let counted = Counted::by(&mut self.counters).await?;
            if counted.nodes("failed")? > 0.0 {
                return self.tell_failure().await;
            }
            if counted.nodes(phase.name())? == f64::from(NODES) && self.all_settled(phase).await? {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "not every node is {} in time",
                phase.name()
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn all_settled(&self, phase: Phase) -> anyhow::Result<bool> {
        let nodes = self.api.nodes(Some(phase), false).await?;
        let settled = nodes.iter().filter(|node| node.state.settled());
        Ok(settled.count() == usize::from(NODES))
    }

    async fn tell_failure(&self) -> anyhow::Result<()> {
        let failed = self.api.nodes(Some(Phase::Failed), false).await?;
        let node = failed.first().context("a node has failed and recovered")?;
        bail!("node {} has failed: {:?}", node.name, node.state.reason)
    }
}

fn server(number: u16) -> String {
    format!("server-{number}")
}
