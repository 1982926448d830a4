//! OpenStack's `network_data.json`, as cloud-init reads it from the config drive.
//!
//! Format: OpenStack Nova, `doc/api_schemas/network_data.json`, as read by cloud-init's
//! `cloudinit/sources/helpers/openstack.py` (`convert_net_json`). cloud-init hands what it read to one of
//! five renderers, and these do not agree on what they honour. Where Nova's own form is lost by one
//! of them, this document says it in a form that none loses, and that is why it differs:
//!
//! - The default gateway is the network's `gateway`, not a route to `0.0.0.0`: for such a route the
//!   renderer for ifupdown calls `route`, ignores its failure, and few images have that program.
//! - Name servers are listed as `services`, and once more on one network of each link
//!   (`dns_nameservers`, `dns_search`): NetworkManager's renderer knows only these.
//! - A bond's mode and hash policy are written with dashes as well: NetworkManager's renderer looks
//!   for `bond-mode`, and without it makes a round-robin bond, on which LACP never comes up.
//!
//! What is beyond help is listed, by renderer, in `core/tests/cloud_init` and docs/networking.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::check::CheckedNetworking;
use super::interface::{Interface, Kind, interfaces, name_servers};
use super::model::{
    Addressing, Attachment, BondMode, FixedAddress, IpPrefix, LacpRate, NodeNetworking,
};

/// The document.
pub fn network_data(networking: &CheckedNetworking) -> Value {
    let interfaces = interfaces(networking);
    let mut networks = Vec::new();
    for interface in &interfaces {
        if let Some(attachment) = interface.attachment {
            add_networks(&mut networks, (interface, attachment), networking.get());
        }
    }
    let links: Vec<_> = interfaces.iter().map(link).collect();
    json!({
        "links": links,
        "networks": networks,
        "services": services(networking.get()),
    })
}

fn link(interface: &Interface) -> Value {
    let mut link = match &interface.kind {
        Kind::Port { port, .. } => {
            let mut link = json!({ "type": "phy", "ethernet_mac_address": interface.mac });
            // An interface with a name is renamed; the others keep what the system calls them.
            if port.name.is_some() || !interface.vlans.is_empty() {
                link["name"] = json!(interface.name);
            }
            link
        }
        Kind::Bond { bond, members } => {
            let mut link = json!({
                "type": "bond",
                "ethernet_mac_address": interface.mac,
                "bond_links": members,
            });
            for (key, value) in bond_options(bond.mode) {
                link[key] = value;
            }
            link
        }
        Kind::Vlan { parent, id } => json!({
            "type": "vlan",
            "vlan_link": parent,
            "vlan_id": id,
            "vlan_mac_address": interface.mac,
        }),
    };
    link["id"] = json!(interface.name);
    link["mtu"] = json!(interface.mtu);
    link
}

fn bond_options(mode: BondMode) -> Vec<(&'static str, Value)> {
    let mut options = vec![("bond_miimon", json!(100))];
    match mode {
        BondMode::Lacp { rate } => {
            let rate = match rate {
                LacpRate::Fast => "fast",
                LacpRate::Slow => "slow",
            };
            options.extend([
                ("bond_mode", json!("802.3ad")),
                ("bond-mode", json!("802.3ad")),
                ("bond_xmit_hash_policy", json!("layer3+4")),
                ("bond-xmit-hash-policy", json!("layer3+4")),
                ("bond_lacp_rate", json!(rate)),
            ]);
        }
        BondMode::ActiveBackup => options.extend([
            ("bond_mode", json!("active-backup")),
            ("bond-mode", json!("active-backup")),
        ]),
    }
    options
}

/// Every address of an interface is a network of its own, fixed ones first.
fn add_networks(
    networks: &mut Vec<Value>,
    (interface, attachment): (&Interface, &Attachment),
    networking: &NodeNetworking,
) {
    let fixed = interface.fixed().into_iter().map(fixed_network);
    let automatic = attachment.addressing.iter().filter_map(automatic_network);
    for (index, mut network) in fixed.chain(automatic).enumerate() {
        network.insert("id".into(), json!(format!("network{}", networks.len())));
        network.insert("network_id".into(), json!(attachment.network));
        network.insert("link".into(), json!(interface.name));
        if index == 0 && !networking.name_servers.is_empty() {
            network.insert("dns_nameservers".into(), json!(name_servers(networking)));
        }
        if index == 0 && !networking.search_domains.is_empty() {
            network.insert("dns_search".into(), json!(networking.search_domains));
        }
        networks.push(Value::Object(network));
    }
}

fn fixed_network(fixed: &FixedAddress) -> Map<String, Value> {
    let address = fixed.address;
    let family = if address.address().is_ipv4() {
        "ipv4"
    } else {
        "ipv6"
    };
    let routes = fixed.routes.iter().map(|route| {
        json!({
            "network": route.destination.address(),
            "netmask": netmask(route.destination),
            "gateway": route.gateway,
        })
    });
    let mut network = Map::new();
    network.insert("type".into(), json!(family));
    network.insert("ip_address".into(), json!(address.address()));
    network.insert("netmask".into(), json!(netmask(address)));
    if let Some(gateway) = fixed.gateway {
        network.insert("gateway".into(), json!(gateway.address));
    }
    network.insert("routes".into(), routes.collect());
    network
}

fn automatic_network(addressing: &Addressing) -> Option<Map<String, Value>> {
    let kind = match addressing {
        Addressing::Fixed(_) => return None,
        Addressing::Dhcpv4 => "ipv4_dhcp",
        Addressing::Dhcpv6 => "ipv6_dhcp",
        Addressing::Slaac => "ipv6_slaac",
    };
    Some(Map::from_iter([
        ("type".to_owned(), json!(kind)),
        ("routes".to_owned(), json!([])),
    ]))
}

/// The prefix as the format has it, for either family: an address with as many ones.
fn netmask(prefix: IpPrefix) -> IpAddr {
    let length = u32::from(prefix.length());
    if prefix.address().is_ipv4() {
        let ones = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        IpAddr::V4(Ipv4Addr::from(ones))
    } else {
        let ones = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        IpAddr::V6(Ipv6Addr::from(ones))
    }
}

/// The name servers of the whole system. The search domains go with the first; where there is
/// none, they go with a list of none, because a service without any address is dropped.
fn services(networking: &NodeNetworking) -> Vec<Value> {
    let servers = networking.name_servers.iter();
    let mut services: Vec<_> = servers
        .map(|address| json!({ "type": "dns", "address": address }))
        .collect();
    if !networking.search_domains.is_empty() {
        if services.is_empty() {
            services.push(json!({ "type": "dns", "address": [] }));
        }
        services[0]["search"] = json!(networking.search_domains);
    }
    services
}
