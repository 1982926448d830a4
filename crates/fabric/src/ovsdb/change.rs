//! From the rows that there are to those that are wanted: the operations of one transaction.
//!
//! Both ways go through here: a plan is turned into wanted rows, and rolling back wants the rows that
//! were there before. The transaction holds only if nobody else has changed a row since it was read
//! (RFC 7047, section 5.2.6, `wait`); otherwise all is read again.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_core::port_plan::{PortMode, PortPlan};
use serde_json::{Value, json};

use super::notation::{Row, elements, map, pairs, reference, references, set};
use super::rows::{COLUMNS, DESCRIPTION, Port, Rows};
use crate::Error;

/// A VLAN that no frame can be in, as 802.1Q reserves it: a trunk of it alone carries nothing.
const NOTHING: u16 = 4095;

/// A wanted row of `Port`.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    name: String,
    bridge: Option<String>,
    /// All of [`COLUMNS`].
    row: Row,
}

impl Wanted {
    /// The row as it was.
    pub(super) fn as_it_was(port: &Port) -> Self {
        Self {
            name: port.name.clone(),
            bridge: port.bridge.clone(),
            row: port.row.clone(),
        }
    }

    fn interfaces(&self) -> Vec<String> {
        references(&self.row, "interfaces")
    }
}

/// The rows that `plans` want, where there are `rows`.
pub(super) fn wanted(switch: &str, rows: &Rows, plans: &[PortPlan]) -> Result<Vec<Wanted>, Error> {
    plans.iter().map(|plan| row(switch, rows, plan)).collect()
}

fn row(switch: &str, rows: &Rows, plan: &PortPlan) -> Result<Wanted, Error> {
    let interfaces: Vec<_> = plan
        .ports()
        .iter()
        .filter_map(|name| rows.interface(name))
        .map(|interface| interface.uuid.clone())
        .collect();
    let bridges: BTreeSet<_> = interfaces
        .iter()
        .filter_map(|uuid| rows.port_of(uuid)?.bridge.clone())
        .collect();
    let name = match (plan.aggregation(), plan.ports().first()) {
        (Some(lag), _) => lag.name.clone(),
        (None, Some(port)) => port.clone(),
        (None, None) => String::new(),
    };
    let unable = |problem: String| Error::Unable {
        switch: switch.to_owned(),
        port: name.clone(),
        problem,
    };
    if bridges.len() != 1 {
        return Err(unable(format!(
            "its interfaces are in {} bridges and must be in one",
            bridges.len()
        )));
    }
    if plan.storm_limit().is_some() {
        return Err(unable(
            "Open vSwitch cannot limit broadcast storms: leave the limit out".to_owned(),
        ));
    }
    let known = rows.ports.iter().find(|port| port.name == name);
    let mut row = Row::new();
    row.insert(
        "interfaces".into(),
        set(interfaces.iter().map(|uuid| reference(uuid))),
    );
    carry(&mut row, plan.mode());
    row.insert("protected".into(), plan.is_isolated().into());
    let notes = |column| {
        known
            .map(|port| pairs(&port.row, column))
            .unwrap_or_default()
    };
    // Other keys are other programs'.
    let mut ids = notes("external_ids");
    ids.insert(DESCRIPTION.into(), plan.description().to_owned());
    row.insert("external_ids".into(), map(&ids));
    let mut config = notes("other_config");
    bond(&mut row, &mut config, plan);
    row.insert("other_config".into(), map(&config));
    Ok(Wanted {
        name,
        bridge: bridges.into_iter().next(),
        row,
    })
}

