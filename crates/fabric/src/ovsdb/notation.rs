//! How OVSDB writes values in JSON (RFC 7047, section 5.1).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A row as it comes: columns by name.
pub(super) type Row = Map<String, Value>;

/// The elements of a `<set>`, which is written bare if it has one.
pub(super) fn elements(value: &Value) -> Vec<&Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::Array(elements)]) if kind == "set" => elements.iter().collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

/// The elements of a column.
pub(super) fn column<'row>(row: &'row Row, name: &str) -> Vec<&'row Value> {
    row.get(name).map(elements).unwrap_or_default()
}

/// The value of a column that holds at most one.
pub(super) fn optional<'row>(row: &'row Row, name: &str) -> Option<&'row Value> {
    column(row, name).first().copied()
}

/// The text of a column that holds at most one.
pub(super) fn text<'row>(row: &'row Row, name: &str) -> Option<&'row str> {
    optional(row, name)?.as_str()
}

/// The numbers of a column that are VLANs.
pub(super) fn numbers(row: &Row, name: &str) -> Vec<u16> {
    let values = column(row, name).into_iter().filter_map(Value::as_u64);
    values.filter_map(|each| u16::try_from(each).ok()).collect()
}

/// The UUIDs of a column that refers to other rows.
pub(super) fn references(row: &Row, name: &str) -> Vec<String> {
    let values = column(row, name).into_iter();
    values.filter_map(uuid).collect()
}

/// The UUID of a `<uuid>`.
pub(super) fn uuid(value: &Value) -> Option<String> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::String(uuid)]) if kind == "uuid" => Some(uuid.clone()),
        _ => None,
    }
}

/// A `<uuid>`.
pub(super) fn reference(uuid: &str) -> Value {
    json!(["uuid", uuid])
}

/// A `<set>`.
pub(super) fn set(values: impl IntoIterator<Item = Value>) -> Value {
    json!(["set", values.into_iter().collect::<Vec<_>>()])
}

/// The pairs of a column that is a `<map>` of texts.
pub(super) fn pairs(row: &Row, name: &str) -> BTreeMap<String, String> {
    let pairs = row.get(name).and_then(|map| map.get(1)?.as_array());
    let pairs = pairs.into_iter().flatten().filter_map(|pair| {
        let (key, value) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        Some((key.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// A `<map>` of texts.
pub(super) fn map(pairs: &BTreeMap<String, String>) -> Value {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| json!([key, value]))
        .collect();
    json!(["map", pairs])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        let Value::Object(row) = json!({
            "none": ["set", []], "bare": 7, "one": ["set", [7]], "more": ["set", [7, 8, 70000]],
            "ids": ["map", [["a", "b"], ["c", 7]]], "port": ["uuid", "x"],
            "ports": ["set", [["uuid", "x"], ["uuid", "y"], 7]],
        }) else {
            panic!("it is a row");
        };
        assert_eq!(optional(&row, "none"), None);
        assert_eq!(optional(&row, "absent"), None);
        for name in ["bare", "one"] {
            assert_eq!(numbers(&row, name), [7]);
        }
        assert_eq!(numbers(&row, "more"), [7, 8]);
        assert_eq!(pairs(&row, "ids"), [("a".into(), "b".into())].into());
        assert_eq!(map(&pairs(&row, "ids")), json!(["map", [["a", "b"]]]));
        assert_eq!(references(&row, "port"), ["x"]);
        assert_eq!(references(&row, "ports"), ["x", "y"]);
        for nonsense in [json!(7), json!(["set"]), json!(["set", 7]), json!({})] {
            let Value::Object(row) = json!({ "x": nonsense }) else {
                panic!("it is a row");
            };
            assert!(pairs(&row, "x").is_empty() && references(&row, "x").is_empty());
        }
    }
}
