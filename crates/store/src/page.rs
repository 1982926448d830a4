//! Cursors: where a page of a list in order of creation goes on.
//!
//! A cursor names the last item of the page before by its place in the order, so it stays good
//! while items come and go.

use crate::Error;
use crate::database::Row;

/// A place in a list ordered by creation time, then id.
pub(crate) struct Cursor {
    pub(crate) created_at: i64,
    pub(crate) id: String,
}

impl Cursor {
    /// Reads what [`next_page`] wrote; before everything if there is none.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text else {
            return Ok(Self {
                created_at: i64::MIN,
                id: String::new(),
            });
        };
        let parts = text.split_once('_');
        let read = parts.and_then(|(created_at, id)| {
            Some(Self {
                created_at: created_at.parse().ok()?,
                id: id.parse::<uuid::Uuid>().ok()?.to_string(),
            })
        });
        read.ok_or_else(|| Error::Cursor(text.chars().take(80).collect()))
    }
}

/// How many rows to ask for to fill a page of `limit` and know whether there is another.
pub(crate) fn rows_for(limit: u32) -> u32 {
    limit.saturating_add(1)
}

/// Cuts `rows` to `limit`; the cursor of the next page if there is one.
pub(crate) fn next_page(rows: &mut Vec<Row>, limit: u32) -> Result<Option<String>, Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return Ok(None);
    }
    rows.truncate(limit);
    let Some(last) = rows.last() else {
        return Ok(None);
    };
    Ok(Some(format!(
        "{}_{}",
        last.integer("created_at")?,
        last.text("id")?
    )))
}
