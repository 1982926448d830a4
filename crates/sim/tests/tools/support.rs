//! One controller with a simulated machine behind it, and the tools' Python.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bessemer_sim::machine::SimulatedMachine;
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Transport};
use tokio::process::Command;
use tokio::time::timeout;

pub(crate) const USERNAME: &str = "admin";
pub(crate) const PASSWORD: &str = "correct horse";

/// Tools finish within seconds, on a busy machine within tens of seconds.
const LIMIT: Duration = Duration::from_secs(240);

/// A program of the tools' environment.
pub(crate) fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/redfish-tools/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `scripts/install-dependencies test`",
        path.display()
    );
    path
}

pub(crate) async fn controller(machine: Arc<SimulatedMachine>) -> (Arc<Bmc>, BmcServer) {
    let credentials = Credentials {
        username: USERNAME.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let bmc = Bmc::new(machine, credentials);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = BmcServer::start(bmc.clone(), listen, Transport::Http);
    (bmc, server.await.expect("a free port"))
}

/// Runs a tool and gives all that it printed; whether it was content, and what it said.
pub(crate) async fn run(mut command: Command) -> (bool, String) {
    let command = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONUNBUFFERED", "1");
    let output = timeout(LIMIT, command.output())
        .await
        .expect("a tool that ends")
        .expect("a tool that starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}