/// Which frames pass (`ovs-vswitchd.conf.db(5)`, "VLAN Configuration"). A list of trunks that is
/// empty means *all* VLANs, so that no plan ever has one.
fn carry(row: &mut Row, mode: &PortMode) {
    let (tag, vlan_mode, trunks) = match mode {
        PortMode::Parked { vlan } | PortMode::Access { vlan } => {
            (Some(*vlan), "access", BTreeSet::new())
        }
        PortMode::Trunk {
            native: Some(native),
            tagged,
        } => (Some(*native), "native-untagged", tagged.clone()),
        PortMode::Trunk {
            native: None,
            tagged,
        } => (None, "trunk", tagged.clone()),
    };
    row.insert("tag".into(), set(tag.map(Value::from)));
    row.insert("vlan_mode".into(), vlan_mode.into());
    row.insert("trunks".into(), set(trunks.into_iter().map(Value::from)));
    row.insert("cvlans".into(), set([]));
}

/// LACP and spanning tree. `balance-tcp` is what uses all members once LACP is negotiated; until then
/// it falls back to one of them.
fn bond(row: &mut Row, config: &mut BTreeMap<String, String>, plan: &PortPlan) {
    let lag = plan.aggregation();
    let text = |value: Option<&str>| set(value.map(Value::from));
    let lacp = lag.map(|lag| if lag.active { "active" } else { "passive" });
    row.insert("lacp".into(), text(lacp));
    row.insert("bond_mode".into(), text(lag.map(|_| "balance-tcp")));
    let time = lag.map(|lag| if lag.fast { "fast" } else { "slow" });
    let settings = [
        ("lacp-time", time.map(str::to_owned)),
        ("lacp-fallback-ab", lag.map(|lag| lag.fallback.to_string())),
        ("bond-primary", lag.and_then(|lag| lag.primary.clone())),
        ("rstp-port-admin-edge", Some(plan.is_edge().to_string())),
        ("rstp-port-auto-edge", Some((!plan.is_edge()).to_string())),
    ];
    for (key, value) in settings {
        match value {
            Some(value) => config.insert(key.to_owned(), value),
            None => config.remove(key),
        };
    }
}

/// The operations that turn `rows` into `wanted`. Rows whose interfaces all go elsewhere end; an
/// interface that nobody wants stays in its row, or carries nothing if that row is wanted for others.
pub(super) fn operations(rows: &Rows, wanted: &[Wanted]) -> Vec<Value> {
    let taken: BTreeSet<_> = wanted.iter().flat_map(Wanted::interfaces).collect();
    let mut all = wanted.to_vec();
    let mut ended = Vec::new();
    for port in &rows.ports {
        let left = port
            .interfaces()
            .into_iter()
            .filter(|uuid| !taken.contains(uuid));
        let left: Vec<_> = left.collect();
        if wanted.iter().any(|each| each.name == port.name) {
            all.extend(
                left.iter()
                    .filter_map(|uuid| carries_nothing(rows, port, uuid)),
            );
        } else if left.is_empty() {
            ended.push(port);
        } else {
            let mut rest = Wanted::as_it_was(port);
            let left = left.iter().map(|uuid| reference(uuid));
            rest.row.insert("interfaces".into(), set(left));
            all.push(rest);
        }
    }
    let mut operations: Vec<_> = rows.ports.iter().map(unchanged).collect();
    for port in ended {
        operations.extend(
            port.bridge
                .iter()
                .map(|bridge| mutate_ports(bridge, "delete", reference(&port.uuid))),
        );
    }
    for (index, each) in all.iter().enumerate() {
        match rows.ports.iter().find(|port| port.name == each.name) {
            Some(port) => operations.extend(update(port, each)),
            None => operations.extend(insert(index, each)),
        }
    }
    operations
}

/// Whether [`operations`] would do nothing.
pub(super) fn is_idle(operations: &[Value]) -> bool {
    operations.iter().all(|operation| operation["op"] == "wait")
}

/// The operations that give `plan`'s interfaces its MTU.
pub(super) fn mtu(rows: &Rows, plan: &PortPlan) -> Vec<Value> {
    let wanted = u64::from(plan.mtu());
    let interfaces = plan.ports().iter().filter_map(|name| rows.interface(name));
    interfaces
        .filter(|interface| interface.requested_mtu() != Some(wanted))
        .map(|interface| request_mtu(&interface.uuid, Some(wanted)))
        .collect()
}

