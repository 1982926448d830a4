//! The network of a new server, as its operating system is to configure it.

use std::collections::HashSet;
use std::net::IpAddr;

use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, CheckedNetworking, FixedAddress, Gateway, IpPrefix, Link,
    NetworkingError, NodeNetworking, ParsePrefixError, Port, Route, Tag,
};
use bessemer_core::port_plan::{AttachmentMode, Carrier};
use bessemer_core::subnet::SubnetPlan;

use crate::attachments::Placed;

/// What was ordered makes no network. The API refuses such orders, so this is a bug of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// An address or its prefix.
    #[error(transparent)]
    Prefix(#[from] ParsePrefixError),
    /// What they are put together to.
    #[error("the server's network cannot be described: {0}")]
    Networking(#[from] NetworkingError),
}

/// The networks of a server on the NICs that carry them.
///
/// The first subnet with a gateway is the way to everywhere else, for each version of IP; of several
/// routes to one place, the first is taken; name servers are asked in the order of the networks.
pub(super) fn of(placed: &[Placed]) -> Result<CheckedNetworking, Error> {
    let mut networking = NodeNetworking::default();
    let mut known = Known::default();
    for each in placed {
        let Carrier::Port(mac) = each.plan.carrier else {
            continue;
        };
        let addressing = addressing(each, &mut known)?;
        // A network without any address is nothing that could be configured.
        if addressing.is_empty() {
            continue;
        }
        add_port(&mut networking, mac, each.plan.mtu);
        networking.attachments.push(Attachment {
            // Names of networks are no two projects' alike; ids are.
            network: each.network.id.to_string(),
            link: Link::Port(mac),
            tag: match each.plan.mode {
                AttachmentMode::Native => Tag::Native,
                AttachmentMode::Tagged => Tag::Vlan {
                    id: each.plan.vlan,
                    mtu: each.plan.mtu,
                },
            },
            addressing,
        });
        let subnets = each.network.subnets.iter();
        for server in subnets.flat_map(|subnet| &subnet.plan.dns) {
            if !networking.name_servers.contains(server) {
                networking.name_servers.push(*server);
            }
        }
    }
    Ok(networking.check()?)
}

/// What earlier networks have said.
#[derive(Default)]
struct Known {
    /// Versions of IP (whether it is the sixth) with a default gateway.
    gateways: HashSet<bool>,
    destinations: HashSet<String>,
}

fn addressing(placed: &Placed, known: &mut Known) -> Result<Vec<Addressing>, Error> {
    let mut all = Vec::new();
    let mut subnets = HashSet::new();
    for (id, address) in &placed.record.addresses {
        let found = placed
            .network
            .subnets
            .iter()
            .find(|subnet| subnet.id == *id);
        let Some(plan) = found.map(|subnet| &subnet.plan) else {
            continue;
        };
        let first = subnets.insert(*id);
        let fixed = FixedAddress {
            address: IpPrefix::new(*address, plan.cidr.prefix())?,
            gateway: gateway(plan, first, known),
            routes: if first {
                routes(plan, known)?
            } else {
                Vec::new()
            },
        };
        all.push(Addressing::Fixed(fixed));
    }
    Ok(all)
}

/// The subnet's gateway, if this is its first address and no other one is the default yet.
fn gateway(plan: &SubnetPlan, first: bool, known: &mut Known) -> Option<Gateway> {
    let address = plan.gateway.filter(|_| first)?;
    known.gateways.insert(address.is_ipv6()).then_some(Gateway {
        address,
        on_link: false,
    })
}

fn routes(plan: &SubnetPlan, known: &mut Known) -> Result<Vec<Route>, Error> {
    let mut routes = Vec::new();
    for route in &plan.routes {
        let destination = route.destination;
        if known.destinations.insert(destination.to_string()) {
            let gateway: IpAddr = route.next_hop;
            let destination = IpPrefix::new(destination.first(), destination.prefix())?;
            routes.push(Route {
                destination,
                gateway,
            });
        }
    }
    Ok(routes)
}

/// Notes that a NIC takes part: with the largest packets of what it carries.
fn add_port(networking: &mut NodeNetworking, mac: MacAddress, mtu: u16) {
    match networking.ports.iter_mut().find(|port| port.mac == mac) {
        Some(port) => port.mtu = port.mtu.max(mtu),
        None => networking.ports.push(Port {
            mac,
            name: None,
            mtu,
        }),
    }
}

#[cfg(test)]
mod tests {
    use bessemer_core::Timestamp;
    use bessemer_core::id::{NetworkId, SubnetId};
    use bessemer_core::network::{NetworkKind, NetworkScope};
    use bessemer_core::network_data::network_data;
    use bessemer_core::port_plan;
    use bessemer_core::subnet;
    use bessemer_store::{AttachmentRecord, NetworkRecord, SubnetRecord};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn plan(cidr: &str, gateway: &str, dns: &[&str]) -> SubnetPlan {
        SubnetPlan {
            cidr: cidr.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            dns: dns.iter().map(|each| each.parse().unwrap()).collect(),
            routes: vec![subnet::Route {
                destination: "198.51.100.0/24".parse().unwrap(),
                next_hop: gateway.parse().unwrap(),
            }],
            pools: vec![],
        }
    }

    /// Network `number` with these subnets, and the server's addresses in them.
    fn placed(number: u128, mode: AttachmentMode, subnets: Vec<(SubnetPlan, &[&str])>) -> Placed {
        let network = NetworkId(Uuid::from_u128(number));
        let mut addresses = Vec::new();
        let mut records = Vec::new();
        for (index, (plan, own)) in subnets.into_iter().enumerate() {
            let id = SubnetId(Uuid::from_u128(number * 16 + index as u128));
            addresses.extend(own.iter().map(|each| (id, each.parse().unwrap())));
            records.push(SubnetRecord {
                id,
                network,
                network_name: format!("n{number}"),
                plan,
                created_at: Timestamp::UNIX_EPOCH,
                allocated: 0,
                reserved: 0,
                free: 0,
            });
        }
        Placed {
            network: NetworkRecord {
                id: network,
                name: format!("n{number}"),
                kind: NetworkKind::Vlan,
                scope: NetworkScope::Public,
                project: None,
                vlan: Some(100),
                vni: None,
                mtu: 1500,
                created_at: Timestamp::UNIX_EPOCH,
                servers: 1,
                subnets: records,
            },
            record: AttachmentRecord {
                network,
                port: None,
                mode: None,
                addresses,
            },
            plan: port_plan::Attachment {
                network: format!("n{number}"),
                carrier: Carrier::Port("52:54:00:00:00:01".parse().unwrap()),
                vlan: 100 + u16::try_from(number).unwrap(),
                mode,
                mtu: 1500,
                segment: None,
            },
        }
    }

    fn document(placed: &[Placed]) -> Value {
        network_data(&of(placed).unwrap())
    }

    #[test]
    fn several_networks_have_one_way_out_and_each_name_server_once() {
        let mut six = plan("2001:db8::/64", "fe80::1", &["2001:db8::53"]);
        six.routes.clear();
        let first = placed(
            1,
            AttachmentMode::Native,
            vec![
                (
                    plan("192.168.100.0/24", "192.168.100.1", &["192.168.100.53"]),
                    &["192.168.100.10", "192.168.100.50"],
                ),
                (six, &["2001:db8::10"]),
            ],
        );
        let second = placed(
            2,
            AttachmentMode::Tagged,
            vec![(
                plan("10.0.0.0/24", "10.0.0.1", &["192.168.100.53", "10.0.0.53"]),
                &["10.0.0.7"],
            )],
        );
        // A network without an address is left to its owner.
        let bare = placed(3, AttachmentMode::Tagged, vec![]);
        let document = document(&[first, second, bare]);
        let links = document["links"].as_array().unwrap();
        let kinds: Vec<_> = links.iter().map(|link| &link["type"]).collect();
        assert_eq!(kinds, ["phy", "vlan"], "{document}");
        assert_eq!(links[1]["vlan_id"], 102);
        let networks = document["networks"].as_array().unwrap();
        let gateways: Vec<_> = networks
            .iter()
            .filter_map(|network| network["gateway"].as_str())
            .collect();
        assert_eq!(gateways, ["192.168.100.1", "fe80::1"], "{document}");
        let addresses: Vec<_> = networks
            .iter()
            .filter_map(|network| network["ip_address"].as_str())
            .collect();
        assert_eq!(addresses.len(), 4, "{document}");
        let services = document["services"].as_array().unwrap();
        let servers: Vec<_> = services.iter().map(|service| &service["address"]).collect();
        assert_eq!(servers, ["192.168.100.53", "2001:db8::53", "10.0.0.53"]);
        // One route to one place.
        let routes = document.to_string().matches("198.51.100.0").count();
        assert_eq!(routes, 1, "{document}");
    }
}
