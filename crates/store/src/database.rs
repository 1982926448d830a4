//! One way to run one SQL text on either database.
//!
//! SQLite and PostgreSQL agree on everything this crate needs: `$1` parameters, `RETURNING`,
//! `ON CONFLICT`, row comparison. So each statement is written once, with its values bound as text
//! or 64-bit integers, and the enums here hand it to whichever database is open. Nothing outside
//! this file knows which one that is.

use std::str::FromStr;
use std::sync::Arc;

use bessemer_core::Timestamp;
use bessemer_core::hardware::Inventory;
use bessemer_core::id::NodeId;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::Error;
use crate::inventories;
use crate::postgres::Postgres;
use crate::sqlite::{Cell, Sqlite, SqliteRow, SqliteTransaction};
use crate::value::Value;

/// The connections of an open database.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// An open transaction. Dropping it rolls it back.
pub(crate) enum Transaction {
    Sqlite(SqliteTransaction),
    Postgres(Postgres, sqlx::Transaction<'static, sqlx::Postgres>),
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A row where the database has it, read by the numbers of its columns: for answers of thousands.
#[derive(Clone, Copy)]
pub(crate) enum Cells<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r PgRow),
}

/// A statement that inserts a row under the next number of its table: made by [`numbered`].
pub(crate) struct Numbered {
    /// For SQLite, which has one writer at a time and numbers rows itself.
    sqlite: &'static str,
    /// For PostgreSQL, by a counter whose row stays locked from then on. Both in one statement: each way
    /// there and back that lies between is one that everybody waits for.
    postgres: &'static str,
}

impl Numbered {
    #[doc(hidden)]
    pub(crate) const fn of(sqlite: &'static str, postgres: &'static str) -> Self {
        Self { sqlite, postgres }
    }
}

/// The [`Numbered`] that inserts into `$table` `$values` as `$columns`, and as its `sequence` the next number,
/// which on PostgreSQL is that of counter `$counter`.
macro_rules! numbered {
    ($counter:literal, $table:literal, $columns:literal, $values:literal, $rest:literal) => {
        $crate::database::Numbered::of(
            concat!(
                "INSERT INTO ",
                $table,
                " (",
                $columns,
                ") VALUES (",
                $values,
                ") ",
                $rest
            ),
            concat!(
                "WITH number AS (UPDATE counter SET value = value + 1 WHERE name = '",
                $counter,
                "' RETURNING value) INSERT INTO ",
                $table,
                " (",
                $columns,
                ", sequence) SELECT ",
                $values,
                ", number.value FROM number ",
                $rest
            ),
        )
    };
}
pub(crate) use numbered;

/// Binds `values` to `sql` and runs it by `method` on `executor` of PostgreSQL.
macro_rules! run {
    ($sql:expr, $values:expr, $method:ident, $executor:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Integer(integer) => query.bind(integer),
            };
        }
        query.$method($executor)
    }};
}

impl Database {
    /// Begins a transaction that writes. SQLite takes its write lock at once, so that two
    /// processes on one file wait for each other instead of failing half-way.
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        Ok(match self {
            Self::Sqlite(sqlite) => Transaction::Sqlite(sqlite.begin().await?),
            Self::Postgres(database) => {
                let pool = database.pool();
                let begun = database.meanwhile(pool.begin()).await?;
                Transaction::Postgres(database.clone(), begun)
            }
        })
    }

    /// Begins a transaction that only reads, and sees one moment throughout.
    pub(crate) async fn snapshot(&self) -> Result<Transaction, Error> {
        Ok(match self {
            Self::Sqlite(sqlite) => Transaction::Sqlite(sqlite.snapshot().await?),
            Self::Postgres(database) => {
                let pool = database.pool();
                let begun = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                Transaction::Postgres(database.clone(), database.meanwhile(begun).await?)
            }
        })
    }

    /// Every row that a single reading statement gives.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        Ok(match self {
            Self::Sqlite(sqlite) => sqlite_rows(sqlite.rows(sql, values).await?),
            Self::Postgres(database) => {
                let pool = database.pool();
                let rows = run!(sql, values, fetch_all, &pool);
                postgres_rows(database.meanwhile(rows).await?)
            }
        })
    }

    /// The first row that a single reading statement gives.
    pub(crate) async fn row(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        Ok(match self {
            Self::Sqlite(sqlite) => sqlite.row(sql, values).await?.map(Row::Sqlite),
            Self::Postgres(database) => {
                let pool = database.pool();
                let row = run!(sql, values, fetch_optional, &pool);
                database.meanwhile(row).await?.map(Row::Postgres)
            }
        })
    }

    /// Shows `take` every row that a single reading statement gives, where the database has it, until
    /// there is no other one or it fails.
    pub(crate) async fn each(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        mut take: impl FnMut(Cells<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(sqlite) => {
                let shown = sqlite.each(sql, values, |row| take(Cells::Sqlite(row)));
                shown.await
            }
            Self::Postgres(database) => {
                let pool = database.pool();
                let rows = run!(sql, values, fetch_all, &pool);
                let rows = database.meanwhile(rows).await?;
                rows.iter().try_for_each(|row| take(Cells::Postgres(row)))
            }
        }
    }

    /// Waits for running statements and closes every connection.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

