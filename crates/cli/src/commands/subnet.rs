//! `bessemer subnet`: the addresses of networks, and how much of them is in use.

use std::net::IpAddr;
use std::str::FromStr;

use bessemer_core::subnet::{AddressPool, IpSubnet, Route};
use bessemer_wire::api::{Subnet, SubnetCreate, SubnetUpdate};
use clap::{Args, Subcommand};

use super::Context;
use crate::table::{NOTHING, pairs, table};

/// Takes the gateway away.
const NONE: &str = "none";

/// Subnets of networks.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer subnet create 2001:db8:7::/64 --network tenant --gateway fe80::1
  bessemer subnet usage")]
pub(super) enum Command {
    Create(Create),
    List(List),
    Show(Show),
    Set(Set),
    Delete(Delete),
    /// Tell how full subnets are, the fullest first.
    Usage(List),
}

/// What is said about a subnet.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Default gateway of its servers.
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<IpAddr>,
    /// Name server of its servers; can be given several times.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<IpAddr>,
    /// Route of its servers, such as 10.8.0.0/16=10.0.0.2; can be given several times.
    #[arg(long, value_name = "CIDR=ADDRESS")]
    route: Vec<RouteArgument>,
    /// Addresses given to servers; can be given several times [default: all but the gateway].
    #[arg(long, value_name = "FIRST-LAST")]
    pool: Vec<Pool>,
}

/// Add a subnet to a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer subnet create 10.0.1.0/24 --network backend
  bessemer subnet create 2001:db8:7::/64 --network tenant --gateway fe80::1 \\
      --pool 2001:db8:7::1000-2001:db8:7::1fff --route 2001:db8::/32=2001:db8:7::2")]
pub(super) struct Create {
    /// Its addresses: IPv4 (prefix 8 to 30) or IPv6 (64 to 126).
    cidr: IpSubnet,
    /// The network, by name or id.
    #[arg(long)]
    network: String,
    #[command(flatten)]
    plan: Plan,
}

/// List subnets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer subnet list
  bessemer subnet list --network tenant
  bessemer subnet usage             how full each one is, the fullest first")]
pub(super) struct List {
    /// Only subnets of this network.
    #[arg(long)]
    network: Option<String>,
}

/// Show a subnet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer subnet show 192.168.100.0/24")]
pub(super) struct Show {
    /// Its CIDR or id.
    subnet: String,
}

/// Change a subnet, for servers that are deployed from now on. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer subnet set 192.168.100.0/24 --pool 192.168.100.10-192.168.100.250
  bessemer subnet set 10.0.1.0/24 --gateway none")]
pub(super) struct Set {
    /// Its CIDR or id.
    subnet: String,
    /// Default gateway of its servers, or `none`.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["dns", "route", "pool"])]
    gateway: Option<String>,
    /// Name servers of its servers, all of them.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<IpAddr>,
    /// Routes of its servers, all of them.
    #[arg(long, value_name = "CIDR=ADDRESS")]
    route: Vec<RouteArgument>,
    /// Addresses given to servers, all of them.
    #[arg(long, value_name = "FIRST-LAST")]
    pool: Vec<Pool>,
}

/// Delete a subnet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer subnet delete 10.0.1.0/24")]
pub(super) struct Delete {
    /// Its CIDR or id.
    subnet: String,
}

/// The first and the last of a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool(AddressPool);

impl FromStr for Pool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as 192.168.100.10-192.168.100.200";
        let (first, last) = text.split_once('-').ok_or(wrong)?;
        let address = |text: &str| text.trim().parse().map_err(|_| wrong);
        let (first, last): (IpAddr, IpAddr) = (address(first)?, address(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err("the addresses are of two versions of IP");
        }
        if first > last {
            return Err("the last address comes before the first");
        }
        Ok(Self(AddressPool { first, last }))
    }
}

/// A route: where to, and by way of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RouteArgument(Route);

impl FromStr for RouteArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as 10.8.0.0/16=10.0.0.2";
        let (destination, next_hop) = text.split_once('=').ok_or(wrong)?;
        Ok(Self(Route {
            destination: destination.trim().parse().map_err(|_| wrong)?,
            next_hop: next_hop.trim().parse().map_err(|_| wrong)?,
        }))
    }
}

impl Plan {
    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.gateway.is_none()
            && self.dns.is_empty()
            && self.route.is_empty()
            && self.pool.is_empty()
    }

    pub(super) fn request(self, cidr: IpSubnet) -> SubnetCreate {
        let pools = pools(&self.pool);
        SubnetCreate {
            cidr,
            gateway: self.gateway,
            dns: self.dns,
            routes: self.route.iter().map(|route| route.0).collect(),
            pools: (!pools.is_empty()).then_some(pools),
        }
    }
}

impl Set {
    fn request(self) -> anyhow::Result<SubnetUpdate> {
        let gateway = match self.gateway.as_deref() {
            None => None,
            Some(NONE) => Some(None),
            Some(text) => Some(Some(text.parse().map_err(|_| {
                anyhow::anyhow!("`{text}` is no address: give one for --gateway, or `none`")
            })?)),
        };
        let routes: Vec<_> = self.route.iter().map(|route| route.0).collect();
        let pools = pools(&self.pool);
        Ok(SubnetUpdate {
            gateway,
            dns: (!self.dns.is_empty()).then_some(self.dns),
            routes: (!routes.is_empty()).then_some(routes),
            pools: (!pools.is_empty()).then_some(pools),
        })
    }
}

