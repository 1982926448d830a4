//! The reference of the configuration, made from the code: keys, defaults and meanings are those of
//! the types, so that the document cannot differ from the program.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

const HEAD: &str = "\
# Configuration

<!-- Made from the code by `bessemer config reference`: change the docs in `server/src/config/` and
run `UPDATE_CONFIGURATION=1 cargo test -p bessemer-server --test docs`. -->

One TOML file: `--config FILE`, else `/etc/bessemer/bessemer.toml` if it exists, else defaults.
[`packaging/bessemer.toml`](../packaging/bessemer.toml) is an example with every key. Unknown keys and
values that make no sense stop the start with a message that names the key. A change takes effect at
the next start.
";

/// The reference as Markdown: one table for each section, in alphabetical order.
pub fn reference() -> String {
    // Everything in its place instead of by reference: then each key has all that is said of it.
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    let root = schema.to_value();
    let mut text = HEAD.to_owned();
    let (sections, keys): (Vec<_>, Vec<_>) =
        properties(&root).partition(|(_, value)| section(value).is_some());
    text.push_str(&table("Top level", "", "", &root, keys));
    for (name, value) in sections {
        let Some(fields) = section(value) else {
            continue;
        };
        let heading = format!("`[{name}]`");
        let about = sentence(&description(value));
        let prefix = format!("{name}.");
        text.push_str(&table(
            &heading,
            &about,
            &prefix,
            fields,
            properties(fields),
        ));
    }
    text
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The fields of a section; `None` for a plain key.
fn section(value: &Value) -> Option<&Value> {
    let has_fields = |schema: &&Value| schema.get("properties").is_some();
    if has_fields(&value) {
        return Some(value);
    }
    let choices = value.get("anyOf")?.as_array()?;
    choices.iter().find(has_fields)
}

fn table<'v>(
    heading: &str,
    about: &str,
    prefix: &str,
    schema: &Value,
    keys: impl IntoIterator<Item = (&'v String, &'v Value)>,
) -> String {
    let mut text = format!("\n## {heading}\n\n");
    if !about.is_empty() {
        text.push_str(&format!("{about}\n\n"));
    }
    text.push_str("| key | default | meaning |\n| --- | --- | --- |\n");
    for (key, value) in keys {
        let default = default(schema, key, value);
        let meaning = meaning(value);
        text.push_str(&format!("| `{prefix}{key}` | {default} | {meaning} |\n"));
    }
    text
}

fn default(schema: &Value, key: &str, value: &Value) -> String {
    let required = schema["required"].as_array();
    if required.is_some_and(|required| required.iter().any(|each| each == key)) {
        return "required".into();
    }
    match value.get("default") {
        None | Some(Value::Null) => "none".into(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Array(items)) if items.is_empty() => "none".into(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => format!("`{other}`"),
    }
}

/// What a key means, with what its values mean if there are only a few.
fn meaning(value: &Value) -> String {
    let mut text = sentence(&description(value));
    let choices = value.get("oneOf").and_then(Value::as_array);
    for choice in choices.into_iter().flatten() {
        let name = choice["const"].as_str().unwrap_or_default();
        text.push_str(&format!(" `{name}`: {}", sentence(&description(choice))));
    }
    text
}

fn description(value: &Value) -> String {
    let text = value.get("description").and_then(Value::as_str);
    // Rustdoc's line breaks mean nothing, and a bar would end the cell.
    let words = text.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_meaning() {
        let text = reference();
        let rows: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert!(rows.len() > 30, "{text}");
        for row in rows {
            assert!(!row.ends_with("|  |"), "{row}");
        }
    }
}
