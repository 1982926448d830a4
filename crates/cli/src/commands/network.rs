//! `bessemer network`: where servers are to be reached.

use std::net::Ipv4Addr;
use std::str::FromStr;

use bessemer_core::net::Ipv4Subnet;
use bessemer_wire::api::{Network, NetworkCreate};
use clap::{Args, Subcommand};

use super::Context;
use crate::table::{NOTHING, table};

/// Networks that servers are reached on.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer network create tenant --vlan 100 --subnet 192.168.100.0/24 \\
      --gateway 192.168.100.1 --pool 192.168.100.10-192.168.100.200
  bessemer network list")]
pub(super) enum Command {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Make a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network create tenant --vlan 100 --subnet 192.168.100.0/24 \\
      --gateway 192.168.100.1 --dns 192.168.100.1 --pool 192.168.100.10-192.168.100.200
  bessemer network create storage --vlan 200 --subnet 10.20.0.0/16 \\
      --pool 10.20.1.1-10.20.9.254 --mtu 9000")]
pub(super) struct Create {
    /// Its name, unique.
    name: String,
    /// Its VLAN on the switches, 1 to 4094; unique.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: u16,
    /// Its IPv4 subnet, such as 192.168.100.0/24.
    #[arg(long)]
    subnet: Ipv4Subnet,
    /// Default gateway of its servers.
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Name server of its servers; can be given several times.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<Ipv4Addr>,
    /// Addresses given to servers.
    #[arg(long, value_name = "FIRST-LAST")]
    pool: Pool,
    /// Maximum transmission unit in bytes, 1280 to 9216 [default: 1500].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9216))]
    mtu: Option<u16>,
}

/// List networks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network list")]
pub(super) struct List {}

/// Delete a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network delete storage")]
pub(super) struct Delete {
    /// Its name or id.
    network: String,
}

/// The first and the last of a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool(Ipv4Addr, Ipv4Addr);

impl FromStr for Pool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as 192.168.100.10-192.168.100.200";
        let (first, last) = text.split_once('-').ok_or(wrong)?;
        let address = |text: &str| text.trim().parse().map_err(|_| wrong);
        let (first, last) = (address(first)?, address(last)?);
        if first > last {
            return Err("the last address comes before the first");
        }
        Ok(Self(first, last))
    }
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(create) => {
            let network = client.create_network(&create.request()).await?;
            format.one(&network, |network| networks(&[network]))?;
        }
        Command::List(List {}) => {
            let list = client.networks().await?;
            format.list(&list, networks)?;
        }
        Command::Delete(Delete { network }) => {
            client.delete_network(&network).await?;
            format.say(format!("network {network} is deleted"))?;
        }
    }
    Ok(())
}

impl Create {
    fn request(self) -> NetworkCreate {
        let Pool(pool_first, pool_last) = self.pool;
        NetworkCreate {
            name: self.name,
            vlan: self.vlan,
            subnet: self.subnet,
            gateway: self.gateway,
            dns: self.dns,
            pool_first,
            pool_last,
            mtu: self.mtu,
        }
    }
}

fn networks(networks: &[&Network]) -> String {
    let rows = networks.iter().map(|network| {
        let Network {
            pool_first,
            pool_last,
            used,
            ..
        } = network;
        let size = u64::from(u32::from(*pool_last).saturating_sub(u32::from(*pool_first))) + 1;
        [
            network.name.clone(),
            network.vlan.to_string(),
            network.subnet.to_string(),
            network
                .gateway
                .map_or(NOTHING.into(), |gateway| gateway.to_string()),
            format!("{pool_first}-{pool_last}"),
            format!("{used} of {size}"),
            network.mtu.to_string(),
        ]
    });
    table(
        ["NAME", "VLAN", "SUBNET", "GATEWAY", "POOL", "USED", "MTU"],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_two_addresses_in_order() {
        let pool: Pool = "10.0.0.1-10.0.0.9".parse().unwrap();
        assert_eq!(pool, Pool([10, 0, 0, 1].into(), [10, 0, 0, 9].into()));
        for wrong in ["10.0.0.1", "10.0.0.1-9", "10.0.0.9-10.0.0.1", ""] {
            assert!(wrong.parse::<Pool>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_is_one_line() {
        let network: Network = serde_json::from_value(serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000001", "name": "tenant", "vlan": 100,
            "subnet": "192.168.100.0/24", "dns": [], "pool_first": "192.168.100.10",
            "pool_last": "192.168.100.19", "mtu": 1500, "used": 3,
        }))
        .unwrap();
        assert_eq!(
            networks(&[&network]),
            "NAME    VLAN  SUBNET            GATEWAY  POOL                           USED     MTU\n\
             tenant  100   192.168.100.0/24  -        192.168.100.10-192.168.100.19  3 of 10  1500"
        );
    }
}