impl Transaction {
    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, Error> {
        Ok(match self {
            Self::Sqlite(transaction) => transaction.execute(sql, values)?,
            Self::Postgres(database, transaction) => {
                let done = run!(sql, values, execute, &mut **transaction);
                database.meanwhile(done).await?.rows_affected()
            }
        })
    }

    /// Inserts a row under the next number of its table; how many rows that were, which is none if it
    /// gives way to one that is there.
    pub(crate) async fn insert_numbered(
        &mut self,
        insert: &Numbered,
        values: Vec<Value>,
    ) -> Result<u64, Error> {
        let sql = match self {
            Self::Sqlite(_) => insert.sqlite,
            Self::Postgres(..) => insert.postgres,
        };
        self.execute(sql, values).await
    }

    /// Every row that a statement gives.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        Ok(match self {
            Self::Sqlite(transaction) => sqlite_rows(transaction.rows(sql, values)?),
            Self::Postgres(database, transaction) => {
                let rows = run!(sql, values, fetch_all, &mut **transaction);
                postgres_rows(database.meanwhile(rows).await?)
            }
        })
    }

    /// The first row that a statement gives.
    pub(crate) async fn row(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        // All of them, because a statement with RETURNING should run to its end.
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Whether others write at the same time, so that rows can be locked: SQLite has one writer at a time.
    pub(crate) fn has_other_writers(&self) -> bool {
        matches!(self, Self::Postgres(..))
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await?,
            Self::Postgres(database, transaction) => {
                database.meanwhile(transaction.commit()).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn roll_back(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(transaction) => transaction.roll_back().await?,
            Self::Postgres(database, transaction) => {
                database.meanwhile(transaction.rollback()).await?;
            }
        }
        Ok(())
    }
}

fn sqlite_rows(rows: Vec<SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Sqlite).collect()
}

fn postgres_rows(rows: Vec<PgRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Postgres).collect()
}

/// Reading columns. A value that does not read as what it must be is [`Error::Corrupt`], naming
/// the column.
impl Row {
    /// The text in a column, where it stands.
    fn optional_str(&self, column: &'static str) -> Result<Option<&str>, Error> {
        match self {
            Self::Sqlite(row) => match row.cell(column) {
                Some(Cell::Text(text)) => Ok(Some(text)),
                Some(Cell::Null) => Ok(None),
                _ => Err(corrupt(column, "it is no text")),
            },
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }

    fn str(&self, column: &'static str) -> Result<&str, Error> {
        let text = self.optional_str(column)?;
        text.ok_or_else(|| corrupt(column, "there is none"))
    }

    /// What [`inventories`] makes of the inventory of a node.
    pub(crate) fn inventory(
        &self,
        node: NodeId,
        column: &'static str,
    ) -> Result<Option<Arc<Inventory>>, Error> {
        let text = self.optional_str(column)?;
        text.map(|text| inventories::read(node, text)).transpose()
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.str(column).map(str::to_owned)
    }

    pub(crate) fn optional_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        Ok(self.optional_str(column)?.map(str::to_owned))
    }

    pub(crate) fn integer(&self, column: &'static str) -> Result<i64, Error> {
        let integer = self.optional_integer(column)?;
        integer.ok_or_else(|| corrupt(column, "there is none"))
    }

