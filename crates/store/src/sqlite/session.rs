//! One connection: its statements, and the rows they give.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Statement};

use super::batch::Batch;
use super::log_file;
use super::pool::Opening;
use crate::value::Value;

/// Statements that each connection keeps prepared: more than there are texts in this crate.
const STATEMENTS: usize = 1024;

/// What a connection keeps of what it has read: most of the nodes of a fleet of thousands. SQLite's own
/// is a quarter of that.
const CACHE_KIB: i64 = 8192;

/// Pages of 4 KiB in the log after which it is brought into the database. As many as one part of the log's
/// index can hold (<https://www.sqlite.org/walformat.html#walidxfmt>); SQLite's own is a quarter of that.
const CHECKPOINT_PAGES: i64 = 4000;

/// One connection.
pub(super) struct Session {
    connection: Connection,
    shapes: Shapes,
    /// Of a connection that writes: whose writes are in the open transaction, and have ended.
    pub(super) batch: Batch,
}

/// By where the text of a statement is, and how long it is: texts are constants.
type Shapes = HashMap<(usize, usize), Arc<Shape>>;

/// What goes into a statement and what comes out of it.
pub(crate) struct Shape {
    /// For each parameter in SQLite's order, its number: `$2` is the second value, wherever it stands.
    parameters: Vec<usize>,
    columns: Vec<String>,
}

