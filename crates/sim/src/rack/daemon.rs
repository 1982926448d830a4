//! The process that lives in the switch's namespace, is every node's BMC and owns their QEMUs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::description::RackDescription;
use super::directory::StateDirectory;
use super::node;
use crate::Error;
use crate::ipmi::IpmiServer;
use crate::machine::QemuMachine;
use crate::redfish::{Bmc, BmcServer, Credentials, Transport};

/// Where Redfish is served.
const HTTPS_PORT: u16 = 443;
/// Where IPMI is served (UDP), beside it.
const IPMI_PORT: u16 = 623;

/// Serves the BMCs of the rack described in `directory` until SIGTERM or SIGINT, then cuts the
/// power of every machine.
///
/// # Errors
/// When there is no rack, or a BMC cannot be served.
pub async fn serve(directory: &StateDirectory) -> Result<(), Error> {
    let cannot_watch = Error::file("watch signals for", "the daemon");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_watch)?;
    let cannot_watch = Error::file("watch signals for", "the daemon");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_watch)?;
    let rack = RackDescription::load(directory)?;
    let rack = rack.ok_or_else(|| Error::NotUp {
        directory: directory.path().to_owned(),
    })?;
    let (mut servers, mut consoles) = (Vec::new(), Vec::new());
    for (node, number) in rack.nodes.iter().zip(1_u16..) {
        let settings = node::settings(directory, &rack, node);
        let machine = QemuMachine::new(settings, node::inventory(&rack, node));
        let credentials = Credentials {
            username: node.bmc_username.clone(),
            password: node.bmc_password.expose().to_owned(),
        };
        let bmc = Bmc::new(Arc::new(machine), credentials);
        let address = SocketAddr::from((super::layout::bmc_address(number), HTTPS_PORT));
        let certificate = node::certificate(directory, &node.name, number)?;
        consoles.push(IpmiServer::start(bmc.clone(), (address.ip(), IPMI_PORT).into()).await?);
        servers.push(BmcServer::start(bmc, address, Transport::Https(certificate)).await?);
        tracing::info!(node = node.name, %address, "BMC listens");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending: every machine loses power");
    Ok(())
}
