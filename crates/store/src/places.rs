//! Sites and racks: where nodes and switches are. People read them; nothing is decided by them.

use bessemer_core::Timestamp;
use bessemer_core::id::{RackId, SiteId};
use serde_json::json;

use crate::Error;
use crate::catalogue::name_taken;
use crate::database::Row;
use crate::events::append;
use crate::nodes::{as_id, by_id_first};
use crate::page::{Place, next_place, rows_for};
use crate::records::{NewEvent, NewRack, NewSite, PlaceSort, RackChanges, RackRecord, SiteRecord};
use crate::store::Store;
use crate::value::{Value, values};

/// A query for whole sites, whose rows [`site_record`] reads.
macro_rules! select_site {
    ($rest:expr) => {
        concat!(
            "SELECT id, name, description, created_at, \
             (SELECT COUNT(*) FROM rack WHERE rack.site = site.id) AS racks FROM site ",
            $rest
        )
    };
}

/// A query for whole racks, whose rows [`rack_record`] reads.
macro_rules! select_rack {
    ($rest:expr) => {
        concat!(
            "SELECT id, name, site, position, created_at, \
             (SELECT site.name FROM site WHERE site.id = rack.site) AS site_name, \
             (SELECT COUNT(*) FROM switch WHERE switch.rack = rack.id) AS switches, \
             (SELECT COUNT(*) FROM node WHERE node.rack = rack.id) AS nodes FROM rack ",
            $rest
        )
    };
}

/// The four statements for a page of a list, in the order of [`PlaceSort`]. `$where` are the filters;
/// the cursor is `$key` and `$id`, and the limit comes last.
macro_rules! sorted_pages {
    ($select:ident, $where:literal, $key:literal, $id:literal, $limit:literal) => {
        [
            sorted_pages!(one $select, $where, $key, $id, $limit, "name", ">", ""),
            sorted_pages!(one $select, $where, $key, $id, $limit, "name", "<", " DESC"),
            sorted_pages!(one $select, $where, $key, $id, $limit, "created_at", ">", ""),
            sorted_pages!(one $select, $where, $key, $id, $limit, "created_at", "<", " DESC"),
        ]
    };
    (one $select:ident, $where:literal, $key:literal, $id:literal, $limit:literal,
        $by:literal, $after:literal, $direction:literal) => {
        $select!(concat!(
            "WHERE ", $where, " AND (", $key, " IS NULL OR (", $by, ", id) ", $after, " (", $key,
            ", ", $id, ")) ORDER BY ", $by, $direction, ", id", $direction, " LIMIT ", $limit
        ))
    };
}
pub(crate) use sorted_pages;

impl PlaceSort {
    fn by_name(self) -> bool {
        matches!(self, Self::Name | Self::NameDescending)
    }

    /// Of the statements of [`sorted_pages`], the one for this order.
    pub(crate) fn of(
        self,
        [name, name_descending, created, created_descending]: [&'static str; 4],
    ) -> &'static str {
        match self {
            Self::Name => name,
            Self::NameDescending => name_descending,
            Self::Created => created,
            Self::CreatedDescending => created_descending,
        }
    }

    /// Where the page begins.
    pub(crate) fn place(self, cursor: Option<&str>) -> Result<Place, Error> {
        if self.by_name() {
            Place::by_text(cursor)
        } else {
            Place::by_number(cursor)
        }
    }

    /// Where the next one does, if there is one.
    pub(crate) fn next(self, rows: &mut Vec<Row>, limit: u32) -> Result<Option<String>, Error> {
        next_place(rows, limit, |last| {
            let id = last.text("id")?;
            Ok(if self.by_name() {
                format!("{}_{id}", last.text("name")?)
            } else {
                format!("{}_{id}", last.integer("created_at")?)
            })
        })
    }
}