impl Shape {
    fn of(statement: &Statement<'_>) -> Self {
        let number = |index| {
            let name = statement.parameter_name(index).unwrap_or_default();
            // Anything else binds nothing, which SQLite takes as null and every test notices.
            name.trim_start_matches('$').parse().unwrap_or(0)
        };
        let names = statement.column_names();
        Self {
            parameters: (1..=statement.parameter_count()).map(number).collect(),
            columns: names.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Session {
    pub(super) fn open(opening: &Opening) -> Result<Self, rusqlite::Error> {
        // Each is used by one task at a time, so it needs no lock of its own.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        log_file::register()?;
        let connection = Connection::open_with_flags_and_vfs(&opening.path, flags, log_file::NAME)?;
        connection.busy_timeout(opening.busy)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // FULL, not NORMAL: with NORMAL a power cut may lose the last commits, and with them the
        // knowledge that a disk was given to a tenant. It costs one fsync a commit (0.1 ms, measured
        // on a virtual disk), and commits are few: a deployment has about twenty.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "query_only", !opening.writes)?;
        // What a write that joins others would have to undo is kept in memory, not in a file of its own
        // (<https://www.sqlite.org/tempfiles.html>, section 3).
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // Negative: in KiB (<https://www.sqlite.org/pragma.html#pragma_cache_size>).
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // Pages that are written again and again go to the database itself once for many commits.
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // A statement is planned once, and not again for every other value (`SQLITE_DBCONFIG_ENABLE_QPSG`,
        // <https://www.sqlite.org/queryplanner-ng.html#qpstab>).
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self {
            connection,
            shapes: HashMap::new(),
            batch: Batch::default(),
        })
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, rusqlite::Error> {
        let done = self.run(sql, values);
        done.inspect_err(|error| self.tell_undone(error))
    }

    fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let shape = shape(&mut self.shapes, sql, &statement);
        bind(&mut statement, &shape, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// Every row that a statement gives.
    pub(crate) fn rows(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, rusqlite::Error> {
        let mut found = Vec::new();
        let done = self.each(sql, values, |row, shape| {
            found.push(SqliteRow::copied(row, shape)?);
            Ok::<_, rusqlite::Error>(())
        });
        done.inspect_err(|error| self.tell_undone(error))?;
        Ok(found)
    }

    /// Shows `take` every row that a statement gives, where SQLite has it.
    pub(crate) fn each<E: From<rusqlite::Error>>(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        mut take: impl FnMut(&rusqlite::Row<'_>, &Arc<Shape>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let shape = shape(&mut self.shapes, sql, &statement);
        bind(&mut statement, &shape, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            take(row, &shape)?;
        }
        Ok(())
    }

    pub(super) fn roll_back(&mut self) -> Result<(), rusqlite::Error> {
        match self.is_over() {
            true => Ok(()),
            false => self.execute("ROLLBACK", Vec::new()).map(drop),
        }
    }

    /// Whether no transaction is open. SQLite rolls back by itself after some errors, such as a full
    /// disk (<https://www.sqlite.org/lang_transaction.html>, section 2.3).
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Tells those who have written before, if an error has undone what they wrote, too.
    fn tell_undone(&mut self, error: &rusqlite::Error) {
        if self.is_over() {
            self.batch.tell(Err(error));
        }
    }
}

fn shape(shapes: &mut Shapes, sql: &'static str, statement: &Statement<'_>) -> Arc<Shape> {
    let shape = shapes.entry((sql.as_ptr().addr(), sql.len()));
    shape
        .or_insert_with(|| Arc::new(Shape::of(statement)))
        .clone()
}

fn bind(
    statement: &mut Statement<'_>,
    shape: &Shape,
    values: Vec<Value>,
) -> Result<(), rusqlite::Error> {
    for (index, number) in (1..).zip(&shape.parameters) {
        match number.checked_sub(1).and_then(|place| values.get(place)) {
            Some(Value::Text(text)) => statement.raw_bind_parameter(index, text)?,
            Some(Value::Integer(integer)) => statement.raw_bind_parameter(index, integer)?,
            None => {
                return Err(rusqlite::Error::InvalidParameterCount(
                    values.len(),
                    *number,
                ));
            }
        }
    }
    Ok(())
}

/// One row of an answer. All of its text is in one piece of memory: rows have many columns, and most are
/// read once.
pub(crate) struct SqliteRow {
    text: String,
    cells: Vec<Stored>,
    shape: Arc<Shape>,
    /// After the column that was read last: most are read in the order in which they stand.
    next: AtomicUsize,
}

/// What stands in a column; of a text, where in the row's.
enum Stored {
    Null,
    Integer(i64),
    Text(Range<usize>),
    Other,
}

/// What stands in a column.
pub(crate) enum Cell<'r> {
    Null,
    Integer(i64),
    Text(&'r str),
    /// Nothing that this crate has written.
    Other,
}

impl SqliteRow {
    fn copied(row: &rusqlite::Row<'_>, shape: &Arc<Shape>) -> Result<Self, rusqlite::Error> {
        let columns = 0..shape.columns.len();
        let mut length = 0;
        for index in columns.clone() {
            if let ValueRef::Text(bytes) = row.get_ref(index)? {
                length += bytes.len();
            }
        }
        let mut text = String::with_capacity(length);
        let mut cells = Vec::with_capacity(columns.len());
        for index in columns {
            cells.push(match row.get_ref(index)? {
                ValueRef::Null => Stored::Null,
                ValueRef::Integer(integer) => Stored::Integer(integer),
                ValueRef::Text(bytes) => match str::from_utf8(bytes) {
                    Ok(column) => {
                        let begin = text.len();
                        text.push_str(column);
                        Stored::Text(begin..text.len())
                    }
                    Err(_) => Stored::Other,
                },
                ValueRef::Real(_) | ValueRef::Blob(_) => Stored::Other,
            });
        }
        Ok(Self {
            text,
            cells,
            shape: shape.clone(),
            next: AtomicUsize::new(0),
        })
    }

    /// What stands in the column of this name, if there is one.
    pub(crate) fn cell(&self, column: &str) -> Option<Cell<'_>> {
        let names = &self.shape.columns;
        let next = self.next.load(Ordering::Relaxed);
        let mut places = (next..names.len()).chain(0..next);
        let place = places.find(|place| names[*place] == column)?;
        self.next.store(place + 1, Ordering::Relaxed);
        Some(match self.cells.get(place)? {
            Stored::Null => Cell::Null,
            Stored::Integer(integer) => Cell::Integer(*integer),
            Stored::Text(range) => self.text.get(range.clone()).map_or(Cell::Other, Cell::Text),
            Stored::Other => Cell::Other,
        })
    }
}
