//! What it costs to look whether machines are on: 500 controllers that speak TLS, each with a
//! connection and a session that are kept.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bessemer_core::lifecycle::Standby;
use bessemer_core::net::MacAddress;
use bessemer_sim::machine::SimulatedMachine;
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Transport};
use bessemer_tls::SelfSigned;
use bessemer_wire::api::{BmcCreate, BmcTrust, NodeCreate, NodePortCreate};
use bytes::Bytes;
use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::figures::{figure, progress};
use crate::process::{Folder, Server};

const NODES: u16 = 500;

/// As often as the configuration below says.
const ROUND: Duration = Duration::from_secs(10);
const CONFIGURATION: &str = "[bmc]\npower_check = 10\n";

/// Rounds that are counted.
const ROUNDS: u32 = 4;

/// The longest until every node has come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the server has counted.
#[derive(Clone, Copy)]
struct Counts {
    looks: f64,
    unanswered: f64,
    requests: f64,
}

/// Measures CPU time and requests of a look at the power state of one machine.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    progress("starting controllers");
    let certificates = tempfile::tempdir()?;
    let controllers = controllers(certificates.path()).await?;
    let folder = Folder::with(CONFIGURATION)?;
    let mut server = Server::start(program, &folder, false).await?;
    let token = server.first_token().await?;
    let mut api = Connection::open(server.api, Some(&token)).await?;
    for (number, controller) in (1..).zip(&controllers) {
        api.call(Method::POST, "/v1/nodes", node(number, controller)?)
            .await?;
    }
    // There is nothing to boot them from, so all of them fail, are switched off, and rest.
    let begun = Instant::now();
    while number(&text(&mut api).await?, "bessemer_nodes{phase=\"failed\"}")? < f64::from(NODES) {
        ensure!(
            begun.elapsed() < PATIENCE,
            "not every node has come to rest"
        );
        sleep(Duration::from_millis(500)).await;
    }
    progress("counting looks at power states");
    sleep(ROUND).await;
    let (before, cpu) = (counts(&mut api).await?, server.cpu()?);
    sleep(ROUND * ROUNDS).await;
    let (after, used) = (counts(&mut api).await?, server.cpu()?.saturating_sub(cpu));
    let looks = after.looks - before.looks;
    ensure!(
        looks >= f64::from(NODES) * f64::from(ROUNDS - 1) && after.unanswered == before.unanswered,
        "the server does not get round: {looks} looks"
    );
    figure("power_check_cpu", used.as_secs_f64() * 1e3 / looks, "ms");
    figure(
        "power_check_requests",
        (after.requests - before.requests) / looks,
        "requests",
    );
    figure("rss_500_power_checks", server.resident()?, "MB");
    server.stop().await
}

async fn controllers(folder: &Path) -> anyhow::Result<Vec<BmcServer>> {
    let at = |name| folder.join(name);
    let mut controllers = Vec::new();
    for number in 0..NODES {
        let [high, low] = number.to_be_bytes();
        let names = ["127.0.0.1".to_owned()];
        let own = SelfSigned::load_or_create(&at("certificate.pem"), &at("key.pem"), &names)?;
        let credentials = Credentials {
            username: "bessemer".into(),
            password: "not-a-secret".into(),
        };
        let bmc = Bmc::new(Arc::new(SimulatedMachine::numbered(number)), credentials);
        let listen = (Ipv4Addr::new(127, 5, high, low), 0).into();
        controllers.push(BmcServer::start(bmc, listen, Transport::Https(own)).await?);
    }
    Ok(controllers)
}

fn node(number: u16, controller: &BmcServer) -> anyhow::Result<Bytes> {
    let [high, low] = number.to_be_bytes();
    let fingerprint = controller.fingerprint().context("it speaks TLS")?;
    let node = NodeCreate {
        standby: Standby::ByFlavor,
        name: format!("node-{number}"),
        rack: None,
        bmc: BmcCreate {
            url: controller.url(),
            username: "bessemer".into(),
            password: "not-a-secret".into(),
            trust: BmcTrust::Pinned(fingerprint.to_string()),
            ipmi_key: None,
        },
        ports: vec![NodePortCreate::bare(MacAddress::new([
            2, 5, high, low, 0, 0,
        ])?)],
        port_groups: Vec::new(),
        boot_method: None,
        root_disk_hint: None,
    };
    Ok(serde_json::to_vec(&node)?.into())
}

async fn text(api: &mut Connection) -> anyhow::Result<String> {
    Ok(String::from_utf8(api.get("/metrics").await?.to_vec())?)
}

async fn counts(api: &mut Connection) -> anyhow::Result<Counts> {
    let text = text(api).await?;
    Ok(Counts {
        looks: number(&text, "bessemer_power_checks_total")?,
        unanswered: number(&text, "bessemer_power_checks_unanswered_total")?,
        requests: number(&text, "bessemer_bmc_requests_total")?,
    })
}

/// The value of a metric.
fn number(text: &str, name: &str) -> anyhow::Result<f64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("there is no metric {name}"))?;
    Ok(value.trim().parse()?)
}
