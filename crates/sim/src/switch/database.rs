//! The database of a simulated switch: rows of `Interface`, `Port`, `Bridge` and `Open_vSwitch`
//! (`ovs-vswitchd.conf.db(5)`), and the operations of RFC 7047, section 5.2, on them.
//!
//! A transaction works on a copy that takes the place of the original if every operation succeeds.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_core::overlay::Tunnel;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(super) type Row = Map<String, Value>;

/// Why a transaction did not come about.
pub(super) enum Refusal {
    /// An error of RFC 7047, with details.
    Error(&'static str, String),
    /// A `wait` whose condition does not hold yet; how long it may still take, in milliseconds.
    Wait(u64),
}

/// All rows, by table and UUID.
#[derive(Debug, Clone, Default)]
pub(super) struct Database(BTreeMap<String, BTreeMap<String, Row>>);

impl Database {
    /// One bridge with these ports, each of which carries VLAN `vlan` and nothing else.
    pub(super) fn with_ports(ports: &[String], vlan: u16) -> Self {
        let mut database = Self::default();
        let mut references = Vec::new();
        for port in ports {
            let interface = database.insert(
                "Interface",
                json!({
                    "name": port, "admin_state": "up", "link_state": "up", "mtu": 1500, "ofport": 1,
                }),
            );
            let row = json!({
                "name": port, "interfaces": ["uuid", interface], "tag": vlan, "vlan_mode": "access",
                "protected": false, "other_config": ["map", []], "external_ids": ["map", []],
            });
            references.push(json!(["uuid", database.insert("Port", row)]));
        }
        database.insert(
            "Bridge",
            json!({"name": "br0", "ports": ["set", references]}),
        );
        database.insert("Open_vSwitch", json!({"next_cfg": 1, "cur_cfg": 1}));
        database
    }

    fn insert(&mut self, table: &str, row: Value) -> String {
        let uuid = Uuid::new_v4().to_string();
        let mut row = match row {
            Value::Object(row) => row,
            _ => Row::new(),
        };
        row.insert("_uuid".into(), json!(["uuid", uuid]));
        let table = self.0.entry(table.to_owned()).or_default();
        table.insert(uuid.clone(), row);
        uuid
    }

    /// The only VLAN that `port` carries, if it carries one and no other.
    pub(super) fn access_vlan(&self, port: &str) -> Option<u16> {
        let row = self.0.get("Port")?.values();
        let row = row.into_iter().find(|row| row["name"] == *port)?;
        let trunks = row.get("trunks").is_some_and(|it| !elements(it).is_empty());
        let tag = elements(row.get("tag")?).first()?.as_u64()?;
        u16::try_from(tag).ok().filter(|_| !trunks)
    }

    /// The VXLAN tunnels: each of its ports whose interface is one.
    pub(super) fn tunnels(&self) -> BTreeSet<Tunnel> {
        let interfaces = self
            .0
            .get("Interface")
            .into_iter()
            .flat_map(BTreeMap::values);
        interfaces.filter_map(|row| self.tunnel(row)).collect()
    }

    /// The tunnel that an interface is, and the VLAN of its port.
    fn tunnel(&self, interface: &Row) -> Option<Tunnel> {
        let option = |name: &str| {
            let options = interface.get("options")?[1].as_array()?;
            options.iter().find(|pair| pair[0] == *name)?[1].as_str()
        };
        (interface.get("type")? == "vxlan").then_some(())?;
        Some(Tunnel {
            vni: option("key")?.parse().ok()?,
            vlan: self.access_vlan(interface["name"].as_str()?)?,
            remote: option("remote_ip")?.parse().ok()?,
        })
    }

    /// What the switch is to do is in effect.
    pub(super) fn follow(&mut self) {
        for row in self
            .0
            .entry("Open_vSwitch".into())
            .or_default()
            .values_mut()
        {
            row["cur_cfg"] = row["next_cfg"].clone();
        }
        for row in self.0.entry("Interface".into()).or_default().values_mut() {
            let wanted = row
                .get("mtu_request")
                .and_then(|wanted| elements(wanted).first().cloned());
            if let Some(wanted) = wanted {
                row.insert("mtu".into(), wanted);
            }
        }
    }

    /// Carries out `operations`; their results.
    pub(super) fn transact(&mut self, operations: &[Value]) -> Result<Vec<Value>, Refusal> {
        let mut named = BTreeMap::new();
        let each = operations.iter();
        let results = each.map(|operation| self.carry_out(operation, &mut named));
        let results = results.collect::<Result<_, _>>()?;
        // Rows of these tables are there for as long as something refers to them (RFC 7047, section 3.2).
        self.forget_unless_named("Port", "Bridge", "ports");
        self.forget_unless_named("Interface", "Port", "interfaces");
        Ok(results)
    }

    /// Deletes the rows of `table` that `column` of no row of `by` names.
    fn forget_unless_named(&mut self, table: &str, by: &str, column: &str) {
        let rows = self.0.get(by).into_iter().flat_map(BTreeMap::values);
        let named = rows.flat_map(|row| elements(row.get(column).unwrap_or(&Value::Null)));
        let named: BTreeSet<_> = named.map(|uuid| uuid[1].clone().to_string()).collect();
        if let Some(rows) = self.0.get_mut(table) {
            rows.retain(|_, row| named.contains(&row["_uuid"][1].to_string()));
        }
    }

