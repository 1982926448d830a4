//! `bessemer node port`: the NICs of a node, and where their cables lead.

use bessemer_core::net::MacAddress;
use bessemer_wire::api::{NodePortDetails, NodePortUpdate};
use clap::{Args, Subcommand};

use super::super::Context;
use crate::table::{NOTHING, table};

/// What takes a declaration back.
const NONE: &str = "none";

/// The NICs of a node: their switch ports, physical networks, and which one boots.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer node port list rack1-u07
  bessemer node port set rack1-u07 52:54:00:12:34:57 --switch leaf2 --switch-port swp7")]
pub(in crate::commands) enum Command {
    List(List),
    Set(Set),
}

/// List the ports of a node, with what was found of them at the last inspection.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port list rack1-u07
  bessemer node port list rack1-u07 -o json | jq '.items[] | select(.link == false)'")]
pub(in crate::commands) struct List {
    /// The node's name or id.
    node: String,
}

/// Change a port of a node that has no server. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port set rack1-u07 52:54:00:12:34:57 --switch leaf2 --switch-port swp7
  bessemer node port set rack1-u07 52:54:00:12:34:57 --physical-network storage
  bessemer node port set rack1-u07 52:54:00:12:34:57 --physical-network none
  bessemer node port set rack1-u07 52:54:00:12:34:57 --boots")]
pub(in crate::commands) struct Set {
    /// The node's name or id.
    node: String,
    /// The port's MAC address.
    mac: MacAddress,
    /// The switch that it is cabled to.
    #[arg(
        long, value_name = "NAME",
        required_unless_present_any = ["switch_port", "no_switch", "physical_network", "boots"]
    )]
    switch: Option<String>,
    /// The switch's port, by its own name for it.
    #[arg(long, value_name = "PORT")]
    switch_port: Option<String>,
    /// It is cabled to no switch that is known.
    #[arg(long, conflicts_with_all = ["switch", "switch_port"])]
    no_switch: bool,
    /// The physical network that its cable leads to, or `none` if that is not to be declared.
    #[arg(long, value_name = "NAME")]
    physical_network: Option<String>,
    /// The agent boots from it, and from no other one.
    #[arg(long)]
    boots: bool,
}

impl Set {
    fn request(&self) -> NodePortUpdate {
        let declared = |given: &Option<String>| {
            let given = given.clone()?;
            Some(Some(given).filter(|given| given != NONE))
        };
        let cable = |given: &Option<String>| match given {
            Some(given) => Some(Some(given.clone())),
            None => self.no_switch.then_some(None),
        };
        NodePortUpdate {
            switch: cable(&self.switch),
            switch_port: cable(&self.switch_port),
            physical_network: declared(&self.physical_network),
            boots: self.boots.then_some(true),
        }
    }
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::List(List { node }) => {
            let ports = client.node_ports(&node).await?;
            format.list(&ports, list)?;
        }
        Command::Set(set) => {
            let mac = set.mac.to_string();
            let update = set.request();
            let port = client.update_node_port(&set.node, &mac, &update).await?;
            format.one(&port, |port| list(&[port]))?;
        }
    }
    Ok(())
}

/// One line for every port.
fn list(ports: &[&NodePortDetails]) -> String {
    let rows = ports.iter().map(|details| {
        let port = &details.port;
        let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.into());
        let cable = port.switch.as_ref().zip(port.switch_port.as_ref());
        [
            port.mac.to_string(),
            optional(&details.name),
            cable.map_or(NOTHING.into(), |(switch, port)| format!("{switch} {port}")),
            optional(&port.physical_network),
            optional(&port.group),
            link(details),
            if port.boots { "yes" } else { "no" }.to_owned(),
        ]
    });
    table(
        [
            "MAC",
            "NAME",
            "SWITCH PORT",
            "PHYSICAL NETWORK",
            "GROUP",
            "LINK",
            "BOOTS",
        ],
        rows,
    )
}

fn link(port: &NodePortDetails) -> String {
    match (port.link, port.speed_mbps) {
        (Some(true), Some(speed)) => format!("{speed} Mbit/s"),
        (Some(true), None) => "yes".into(),
        (Some(false), _) => "no".into(),
        (None, _) => NOTHING.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_line() {
        let port = |value| serde_json::from_value::<NodePortDetails>(value).unwrap();
        let first = port(serde_json::json!({
            "mac": "52:54:00:12:34:56", "switch": "leaf1", "switch_port": "swp7", "boots": true,
            "group": "bond0", "name": "eth0", "link": true, "speed_mbps": 10000,
        }));
        let second = port(serde_json::json!({
            "mac": "52:54:00:12:34:57", "physical_network": "storage", "link": false,
        }));
        assert_eq!(
            list(&[&first, &second]),
            "MAC                NAME  SWITCH PORT  PHYSICAL NETWORK  GROUP  LINK          BOOTS\n\
             52:54:00:12:34:56  eth0  leaf1 swp7   -                 bond0  10000 Mbit/s  yes\n\
             52:54:00:12:34:57  -     -            storage           -      no            no"
        );
    }
}
