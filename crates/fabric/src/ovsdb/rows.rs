//! What the database holds of some switch ports: rows of the tables `Interface`, `Port` and `Bridge`
//! (`ovs-vswitchd.conf.db(5)`), and what they mean.
//!
//! What people call a switch port is an `Interface` there. A `Port` is what carries VLANs: one
//! interface, or several bonded ones. So a switch port that joins an aggregation leaves its own
//! `Port` and enters another, while its `Interface`, and with it the device, stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_core::port_plan::{Carries, Lag, PortState};
use serde_json::{Value, json};

use super::connection::Connection;
use super::notation::{Row, numbers, optional, pairs, reference, references, text, uuid};
use crate::Error;

/// Where a port's description is kept: rows have no column of that name.
pub(super) const DESCRIPTION: &str = "bessemer-description";

/// The columns of a `Port` that decide what it does; all are written, and put back.
pub(super) const COLUMNS: [&str; 10] = [
    "interfaces",
    "tag",
    "vlan_mode",
    "trunks",
    "cvlans",
    "protected",
    "lacp",
    "bond_mode",
    "other_config",
    "external_ids",
];

/// Characters of a fault that are repeated.
const LONGEST_FAULT: usize = 300;

/// A row of `Interface`.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) uuid: String,
    pub(super) name: String,
    row: Row,
}

/// A row of `Port`.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) uuid: String,
    pub(super) name: String,
    /// Of the bridge that it is in.
    pub(super) bridge: Option<String>,
    pub(super) row: Row,
}

/// All rows that have to do with some switch ports.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) interfaces: Vec<Interface>,
    pub(super) ports: Vec<Port>,
}

impl Rows {
    /// Reads the rows of the switch ports `names`, and of the `Port`s called `lags`, if there are
    /// any.
    pub(super) async fn read(
        connection: &mut Connection,
        names: &[String],
        lags: &[&str],
    ) -> Result<Self, Error> {
        let mut rows = Self::default();
        let by_name = |name: &String| select("Interface", json!(["name", "==", name]));
        let found = connection.rows(names.iter().map(by_name).collect()).await?;
        for (name, found) in names.iter().zip(found) {
            let interface = found.into_iter().find_map(Interface::of);
            rows.interfaces
                .push(interface.ok_or_else(|| no_such_port(connection, name))?);
        }
        let including = rows.interfaces.iter().map(|interface| {
            let condition = json!(["interfaces", "includes", reference(&interface.uuid)]);
            select("Port", condition)
        });
        let called = lags
            .iter()
            .map(|name| select("Port", json!(["name", "==", name])));
        let found = connection.rows(including.chain(called).collect()).await?;
        for port in found.into_iter().flatten().filter_map(Port::of) {
            if rows.ports.iter().all(|known| known.uuid != port.uuid) {
                rows.ports.push(port);
            }
        }
        rows.complete(connection).await?;
        Ok(rows)
    }

    /// Reads the bridges of the ports, and the interfaces that are bonded with those asked for.
    pub(super) async fn complete(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let known: BTreeSet<_> = self
            .interfaces
            .iter()
            .map(|each| each.uuid.clone())
            .collect();
        let others: BTreeSet<_> = self
            .ports
            .iter()
            .flat_map(Port::interfaces)
            .filter(|uuid| !known.contains(uuid))
            .collect();
        let bridges = self.ports.iter().map(|port| {
            let condition = json!(["ports", "includes", reference(&port.uuid)]);
            json!({"op": "select", "table": "Bridge", "where": [condition], "columns": ["_uuid"]})
        });
        let others = others
            .iter()
            .map(|uuid| select("Interface", json!(["_uuid", "==", reference(uuid)])));
        let mut found = connection
            .rows(bridges.chain(others).collect())
            .await?
            .into_iter();
        for (port, bridge) in self.ports.iter_mut().zip(found.by_ref()) {
            port.is_in(&bridge);
        }
        self.interfaces
            .extend(found.flatten().filter_map(Interface::of));
        Ok(())
    }

