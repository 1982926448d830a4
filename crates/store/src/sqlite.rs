//! SQLite, called directly from where its answer is needed.
//!
//! A statement on an embedded database takes a few microseconds, less than it costs to hand it to
//! another thread and to wait for that. So statements run on the thread that asks, and only a commit,
//! which waits for the disk, runs on one of those that are there for waiting. Readers never wait for
//! anybody: with a write-ahead log they see the last commit (<https://www.sqlite.org/wal.html>).
//!
//! SQLite has one writer at a time whatever we do; giving it one connection makes writers queue here,
//! fairly. For another process's write lock we wait without holding up the thread.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::Error;
use crate::value::Value;

/// Readers of a file. Two cores keep no more than this busy; each costs about 1 MB once used.
const READERS: u32 = 4;

/// From one try to begin a write to the next, while another process writes.
const BEGIN_AGAIN: Duration = Duration::from_millis(5);

/// Statements that each connection keeps prepared: more than there are texts in this crate.
const STATEMENTS: usize = 1024;

/// An open file.
pub(crate) struct Sqlite {
    writer: Pool,
    readers: Pool,
    patience: Duration,
}

impl Sqlite {
    /// The file at `path`, whose schema is up to date. Whoever waits for a connection, or for the
    /// write lock of another process, waits for `patience`.
    pub(crate) fn open(path: PathBuf, patience: Duration) -> Result<Self, rusqlite::Error> {
        let readers = Opening {
            path: path.clone(),
            // Only while another process recovers or closes the file, which is a matter of
            // milliseconds.
            busy: patience,
            writes: false,
        };
        let writer = Opening {
            path,
            busy: Duration::ZERO,
            writes: true,
        };
        // So that a file that cannot be opened is told at once.
        let first = Session::open(&writer)?;
        let writer = Pool::new(writer, 1);
        writer.free().push(first);
        Ok(Self {
            writer,
            readers: Pool::new(readers, READERS),
            patience,
        })
    }

    /// Begins a transaction that writes, with the write lock of the file.
    pub(crate) async fn begin(&self) -> Result<SqliteTransaction, Error> {
        let mut lent = self.writer.lend(self.patience).await?;
        let begun = Instant::now();
        loop {
            match lent.execute("BEGIN IMMEDIATE", Vec::new()) {
                Err(error) if is_busy(&error) && begun.elapsed() < self.patience => {
                    sleep(BEGIN_AGAIN).await;
                }
                outcome => {
                    outcome?;
                    return Ok(SqliteTransaction(lent));
                }
            }
        }
    }

    /// Begins a transaction that reads, and sees one moment throughout.
    pub(crate) async fn snapshot(&self) -> Result<SqliteTransaction, Error> {
        let mut lent = self.reader().await?;
        lent.execute("BEGIN", Vec::new())?;
        Ok(SqliteTransaction(lent))
    }

    /// A connection to read by.
    pub(crate) async fn reader(&self) -> Result<Lent, Error> {
        self.readers.lend(self.patience).await
    }

    /// Waits for what is under way, and closes every connection.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        // Last, so that it is the one to fold the write-ahead log back into the file.
        self.writer.close().await;
    }
}

/// `SQLITE_BUSY`: another process holds what is needed.
fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// How connections of a kind are opened.
struct Opening {
    path: PathBuf,
    /// How long SQLite itself waits for a lock, and its thread with it.
    busy: Duration,
    writes: bool,
}

/// Connections of a kind, opened when they are first needed.
struct Pool {
    opening: Opening,
    free: Arc<Mutex<Vec<Session>>>,
    places: Arc<Semaphore>,
    count: u32,
}

