//! `bessemer network`: what servers are put on.

use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_wire::api::{Network, NetworkCreate, NetworkUpdate};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use super::subnet::{self, Plan};
use crate::table::{NOTHING, pairs, table};
use crate::words::ago;

/// What takes a declaration back.
const NONE: &str = "none";

/// Networks that servers are put on.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer network create tenant --vlan 100 --subnet 192.168.100.0/24 \\
      --gateway 192.168.100.1 --pool 192.168.100.10-192.168.100.200
  bessemer network create backend --subnet 10.0.0.0/24
  bessemer network list")]
pub(super) enum Command {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Set(Set),
    Delete(Delete),
}

/// Make a network: members a private one, operators one for everybody unless they say otherwise.
///
/// A VLAN id or VNI that is not given is taken from the site's pool.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network create backend --subnet 10.0.0.0/24
  bessemer network create tenant --vlan 100 --subnet 192.168.100.0/24 \\
      --gateway 192.168.100.1 --dns 192.168.100.1 --pool 192.168.100.10-192.168.100.200
  bessemer network create storage --scope shared --vlan 200 --subnet 10.20.0.0/16 \\
      --pool 10.20.1.1-10.20.9.254 --mtu 9000
  bessemer network create far --kind vxlan --project web --subnet 2001:db8:7::/64")]
pub(super) struct Create {
    /// Its name: unique in the project, and none that everybody knows.
    name: String,
    /// What it is on the switches [default: vlan].
    #[arg(long, value_name = "KIND", value_parser = kind_parser())]
    kind: Option<NetworkKind>,
    /// Who may use it.
    #[arg(long, value_name = "SCOPE", value_parser = scope_parser())]
    scope: Option<NetworkScope>,
    /// The project whose own it is, if it is private; for operators.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Its VLAN on the switches, 1 to 4094; unique; for operators.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
    /// Its VXLAN network identifier, 1 to 16777215; unique; for operators.
    #[arg(long, conflicts_with = "vlan", value_parser = clap::value_parser!(u32).range(1..=0xff_ffff))]
    vni: Option<u32>,
    /// Maximum transmission unit in bytes, 1280 to 9216 [default: 1500].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9216))]
    mtu: Option<u16>,
    /// The physical network that it is part of: its servers are put on ports that lead there; for
    /// operators.
    #[arg(long, value_name = "NAME")]
    physical_network: Option<String>,
    /// Its first subnet; `bessemer subnet create` adds others.
    #[arg(long, value_name = "CIDR")]
    subnet: Option<bessemer_core::subnet::IpSubnet>,
    #[command(flatten)]
    plan: Plan,
}

/// List the networks that can be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network list
  bessemer network list --scope private --sort=-created_at")]
pub(super) struct List {
    /// Only networks of this kind.
    #[arg(long, value_name = "KIND", value_parser = kind_parser())]
    kind: Option<NetworkKind>,
    /// Only networks of this scope.
    #[arg(long, value_name = "SCOPE", value_parser = scope_parser())]
    scope: Option<NetworkScope>,
    /// Only the private networks of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What they are sorted by; `-` reverses.
    #[arg(
        long, value_name = "FIELD", allow_hyphen_values = true, default_value = "name",
        value_parser = ["name", "-name", "created_at", "-created_at"]
    )]
    sort: String,
}

/// Show a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network show tenant")]
pub(super) struct Show {
    /// Its name or id.
    network: String,
}

/// Change a network. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network set storage --mtu 9000      for servers that are deployed from now on
  bessemer network set tenant --name web --scope shared")]
pub(super) struct Set {
    /// Its name or id.
    network: String,
    /// Its new name.
    #[arg(long, required_unless_present_any = ["scope", "mtu", "physical_network"])]
    name: Option<String>,
    /// Who may use it: public or shared.
    #[arg(long, value_name = "SCOPE", value_parser = scope_parser())]
    scope: Option<NetworkScope>,
    /// Maximum transmission unit in bytes, 1280 to 9216.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9216))]
    mtu: Option<u16>,
    /// The physical network that it is part of, or `none`; for operators, while no server is on it.
    #[arg(long, value_name = "NAME")]
    physical_network: Option<String>,
}

/// Delete a network with its subnets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer network delete storage")]
pub(super) struct Delete {
    /// Its name or id.
    network: String,
}

fn kind_parser() -> impl TypedValueParser<Value = NetworkKind> {
    PossibleValuesParser::new(NetworkKind::ALL.iter().map(|kind| kind.name())).try_map(|name| {
        let mut all = NetworkKind::ALL.iter().copied();
        all.find(|kind| kind.name() == name)
            .ok_or("there is no such kind")
    })
}

