//! Lists come in pages: each answer names the cursor of the next one.

use bessemer_wire::api::Page;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Kind, Refusal};

/// Items on a page unless asked otherwise.
const USUAL: u32 = 100;

/// The most items on a page.
const MOST: u32 = 1000;

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// How many items at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

impl PageQuery {
    pub(super) fn cursor(&self) -> Option<String> {
        self.cursor.clone()
    }

    pub(super) fn limit(&self) -> Result<u32, Refusal> {
        limit(self.limit)
    }
}

/// How many items are asked for.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Refusal> {
    match asked {
        None => Ok(USUAL),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(limit) => Err(Refusal::new(
            Kind::InvalidParameter,
            format!("`limit` is {limit}; it must be 1 to {MOST}."),
        )
        .field("limit")),
    }
}

/// A page of a list that goes on after the number of its last item.
pub(super) fn numbered<T>(items: Vec<T>, limit: u32, number: impl Fn(&T) -> i64) -> Page<T> {
    let full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
    let next = items.last().filter(|_| full);
    let next = next.map(|last| number(last).to_string());
    Page { items, next }
}

/// A list that is short by nature and comes whole.
pub(super) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}
