//! What was ordered, as facts about interfaces: worked out from the description here, and not by
//! the generator under test.

use std::collections::BTreeMap;

use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, BondMode, LacpRate, Link, NodeNetworking, Tag,
};
use serde_json::{Value, json};

use crate::Facts;
use crate::cases::Case;

/// What the files of this renderer should say.
pub(crate) fn facts(case: &Case, renderer: &str) -> Facts {
    let port = |case, mac| port(case, mac, renderer);
    let networking = case.networking.get();
    let mut facts = Facts::new();
    let mut say = |interface: &str, field: &str, value: Value| {
        facts.insert((interface.to_owned(), field.to_owned()), value);
    };
    for (bond, name) in networking.bonds.iter().zip(["bond0", "bond1"]) {
        let members = bond.members.iter().map(|mac| port(case, *mac));
        let mut members: Vec<_> = members.collect();
        members.sort();
        for mac in &bond.members {
            let member = port(case, *mac);
            say(&member, "kind", json!("port"));
            say(&member, "mac", json!(mac));
            say(&member, "mtu", json!(bond.mtu));
        }
        say(name, "kind", json!("bond"));
        say(name, "mtu", json!(bond.mtu));
        say(name, "members", json!(members));
        let (mode, rate) = match bond.mode {
            BondMode::Lacp {
                rate: LacpRate::Fast,
            } => ("802.3ad", Some("fast")),
            BondMode::Lacp {
                rate: LacpRate::Slow,
            } => ("802.3ad", Some("slow")),
            BondMode::ActiveBackup => ("active-backup", None),
        };
        say(name, "mode", json!(mode));
        if let Some(rate) = rate {
            say(name, "lacp_rate", json!(rate));
        }
    }
    for attachment in &networking.attachments {
        let parent = match attachment.link {
            Link::Port(mac) => port(case, mac),
            Link::Bond(number) => format!("bond{number}"),
        };
        if let Link::Port(mac) = attachment.link {
            let its_port = networking
                .ports
                .iter()
                .find(|port| port.mac == mac)
                .unwrap();
            say(&parent, "kind", json!("port"));
            say(&parent, "mac", json!(mac));
            say(&parent, "mtu", json!(its_port.mtu));
        }
        let name = match attachment.tag {
            Tag::Native => parent,
            Tag::Vlan { id, mtu } => {
                let name = format!("{parent}.{id}");
                say(&name, "kind", json!("vlan"));
                say(&name, "vlan_id", json!(id));
                say(&name, "parent", json!(parent));
                say(&name, "mtu", json!(mtu));
                name
            }
        };
        for (field, value) in addresses(attachment) {
            say(&name, field, value);
        }
    }
    if !networking.name_servers.is_empty() {
        say("", "name_servers", json!(networking.name_servers));
    }
    if !networking.search_domains.is_empty() {
        say("", "search_domains", json!(networking.search_domains));
    }
    facts
}

fn addresses(attachment: &Attachment) -> Vec<(&'static str, Value)> {
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for addressing in &attachment.addressing {
        let mut add = |field, value: String| lists.entry(field).or_default().push(value);
        match addressing {
            Addressing::Dhcpv4 => add("automatic", "dhcpv4".into()),
            Addressing::Dhcpv6 => add("automatic", "dhcpv6".into()),
            Addressing::Slaac => add("automatic", "slaac".into()),
            Addressing::Fixed(fixed) => {
                add("addresses", fixed.address.to_string());
                if let Some(gateway) = fixed.gateway {
                    add("gateways", gateway.address.to_string());
                    if gateway.on_link {
                        add("on_link", gateway.address.to_string());
                    }
                }
                for route in &fixed.routes {
                    add(
                        "routes",
                        format!("{} via {}", route.destination, route.gateway),
                    );
                }
            }
        }
    }
    let lists = lists.into_iter().map(|(field, mut values)| {
        values.sort();
        (field, json!(values))
    });
    lists.collect()
}

/// The name of a NIC: its own, or `nic` with its number if it carries VLANs or wicked has to know it,
/// or the system's.
fn port(case: &Case, mac: MacAddress, renderer: &str) -> String {
    let networking: &NodeNetworking = case.networking.get();
    let place = networking
        .ports
        .iter()
        .position(|port| port.mac == mac)
        .unwrap();
    let tagged = |attachment: &Attachment| {
        attachment.tag != Tag::Native && attachment.link == Link::Port(mac)
    };
    match &networking.ports[place].name {
        Some(name) => name.clone(),
        None if renderer == "wicked" || networking.attachments.iter().any(tagged) => {
            format!("nic{place}")
        }
        None => case.interfaces[&mac.to_string()].clone(),
    }
}
