//! What nodes cost a server that has nothing to do but to look whether their machines are on, by Redfish
//! over TLS: ten thousand of them every minute, which are more than the server keeps connections to, and a
//! thousand with a connection and a session each that are kept.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bessemer_client::Client;
use bessemer_sim::fleet::{Fleet, register};
use tokio::time::sleep;

use crate::connection::Connection;
use crate::counted::Counted;
use crate::figure::figure;
use crate::figures::{milliseconds, progress};
use crate::process::{Folder, Kept, Server};

/// Some nodes and how often each is looked at.
struct Looks {
    nodes: u16,
    every: Duration,
    /// The same as it is said in the configuration.
    configuration: &'static str,
    /// What the names of figures of a look begin with.
    name: &'static str,
}

const TEN_THOUSAND: Looks = Looks {
    nodes: 10_000,
    every: Duration::from_secs(60),
    configuration: "[bmc]\npower_check = 60\n",
    name: "power_check",
};

const KEPT_CONNECTIONS: Looks = Looks {
    nodes: 1000,
    every: Duration::from_secs(10),
    configuration: "[bmc]\npower_check = 10\n",
    name: "power_check_kept_connection",
};

/// How long looks are counted: whole rounds of either.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// The longest until every node has come to rest.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What the server has counted.
#[derive(Clone, Copy)]
struct Counts {
    looks: f64,
    unanswered: f64,
    requests: f64,
}

/// What a server has used that only looks.
struct Used {
    start_up: Duration,
    /// CPU time of each second, in milliseconds.
    cpu: f64,
    /// In MB.
    resident: f64,
}

/// Measures what ten thousand nodes need: time to start, memory, and CPU time and requests of looks.
pub(crate) async fn measure(program: &Path, kept: Kept) -> anyhow::Result<()> {
    let used = TEN_THOUSAND.measure(program, kept).await?;
    let tell = |name: &str, value, unit| figure(&format!("{name}{}", kept.suffix()), value, unit);
    tell("start_up_10000_nodes", used.start_up.as_secs_f64(), "s");
    tell("cpu_10000_nodes", used.cpu, "ms/s");
    tell("rss_10000_nodes", used.resident, "MB");
    Ok(())
}

/// Measures CPU time and requests of looks by connections that are kept.
pub(crate) async fn measure_kept_connections(program: &Path) -> anyhow::Result<()> {
    KEPT_CONNECTIONS.measure(program, Kept::Sqlite).await?;
    Ok(())
}

impl Looks {
    /// Counts looks of a server that has come to rest with its nodes and was started again.
    async fn measure(&self, program: &Path, kept: Kept) -> anyhow::Result<Used> {
        progress(&format!("starting {} controllers", self.nodes));
        let folder = Folder::on(kept, self.configuration).await?;
        let fleet = folder.fleet(self.nodes).await?;
        let mut server = Server::start(program, &folder, false).await?;
        let token = server.first_token().await?;
        self.register(&server, &token, &fleet).await?;
        server.stop().await?;

        // Once more, so that what is measured has done nothing else.
        let server = Server::start(program, &folder, false).await?;
        progress("counting looks at power states");
        let begun = Instant::now();
        while counts(&server).await?.looks < f64::from(self.nodes) {
            ensure!(
                begun.elapsed() < 4 * COUNTED_FOR,
                "the server does not look"
            );
            sleep(Duration::from_secs(1)).await;
        }
        let (begun, before, cpu) = (Instant::now(), counts(&server).await?, server.cpu()?);
        sleep(COUNTED_FOR).await;
        let (after, used) = (counts(&server).await?, server.cpu()? - cpu);
        let (took, looks) = (begun.elapsed(), after.looks - before.looks);
        let rounds = COUNTED_FOR.div_duration_f64(self.every);
        ensure!(
            looks >= f64::from(self.nodes) * rounds * 0.9 && after.unanswered == before.unanswered,
            "the server does not get round: {looks} looks"
        );
        let tell = |what: &str, value, unit| {
            let name = self.name;
            figure(&format!("{name}_{what}{}", kept.suffix()), value, unit);
        };
        tell("cpu", milliseconds(used) / looks, "ms");
        let requests = after.requests - before.requests;
        tell("requests", requests / looks, "requests");
        let used = Used {
            start_up: server.start_up,
            cpu: milliseconds(used) / took.as_secs_f64(),
            resident: server.resident()?,
        };
        server.stop().await?;
        Ok(used)
    }

    /// Registers all machines. There is nothing to boot them from, so all of them fail, are switched off,
    /// and rest.
    async fn register(&self, server: &Server, token: &str, fleet: &Fleet) -> anyhow::Result<()> {
        progress("registering them");
        let api = Client::new(&format!("http://{}", server.api), Some(token))?;
        register(&api, fleet.registrations("node-"), |_| {}).await?;
        let begun = Instant::now();
        let mut counters = Connection::open(server.api, None).await?;
        while Counted::by(&mut counters).await?.nodes("failed")? < f64::from(self.nodes) {
            ensure!(
                begun.elapsed() < PATIENCE,
                "not every node has come to rest"
            );
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

async fn counts(server: &Server) -> anyhow::Result<Counts> {
    // A round is as long as a connection may idle.
    let mut api = Connection::open(server.api, None).await?;
    let counted = Counted::by(&mut api).await?;
    Ok(Counts {
        looks: counted.get("bessemer_power_checks_total")?,
        unanswered: counted.get("bessemer_power_checks_unanswered_total")?,
        requests: counted.get("bessemer_bmc_requests_total")?,
    })
}