impl Pool {
    fn new(opening: Opening, count: u32) -> Self {
        Self {
            opening,
            free: Arc::default(),
            places: Arc::new(Semaphore::new(count as usize)),
            count,
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Session>> {
        locked(&self.free)
    }

    /// Lends a connection, in the order of those who ask. Errors are those of a pool of `sqlx`.
    async fn lend(&self, patience: Duration) -> Result<Lent, Error> {
        let place = timeout(patience, self.places.clone().acquire_owned());
        let place = place.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        // The one used last: what it has read is still in its cache.
        let free = self.free().pop();
        let session = match free {
            Some(session) => session,
            None => Session::open(&self.opening)?,
        };
        Ok(Lent {
            session: Some(session),
            home: self.free.clone(),
            _place: place,
        })
    }

    async fn close(&self) {
        // Without an error: only this closes it, and twice does no harm.
        let all = self.places.acquire_many(self.count).await;
        self.free().clear();
        self.places.close();
        drop(all);
    }
}

/// Nobody panics while holding it; and if so, connections are as good as before.
fn locked(free: &Mutex<Vec<Session>>) -> MutexGuard<'_, Vec<Session>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection on loan, which goes home when this is dropped.
pub(crate) struct Lent {
    /// There until it is dropped.
    session: Option<Session>,
    home: Arc<Mutex<Vec<Session>>>,
    /// Given back after the connection is.
    _place: OwnedSemaphorePermit,
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("is there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            locked(&self.home).push(session);
        }
    }
}

/// An open transaction. Dropping it rolls it back.
pub(crate) struct SqliteTransaction(Lent);

impl SqliteTransaction {
    /// Returns once what was written is on the disk.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let waiting = spawn_blocking(move || self.0.execute("COMMIT", Vec::new()));
        match waiting.await {
            Ok(committed) => Ok(committed.map(drop)?),
            // The runtime ends, and has not begun it: it is rolled back.
            Err(_) => Err(sqlx::Error::PoolClosed.into()),
        }
    }

    pub(crate) fn roll_back(mut self) -> Result<(), Error> {
        Ok(self.0.roll_back()?)
    }
}

impl Deref for SqliteTransaction {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl DerefMut for SqliteTransaction {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        // If even that fails, the connection's next transaction does, and says so.
        self.0.roll_back().ok();
    }
}

/// One connection.
pub(crate) struct Session {
    connection: Connection,
    shapes: Shapes,
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
    fn open(opening: &Opening) -> Result<Self, rusqlite::Error> {
        // Each is used by one task at a time, so it needs no lock of its own.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&opening.path, flags)?;
        connection.busy_timeout(opening.busy)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // FULL, not NORMAL: with NORMAL a power cut may lose the last commits, and with them the
        // knowledge that a disk was given to a tenant. It costs one fsync a commit (0.1 ms, measured
        // on a virtual disk), and commits are few: a deployment has about forty.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "query_only", !opening.writes)?;
        Ok(Self {
            connection,
            shapes: HashMap::new(),
        })
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, rusqlite::Error> {
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
        self.each(sql, values, |row, shape| {
            let values = (0..shape.columns.len()).map(|index| Ok(owned(row.get_ref(index)?)));
            found.push(SqliteRow {
                values: values.collect::<Result<_, rusqlite::Error>>()?,
                shape: shape.clone(),
            });
            Ok::<_, rusqlite::Error>(())
        })?;
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

    /// SQLite has rolled back by itself after some errors.
    fn roll_back(&mut self) -> Result<(), rusqlite::Error> {
        match self.connection.is_autocommit() {
            true => Ok(()),
            false => self.execute("ROLLBACK", Vec::new()).map(drop),
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

/// One row of an answer.
pub(crate) struct SqliteRow {
    values: Vec<Cell>,
    shape: Arc<Shape>,
}

/// What stands in a column.
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    /// Nothing that this crate has written.
    Other,
}

impl SqliteRow {
    /// What stands in the column of this name, if there is one.
    pub(crate) fn cell(&self, column: &str) -> Option<&Cell> {
        let mut names = self.shape.columns.iter();
        self.values.get(names.position(|name| name == column)?)
    }
}

fn owned(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(integer) => Cell::Integer(integer),
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Other,
        },
        ValueRef::Real(_) | ValueRef::Blob(_) => Cell::Other,
    }
}
