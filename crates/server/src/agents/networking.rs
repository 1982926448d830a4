//! The network of a new server, as its operating system is to configure it.

use std::collections::HashSet;
use std::net::IpAddr;

use bessemer_core::attach;
use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, Bond, BondMode, CheckedNetworking, FixedAddress, Gateway, IpPrefix,
    LacpRate, Link, NetworkingError, NodeNetworking, ParsePrefixError, Port, Route, Tag,
};
use bessemer_core::port_plan::{AttachmentMode, GroupMode};
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

/// The networks of a server on the NICs and bonds that carry them.
///
/// The first subnet with a gateway is the way to everywhere else, for each version of IP; of several
/// routes to one place, the first is taken; name servers are asked in the order of the networks.
pub(super) fn of(placed: &[Placed]) -> Result<CheckedNetworking, Error> {
    let mut networking = NodeNetworking::default();
    let mut known = Known::default();
    for each in placed {
        let Some(link) = &each.link else {
            continue;
        };
        let addressing = addressing(each, &mut known)?;
        // A network without any address is nothing that could be configured.
        if addressing.is_empty() {
            continue;
        }
        let link = add_link(&mut networking, link, each.plan.mtu);
        networking.attachments.push(Attachment {
            // Names of networks are no two projects' alike; ids are.
            network: each.network.id.to_string(),
            link,
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

/// Notes that a link takes part: with the largest packets of what it carries, all its NICs alike.
fn add_link(networking: &mut NodeNetworking, link: &attach::Link, mtu: u16) -> Link {
    match link {
        attach::Link::Port(mac) => {
            add_port(networking, *mac, mtu);
            Link::Port(*mac)
        }
        attach::Link::Bond(bond) => {
            let index = add_bond(networking, bond, mtu);
            for mac in &bond.members {
                add_port(networking, *mac, mtu);
            }
            Link::Bond(index)
        }
    }
}

fn add_bond(networking: &mut NodeNetworking, bond: &attach::Bond, mtu: u16) -> usize {
    let bonds = &mut networking.bonds;
    let known = bonds.iter().position(|each| each.members == bond.members);
    if let Some(index) = known {
        bonds[index].mtu = bonds[index].mtu.max(mtu);
        return index;
    }
    bonds.push(Bond {
        members: bond.members.clone(),
        mode: match bond.mode {
            GroupMode::ActiveBackup => BondMode::ActiveBackup,
            // Of a group that is not bonded no bond is made.
            GroupMode::Lacp | GroupMode::None => BondMode::Lacp {
                rate: LacpRate::Fast,
            },
        },
        mtu,
    });
    bonds.len() - 1
}

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
    use bessemer_core::port_plan::{self, Carrier};
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
                physical_network: None,
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
                carrier: Carrier::Port(mac(1)),
                vlan: 100 + u16::try_from(number).unwrap(),
                mode,
                mtu: 1500,
                segment: None,
            },
            link: Some(attach::Link::Port(mac(1))),
        }
    }

    fn mac(number: u8) -> MacAddress {
        MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
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
    #[test]
    fn a_bond_has_the_mtu_of_the_largest_network_on_it() {
        let bonded = |number, mtu, mode| {
            let cidr = format!("10.0.{number}.0/24");
            let (gateway, address) = (format!("10.0.{number}.1"), format!("10.0.{number}.9"));
            let subnet = plan(&cidr, &gateway, &[]);
            let mut placed = placed(number, AttachmentMode::Tagged, vec![(subnet, &[&address])]);
            placed.plan.mtu = mtu;
            placed.link = Some(attach::Link::Bond(attach::Bond {
                members: vec![mac(2), mac(1)],
                mode,
            }));
            placed
        };
        for (mode, name) in [
            (GroupMode::Lacp, "802.3ad"),
            (GroupMode::ActiveBackup, "active-backup"),
        ] {
            let document = document(&[bonded(1, 1500, mode), bonded(2, 9000, mode)]);
            let links = document["links"].as_array().unwrap();
            let told = |link: &Value| (link["id"].clone(), link["mtu"].clone());
            let told: Vec<_> = links.iter().map(told).collect();
            assert_eq!(
                serde_json::json!(told),
                serde_json::json!([
                    ["nic0", 9000],
                    ["nic1", 9000],
                    ["bond0", 9000],
                    ["bond0.101", 1500],
                    ["bond0.102", 9000]
                ]),
                "{document}"
            );
            let bond = &links[2];
            assert_eq!(bond["bond_mode"], name, "{document}");
            assert_eq!(bond["bond_links"], serde_json::json!(["nic0", "nic1"]));
            assert_eq!(links[0]["ethernet_mac_address"], mac(2).to_string());
        }
    }
}
