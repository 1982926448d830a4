//! What cloud-init 22.4.2 (Debian 12) loses on the way, by renderer and field, each with the value
//! that is written instead. A deviation of any other kind, or of another value, is a mistake.

use serde_json::{Value, json};

use bessemer_core::network_data::{Addressing, Attachment};

use crate::cases::Case;
use crate::expected;

/// cloud-init's, and our own two.
pub(crate) const RENDERERS: [&str; 7] = [
    "eni",
    "netplan",
    "networkd",
    "sysconfig",
    "network-manager",
    "wicked",
    "networkd-files",
];

pub(crate) struct Exception {
    pub(crate) renderer: &'static str,
    pub(crate) field: &'static str,
    /// Of which interfaces.
    of: fn(&Case, interface: &str) -> bool,
    /// What is written instead of what was ordered.
    instead: fn(ordered: Option<&Value>) -> Option<Value>,
}

fn nothing(_: Option<&Value>) -> Option<Value> {
    None
}

fn is_bond(_: &Case, interface: &str) -> bool {
    interface.starts_with("bond") && !interface.contains('.')
}

fn is_vlan(_: &Case, interface: &str) -> bool {
    interface.contains('.')
}

fn is_bond_or_vlan(case: &Case, interface: &str) -> bool {
    is_bond(case, interface) || is_vlan(case, interface)
}

fn any(_: &Case, _: &str) -> bool {
    true
}

fn has_fixed_ipv6(case: &Case, interface: &str) -> bool {
    let facts = expected::facts(case, "network-manager");
    let addresses = facts.get(&(interface.to_owned(), "addresses".to_owned()));
    let mut addresses = addresses.and_then(Value::as_array).into_iter().flatten();
    addresses.any(|address| address.as_str().is_some_and(|text| text.contains(':')))
}

fn decided_by_router(ordered: Option<&Value>) -> Option<Value> {
    let ordered = ordered?.as_array()?.iter();
    let ways = ordered.map(|way| match way.as_str() {
        Some("slaac" | "dhcpv6") => json!("router"),
        _ => way.clone(),
    });
    Some(ways.collect())
}

/// No network of the case has a fixed address.
fn nothing_fixed(case: &Case, _: &str) -> bool {
    let attachments = case.networking.get().attachments.iter();
    let mut addressing = attachments.flat_map(|Attachment { addressing, .. }| addressing);
    addressing.all(|addressing| !matches!(addressing, Addressing::Fixed(_)))
}