/// The operations that give the interfaces of `rows` the MTU that they had `before`.
pub(super) fn mtu_as_it_was(rows: &Rows, before: &Rows) -> Vec<Value> {
    let changed = rows.interfaces.iter().filter_map(|interface| {
        let was = before.interface(&interface.name)?.requested_mtu();
        (was != interface.requested_mtu()).then(|| request_mtu(&interface.uuid, was))
    });
    changed.collect()
}

fn request_mtu(interface: &str, mtu: Option<u64>) -> Value {
    json!({
        "op": "update", "table": "Interface", "where": [["_uuid", "==", reference(interface)]],
        "row": {"mtu_request": set(mtu.map(Value::from))},
    })
}

fn carries_nothing(rows: &Rows, port: &Port, uuid: &str) -> Option<Wanted> {
    let interface = rows.interfaces.iter().find(|each| each.uuid == *uuid)?;
    let columns = json!({
        "interfaces": reference(uuid), "tag": ["set", []], "vlan_mode": "trunk", "trunks": NOTHING,
        "cvlans": ["set", []], "protected": true, "lacp": ["set", []], "bond_mode": ["set", []],
        "other_config": ["map", []],
        "external_ids": ["map", [[DESCRIPTION, "taken out of an aggregation"]]],
    });
    let Value::Object(row) = columns else {
        return None;
    };
    Some(Wanted {
        name: interface.name.clone(),
        bridge: port.bridge.clone(),
        row,
    })
}

/// Fails the whole transaction if `port` is not as it was read.
pub(super) fn unchanged(port: &Port) -> Value {
    json!({
        "op": "wait", "table": "Port", "where": [["_uuid", "==", reference(&port.uuid)]],
        "columns": COLUMNS, "until": "==", "rows": [port.row], "timeout": 0,
    })
}

pub(super) fn mutate_ports(bridge: &str, mutator: &str, port: Value) -> Value {
    json!({
        "op": "mutate", "table": "Bridge", "where": [["_uuid", "==", reference(bridge)]],
        "mutations": [["ports", mutator, ["set", [port]]]],
    })
}

fn update(port: &Port, wanted: &Wanted) -> Option<Value> {
    let changed = wanted.row.iter().filter(|(column, value)| {
        port.row
            .get(column.as_str())
            .is_none_or(|is| !same(is, value))
    });
    let changed: Row = changed
        .map(|(column, value)| (column.clone(), value.clone()))
        .collect();
    (!changed.is_empty()).then(|| {
        json!({
            "op": "update", "table": "Port", "where": [["_uuid", "==", reference(&port.uuid)]],
            "row": changed,
        })
    })
}

fn insert(index: usize, wanted: &Wanted) -> Vec<Value> {
    let mut row = wanted.row.clone();
    row.insert("name".into(), wanted.name.clone().into());
    // RFC 7047, section 5.1, `<id>`: letters, digits and underscores.
    let symbol = format!("port{index}");
    let mut operations =
        vec![json!({"op": "insert", "table": "Port", "row": row, "uuid-name": symbol})];
    let place = wanted.bridge.iter();
    operations
        .extend(place.map(|bridge| mutate_ports(bridge, "insert", json!(["named-uuid", symbol]))));
    operations
}

/// Whether two values are the same set, map or atom: sets and maps come in any order, and a set of
/// one may be written bare.
fn same(one: &Value, other: &Value) -> bool {
    let parts = |value: &Value| -> BTreeSet<String> {
        match value.as_array().map(Vec::as_slice) {
            Some([kind, Value::Array(pairs)]) if kind == "map" => {
                pairs.iter().map(Value::to_string).collect()
            }
            _ => elements(value).into_iter().map(Value::to_string).collect(),
        }
    };
    parts(one) == parts(other)
}
