//! SQLite, called directly from where its answer is needed.
//!
//! A statement on an embedded database takes a few microseconds, less than it costs to hand it to
//! another thread and to wait for that. So statements run on the thread that asks, and only for a commit,
//! which waits for the disk, it lets another thread go on with its other tasks. Readers never wait for
//! anybody: with a write-ahead log they see the last commit (<https://www.sqlite.org/wal.html>).
//!
//! SQLite has one writer at a time whatever we do; giving it one connection makes writers queue here,
//! fairly, and lets those in the queue share one wait for the disk (`batch`). While nobody writes, single rows
//! are read by that connection, too: a reader forgets what it has read whenever another connection has
//! committed, and half of what is asked for has just been written.
//! `pool` lends connections, `session` is one of them, `log_file` is what a commit writes to.

mod batch;
mod log_file;
mod pool;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::batch::Writer;
use self::pool::{Lent, Opening, Pool};
use crate::Error;
use crate::store::{GatePoint, Outages, When};
use crate::value::Value;

pub(crate) use self::batch::SqliteTransaction;
pub(crate) use self::session::{Cell, SqliteRow};

/// Readers of a file. Two cores keep no more than this busy; each costs what it has read lately, in
/// memory.
const READERS: u32 = 4;

/// An open file.
pub(crate) struct Sqlite {
    writer: Arc<Writer>,
    readers: Pool,
    patience: Duration,
    outages: Option<Outages>,
}

impl Sqlite {
    /// The file at `path`, whose schema is up to date. Whoever waits for a connection, or for the
    /// write lock of another process, waits for `patience`. `outages` is asked before reads.
    pub(crate) fn open(
        path: PathBuf,
        patience: Duration,
        outages: Option<Outages>,
    ) -> Result<Self, rusqlite::Error> {
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
        Ok(Self {
            writer: Arc::new(Writer::open(writer, patience)?),
            readers: Pool::new(readers, READERS),
            patience,
            outages,
        })
    }

    /// A connection to read by.
    async fn reader(&self) -> Result<Lent, Error> {
        self.may_read()?;
        self.readers.lend(self.patience).await
    }

    fn may_read(&self) -> Result<(), Error> {
        const READING: GatePoint = GatePoint {
            name: "read",
            when: When::Reading,
        };
        match &self.outages {
            Some(outages) if outages(READING) => Err(sqlx::Error::PoolTimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<SqliteTransaction, Error> {
        self.writer.begin().await
    }

    /// Begins a transaction that reads, and sees one moment throughout.
    pub(crate) async fn snapshot(&self) -> Result<SqliteTransaction, Error> {
        let reader = self.reader().await?;
        Ok(SqliteTransaction::snapshot(reader)?)
    }

    /// Every row that a single reading statement gives.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, Error> {
        let mut reader = self.reader().await?;
        Ok(reader.rows(sql, values)?)
    }

    /// The first row that a single reading statement gives, which should read little: whoever wants to write
    /// meanwhile waits for it.
    pub(crate) async fn row(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<SqliteRow>, Error> {
        let mut connection = match self.writer.idle()? {
            Some(idle) => {
                self.may_read()?;
                idle
            }
            None => self.reader().await?,
        };
        Ok(connection.rows(sql, values)?.into_iter().next())
    }

    /// Shows `take` every row that a single reading statement gives, where SQLite has it.
    pub(crate) async fn each(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut reader = self.reader().await?;
        reader.each(sql, values, |row, _| take(row))
    }

    /// Waits for what is under way, and closes every connection.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        // Last, so that it is the one to fold the write-ahead log back into the file.
        self.writer.close().await;
    }
}
