//! Files for SUSE's wicked: one `ifcfg-*` for each interface, `ifroute-*` for its routes.
//!
//! Formats: the manual pages ifcfg(5), ifcfg-bonding(5), ifcfg-vlan(5), ifroute(5) and ifsysctl(5)
//! of wicked. It knows interfaces by name, and so NICs are named by a udev rule, as its manual
//! advises. Name servers are netconfig's business, whose one file has much else in it.

use super::check::CheckedNetworking;
use super::interface::{Interface, Kind, interfaces, name_servers};
use super::model::{Addressing, BondMode, FixedAddress, LacpRate};
use super::{ConfigurationFile, Content};

const FOLDER: &str = "/etc/sysconfig/network";

pub(super) fn files(networking: &CheckedNetworking) -> Vec<ConfigurationFile> {
    let interfaces = interfaces(networking);
    let mut files = vec![udev_rules(&interfaces), settings(&interfaces)];
    for interface in &interfaces {
        files.push(ifcfg(interface));
        files.extend(ifroute(interface));
    }
    let networking = networking.get();
    let variables = [
        ("NETCONFIG_DNS_STATIC_SERVERS", name_servers(networking)),
        (
            "NETCONFIG_DNS_STATIC_SEARCHLIST",
            networking.search_domains.clone(),
        ),
    ];
    let variables = variables.into_iter().filter(|(_, words)| !words.is_empty());
    let variables: Vec<_> = variables
        .map(|(name, words)| (name.to_owned(), words.join(" ")))
        .collect();
    if !variables.is_empty() {
        files.push(ConfigurationFile {
            path: format!("{FOLDER}/config"),
            mode: 0o644,
            content: Content::Variables(variables),
        });
    }
    files
}

/// Only devices with a driver of their own are NICs: a bond and its VLANs have the same address.
fn udev_rules(interfaces: &[Interface]) -> ConfigurationFile {
    let ports = interfaces
        .iter()
        .filter(|interface| matches!(interface.kind, Kind::Port { .. }));
    let rules = ports.map(|port| {
        format!(
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{type}}==\"1\", \
             ATTR{{address}}==\"{}\", NAME=\"{}\"\n",
            port.mac, port.name
        )
    });
    ConfigurationFile::whole(
        "/etc/udev/rules.d/70-persistent-net.rules".into(),
        rules.collect(),
    )
}

/// Router advertisements are for networks that were ordered with them. systemd and wicked both read
/// this file. Within a name, `/` stands for a dot.
fn settings(interfaces: &[Interface]) -> ConfigurationFile {
    let lines = interfaces.iter().flat_map(|interface| {
        let name = interface.name.replace('.', "/");
        let accept = u8::from(interface.accepts_router_advertisements());
        let configure = u8::from(interface.has(&Addressing::Slaac));
        [
            format!("net.ipv6.conf.{name}.accept_ra = {accept}\n"),
            format!("net.ipv6.conf.{name}.autoconf = {configure}\n"),
        ]
    });
    ConfigurationFile::whole(
        "/etc/sysctl.d/90-bessemer-network.conf".into(),
        lines.collect(),
    )
}

fn ifcfg(interface: &Interface) -> ConfigurationFile {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    let member = matches!(&interface.kind, Kind::Port { bond: Some(_), .. });
    // A member that is missing or down must not hold up its bond, which sets its MTU as well.
    set("STARTMODE", if member { "hotplug" } else { "auto" });
    set(
        "BOOTPROTO",
        if member {
            "none"
        } else {
            boot_protocol(interface)
        },
    );
    if !member {
        set("MTU", &interface.mtu.to_string());
    }
    match &interface.kind {
        Kind::Port { .. } => {}
        Kind::Bond { bond, members } => {
            set("LLADDR", &interface.mac.to_string());
            set("BONDING_MASTER", "yes");
            set("BONDING_MODULE_OPTS", &bonding_options(bond.mode));
            for (index, member) in members.iter().enumerate() {
                set(&format!("BONDING_SLAVE_{index}"), member);
            }
        }
        Kind::Vlan { parent, id } => {
            set("ETHERDEVICE", parent);
            set("VLAN_ID", &id.to_string());
        }
    }
    if interface.has(&Addressing::Dhcpv6) {
        set("DHCLIENT6_MODE", "managed");
    }
    for (index, fixed) in interface.fixed().iter().enumerate() {
        set(&format!("IPADDR_{index}"), &fixed.address.to_string());
    }
    let content = super::set_variables("", &variables);
    ConfigurationFile::whole(format!("{FOLDER}/ifcfg-{}", interface.name), content)
}

/// SLAAC is the kernel's own work, and needs no protocol.
fn boot_protocol(interface: &Interface) -> &'static str {
    let dhcpv4 = interface.has(&Addressing::Dhcpv4);
    let dhcpv6 = interface.has(&Addressing::Dhcpv6);
    match (dhcpv4, dhcpv6) {
        (true, true) => "dhcp",
        (true, false) => "dhcp4",
        (false, true) => "dhcp6",
        (false, false) => "static",
    }
}

fn bonding_options(mode: BondMode) -> String {
    match mode {
        BondMode::Lacp { rate } => {
            let rate = match rate {
                LacpRate::Fast => "fast",
                LacpRate::Slow => "slow",
            };
            format!("mode=802.3ad miimon=100 lacp_rate={rate} xmit_hash_policy=layer3+4")
        }
        BondMode::ActiveBackup => "mode=active-backup miimon=100".into(),
    }
}

fn ifroute(interface: &Interface) -> Option<ConfigurationFile> {
    let lines: String = interface.fixed().into_iter().map(route_lines).collect();
    let path = format!("{FOLDER}/ifroute-{}", interface.name);
    (!lines.is_empty()).then(|| ConfigurationFile::whole(path, lines))
}

/// Destination, gateway, netmask (given by the prefix), interface (given by the file's name).
fn route_lines(fixed: &FixedAddress) -> String {
    let mut lines = String::new();
    if let Some(gateway) = fixed.gateway {
        let address = gateway.address;
        if gateway.on_link {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            lines += &format!("{address}/{whole} - - -\n");
        }
        lines += &format!("default {address} - -\n");
    }
    for route in &fixed.routes {
        lines += &format!("{} {} - -\n", route.destination, route.gateway);
    }
    lines
}
