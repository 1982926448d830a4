//! `bessemer address`: addresses that are not free, and who had which when.

use std::net::IpAddr;

use bessemer_wire::api::{Address, AddressHistoryEntry, AddressReserve};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::table::{NOTHING, table};
use crate::words::ago;

/// Addresses of networks.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer address list --network tenant
  bessemer address reserve 192.168.100.50 --network tenant
  bessemer address history 192.168.100.50 --at 2026-11-21T10:00:00Z")]
pub(super) enum Command {
    List(List),
    /// Show an address that is not free.
    Show(Named),
    Allocate(Allocate),
    Reserve(Reserve),
    /// Release a reserved address: it is free then, or goes with the server that has it.
    Release(Named),
    Move(Move),
    History(History),
}

/// List the addresses that are not free: of the project; for operators, of all projects.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address list
  bessemer address list --network tenant --state reserved --sort=-since
  bessemer address list --server web-1")]
pub(super) struct List {
    /// Only addresses of this network.
    #[arg(long)]
    network: Option<String>,
    /// Only addresses of this subnet, by CIDR or id.
    #[arg(long)]
    subnet: Option<String>,
    /// Only addresses of this server.
    #[arg(long)]
    server: Option<String>,
    /// Only addresses of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only those that a server has (allocated), or none (reserved).
    #[arg(long, value_parser = ["allocated", "reserved"])]
    state: Option<String>,
    /// What they are sorted by; `-` reverses.
    #[arg(
        long, value_name = "FIELD", allow_hyphen_values = true, default_value = "address",
        value_parser = ["address", "-address", "since", "-since"]
    )]
    sort: String,
}

/// An address of a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address show 192.168.100.50 --network tenant
  bessemer address release 192.168.100.50 --network tenant")]
pub(super) struct Named {
    /// The address.
    address: IpAddr,
    /// Its network, by name or id.
    #[arg(long)]
    network: String,
}

/// Reserve the next free address of a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address allocate --network tenant --description 'for the load balancer'
  bessemer address allocate --network tenant --subnet 2001:db8:7::/64")]
pub(super) struct Allocate {
    /// Its subnet, by CIDR or id, if the network has several.
    #[arg(long)]
    subnet: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Reserve an address: a free one, or one that a server of the project has. It stays the project's
/// until it is released.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address reserve 192.168.100.50 --network tenant
  bessemer address reserve 192.168.100.2 --network tenant --nobody --description 'second router'")]
pub(super) struct Reserve {
    /// The address.
    address: IpAddr,
    /// Keep it from everybody; for operators.
    #[arg(long, conflicts_with = "project")]
    nobody: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Its network, by name or id.
    #[arg(long)]
    network: String,
    /// For this project; for operators.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

/// Move a reserved address to a server on the same network.
///
/// The servers' systems are for their owner to tell; their next deployment writes it down.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address move 192.168.100.50 --network tenant --server web-2")]
pub(super) struct Move {
    /// The address.
    address: IpAddr,
    /// Its network, by name or id.
    #[arg(long)]
    network: String,
    /// The server that is to have it.
    #[arg(long)]
    server: String,
}

/// Tell who had which address when, the latest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer address history 192.168.100.50
  bessemer address history 192.168.100.50 --network tenant --at 2026-11-21T10:00:00Z
  bessemer address history --server web-1")]
pub(super) struct History {
    /// The address.
    address: Option<IpAddr>,
    /// Only of this network, by name; by id also if it is gone.
    #[arg(long)]
    network: Option<String>,
    /// Only of this server, by name; by id also if it is gone.
    #[arg(long)]
    server: Option<String>,
    /// Only what was so at this moment.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::List(which) => {
            let list = client.addresses(&which.query()).await?;
            format.list(&list, |list| addresses(list, Timestamp::now()))?;
        }
        Command::Show(Named { address, network }) => {
            let address = client.address(&network, address).await?;
            format.one(&address, |address| addresses(&[address], Timestamp::now()))?;
        }
        Command::Allocate(arguments) => {
            let request = AddressReserve {
                subnet: arguments.subnet,
                ..arguments.common.request()
            };
            let address = client.reserve_address(&request).await?;
            format.one(&address, |address| addresses(&[address], Timestamp::now()))?;
        }
        Command::Reserve(arguments) => {
            let request = AddressReserve {
                address: Some(arguments.address),
                nobody: arguments.nobody,
                ..arguments.common.request()
            };
            let address = client.reserve_address(&request).await?;
            format.one(&address, |address| addresses(&[address], Timestamp::now()))?;
        }
        Command::Release(Named { address, network }) => {
            client.release_address(&network, address).await?;
            format.say(format!("address {address} is released"))?;
        }
        Command::Move(arguments) => {
            let (network, server) = (&arguments.network, &arguments.server);
            let address = client
                .move_address(network, arguments.address, server)
                .await?;
            format.one(&address, |address| addresses(&[address], Timestamp::now()))?;
        }
        Command::History(which) => {
            let list = which.ask(context).await?;
            format.list(&list, history)?;
        }
    }
    Ok(())
}