    fn carry_out(
        &mut self,
        operation: &Value,
        named: &mut BTreeMap<String, String>,
    ) -> Result<Value, Refusal> {
        let table = operation["table"].as_str().unwrap_or_default();
        match operation["op"].as_str().unwrap_or_default() {
            "select" => {
                let found = self.found(table, operation)?;
                let rows = found
                    .into_iter()
                    .map(|row| columns(row, &operation["columns"]));
                Ok(json!({"rows": rows.collect::<Vec<_>>()}))
            }
            "wait" => self.wait(table, operation),
            "insert" => {
                let uuid = self.insert(table, resolved(&operation["row"], named));
                if let Some(name) = operation["uuid-name"].as_str() {
                    named.insert(name.to_owned(), uuid.clone());
                }
                Ok(json!({"uuid": ["uuid", uuid]}))
            }
            "update" => {
                let row = resolved(&operation["row"], named);
                let row = row.as_object().cloned().unwrap_or_default();
                self.change(table, operation, |found| found.extend(row.clone()))
            }
            "mutate" => {
                let mutations = resolved(&operation["mutations"], named);
                self.change(table, operation, |row| {
                    mutations
                        .as_array()
                        .into_iter()
                        .flatten()
                        .for_each(|each| mutate(row, each));
                })
            }
            other => Err(Refusal::Error("not supported", other.to_owned())),
        }
    }

    fn found<'a>(&'a self, table: &str, operation: &Value) -> Result<Vec<&'a Row>, Refusal> {
        let rows = self.0.get(table);
        let rows = rows.ok_or_else(|| Refusal::Error("unknown table", table.to_owned()))?;
        let conditions = operation["where"].as_array().cloned().unwrap_or_default();
        let meets = |row: &&Row| conditions.iter().all(|condition| holds(row, condition));
        Ok(rows.values().filter(meets).collect())
    }

    fn change(
        &mut self,
        table: &str,
        operation: &Value,
        change: impl Fn(&mut Row),
    ) -> Result<Value, Refusal> {
        let found = self.found(table, operation)?;
        let uuids: Vec<_> = found.iter().map(|row| row["_uuid"][1].clone()).collect();
        let rows = self.0.entry(table.to_owned()).or_default();
        for uuid in uuids.iter().filter_map(Value::as_str) {
            rows.get_mut(uuid).into_iter().for_each(&change);
        }
        Ok(json!({"count": uuids.len()}))
    }

    fn wait(&self, table: &str, operation: &Value) -> Result<Value, Refusal> {
        let found = self.found(table, operation)?;
        let wanted = operation["rows"].as_array().cloned().unwrap_or_default();
        let empty = json!(["set", []]);
        let same = found.len() == wanted.len()
            && found.iter().zip(&wanted).all(|(row, wanted)| {
                let columns = wanted.as_object().into_iter().flatten();
                let mut columns = columns;
                columns.all(|(name, value)| same(row.get(name).unwrap_or(&empty), value))
            });
        match same == (operation["until"] == "==") {
            true => Ok(json!({})),
            false => Err(Refusal::Wait(operation["timeout"].as_u64().unwrap_or(0))),
        }
    }
}

/// The elements of a `<set>`, which may be written bare if it has one, or the pairs of a `<map>`.
fn elements(value: &Value) -> Vec<Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::Array(elements)]) if kind == "set" || kind == "map" => elements.clone(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value.clone()],
    }
}

/// Whether two values are equal: sets and maps come in any order.
fn same(one: &Value, other: &Value) -> bool {
    let parts = |value: &Value| -> BTreeSet<String> {
        elements(value).iter().map(Value::to_string).collect()
    };
    parts(one) == parts(other)
}

/// Whether `row` meets a condition `[column, function, value]`.
fn holds(row: &Row, condition: &Value) -> bool {
    let column = condition[0].as_str().and_then(|column| row.get(column));
    let Some(column) = column else { return false };
    match condition[1].as_str() {
        Some("includes") => {
            let all = elements(column);
            elements(&condition[2])
                .iter()
                .all(|each| all.contains(each))
        }
        Some("!=") => !same(column, &condition[2]),
        _ => same(column, &condition[2]),
    }
}

/// The columns of `row` that were asked for; one without a value is an empty set.
fn columns(row: &Row, asked: &Value) -> Row {
    let names = asked.as_array().into_iter().flatten();
    let names = names.filter_map(Value::as_str);
    let empty = json!(["set", []]);
    names
        .map(|name| (name.to_owned(), row.get(name).unwrap_or(&empty).clone()))
        .collect()
}

fn mutate(row: &mut Row, mutation: &Value) {
    let Some(column) = mutation[0].as_str() else {
        return;
    };
    let value = row.entry(column).or_insert_with(|| json!(["set", []]));
    match mutation[1].as_str() {
        Some("+=") => {
            *value = json!(value.as_i64().unwrap_or(0) + mutation[2].as_i64().unwrap_or(0));
        }
        Some("insert") => {
            let mut all = elements(value);
            all.extend(elements(&mutation[2]));
            *value = json!(["set", all]);
        }
        Some("delete") => {
            let gone = elements(&mutation[2]);
            let left = elements(value)
                .into_iter()
                .filter(|each| !gone.contains(each));
            *value = json!(["set", left.collect::<Vec<_>>()]);
        }
        _ => {}
    }
}

/// `value` with the UUIDs of rows that were inserted before in the same transaction.
fn resolved(value: &Value, named: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Array(pair) if pair.first().is_some_and(|kind| kind == "named-uuid") => {
            let uuid = pair.get(1).and_then(Value::as_str);
            json!(["uuid", uuid.and_then(|name| named.get(name))])
        }
        Value::Array(each) => each.iter().map(|each| resolved(each, named)).collect(),
        Value::Object(row) => {
            let row = row
                .iter()
                .map(|(name, value)| (name.clone(), resolved(value, named)));
            Value::Object(row.collect())
        }
        other => other.clone(),
    }
}
