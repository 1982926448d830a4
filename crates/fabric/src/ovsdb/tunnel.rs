//! VXLAN tunnels (`ovs-vswitchd.conf.db(5)`, "Tunnel Options").
//!
//! Each tunnel is a port of its own for one network and one other switch: `options:key` is the VNI,
//! and the port is an access port of the network's VLAN, so that what comes out of it is in that VLAN
//! and nowhere else. Tunnels are *protected* ports: frames do not go from one to another (split
//! horizon), while tenants' ports, which are not, reach them all.
//!
//! Which tunnels are ours is written on them; those of others are left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bessemer_core::overlay::{Tunnel, Tunnels};
use serde_json::{Value, json};

use super::change::{mutate_ports, unchanged};
use super::connection::Connection;
use super::notation::{map, pairs, reference, references, set, uuid};
use super::rows::{DESCRIPTION, Interface, Port, Rows, select};
use crate::Error;

/// Marks a port as a tunnel of ours. Rows have no column for that.
const MARK: &str = "bessemer-tunnel";

/// A tunnel of ours that there is.
pub(super) struct Found {
    tunnel: Option<Tunnel>,
    port: Port,
    /// Why the switch cannot use it.
    fault: Option<String>,
}

/// The tunnels of ours that the switch has.
pub(super) async fn read(connection: &mut Connection) -> Result<Vec<Found>, Error> {
    let ours = json!([
        "external_ids",
        "includes",
        map(&[(MARK.to_owned(), "yes".to_owned())].into())
    ]);
    let found = connection.rows(vec![select("Port", ours)]).await?;
    let mut rows = Rows {
        ports: found.into_iter().flatten().filter_map(Port::of).collect(),
        interfaces: Vec::new(),
    };
    rows.complete(connection).await?;
    Ok(found_in(&rows))
}

/// The ports of `rows` as tunnels.
pub(super) fn found_in(rows: &Rows) -> Vec<Found> {
    let interfaces: BTreeMap<_, _> = rows
        .interfaces
        .iter()
        .map(|each| (each.uuid.as_str(), each))
        .collect();
    let ports = rows.ports.iter().cloned();
    ports
        .map(|port| {
            let first = port.interfaces().into_iter().next();
            let interface = first.and_then(|uuid| interfaces.get(uuid.as_str()).copied());
            found_tunnel(interface, port)
        })
        .collect()
}

fn found_tunnel(interface: Option<&Interface>, port: Port) -> Found {
    let options = interface.map(|interface| pairs(interface.row(), "options"));
    let options = options.unwrap_or_default();
    let vlan = port.access_vlan();
    let option = |name: &str| options.get(name);
    let tunnel = || {
        Some(Tunnel {
            vni: option("key")?.parse().ok()?,
            vlan: vlan?,
            remote: option("remote_ip")?.parse().ok()?,
        })
    };
    Found {
        tunnel: tunnel(),
        fault: interface.and_then(Interface::fault),
        port,
    }
}

/// All tunnels that `wanted` says, and the port beside which each is to be.
pub(super) fn wanted(wanted: &[Tunnels]) -> BTreeMap<Tunnel, &str> {
    let each = wanted.iter().flat_map(|network| {
        network
            .each()
            .map(|tunnel| (tunnel, network.beside.as_str()))
    });
    each.collect()
}

/// The tunnels among those that were `found`, as far as that is what they are.
pub(super) fn tunnels(found: &[Found]) -> BTreeSet<Tunnel> {
    found.iter().filter_map(|each| each.tunnel).collect()
}

/// The operations that turn the tunnels that were `found` into those that are `wanted`, whose ports
/// are to be beside the ports of `rows`.
pub(super) fn operations(
    switch: &str,
    found: &[Found],
    wanted: &BTreeMap<Tunnel, &str>,
    rows: &Rows,
) -> Result<Vec<Value>, Error> {
    let mut operations: Vec<_> = found.iter().map(|each| unchanged(&each.port)).collect();
    let stays = |found: &Found| {
        let known = found.tunnel.as_ref();
        found.port.bridge.is_some() && known.is_some_and(|tunnel| wanted.contains_key(tunnel))
    };
    for gone in found.iter().filter(|found| !stays(found)) {
        let bridge = gone.port.bridge.iter();
        operations.extend(
            bridge.map(|bridge| mutate_ports(bridge, "delete", reference(&gone.port.uuid))),
        );
    }
    let there: BTreeSet<_> = found
        .iter()
        .filter(|found| stays(found))
        .filter_map(|found| found.tunnel)
        .collect();
    let missing = wanted.iter().filter(|(tunnel, _)| !there.contains(tunnel));
    for (index, (tunnel, beside)) in missing.enumerate() {
        let interface = rows.interface(beside);
        let port = interface.and_then(|interface| rows.port_of(&interface.uuid));
        let bridge = port.and_then(|port| port.bridge.as_deref());
        let bridge = bridge.ok_or_else(|| Error::Unable {
            switch: switch.to_owned(),
            port: (*beside).to_owned(),
            problem: "it is in no bridge, where tunnels could be beside it".to_owned(),
        })?;
        operations.extend(insert(index, tunnel, bridge));
    }
    Ok(operations)
}