    pub(crate) fn optional_integer(&self, column: &'static str) -> Result<Option<i64>, Error> {
        match self {
            Self::Sqlite(row) => match row.cell(column) {
                Some(Cell::Integer(integer)) => Ok(Some(integer)),
                Some(Cell::Null) => Ok(None),
                _ => Err(corrupt(column, "it is no integer")),
            },
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }

    /// An integer of a narrower type, such as `u16` or `u64`.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        narrow(column, self.integer(column)?)
    }

    pub(crate) fn optional_number<T: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let integer = self.optional_integer(column)?;
        integer.map(|integer| narrow(column, integer)).transpose()
    }

    /// Something that is stored as its text, such as an id.
    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Error>
    where
        T::Err: std::fmt::Display,
    {
        parse(column, self.str(column)?)
    }

    pub(crate) fn optional_parsed<T: FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.optional_str(column)?;
        text.map(|text| parse(column, text)).transpose()
    }

    /// Something that is stored as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        from_json(column, self.str(column)?)
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let text = self.optional_str(column)?;
        text.map(|text| from_json(column, text)).transpose()
    }

    /// A value that serialises as a plain string, stored without the quotes.
    pub(crate) fn name<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let name: StrDeserializer<'_, serde::de::value::Error> =
            self.str(column)?.into_deserializer();
        T::deserialize(name).map_err(|error| corrupt(column, error))
    }

    pub(crate) fn optional_name<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        match self.optional_str(column)? {
            Some(_) => self.name(column).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, Error> {
        time(column, self.integer(column)?)
    }

    pub(crate) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        let milliseconds = self.optional_integer(column)?;
        milliseconds.map(|at| time(column, at)).transpose()
    }

    /// A sealed secret.
    pub(crate) fn sealed(&self, column: &'static str) -> Result<Vec<u8>, Error> {
        unseal(column, self.str(column)?)
    }

    pub(crate) fn optional_sealed(&self, column: &'static str) -> Result<Option<Vec<u8>>, Error> {
        let text = self.optional_str(column)?;
        text.map(|text| unseal(column, text)).transpose()
    }
}

/// As those of [`Row`]; `name` is the column in what is told if it does not read.
impl<'r> Cells<'r> {
    pub(crate) fn optional_text(
        self,
        index: usize,
        name: &'static str,
    ) -> Result<Option<&'r str>, Error> {
        match self {
            Self::Sqlite(row) => {
                let cell = row.get_ref(index)?;
                let text = cell.as_str_or_null();
                text.map_err(|error| corrupt(name, error))
            }
            Self::Postgres(row) => Ok(row.try_get(index)?),
        }
    }

    pub(crate) fn text(self, index: usize, name: &'static str) -> Result<&'r str, Error> {
        let text = self.optional_text(index, name)?;
        text.ok_or_else(|| corrupt(name, "there is none"))
    }

    pub(crate) fn integer(self, index: usize, name: &'static str) -> Result<i64, Error> {
        match self {
            Self::Sqlite(row) => {
                let cell = row.get_ref(index)?;
                cell.as_i64().map_err(|error| corrupt(name, error))
            }
            Self::Postgres(row) => Ok(row.try_get(index)?),
        }
    }

    pub(crate) fn time(self, index: usize, name: &'static str) -> Result<Timestamp, Error> {
        time(name, self.integer(index, name)?)
    }

    pub(crate) fn optional_time(
        self,
        index: usize,
        name: &'static str,
    ) -> Result<Option<Timestamp>, Error> {
        let milliseconds: Option<i64> = match self {
            Self::Sqlite(row) => {
                let cell = row.get_ref(index)?;
                let integer = cell.as_i64_or_null();
                integer.map_err(|error| corrupt(name, error))?
            }
            Self::Postgres(row) => row.try_get(index)?,
        };
        milliseconds.map(|at| time(name, at)).transpose()
    }
}

fn corrupt(what: &'static str, error: impl std::fmt::Display) -> Error {
    Error::Corrupt {
        what,
        message: error.to_string(),
    }
}

fn narrow<T: TryFrom<i64>>(column: &'static str, integer: i64) -> Result<T, Error> {
    T::try_from(integer).map_err(|_| corrupt(column, format_args!("{integer} is out of range")))
}

pub(crate) fn parse<T: FromStr>(column: &'static str, text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| corrupt(column, error))
}

pub(crate) fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| corrupt(column, error))
}

fn time(column: &'static str, milliseconds: i64) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| corrupt(column, error))
}

fn unseal(column: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    engine.decode(text).map_err(|error| corrupt(column, error))
}