    /// The `Port` that the interface `uuid` is in.
    pub(super) fn port_of(&self, uuid: &str) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.interfaces().iter().any(|each| each == uuid))
    }

    /// The interface called `name`.
    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|each| each.name == name)
    }

    /// Names of interfaces by their UUIDs.
    fn names(&self) -> BTreeMap<&str, &str> {
        let each = self.interfaces.iter();
        each.map(|each| (each.uuid.as_str(), each.name.as_str()))
            .collect()
    }

    /// The states of the switch ports `names`.
    pub(super) fn states(&self, names: &[String]) -> Vec<PortState> {
        // Looked up, not searched for: a switch may send any number of rows.
        let each = self.ports.iter().rev();
        let holders: BTreeMap<_, _> = each
            .flat_map(|port| port.interfaces().into_iter().map(move |uuid| (uuid, port)))
            .collect();
        let known = self.names();
        let found = names.iter().filter_map(|name| self.interface(name));
        let states = found.map(|interface| {
            let port = holders.get(&interface.uuid).copied();
            state(interface, port, &known)
        });
        states.collect()
    }
}

/// The state of the switch port `interface`, which is in `port`. `names` are those of interfaces by their
/// UUIDs.
fn state(interface: &Interface, port: Option<&Port>, names: &BTreeMap<&str, &str>) -> PortState {
    let empty = Row::new();
    let row = port.map_or(&empty, |port| &port.row);
    let number = |name| {
        optional(&interface.row, name)
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
    };
    let up = |name| text(&interface.row, name).map(|state| state == "up");
    PortState {
        port: interface.name.clone(),
        carries: match port {
            Some(port) if port.bridge.is_some() => carries(row),
            _ => Carries::Other {
                words: "in no bridge".to_owned(),
            },
        },
        isolated: row.get("protected").and_then(Value::as_bool) == Some(true),
        lag: port.and_then(|port| lag(port, names)),
        description: pairs(row, "external_ids")
            .remove(DESCRIPTION)
            .unwrap_or_default(),
        admin_up: up("admin_state"),
        link: up("link_state"),
        mtu: number("mtu"),
        lacp_current: optional(&interface.row, "lacp_current").and_then(Value::as_bool),
        fault: interface.fault(),
    }
}

fn lag(port: &Port, names: &BTreeMap<&str, &str>) -> Option<Lag> {
    let interfaces = port.interfaces();
    let config = pairs(&port.row, "other_config");
    let lacp = text(&port.row, "lacp");
    if interfaces.len() < 2 && matches!(lacp, None | Some("off")) {
        return None;
    }
    let members = interfaces
        .iter()
        .filter_map(|uuid| names.get(uuid.as_str()));
    Some(Lag {
        name: port.name.clone(),
        members: members.map(|name| (*name).to_owned()).collect(),
        primary: config.get("bond-primary").cloned(),
        active: lacp == Some("active"),
        fast: config.get("lacp-time").is_some_and(|time| time == "fast"),
        fallback: config
            .get("lacp-fallback-ab")
            .is_some_and(|fallback| fallback == "true"),
    })
}

impl Interface {
    /// From a row as it is selected.
    pub(super) fn of(row: Row) -> Option<Self> {
        Some(Self {
            uuid: uuid(row.get("_uuid")?)?,
            name: row.get("name")?.as_str()?.to_owned(),
            row,
        })
    }

    /// All its columns.
    pub(super) fn row(&self) -> &Row {
        &self.row
    }

    /// The MTU that it was asked to have.
    pub(super) fn requested_mtu(&self) -> Option<u64> {
        optional(&self.row, "mtu_request").and_then(Value::as_u64)
    }

    /// Why the switch cannot use the device behind it: an error, or an OpenFlow port of -1.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(error) = text(&self.row, "error") {
            return Some(error.chars().take(LONGEST_FAULT).collect());
        }
        let unusable = optional(&self.row, "ofport").and_then(Value::as_i64) == Some(-1);
        unusable.then(|| "its device could not be added".to_owned())
    }
}

impl Port {
    /// From a row as it is selected.
    pub(super) fn of(mut row: Row) -> Option<Self> {
        let port = Self {
            uuid: uuid(&row.remove("_uuid")?)?,
            name: row.remove("name")?.as_str()?.to_owned(),
            bridge: None,
            row,
        };
        Some(port)
    }

    /// Takes note of the bridge among those that were found to have it.
    pub(super) fn is_in(&mut self, bridges: &[Row]) {
        self.bridge = bridges.first().and_then(|row| uuid(row.get("_uuid")?));
    }

    /// Its VLAN, if it is an access port.
    pub(super) fn access_vlan(&self) -> Option<u16> {
        match carries(&self.row) {
            Carries::Access { vlan } => Some(vlan),
            _ => None,
        }
    }