impl Store {
    /// Writes down a site, as `by` wants it. [`Error::Conflict`] if there is one of this name.
    pub async fn create_site(&self, site: &NewSite, by: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO site (id, name, description, created_at)
            VALUES ($1, $2, $3, $4)";
        let values = values![site.id, &site.name, &site.description, now];
        let event = told("site.created", ("site", &site.name), "is made", by);
        self.create_place("create_site", (SQL, values), event, now)
            .await
    }

    /// The site with this name or id.
    pub async fn site(&self, name_or_id: &str) -> Result<SiteRecord, Error> {
        const SQL: &str = select_site!("WHERE name = $1 OR id = $2");
        let values = values![name_or_id, as_id(name_or_id)];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        site_record(&row.ok_or_else(|| Error::not_found("site", name_or_id))?)
    }

    /// At most `limit` sites, sorted, from where `cursor` points; with the cursor of the next page, if
    /// there is one.
    pub async fn sites(
        &self,
        sort: PlaceSort,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<SiteRecord>, Option<String>), Error> {
        const SQL: [&str; 4] = sorted_pages!(select_site, "1 = 1", "$1", "$2", "$3");
        let from = sort.place(cursor.as_deref())?;
        let values = values![from.key, from.id, rows_for(limit)];
        let mut rows = self.database().rows(sort.of(SQL), values).await?;
        let next = sort.next(&mut rows, limit)?;
        let sites: Result<_, _> = rows.iter().map(site_record).collect();
        Ok((sites?, next))
    }

