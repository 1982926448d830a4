//! Tables for people.

use comfy_table::{Table, presets};

/// A table without lines, to be filled with rows.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table
}
