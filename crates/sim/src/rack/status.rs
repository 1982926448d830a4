//! What the rack's BMCs and its switch say at this moment.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bmc::{BmcAnswer, ask_all};
use super::description::RackDescription;
use super::directory::StateDirectory;
use super::switch;
use crate::Error;

/// A node as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The node's name.
    pub name: String,
    /// Its BMC's answer; absent if the BMC did not give one.
    pub bmc: Option<BmcAnswer>,
    /// Why the BMC did not answer.
    pub bmc_error: Option<String>,
    /// The switch port of its first NIC.
    pub switch_port: String,
    /// The access VLAN of that port; absent if the port or the switch is gone, or it carries several.
    pub vlan: Option<u16>,
}

/// Asks every BMC and the switch.
///
/// # Errors
/// When no rack is up. A part that does not answer is not an error but its status.
pub async fn status(directory: &StateDirectory) -> Result<Vec<NodeStatus>, Error> {
    let rack = RackDescription::load(directory)?;
    let rack = rack.ok_or_else(|| Error::NotUp {
        directory: directory.path().to_owned(),
    })?;
    let mut vlans = BTreeMap::new();
    for switch in &rack.switches {
        match switch::vlans(switch).await {
            Ok(known) => vlans.extend(known),
            Err(error) => tracing::warn!(
                switch = switch.name,
                error = &error as &dyn std::error::Error,
                "the switch does not answer"
            ),
        }
    }
    let answers = ask_all(rack.nodes.clone()).await?;
    let statuses = rack.nodes.into_iter().zip(answers).map(|(node, answer)| {
        let (bmc, bmc_error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(with_sources(&error))),
        };
        let first = node.nics.into_iter().next();
        let switch_port = first.map_or_else(String::new, |nic| nic.switch_port);
        // A bonded port goes by the name of its bond.
        let vlan = vlans.get(&switch_port).copied();
        let vlan = vlan.or_else(|| vlans.get(&format!("lag-{switch_port}")).copied());
        NodeStatus {
            name: node.name,
            bmc,
            bmc_error,
            vlan,
            switch_port,
        }
    });
    Ok(statuses.collect())
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