    /// Describes a site anew, as `by` wants it.
    pub async fn change_site(
        &self,
        id: SiteId,
        description: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE site SET description = $2 WHERE id = $1 RETURNING name";
        let mut write = self.write("change_site").await?;
        let row = write.row(SQL, values![id, description]).await?;
        let name = row
            .ok_or_else(|| Error::not_found("site", id))?
            .text("name")?;
        let event = told("site.changed", ("site", &name), "is described anew", by);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Forgets a site, as `by` wants it. [`Error::Conflict`] while it has racks.
    pub async fn delete_site(&self, id: SiteId, by: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM site WHERE id = $1 RETURNING name";
        const USER: &str = "SELECT name FROM rack WHERE site = $1 ORDER BY name LIMIT 1";
        let users = [("rack", USER)];
        self.delete_place("site", (SQL, id.to_string()), &users, (by, now))
            .await
    }

    /// Writes down a rack, as `by` wants it. [`Error::Conflict`] if there is one of this name.
    pub async fn create_rack(&self, rack: &NewRack, by: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO rack (id, name, site, position, created_at)
            VALUES ($1, $2, $3, $4, $5)";
        let values = values![rack.id, &rack.name, rack.site, &rack.position, now];
        let event = told("rack.created", ("rack", &rack.name), "is made", by);
        self.create_place("create_rack", (SQL, values), event, now)
            .await
    }

    /// The rack with this name or id.
    pub async fn rack(&self, name_or_id: &str) -> Result<RackRecord, Error> {
        const SQL: &str = select_rack!("WHERE name = $1 OR id = $2");
        let values = values![name_or_id, as_id(name_or_id)];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        rack_record(&row.ok_or_else(|| Error::not_found("rack", name_or_id))?)
    }

    /// At most `limit` racks, of one site or of all, sorted, from where `cursor` points; with the
    /// cursor of the next page, if there is one.
    pub async fn racks(
        &self,
        site: Option<SiteId>,
        sort: PlaceSort,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<RackRecord>, Option<String>), Error> {
        const SQL: [&str; 4] =
            sorted_pages!(select_rack, "($1 IS NULL OR site = $1)", "$2", "$3", "$4");
        let from = sort.place(cursor.as_deref())?;
        let values = values![site, from.key, from.id, rows_for(limit)];
        let mut rows = self.database().rows(sort.of(SQL), values).await?;
        let next = sort.next(&mut rows, limit)?;
        let racks: Result<_, _> = rows.iter().map(rack_record).collect();
        Ok((racks?, next))
    }

    /// Changes a rack, as `by` wants it.
    pub async fn change_rack(
        &self,
        id: RackId,
        changes: RackChanges,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE rack SET site = COALESCE($2, site),
            position = COALESCE($3, position) WHERE id = $1 RETURNING name";
        let mut write = self.write("change_rack").await?;
        let row = write
            .row(SQL, values![id, changes.site, changes.position])
            .await?;
        let name = row
            .ok_or_else(|| Error::not_found("rack", id))?
            .text("name")?;
        let event = told("rack.changed", ("rack", &name), "is changed", by);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Forgets a rack, as `by` wants it. [`Error::Conflict`] while a switch or a node is in it.
    pub async fn delete_rack(&self, id: RackId, by: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM rack WHERE id = $1 RETURNING name";
        const SWITCH: &str = "SELECT name FROM switch WHERE rack = $1 ORDER BY name LIMIT 1";
        const NODE: &str = "SELECT name FROM node WHERE rack = $1 ORDER BY name LIMIT 1";
        let users = [("switch", SWITCH), ("node", NODE)];
        self.delete_place("rack", (SQL, id.to_string()), &users, (by, now))
            .await
    }

    async fn create_place(
        &self,
        gate: &'static str,
        (sql, values): (&'static str, Vec<Value>),
        event: NewEvent,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.write(gate).await?;
        match write.execute(sql, values).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {
                let name = event.data["name"].as_str().unwrap_or_default();
                let what = event.kind.split('.').next().unwrap_or_default();
                return Err(name_taken(what, name));
            }
            Err(error) => return Err(error),
        }
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Deletes a place that others may be in; the error names such a one.
    async fn delete_place(
        &self,
        what: &'static str,
        (delete, id): (&'static str, String),
        users: &[(&str, &'static str)],
        (by, now): (&str, Timestamp),
    ) -> Result<(), Error> {
        let mut write = self.write("delete_place").await?;
        match write.row(delete, values![&id]).await {
            Ok(None) => Err(Error::not_found(what, id)),
            Ok(Some(row)) => {
                let name = row.text("name")?;
                let kind = if what == "site" {
                    "site.deleted"
                } else {
                    "rack.deleted"
                };
                let event = told(kind, (what, &name), "is forgotten", by);
                append(&mut write, &[event], now).await?;
                write.commit().await
            }
            Err(error) if error.is_reference_violation() => {
                write.roll_back().await?;
                for (kind, user) in users {
                    if let Some(row) = self.database().row(user, values![&id]).await? {
                        let user = row.text("name")?;
                        return Err(Error::not_now(format!(
                            "{kind} `{user}` is in the {what}: move or delete it first"
                        )));
                    }
                }
                Err(Error::not_now(format!(
                    "something was in the {what} a moment ago: try again"
                )))
            }
            Err(error) => Err(error),
        }
    }
}

/// What was done to a site, a rack or a switch, as `by` wanted it.
pub(crate) fn told(kind: &'static str, place: (&str, &str), how: &str, by: &str) -> NewEvent {
    about_place(kind, place, &format!("{how}, says `{by}`"))
}

/// An event about a site, a rack or a switch.
pub(crate) fn about_place(kind: &'static str, (what, name): (&str, &str), how: &str) -> NewEvent {
    NewEvent {
        kind,
        node: None,
        server: None,
        project: None,
        message: format!("{what} `{name}` {how}"),
        data: json!({ "name": name }),
    }
}

fn site_record(row: &Row) -> Result<SiteRecord, Error> {
    Ok(SiteRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        racks: row.number("racks")?,
        created_at: row.time("created_at")?,
    })
}

fn rack_record(row: &Row) -> Result<RackRecord, Error> {
    Ok(RackRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        site: row.parsed("site")?,
        site_name: row.text("site_name")?,
        position: row.text("position")?,
        switches: row.number("switches")?,
        nodes: row.number("nodes")?,
        created_at: row.time("created_at")?,
    })
}
