//! What can go wrong in the store, in terms its callers can act on.

use std::borrow::Cow;

use rusqlite::ffi;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::PgDatabaseError;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} `{which}`")]
    NotFound {
        /// Such as `node`.
        what: &'static str,
        /// The name or id asked for.
        which: String,
    },
    /// Something unique is taken already, or the thing is in a state that does not allow it.
    #[error("{message}")]
    Conflict {
        /// The field at fault, such as `ports[0].mac`.
        field: Option<String>,
        /// What is in the way.
        message: String,
    },
    /// A pool has nothing left.
    #[error("{pool} has no free {what} left")]
    Exhausted {
        /// Of what: `address`, `VLAN` or `VNI`.
        what: &'static str,
        /// The pool, by name.
        pool: String,
    },
    /// A list cannot go on from there.
    #[error("`{0}` is not a cursor that a list of this kind has given")]
    Cursor(String),
    /// No candidate is free any more.
    #[error("no matching node is free any more")]
    NoNode,
    /// Another conductor has taken the node over: drop everything.
    #[error("the lease on this node was lost")]
    LeaseLost,
    /// A stored value cannot be read.
    #[error("stored {what} cannot be read: {message}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// The database cannot be used as it is set up.
    #[error("{0}")]
    Setup(String),
    /// The database does not answer, as while it restarts or another one takes over: the same may do
    /// in a moment. What was being committed may or may not have been.
    #[error("the database is away: {0}")]
    Away(String),
    /// The database has no room to write, and has written nothing.
    #[error("the disk of the database is full: {0}")]
    DiskFull(String),
    /// The database may not write, or its disk has failed it.
    #[error("the database cannot write: {0}")]
    CannotWrite(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => {
                Self::Away(error.to_string())
            }
            sqlx::Error::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                let postgres = refusal.try_downcast_ref::<PgDatabaseError>().is_some();
                let make = if postgres {
                    by_sqlstate(&code)
                } else {
                    by_sqlite_code(&code)
                };
                match make {
                    Some(make) => make(refusal.to_string()),
                    None => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
    }
}

type Make = fn(String) -> Error;

/// What an error of PostgreSQL means by its SQLSTATE
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn by_sqlstate(code: &str) -> Option<Make> {
    match code {
        // It shuts down, has crashed, or starts; or is a standby that nobody has promoted yet.
        "57P01" | "57P02" | "57P03" | "25006" => Some(Error::Away),
        "53100" => Some(Error::DiskFull),
        "58030" => Some(Error::CannotWrite),
        _ if code.starts_with("08") => Some(Error::Away),
        _ => None,
    }
}

/// The same by SQLite's result code, of which the last byte tells the kind
/// (<https://www.sqlite.org/rescode.html>).
fn by_sqlite_code(code: &str) -> Option<Make> {
    match code.parse::<u32>().ok()? & 0xff {
        // READONLY, IOERR.
        8 | 10 => Some(Error::CannotWrite),
        // FULL.
        13 => Some(Error::DiskFull),
        _ => None,
    }
}

impl Error {
    /// Whether the database is just not there: the same may work in a moment.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// A conflict over one field of a request.
    pub(crate) fn conflict(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Conflict {
            field: Some(field.into()),
            message: message.into(),
        }
    }

    /// A conflict with the state that something is in.
    pub(crate) fn not_now(message: impl Into<String>) -> Self {
        Self::Conflict {
            field: None,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(what: &'static str, which: impl ToString) -> Self {
        Self::NotFound {
            what,
            which: which.to_string(),
        }
    }

    /// Whether a unique constraint was in the way.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether something referred to is not there, or something is still referred to.
    pub(crate) fn is_reference_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if error.is_foreign_key_violation())
    }
}

/// An error of SQLite, told as those of PostgreSQL are.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {source}")]
pub(crate) struct SqliteError {
    /// The extended result code (<https://www.sqlite.org/rescode.html>).
    code: i32,
    text: String,
    source: rusqlite::Error,
}

impl From<rusqlite::Error> for SqliteError {
    fn from(source: rusqlite::Error) -> Self {
        /// `SQLITE_ERROR`, for what our own side of the call refuses.
        const ERROR: i32 = 1;
        Self {
            code: source
                .sqlite_error()
                .map_or(ERROR, |error| error.extended_code),
            text: source.to_string(),
            source,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        sqlx::Error::Database(Box::new(SqliteError::from(error))).into()
    }
}

impl DatabaseError for SqliteError {
    fn message(&self) -> &str {
        &self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                ErrorKind::UniqueViolation
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKeyViolation,
            _ => ErrorKind::Other,
        }
    }
}
