//! Switches and their ports, as people read them.

use bessemer_wire::api::{Switch, SwitchHealth, SwitchPort};
use jiff::Timestamp;

use crate::table::{NOTHING, pairs, table};
use crate::words::ago;

/// How a switch fares, in a few words.
fn health(health: &SwitchHealth, now: Timestamp) -> String {
    let at = |then: Option<Timestamp>| then.map_or("never".to_owned(), |then| ago(then, now));
    match (health.failing, health.read_at) {
        (true, _) => format!("failing, {}", at(health.error_at)),
        (false, None) => "not asked yet".to_owned(),
        (false, Some(then)) => format!("well, {}", ago(then, now)),
    }
}

pub(super) fn switches(switches: &[&Switch], now: Timestamp) -> String {
    let rows = switches.iter().map(|switch| {
        [
            switch.name.clone(),
            switch.driver.name().to_owned(),
            switch.address.clone(),
            switch.rack.clone().unwrap_or_default(),
            switch.nodes.to_string(),
            health(&switch.health, now),
        ]
    });
    table(
        ["NAME", "DRIVER", "ADDRESS", "RACK", "NODES", "HEALTH"],
        rows,
    )
}

pub(super) fn details(switch: &Switch, now: Timestamp) -> String {
    let number = |number: Option<u16>| number.map(|number| number.to_string());
    let stored = |there: bool| there.then(|| "stored".to_owned());
    let error = switch.health.error.clone();
    let error = error.zip(switch.health.error_at);
    let address = Some(switch.address.clone()).filter(|address| !address.is_empty());
    pairs([
        ("Name", Some(switch.name.clone())),
        ("Id", Some(switch.id.to_string())),
        ("Driver", Some(switch.driver.name().to_owned())),
        ("Address", address),
        ("Rack", switch.rack.clone()),
        ("Authority", stored(switch.authority.is_some())),
        ("Certificate", stored(switch.certificate.is_some())),
        ("Key", stored(switch.has_key)),
        (
            "Tunnel address",
            switch.tunnel_address.map(|address| address.to_string()),
        ),
        ("Tunnel VLANs", Some(switch.tunnel_vlans.to_string())),
        ("Physical network", switch.physical_network.clone()),
        ("Largest MTU", number(switch.largest_mtu)),
        ("Parked VLAN", number(switch.parked_vlan)),
        ("Provisioning VLAN", number(switch.provisioning_vlan)),
        ("Standby VLAN", number(switch.standby_vlan)),
        ("Rescue VLAN", number(switch.rescue_vlan)),
        ("Nodes", Some(switch.nodes.to_string())),
        ("Health", Some(health(&switch.health, now))),
        (
            "Last error",
            error.map(|(error, then)| format!("{error} ({})", ago(then, now))),
        ),
        ("Made", Some(ago(switch.created_at, now))),
    ])
}

pub(super) fn ports(ports: &[&SwitchPort], now: Timestamp) -> String {
    let rows = ports.iter().map(|port| {
        let seen = port.state.as_ref().map(|state| state.carries.to_string());
        let seen = seen.zip(port.read_at);
        [
            port.port.clone(),
            port.node_name.clone(),
            port.mac.to_string(),
            port.role.map_or(NOTHING.into(), |role| role.name().into()),
            port.wanted.clone().unwrap_or_default(),
            seen.map_or(NOTHING.into(), |(carries, then)| {
                format!("{carries} ({})", ago(then, now))
            }),
            port.differences.join("; "),
        ]
    });
    table(
        [
            "PORT",
            "NODE",
            "MAC",
            "ROLE",
            "WANTED",
            "SEEN",
            "DIFFERENCE",
        ],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_and_a_port_are_one_line_each() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let id = "00000000-0000-0000-0000-000000000001";
        let made = "2026-11-21T10:00:00Z";
        let switch: Switch = serde_json::from_value(serde_json::json!({
            "id": id, "name": "leaf1", "driver": "ovsdb", "address": "unix:/x", "has_key": false,
            "tunnel_vlans": "3000-3999", "nodes": 2, "created_at": made,
            "health": { "failing": true, "read_at": made, "error": "no answer", "error_at": made },
        }))
        .unwrap();
        assert_eq!(
            switches(&[&switch], now),
            "NAME   DRIVER  ADDRESS  RACK  NODES  HEALTH\n\
             leaf1  ovsdb   unix:/x  -     2      failing, 2h ago"
        );
        let shown = details(&switch, now);
        assert!(
            shown.contains("no answer (2h ago)") && !shown.contains("Key"),
            "{shown}"
        );
        let port: SwitchPort = serde_json::from_value(serde_json::json!({
            "port": "p1", "node": id, "node_name": "n1", "mac": "52:54:00:12:34:56",
            "role": "parked", "wanted": "parked in VLAN 4094", "read_at": made,
            "state": { "port": "p1", "carries": { "mode": "access", "vlan": 7 } },
            "differences": ["p1: vlans should be parked in VLAN 4094, is access port of VLAN 7"],
        }))
        .unwrap();
        let shown = ports(&[&port], now);
        for words in [
            "parked in VLAN 4094",
            "access port of VLAN 7 (2h ago)",
            "p1: vlans",
        ] {
            assert!(shown.contains(words), "{shown}");
        }
    }
}