fn scope_parser() -> impl TypedValueParser<Value = NetworkScope> {
    PossibleValuesParser::new(NetworkScope::ALL.iter().map(|scope| scope.name())).try_map(|name| {
        let mut all = NetworkScope::ALL.iter().copied();
        all.find(|scope| scope.name() == name)
            .ok_or("there is no such scope")
    })
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(create) => {
            let network = client.create_network(&create.request()?).await?;
            format.one(&network, |network| networks(&[network]))?;
        }
        Command::List(list) => {
            let list = client.networks(&list.query()).await?;
            format.list(&list, networks)?;
        }
        Command::Show(Show { network }) => {
            let network = client.network(&network).await?;
            format.one(&network, |network| details(network, Timestamp::now()))?;
        }
        Command::Set(set) => {
            let update = NetworkUpdate {
                name: set.name,
                scope: set.scope,
                mtu: set.mtu,
                physical_network: set
                    .physical_network
                    .map(|name| Some(name).filter(|name| name != NONE)),
            };
            let network = client.update_network(&set.network, &update).await?;
            format.one(&network, |network| networks(&[network]))?;
        }
        Command::Delete(Delete { network }) => {
            client.delete_network(&network).await?;
            format.say(format!("network {network} is deleted"))?;
        }
    }
    Ok(())
}

impl Create {
    fn request(self) -> anyhow::Result<NetworkCreate> {
        if self.subnet.is_none() && !self.plan.is_empty() {
            anyhow::bail!("gateway, name servers, routes and pools are a subnet's: give --subnet");
        }
        // A VNI says what it is.
        let implied = self.vni.map(|_| NetworkKind::Vxlan);
        Ok(NetworkCreate {
            name: self.name,
            kind: self.kind.or(implied).unwrap_or_default(),
            scope: self.scope,
            project: self.project,
            vlan: self.vlan,
            vni: self.vni,
            mtu: self.mtu,
            physical_network: self.physical_network,
            subnets: self
                .subnet
                .map(|cidr| self.plan.request(cidr))
                .into_iter()
                .collect(),
        })
    }
}

impl List {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("sort", self.sort.as_str())];
        query.extend(self.kind.map(|kind| ("kind", kind.name())));
        query.extend(self.scope.map(|scope| ("scope", scope.name())));
        query.extend(self.project.as_deref().map(|name| ("project", name)));
        query
    }
}

/// What a network is on the switches, such as `vlan 100`.
fn segment(network: &Network) -> String {
    let number = network.vlan.map(u32::from).or(network.vni);
    let number = number.map_or(NOTHING.into(), |number| number.to_string());
    format!("{} {number}", network.kind.name())
}

fn networks(networks: &[&Network]) -> String {
    let rows = networks.iter().map(|network| {
        let subnets = network.subnets.iter();
        let subnets: Vec<_> = subnets.map(|subnet| subnet.cidr.to_string()).collect();
        [
            network.name.clone(),
            network.scope.name().to_owned(),
            segment(network),
            subnets.join(", "),
            network.servers.to_string(),
            network.mtu.to_string(),
        ]
    });
    table(
        ["NAME", "SCOPE", "SEGMENT", "SUBNETS", "SERVERS", "MTU"],
        rows,
    )
}

fn details(network: &Network, now: Timestamp) -> String {
    let subnets: Vec<_> = network.subnets.iter().collect();
    let own = pairs([
        ("Name", Some(network.name.clone())),
        ("Id", Some(network.id.to_string())),
        ("Scope", Some(network.scope.name().to_owned())),
        (
            "Project",
            network.project.map(|project| project.to_string()),
        ),
        ("Segment", Some(segment(network))),
        ("MTU", Some(network.mtu.to_string())),
        ("Physical network", network.physical_network.clone()),
        ("Servers", Some(network.servers.to_string())),
        ("Made", Some(ago(network.created_at, now))),
    ]);
    if subnets.is_empty() {
        return own;
    }
    format!("{own}\n\n{}", subnet::list(&subnets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_one_line() {
        let id = "00000000-0000-0000-0000-000000000001";
        let made = "2026-11-21T10:00:00Z";
        let network: Network = serde_json::from_value(serde_json::json!({
            "id": id, "name": "tenant", "kind": "vlan", "scope": "public", "vlan": 100,
            "mtu": 1500, "servers": 3, "created_at": made,
            "subnets": [{ "id": id, "network": id, "network_name": "tenant",
                "cidr": "192.168.100.0/24", "gateway": "192.168.100.1", "dns": [], "routes": [],
                "pools": [{ "first": "192.168.100.10", "last": "192.168.100.19" }],
                "usage": { "pool": 10, "free": 6, "allocated": 3, "reserved": 1 },
                "created_at": made }],
        }))
        .unwrap();
        assert_eq!(
            networks(&[&network]),
            "NAME    SCOPE   SEGMENT   SUBNETS           SERVERS  MTU\n\
             tenant  public  vlan 100  192.168.100.0/24  3        1500"
        );
        let shown = details(&network, "2026-11-21T12:00:00Z".parse().unwrap());
        assert!(shown.contains("192.168.100.10-192.168.100.19"), "{shown}");
        assert!(shown.contains("2h ago"), "{shown}");
    }
}
