//! Files for systemd-networkd, in `/etc/systemd/network`.
//!
//! Formats: the manual pages systemd.netdev(5), systemd.network(5), systemd.link(5) and
//! resolved.conf(5), of systemd 245 and later. NICs are matched by the address that is burnt into
//! them, because a bond gives all its members its own. Name servers are the whole system's: of an
//! interface, they would be asked through that interface only.

use std::fmt::Write;

use super::ConfigurationFile;
use super::check::CheckedNetworking;
use super::interface::{Interface, Kind, interfaces, name_servers};
use super::model::{Addressing, BondMode, FixedAddress, LacpRate, NodeNetworking};

const FOLDER: &str = "/etc/systemd/network";

pub(super) fn files(networking: &CheckedNetworking) -> Vec<ConfigurationFile> {
    let mut files = Vec::new();
    for interface in &interfaces(networking) {
        files.extend(link(interface));
        files.extend(netdev(interface));
        files.push(network(interface));
    }
    files.extend(resolved(networking.get()));
    files
}

/// Before everything that the image has by itself.
fn file(interface: &Interface, kind: &str, text: Text) -> ConfigurationFile {
    let path = format!("{FOLDER}/10-bessemer-{}.{kind}", interface.name);
    ConfigurationFile::whole(path, text.0)
}

/// A file of sections, each of them of settings.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}[{name}]");
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}={value}");
    }

    fn match_port(&mut self, interface: &Interface) {
        self.section("Match");
        self.set("PermanentMACAddress", interface.mac);
    }
}

/// Only NICs that are to have a certain name have one of these.
fn link(interface: &Interface) -> Option<ConfigurationFile> {
    let Kind::Port { port, .. } = interface.kind else {
        return None;
    };
    if port.name.is_none() && interface.vlans.is_empty() {
        return None;
    }
    let mut text = Text::default();
    text.match_port(interface);
    text.section("Link");
    text.set("Name", &interface.name);
    Some(file(interface, "link", text))
}

fn netdev(interface: &Interface) -> Option<ConfigurationFile> {
    let mut text = Text::default();
    text.section("NetDev");
    text.set("Name", &interface.name);
    text.set("MTUBytes", interface.mtu);
    match &interface.kind {
        Kind::Port { .. } => return None,
        Kind::Bond { bond, .. } => {
            text.set("Kind", "bond");
            text.set("MACAddress", interface.mac);
            text.section("Bond");
            bond_settings(&mut text, bond.mode);
        }
        Kind::Vlan { id, .. } => {
            text.set("Kind", "vlan");
            text.section("VLAN");
            text.set("Id", id);
        }
    }
    Some(file(interface, "netdev", text))
}

fn bond_settings(text: &mut Text, mode: BondMode) {
    match mode {
        BondMode::Lacp { rate } => {
            text.set("Mode", "802.3ad");
            text.set("TransmitHashPolicy", "layer3+4");
            let rate = match rate {
                LacpRate::Fast => "fast",
                LacpRate::Slow => "slow",
            };
            text.set("LACPTransmitRate", rate);
        }
        BondMode::ActiveBackup => text.set("Mode", "active-backup"),
    }
    text.set("MIIMonitorSec", "100ms");
}

fn network(interface: &Interface) -> ConfigurationFile {
    let mut text = Text::default();
    match interface.kind {
        Kind::Port { .. } => text.match_port(interface),
        _ => {
            text.section("Match");
            text.set("Name", &interface.name);
        }
    }
    text.section("Link");
    text.set("MTUBytes", interface.mtu);
    if interface.attachment.is_none() {
        // What carries others has no address, and a dead member is what a bond is for: neither is
        // what the boot should wait for.
        text.set("RequiredForOnline", "no");
    }
    text.section("Network");
    if let Kind::Port {
        bond: Some(bond), ..
    } = &interface.kind
    {
        text.set("Bond", bond);
    }
    for vlan in &interface.vlans {
        text.set("VLAN", vlan);
    }
    addressing(&mut text, interface);
    for fixed in interface.fixed() {
        fixed_address(&mut text, fixed);
    }
    file(interface, "network", text)
}

fn addressing(text: &mut Text, interface: &Interface) {
    if interface.attachment.is_none() {
        text.set("LinkLocalAddressing", "no");
    }
    let dhcpv4 = interface.has(&Addressing::Dhcpv4);
    let dhcpv6 = interface.has(&Addressing::Dhcpv6);
    let dhcp = match (dhcpv4, dhcpv6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    text.set("DHCP", dhcp);
    let accept = interface.accepts_router_advertisements();
    text.set("IPv6AcceptRA", if accept { "yes" } else { "no" });
}

fn fixed_address(text: &mut Text, fixed: &FixedAddress) {
    text.section("Address");
    text.set("Address", fixed.address);
    if let Some(gateway) = fixed.gateway {
        text.section("Route");
        text.set("Gateway", gateway.address);
        if gateway.on_link {
            text.set("GatewayOnLink", "yes");
        }
    }
    for route in &fixed.routes {
        text.section("Route");
        text.set("Destination", route.destination);
        text.set("Gateway", route.gateway);
    }
}

fn resolved(networking: &NodeNetworking) -> Option<ConfigurationFile> {
    let mut text = Text::default();
    text.section("Resolve");
    if !networking.name_servers.is_empty() {
        text.set("DNS", name_servers(networking).join(" "));
    }
    if !networking.search_domains.is_empty() {
        text.set("Domains", networking.search_domains.join(" "));
    }
    let path = "/etc/systemd/resolved.conf.d/10-bessemer.conf";
    let some = networking.name_servers.len() + networking.search_domains.len() > 0;
    some.then(|| ConfigurationFile::whole(path.into(), text.0))
}