impl List {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("sort", self.sort.as_str())];
        for (name, value) in [
            ("network", &self.network),
            ("subnet", &self.subnet),
            ("server", &self.server),
            ("project", &self.project),
        ] {
            query.extend(value.as_deref().map(|value| (name, value)));
        }
        let allocated = self.state.as_deref().map(|state| state == "allocated");
        query.extend(allocated.map(|yes| ("allocated", if yes { "true" } else { "false" })));
        query
    }
}

impl Common {
    fn request(self) -> AddressReserve {
        AddressReserve {
            network: self.network,
            subnet: None,
            address: None,
            project: self.project,
            nobody: false,
            description: self.description,
        }
    }
}

impl History {
    async fn ask(
        self,
        context: &Context,
    ) -> anyhow::Result<Vec<bessemer_client::Document<AddressHistoryEntry>>> {
        let address = self.address.map(|address| address.to_string());
        let at = self.at.map(|at| at.to_string());
        let mut query = Vec::new();
        for (name, value) in [
            ("address", &address),
            ("network", &self.network),
            ("server", &self.server),
            ("at", &at),
        ] {
            query.extend(value.as_deref().map(|value| (name, value)));
        }
        Ok(context.client.address_history(&query).await?)
    }
}

fn addresses(addresses: &[&Address], now: Timestamp) -> String {
    let rows = addresses.iter().map(|address| {
        let state = match (&address.server, address.reserved) {
            (Some(_), true) => "allocated, reserved",
            (Some(_), false) => "allocated",
            (None, _) if address.project.is_none() => "kept from all",
            (None, _) => "reserved",
        };
        [
            address.address.to_string(),
            address.network_name.clone(),
            state.to_owned(),
            address.server_name.clone().unwrap_or(NOTHING.into()),
            ago(address.since, now),
            address.description.clone(),
        ]
    });
    table(
        [
            "ADDRESS",
            "NETWORK",
            "STATE",
            "SERVER",
            "SINCE",
            "DESCRIPTION",
        ],
        rows,
    )
}

fn history(entries: &[&AddressHistoryEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let id = entry.server.map(|server| server.to_string());
        let holder = match &entry.server_name {
            Some(name) => name.clone(),
            None => "(reserved)".to_owned(),
        };
        let until = entry.until.map(|until| until.to_string());
        [
            entry.address.to_string(),
            entry.network_name.clone(),
            entry.since.to_string(),
            until.unwrap_or("now".into()),
            holder,
            id.unwrap_or(NOTHING.into()),
            entry
                .project
                .map_or(NOTHING.into(), |project| project.to_string()),
        ]
    });
    table(
        [
            "ADDRESS",
            "NETWORK",
            "FROM",
            "UNTIL",
            "SERVER",
            "SERVER ID",
            "PROJECT",
        ],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn an_address_is_one_line() {
        let address: Address = serde_json::from_value(json!({
            "address": "2001:db8::7", "subnet": ID, "cidr": "2001:db8::/64", "network": ID,
            "network_name": "tenant", "project": ID, "server": ID, "server_name": "web-1",
            "reserved": true, "description": "balancer", "since": "2026-11-21T10:00:00Z",
        }))
        .unwrap();
        assert_eq!(
            addresses(&[&address], "2026-11-21T12:00:00Z".parse().unwrap()),
            "ADDRESS      NETWORK  STATE                SERVER  SINCE   DESCRIPTION\n\
             2001:db8::7  tenant   allocated, reserved  web-1   2h ago  balancer"
        );
    }

    #[test]
    fn the_history_says_from_when_until_when() {
        let entry: AddressHistoryEntry = serde_json::from_value(json!({
            "address": "192.168.100.10", "subnet": ID, "network": ID, "network_name": "tenant",
            "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T11:00:00Z",
        }))
        .unwrap();
        let shown = history(&[&entry]);
        let line = shown.lines().nth(1).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            [
                "192.168.100.10",
                "tenant",
                "2026-11-21T10:00:00Z",
                "2026-11-21T11:00:00Z",
                "(reserved)",
                "-",
                "-"
            ]
        );
    }
}