fn pools(pools: &[Pool]) -> Vec<AddressPool> {
    pools.iter().map(|pool| pool.0).collect()
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(create) => {
            let request = create.plan.request(create.cidr);
            let subnet = client.create_subnet(&create.network, &request).await?;
            format.one(&subnet, |subnet| list(&[subnet]))?;
        }
        Command::List(which) => {
            let subnets = client.subnets(&which.query()).await?;
            format.list(&subnets, list)?;
        }
        Command::Usage(which) => {
            let mut subnets = client.subnets(&which.query()).await?;
            subnets.sort_by_key(|subnet| std::cmp::Reverse(per_mille(subnet)));
            format.list(&subnets, usage)?;
        }
        Command::Show(Show { subnet }) => {
            let subnet = client.subnet(&subnet).await?;
            format.one(&subnet, details)?;
        }
        Command::Set(set) => {
            let name = set.subnet.clone();
            let subnet = client.update_subnet(&name, &set.request()?).await?;
            format.one(&subnet, |subnet| list(&[subnet]))?;
        }
        Command::Delete(Delete { subnet }) => {
            client.delete_subnet(&subnet).await?;
            format.say(format!("subnet {subnet} is deleted"))?;
        }
    }
    Ok(())
}

impl List {
    fn query(&self) -> Vec<(&str, &str)> {
        let network = self.network.as_deref().map(|name| ("network", name));
        network.into_iter().collect()
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn optional(address: Option<IpAddr>) -> String {
    address.map_or(NOTHING.into(), |address| address.to_string())
}

/// One line for every subnet.
pub(super) fn list(subnets: &[&Subnet]) -> String {
    let rows = subnets.iter().map(|subnet| {
        [
            subnet.cidr.to_string(),
            subnet.network_name.clone(),
            optional(subnet.gateway),
            joined(&subnet.dns),
            joined(&subnet.pools),
            format!("{} of {}", subnet.usage.free, subnet.usage.pool),
        ]
    });
    table(
        ["SUBNET", "NETWORK", "GATEWAY", "DNS", "POOLS", "FREE"],
        rows,
    )
}

/// How full a subnet's pools are.
fn per_mille(subnet: &Subnet) -> u64 {
    let usage = subnet.usage;
    let used = usage.pool.saturating_sub(usage.free);
    used.saturating_mul(1000)
        .checked_div(usage.pool)
        .unwrap_or(1000)
}

/// How full each subnet is.
fn usage(subnets: &[&Subnet]) -> String {
    let rows = subnets.iter().map(|subnet| {
        let used = per_mille(subnet);
        let usage = subnet.usage;
        [
            subnet.cidr.to_string(),
            subnet.network_name.clone(),
            usage.pool.to_string(),
            usage.allocated.to_string(),
            usage.reserved.to_string(),
            usage.free.to_string(),
            format!("{}.{} %", used / 10, used % 10),
        ]
    });
    table(
        [
            "SUBNET",
            "NETWORK",
            "POOL",
            "ALLOCATED",
            "RESERVED",
            "FREE",
            "USED",
        ],
        rows,
    )
}

fn details(subnet: &Subnet) -> String {
    let route = |route: &Route| format!("{} by {}", route.destination, route.next_hop);
    let routes: Vec<_> = subnet.routes.iter().map(route).collect();
    let usage = subnet.usage;
    let some = |text: String| (!text.is_empty()).then_some(text);
    pairs([
        ("Subnet", Some(subnet.cidr.to_string())),
        ("Id", Some(subnet.id.to_string())),
        ("Network", Some(subnet.network_name.clone())),
        ("Gateway", subnet.gateway.map(|address| address.to_string())),
        ("DNS", some(joined(&subnet.dns))),
        ("Routes", some(routes.join(", "))),
        ("Pools", some(joined(&subnet.pools))),
        ("Allocated", Some(usage.allocated.to_string())),
        ("Reserved", Some(usage.reserved.to_string())),
        ("Free", Some(format!("{} of {}", usage.free, usage.pool))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_two_addresses_in_order() {
        let pool: Pool = "10.0.0.1-10.0.0.9".parse().unwrap();
        assert_eq!(pool.0.to_string(), "10.0.0.1-10.0.0.9");
        let six: Pool = "2001:db8::1-2001:db8::f".parse().unwrap();
        assert_eq!(six.0.size(), 15);
        for wrong in [
            "10.0.0.1",
            "10.0.0.1-9",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-2001:db8::1",
            "",
        ] {
            assert!(wrong.parse::<Pool>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn routes_are_where_to_and_by_way_of_what() {
        let route: RouteArgument = "10.8.0.0/16=10.0.0.2".parse().unwrap();
        assert_eq!(route.0.destination.to_string(), "10.8.0.0/16");
        assert_eq!(route.0.next_hop.to_string(), "10.0.0.2");
        for wrong in ["10.8.0.0/16", "10.8.0.1/16=10.0.0.2", "10.8.0.0/16=x", ""] {
            assert!(wrong.parse::<RouteArgument>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_report_says_how_full_subnets_are() {
        let id = "00000000-0000-0000-0000-000000000001";
        let subnet: Subnet = serde_json::from_value(serde_json::json!({
            "id": id, "network": id, "network_name": "tenant", "cidr": "192.168.100.0/24",
            "dns": [], "routes": [], "pools": [],
            "usage": { "pool": 90, "free": 60, "allocated": 28, "reserved": 3 },
            "created_at": "2026-11-21T10:00:00Z",
        }))
        .unwrap();
        assert_eq!(
            usage(&[&subnet]),
            "SUBNET            NETWORK  POOL  ALLOCATED  RESERVED  FREE  USED\n\
             192.168.100.0/24  tenant   90    28         3         60    33.3 %"
        );
    }
}