    /// Whether frames of this VLAN pass, as far as that can be told.
    pub(super) fn may_carry(&self, vlan: u16) -> bool {
        match carries(&self.row) {
            Carries::Access { vlan: own } => own == vlan,
            Carries::Trunk { native, tagged } => native == Some(vlan) || tagged.contains(&vlan),
            _ => true,
        }
    }

    /// The UUIDs of its interfaces.
    pub(super) fn interfaces(&self) -> Vec<String> {
        references(&self.row, "interfaces")
    }
}

fn no_such_port(connection: &Connection, port: &str) -> Error {
    Error::NoSuchPort {
        switch: connection.switch().to_owned(),
        port: port.to_owned(),
    }
}

pub(super) fn select(table: &str, condition: Value) -> Value {
    let columns = match table {
        "Port" => [&["_uuid", "name"][..], &COLUMNS].concat(),
        _ => vec![
            "_uuid",
            "name",
            "error",
            "ofport",
            "admin_state",
            "link_state",
            "mtu",
            "mtu_request",
            "lacp_current",
            "options",
        ],
    };
    json!({"op": "select", "table": table, "where": [condition], "columns": columns})
}

/// `vlan_mode` may be empty: then a tag without trunks makes an access port, and everything else
/// some kind of trunk.
fn carries(row: &Row) -> Carries {
    let tag = numbers(row, "tag").first().copied();
    let mode = text(row, "vlan_mode");
    let trunks: BTreeSet<_> = numbers(row, "trunks").into_iter().collect();
    match (tag, mode) {
        (Some(vlan), None | Some("access")) if trunks.is_empty() => Carries::Access { vlan },
        (None, None | Some("trunk")) if !trunks.is_empty() => Carries::Trunk {
            native: None,
            tagged: trunks,
        },
        (Some(native), Some("native-untagged")) if !trunks.is_empty() => Carries::Trunk {
            native: Some(native),
            tagged: trunks.into_iter().filter(|vlan| *vlan != native).collect(),
        },
        _ => {
            let mode = mode.unwrap_or("trunk").chars().take(40).collect::<String>();
            let tag = tag.map_or("no".to_owned(), |tag| tag.to_string());
            let trunks = match trunks.len() {
                0 => "all".to_owned(),
                count => count.to_string(),
            };
            Carries::Other {
                words: format!("{mode} port, {tag} native VLAN, {trunks} tagged VLANs"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        match value {
            Value::Object(row) => row,
            _ => panic!("it is a row"),
        }
    }

    #[test]
    fn rows_mean_what_the_switch_does() {
        let empty = json!(["set", []]);
        let of = |tag: &Value, mode: &Value, trunks: Value| {
            carries(&row(
                json!({"tag": tag, "vlan_mode": mode, "trunks": trunks}),
            ))
        };
        let access = Carries::Access { vlan: 7 };
        assert_eq!(of(&json!(7), &empty, empty.clone()), access);
        assert_eq!(
            of(&json!(["set", [7]]), &json!("access"), empty.clone()),
            access
        );
        let trunk = |native: Option<u16>, tagged: &[u16]| Carries::Trunk {
            native,
            tagged: tagged.iter().copied().collect(),
        };
        let both = json!(["set", [8, 9]]);
        assert_eq!(
            of(&json!(7), &json!("native-untagged"), both.clone()),
            trunk(Some(7), &[8, 9])
        );
        assert_eq!(of(&empty, &json!("trunk"), both), trunk(None, &[8, 9]));
        assert_eq!(of(&empty, &empty, json!(8)), trunk(None, &[8]));
        for (other, part) in [
            (of(&empty, &empty, empty.clone()), "all"),
            (of(&json!(7), &empty, json!(9)), "1 tagged"),
            (of(&json!(7), &json!("trunk"), json!(9)), "7 native"),
            (
                of(&json!(7), &json!("native-tagged"), json!(9)),
                "native-tagged",
            ),
            (
                of(&json!(7), &json!("native-untagged"), empty.clone()),
                "native-untagged port, 7 native VLAN, all",
            ),
            (of(&json!(7), &json!("dot1q-tunnel"), empty), "dot1q-tunnel"),
        ] {
            assert!(
                matches!(&other, Carries::Other { words } if words.contains(part)),
                "{other}"
            );
        }
        for nonsense in [
            json!({}),
            json!({"tag": "x", "trunks": "y", "vlan_mode": 9}),
        ] {
            assert!(matches!(carries(&row(nonsense)), Carries::Other { .. }));
        }
    }
}
