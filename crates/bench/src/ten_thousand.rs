//! What ten thousand nodes cost a server that has nothing to do but to look, every minute, whether
//! their machines are on: by Redfish over TLS, each by a connection and a session that are kept.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bessemer_client::Client;
use bessemer_sim::fleet::{Fleet, register};
use tokio::time::sleep;

use crate::connection::Connection;
use crate::counted::Counted;
use crate::figures::{figure, milliseconds, progress};
use crate::process::{Folder, Kept, Server};

const NODES: u16 = 10_000;

/// As often as the configuration below says, which is the default.
const ROUND: Duration = Duration::from_secs(60);
const CONFIGURATION: &str = "[bmc]\npower_check = 60\n";

/// The longest until every node has come to rest.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What the server has counted.
#[derive(Clone, Copy)]
struct Counts {
    looks: f64,
    unanswered: f64,
    requests: f64,
}

/// Measures start-up, memory, and CPU time and requests of looks at power states.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    progress("starting 10,000 controllers");
    let folder = Folder::on(Kept::Sqlite, CONFIGURATION).await?;
    let fleet = folder.fleet(NODES).await?;
    let mut server = Server::start(program, &folder, false).await?;
    let token = server.first_token().await?;
    register_all(&server, &token, &fleet).await?;
    server.stop().await?;

    // Once more, so that what is measured has done nothing else.
    let server = Server::start(program, &folder, false).await?;
    let start_up = server.start_up.as_secs_f64();
    figure("start_up_10000_nodes", start_up, "s");
    progress("counting looks at power states");
    let begun = Instant::now();
    while counts(&server).await?.looks < f64::from(NODES) {
        ensure!(begun.elapsed() < 4 * ROUND, "the server does not look");
        sleep(Duration::from_secs(1)).await;
    }
    let (begun, before, cpu) = (Instant::now(), counts(&server).await?, server.cpu()?);
    sleep(ROUND).await;
    let (after, used) = (counts(&server).await?, server.cpu()? - cpu);
    let (took, looks) = (begun.elapsed(), after.looks - before.looks);
    ensure!(
        looks >= f64::from(NODES) * 0.9 && after.unanswered == before.unanswered,
        "the server does not get round: {looks} looks"
    );
    let used = milliseconds(used);
    figure("power_check_cpu", used / looks, "ms");
    let requests = after.requests - before.requests;
    figure("power_check_requests", requests / looks, "requests");
    figure("cpu_10000_nodes", used / took.as_secs_f64(), "ms/s");
    figure("rss_10000_nodes", server.resident()?, "MB");
    server.stop().await
}

/// Registers all machines. There is nothing to boot them from, so all of them fail, are switched off,
/// and rest.
async fn register_all(server: &Server, token: &str, fleet: &Fleet) -> anyhow::Result<()> {
    progress("registering them");
    let api = Client::new(&format!("http://{}", server.api), Some(token))?;
    register(&api, fleet.registrations("node-"), |_| {}).await?;
    let begun = Instant::now();
    let mut counters = Connection::open(server.api, None).await?;
    while Counted::by(&mut counters).await?.nodes("failed")? < f64::from(NODES) {
        ensure!(
            begun.elapsed() < PATIENCE,
            "not every node has come to rest"
        );
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
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
