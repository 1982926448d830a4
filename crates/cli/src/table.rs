//! Tables without lines: columns two blanks apart, headers in capitals, as `kubectl` and
//! `docker` have them, so that `awk` can read them too.

use comfy_table::{Table, presets};

use crate::words::printable;

/// Stands where there is nothing to show.
pub(crate) const NOTHING: &str = "-";

/// `rows` under `header`, without a line break at the end.
pub(crate) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = plain();
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    text(table)
}

/// Names and values, one pair a line; pairs without a value are left out.
pub(crate) fn pairs(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let mut table = plain();
    for (name, value) in pairs {
        if let Some(value) = value {
            table.add_row([format!("{name}:"), printable(&value)]);
        }
    }
    text(table)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn text(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn one_line(cell: &str) -> String {
    if cell.is_empty() {
        return NOTHING.into();
    }
    printable(&cell.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_columns_and_nothing_else() {
        let rows = [
            ["node-1".into(), "available".into(), "12s ago".into()],
            ["a".into(), "deploy\nfailed\u{1b}".into(), String::new()],
        ];
        assert_eq!(
            table(["NAME", "STATE", "SINCE"], rows),
            "NAME    STATE                SINCE\n\
             node-1  available            12s ago\n\
             a       deploy failed\\u{1b}  -"
        );
        assert_eq!(table(["NAME", "ID"], []), "NAME  ID");
    }

    #[test]
    fn pairs_without_a_value_are_left_out() {
        let text = pairs([
            ("Name", Some("web-1".into())),
            ("Server", None),
            ("Reason", Some("one\ntwo".into())),
        ]);
        assert_eq!(text, "Name:    web-1\nReason:  one\n         two");
    }
}