fn insert(index: usize, tunnel: &Tunnel, bridge: &str) -> [Value; 3] {
    let (port, interface) = (format!("tunnel{index}"), format!("end{index}"));
    let name = name(tunnel);
    let options = [
        ("key".to_owned(), tunnel.vni.to_string()),
        ("remote_ip".to_owned(), tunnel.remote.to_string()),
    ];
    let note = [(MARK.to_owned(), "yes".to_owned())];
    [
        json!({
            "op": "insert", "table": "Interface", "uuid-name": interface,
            "row": {"name": name, "type": "vxlan", "options": map(&options.into())},
        }),
        json!({
            "op": "insert", "table": "Port", "uuid-name": port,
            "row": {
                "name": name, "interfaces": ["named-uuid", interface], "tag": tunnel.vlan,
                "vlan_mode": "access", "trunks": set([]), "protected": true,
                "external_ids": map(&note.into()),
            },
        }),
        mutate_ports(bridge, "insert", json!(["named-uuid", port])),
    ]
}

/// A name of 15 characters, as long as Linux allows: it need only be unique, since what a tunnel is
/// is read from its options.
fn name(tunnel: &Tunnel) -> String {
    let far = match tunnel.remote {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let words = address.octets();
            let words = words.chunks_exact(4);
            words.fold(0, |sum, word| {
                sum ^ u32::from_be_bytes([word[0], word[1], word[2], word[3]])
            })
        }
    };
    format!("x{:06x}{far:08x}", tunnel.vni)
}

/// What is not as `wanted` among the tunnels that were `found`.
pub(super) fn differences(found: &[Found], wanted: &BTreeMap<Tunnel, &str>) -> Option<String> {
    let there = tunnels(found);
    let missing = wanted.keys().filter(|tunnel| !there.contains(tunnel));
    let surplus = there.iter().filter(|tunnel| !wanted.contains_key(tunnel));
    let mut told: Vec<_> = missing.map(|tunnel| format!("no {tunnel}")).collect();
    told.extend(surplus.map(|tunnel| format!("still {tunnel}")));
    (!told.is_empty()).then(|| told.join("; "))
}

/// The first port by which one of `networks` would leave the switch other than by its tunnels: on
/// another switch its VLAN is another network's. Ports that are our nodes' have plans of their own,
/// and those of the switch's own host lead to no other switch.
pub(super) async fn leak(
    connection: &mut Connection,
    networks: &[Tunnels],
    rows: &Rows,
) -> Result<Option<Error>, Error> {
    let bridges: BTreeSet<_> = rows
        .ports
        .iter()
        .filter_map(|port| port.bridge.as_deref())
        .collect();
    if bridges.is_empty() {
        return Ok(None);
    }
    let ports = bridges.iter().map(|bridge| {
        let condition = json!(["_uuid", "==", reference(bridge)]);
        json!({"op": "select", "table": "Bridge", "where": [condition], "columns": ["ports"]})
    });
    let internal = select("Interface", json!(["type", "==", "internal"]));
    let all = select("Port", json!(["name", "!=", ""]));
    let mut found = connection
        .rows(ports.chain([internal, all]).collect())
        .await?;
    let all = found.pop().unwrap_or_default();
    let internal = found.pop().unwrap_or_default().into_iter();
    let internal: BTreeSet<_> = internal.filter_map(|row| uuid(row.get("_uuid")?)).collect();
    let here = found
        .iter()
        .flatten()
        .flat_map(|row| references(row, "ports"));
    let here: BTreeSet<_> = here.collect();
    let others = all.into_iter().filter_map(Port::of).filter(|port| {
        let ids = pairs(&port.row, "external_ids");
        here.contains(&port.uuid)
            && !ids.contains_key(MARK)
            && !ids.contains_key(DESCRIPTION)
            && !port.interfaces().iter().all(|each| internal.contains(each))
    });
    let leaks = others.flat_map(|port| networks.iter().map(move |network| (port.clone(), network)));
    let mut leaks = leaks.filter(|(port, network)| port.may_carry(network.vlan));
    Ok(leaks.next().map(|(port, network)| Error::Leaks {
        switch: connection.switch().to_owned(),
        port: port.name,
        vlan: network.vlan,
        vni: network.vni,
    }))
}

/// The first of `found` that the switch cannot use, and why.
pub(super) fn fault(found: &[Found]) -> Option<(String, String)> {
    let faulty = found
        .iter()
        .find_map(|each| Some((each, each.fault.clone()?)));
    faulty.map(|(each, fault)| (each.port.name.clone(), fault))
}
