//! Cursors: where a page of a list goes on.
//!
//! A cursor names the last item of the page before by its place in the order, so it stays good
//! while items come and go.

use bessemer_core::Timestamp;

use crate::Error;
use crate::database::Row;
use crate::value::Value;

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
        read.ok_or_else(|| no_cursor(text))
    }

    /// The place after this item.
    pub(crate) fn after(created_at: Timestamp, id: &str) -> String {
        format!("{}_{id}", created_at.as_millisecond())
    }
}

/// How many rows to ask for to fill a page of `limit` and know whether there is another.
pub(crate) fn rows_for(limit: u32) -> u32 {
    limit.saturating_add(1)
}

/// Cuts `rows` to `limit`; the cursor of the next page if there is one.
pub(crate) fn next_page(rows: &mut Vec<Row>, limit: u32) -> Result<Option<String>, Error> {
    next_place(rows, limit, |last| {
        Ok(Cursor::after(last.time("created_at")?, &last.text("id")?))
    })
}

/// A place in a list that can be sorted in several ways: what it is sorted by, then something that
/// is unique. Both are null before the first item.
pub(crate) struct Place {
    pub(crate) key: Value,
    pub(crate) id: Value,
}

impl Place {
    /// Of a list sorted by a text.
    pub(crate) fn by_text(cursor: Option<&str>) -> Result<Self, Error> {
        Ok(match split(cursor)? {
            None => Self {
                key: Value::Text(None),
                id: Value::Text(None),
            },
            Some((key, id)) => Self {
                key: key.into(),
                id: id.into(),
            },
        })
    }

    /// Of a list sorted by a number.
    pub(crate) fn by_number(cursor: Option<&str>) -> Result<Self, Error> {
        Ok(match split(cursor)? {
            None => Self {
                key: Value::Integer(None),
                id: Value::Text(None),
            },
            Some((key, id)) => Self {
                key: number(key)?.into(),
                id: id.into(),
            },
        })
    }
}

/// The two parts of a cursor.
pub(crate) fn split(cursor: Option<&str>) -> Result<Option<(&str, &str)>, Error> {
    let parts = cursor.map(|text| text.rsplit_once('_').ok_or_else(|| no_cursor(text)));
    parts.transpose()
}

/// A part of a cursor that is a number.
pub(crate) fn number(part: &str) -> Result<i64, Error> {
    part.parse().map_err(|_| no_cursor(part))
}

fn no_cursor(text: &str) -> Error {
    Error::Cursor(text.chars().take(80).collect())
}

/// Cuts `rows` to `limit`; the cursor of the next page, which `place` writes, if there is one.
pub(crate) fn next_place(
    rows: &mut Vec<Row>,
    limit: u32,
    place: impl FnOnce(&Row) -> Result<String, Error>,
) -> Result<Option<String>, Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return Ok(None);
    }
    rows.truncate(limit);
    rows.last().map(place).transpose()
}
