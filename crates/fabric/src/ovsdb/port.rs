//! Rows of the tables `Port` and `Interface` (`ovs-vswitchd.conf.db(5)`), and what they mean.

use serde_json::{Value, json};

use super::connection::Connection;
use crate::{Error, PortPlan, PortState};

/// Where a port's description is kept: rows have no column of that name.
const DESCRIPTION: &str = "bessemer-description";

/// Characters of a fault that are repeated.
const LONGEST_FAULT: usize = 300;

/// A port as its switch has it.
pub(super) struct Port {
    pub(super) state: PortState,
    /// Why the switch cannot use the device behind it.
    pub(super) fault: Option<String>,
}

/// Reads the port called `name`.
pub(super) async fn read(connection: &mut Connection, name: &str) -> Result<Port, Error> {
    let select = json!({
        "op": "select", "table": "Port", "where": [["name", "==", name]],
        "columns": ["tag", "vlan_mode", "trunks", "protected", "external_ids", "interfaces"],
    });
    let row = first_row(connection, select)
        .await?
        .ok_or_else(|| Error::NoSuchPort {
            switch: connection.switch().to_owned(),
            port: name.to_owned(),
        })?;
    let mut fault = None;
    for interface in elements(row.get("interfaces").unwrap_or(&Value::Null)) {
        let select = json!({
            "op": "select", "table": "Interface", "where": [["_uuid", "==", interface]],
            "columns": ["error"],
        });
        let interface = first_row(connection, select).await?;
        let error = interface
            .as_ref()
            .and_then(|row| optional(row, "error")?.as_str());
        fault = fault.or(error.map(|error| error.chars().take(LONGEST_FAULT).collect()));
    }
    Ok(Port {
        state: state(&row),
        fault,
    })
}

async fn first_row(connection: &mut Connection, select: Value) -> Result<Option<Value>, Error> {
    let results = connection.transact(&[select]).await?;
    match results
        .first()
        .and_then(|result| result.get("rows"))
        .and_then(Value::as_array)
    {
        Some(rows) => Ok(rows.first().cloned()),
        None => Err(connection.nonsense("a selection has no rows".to_owned())),
    }
}

/// The operations that make the port called `name` as planned.
pub(super) fn change(name: &str, plan: &PortPlan) -> [Value; 2] {
    let this = json!([["name", "==", name]]);
    [
        json!({
            "op": "update", "table": "Port", "where": this,
            "row": {
                "tag": plan.vlan(), "vlan_mode": "access", "trunks": ["set", []],
                "protected": plan.is_isolated(),
            },
        }),
        // Other keys are other programs'.
        json!({
            "op": "mutate", "table": "Port", "where": this,
            "mutations": [
                ["external_ids", "delete", ["set", [DESCRIPTION]]],
                ["external_ids", "insert", ["map", [[DESCRIPTION, plan.description()]]]],
            ],
        }),
    ]
}

/// `vlan_mode` may be empty: then a tag without trunks makes an access port, and everything else
/// some kind of trunk.
fn state(row: &Value) -> PortState {
    let tag = optional(row, "tag")
        .and_then(Value::as_u64)
        .and_then(|tag| u16::try_from(tag).ok());
    let mode = optional(row, "vlan_mode").and_then(Value::as_str);
    let trunks = row.get("trunks").map(elements).unwrap_or_default();
    match (tag, mode) {
        (Some(vlan), None | Some("access")) if trunks.is_empty() => PortState::Access {
            vlan,
            isolated: row.get("protected").and_then(Value::as_bool) == Some(true),
            description: description(row),
        },
        _ => {
            let mode = mode.unwrap_or("trunk").chars().take(40).collect::<String>();
            let tag = tag.map_or("no".to_owned(), |tag| tag.to_string());
            let trunks = match trunks.len() {
                0 => "all".to_owned(),
                count => count.to_string(),
            };
            PortState::Other(format!(
                "{mode} port, {tag} native VLAN, {trunks} tagged VLANs"
            ))
        }
    }
}

/// RFC 7047, section 5.1, `<map>`.
fn description(row: &Value) -> String {
    let pairs = row
        .pointer("/external_ids/1")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut values = pairs
        .filter(|pair| pair[0] == DESCRIPTION)
        .filter_map(|pair| pair[1].as_str());
    values.next().unwrap_or_default().to_owned()
}

/// The elements of a set (RFC 7047, section 5.1, `<set>`), which is written bare if it has one.
fn elements(value: &Value) -> Vec<&Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::Array(elements)]) if kind == "set" => elements.iter().collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

/// The value of a column that holds at most one.
fn optional<'a>(row: &'a Value, column: &str) -> Option<&'a Value> {
    row.get(column).map(elements)?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(vlan: u16, description: &str) -> PortState {
        PortState::Access {
            vlan,
            isolated: false,
            description: description.to_owned(),
        }
    }

    #[test]
    fn rows_mean_what_the_switch_does() {
        let empty = json!(["set", []]);
        let ids = json!(["map", [["other", "x"], [DESCRIPTION, "parked"]]]);
        let row = |tag: Value, mode: Value, trunks: Value| json!({"tag": tag, "vlan_mode": mode, "trunks": trunks, "external_ids": ids});
        let implicit = row(json!(7), empty.clone(), empty.clone());
        assert_eq!(state(&implicit), access(7, "parked"));
        let explicit = row(json!(["set", [7]]), json!("access"), empty.clone());
        assert_eq!(state(&explicit), access(7, "parked"));
        let mut isolated = implicit;
        isolated["protected"] = json!(true);
        assert!(matches!(
            state(&isolated),
            PortState::Access { isolated: true, .. }
        ));
        for (trunk, part) in [
            (row(empty.clone(), empty.clone(), empty.clone()), "all"),
            (row(json!(7), empty.clone(), json!(9)), "1 tagged"),
            (
                row(json!(7), json!("trunk"), json!(["set", [8, 9]])),
                "2 tagged",
            ),
            (
                row(json!(7), json!("native-untagged"), empty.clone()),
                "native-untagged",
            ),
        ] {
            assert!(matches!(state(&trunk), PortState::Other(words) if words.contains(part)));
        }
        for nonsense in [
            json!({}),
            json!(7),
            json!({"tag": "x", "trunks": 7, "vlan_mode": 9}),
        ] {
            assert!(matches!(state(&nonsense), PortState::Other(_)));
        }
    }
}
