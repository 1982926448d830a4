//! What a tenant does: order, wait, log in.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::operator::Site;
use crate::demo::shell::Shell;
use crate::demo::tenant::{make_key, ssh_from};

/// The longest from an order to an active server, and from there to a login. Emulated machines are slow,
/// and two of them start at once.
const ORDER_LIMIT: Duration = Duration::from_secs(900);
const LOGIN_LIMIT: Duration = Duration::from_secs(120);

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A member of a project, with a place on one of its networks.
pub(super) struct Tenant<'a> {
    site: &'a Site<'a>,
    shell: Shell,
    namespace: String,
}

/// An order that is to be placed.
pub(super) struct Order<'a> {
    server: &'a str,
    networks: &'a [&'a str],
}

impl<'a> Order<'a> {
    pub(super) fn new(server: &'a str, networks: &'a [&'a str]) -> Self {
        Self { server, networks }
    }
}

/// A server that is active.
pub(super) struct Server {
    pub(super) name: String,
    /// The node that it is on.
    pub(super) node: String,
    /// Its addresses, by network in the order in which they were asked for.
    pub(super) addresses: Vec<Vec<IpAddr>>,
    /// Seconds from the order until it was active.
    pub(super) seconds: f64,
}

impl Server {
    /// Where its tenant reaches it.
    pub(super) fn first(&self) -> Result<IpAddr> {
        let first = self.addresses.first().and_then(|each| each.first());
        first.copied().context("the server has no address")
    }
}

impl<'a> Tenant<'a> {
    /// A member of a project that begins with them.
    pub(super) async fn new(site: &'a Site<'a>, project: &str, namespace: &str) -> Result<Self> {
        let line = [
            "token",
            "create",
            project,
            "--role",
            "member",
            "--project",
            project,
        ];
        let token = site.shell.json(&line).await?;
        let secret = token["secret"]
            .as_str()
            .context("the token has no secret")?;
        let tenant = Self {
            site,
            shell: Shell::new(site.bessemer, site.rack, secret.to_owned()),
            namespace: namespace.to_owned(),
        };
        let key = make_key(site.directory).await?.with_extension("pub");
        let key = ["key", "add", "demo", &key.to_string_lossy()];
        tenant.shell.json(&key).await?;
        Ok(tenant)
    }

    /// Places all `orders` at once, and waits until one can log in to each server.
    pub(super) async fn rent(&self, site: &Site<'_>, orders: &[Order<'_>]) -> Result<Vec<Server>> {
        try_join_all(orders.iter().map(|order| self.rent_one(site, order))).await
    }

    async fn rent_one(&self, site: &Site<'_>, order: &Order<'_>) -> Result<Server> {
        let started = Instant::now();
        let mut line = vec!["server", "create", order.server, "--flavor", "metal"];
        line.extend(["--image", "debian-12", "--key", "demo"]);
        for network in order.networks {
            line.extend(["--network", network]);
        }
        self.shell.json(&line).await?;
        let active = self.active(order.server, started).await?;
        let seconds = started.elapsed().as_secs_f64();
        let nodes = site.shell.json(&["node", "list"]).await?;
        let mut nodes = nodes["items"]
            .as_array()
            .or(nodes.as_array())
            .into_iter()
            .flatten();
        let node = nodes.find(|node| node["server"] == active["id"]);
        let node = node.context("no node has the server")?;
        let server = Server {
            name: order.server.to_owned(),
            node: node["name"].as_str().unwrap_or_default().to_owned(),
            addresses: addresses(&active)?,
            seconds,
        };
        println!(
            "{} is active on {} after {seconds:.1} s",
            server.name, server.node
        );
        self.log_in(&server).await?;
        Ok(server)
    }

    async fn active(&self, server: &str, started: Instant) -> Result<Value> {
        loop {
            let seen = self.shell.json(&["server", "show", server]).await?;
            match seen["status"].as_str() {
                Some("active") => return Ok(seen),
                Some("error") => bail!("{server} failed: {}", seen["reason"]),
                _ => {}
            }
            ensure!(
                started.elapsed() < ORDER_LIMIT,
                "{server} is still {}: {}",
                seen["status"],
                seen["reason"]
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn log_in(&self, server: &Server) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.run(server, "cloud-init status --wait").await {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > LOGIN_LIMIT => return Err(error),
                Err(_) => sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// Runs one command on a server, and gives what it says.
    pub(super) async fn run(&self, server: &Server, line: &str) -> Result<String> {
        let address = server.first()?.to_string();
        let mut command = ssh_from(&self.namespace, self.site.directory, &address, line);
        let output = command.output().await?;
        ensure!(
            output.status.success(),
            "`{line}` on {}: {}",
            server.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The addresses of a server on each of its networks.
fn addresses(server: &Value) -> Result<Vec<Vec<IpAddr>>> {
    let networks = server["networks"].as_array().context("no networks")?;
    let each = networks.iter().map(|network| {
        let addresses = network["addresses"].as_array().into_iter().flatten();
        let parsed =
            addresses.map(|each| Ok(each["address"].as_str().unwrap_or_default().parse()?));
        parsed.collect()
    });
    each.collect()
}