/// A NIC that carries VLANs and nothing else.
fn is_bare_parent(case: &Case, interface: &str) -> bool {
    let facts = expected::facts(case, "eni");
    let field = |name: &str, field: &str| facts.get(&(name.to_owned(), field.to_owned()));
    field(interface, "kind") == Some(&json!("port"))
        && field(interface, "addresses").is_none()
        && field(interface, "automatic").is_none()
        && facts
            .iter()
            .any(|((_, field), value)| field == "parent" && value == interface)
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    // cloudinit/net/eni.py, `_render_iface`: a NIC without any address is not `auto`, and so ifupdown sets
    // nothing on it when its VLANs bring it up. Debian's package `vlan` raises its MTU to theirs.
    Exception {
        renderer: "eni",
        field: "mtu",
        of: is_bare_parent,
        instead: nothing,
    },
    // cloudinit/net/networkd.py writes `.network` files only: no `.netdev`, no `Bond=`, no `VLAN=`. Its
    // own words: "currently experimental". Reported as github.com/canonical/cloud-init issue 6534, and still so in
    // 25.2. For such images there is `--network-configuration networkd`.
    Exception {
        renderer: "networkd",
        field: "kind",
        of: is_bond_or_vlan,
        instead: |_| Some(json!("port")),
    },
    Exception {
        renderer: "networkd",
        field: "members",
        of: is_bond,
        instead: nothing,
    },
    Exception {
        renderer: "networkd",
        field: "mode",
        of: is_bond,
        instead: nothing,
    },
    Exception {
        renderer: "networkd",
        field: "lacp_rate",
        of: is_bond,
        instead: nothing,
    },
    Exception {
        renderer: "networkd",
        field: "vlan_id",
        of: is_vlan,
        instead: nothing,
    },
    Exception {
        renderer: "networkd",
        field: "parent",
        of: is_vlan,
        instead: nothing,
    },
    // cloudinit/net/network_manager.py, `render_interface`: the MTU goes to `[ethernet]` of NICs only. A VLAN
    // then has its parent's.
    Exception {
        renderer: "network-manager",
        field: "mtu",
        of: is_bond_or_vlan,
        instead: nothing,
    },
    // The same function has no `lacp_rate` among the properties of a bond: LACP works, and needs 90
    // seconds instead of three to notice a link that is dead without being down.
    Exception {
        renderer: "network-manager",
        field: "lacp_rate",
        of: is_bond,
        instead: nothing,
    },
    // NetworkManager's `method=auto`: what the router advertises decides between SLAAC and DHCPv6.
    Exception {
        renderer: "network-manager",
        field: "automatic",
        of: any,
        instead: decided_by_router,
    },
    // `_set_ip_method` has no `static6` in its `method_map`, and writes `method=auto` beside the addresses:
    // they are there, with the gateway, and whatever a router advertises comes in addition.
    Exception {
        renderer: "network-manager",
        field: "automatic",
        of: has_fixed_ipv6,
        instead: |ordered| {
            let mut ways = ordered.map_or(Vec::new(), |ways| ways.as_array().unwrap().clone());
            ways.push(json!("router"));
            Some(json!(ways))
        },
    },
    // cloudinit/net/netplan.py, `_render_content`: name servers are for interfaces with `addresses`.
    Exception {
        renderer: "netplan",
        field: "name_servers",
        of: nothing_fixed,
        instead: nothing,
    },
    Exception {
        renderer: "netplan",
        field: "search_domains",
        of: nothing_fixed,
        instead: nothing,
    },
    // The first three are all that the C library reads: resolv.conf(5), MAXNS.
    Exception {
        renderer: "sysconfig",
        field: "name_servers",
        of: |case, _| case.networking.get().name_servers.len() > 3,
        instead: |ordered| Some(json!(ordered?.as_array()?[..3])),
    },
    // network_data.json has no way to say that a gateway is on the link. ifupdown takes every
    // gateway for one, and NetworkManager one that is out of the subnet.
    Exception {
        renderer: "netplan",
        field: "on_link",
        of: any,
        instead: nothing,
    },
    Exception {
        renderer: "networkd",
        field: "on_link",
        of: any,
        instead: nothing,
    },
    Exception {
        renderer: "sysconfig",
        field: "on_link",
        of: any,
        instead: nothing,
    },
    // cloudinit/net/networkd.py, `parse_subnets` knows nothing of SLAAC; but systemd-networkd accepts router
    // advertisements unless it is told not to.
    Exception {
        renderer: "networkd",
        field: "automatic",
        of: any,
        instead: |ordered| {
            let ordered = ordered?.as_array()?.clone();
            let left: Vec<_> = ordered.into_iter().filter(|way| way != "slaac").collect();
            (!left.is_empty()).then(|| json!(left))
        },
    },
];

/// Whether a warning says the same as one of the exceptions.
pub(crate) fn is_expected_warning(case: &Case, warning: &str) -> bool {
    case.networking.get().name_servers.len() > 3 && warning.starts_with("ignoring nameserver")
}

/// The exception that says that `seen` may stand where `ordered` should.
pub(crate) fn find(
    case: &Case,
    renderer: &str,
    (interface, field): &(String, String),
    (ordered, seen): (Option<&Value>, Option<&Value>),
) -> Option<usize> {
    EXCEPTIONS.iter().position(|exception| {
        (exception.renderer, exception.field) == (renderer, field)
            && (exception.of)(case, interface)
            && (exception.instead)(ordered).as_ref() == seen
    })
}
