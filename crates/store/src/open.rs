//! Opening a database: how its connections are set up, and bringing its schema up to date.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::database::Database;
use crate::postgres::Postgres;
use crate::schema;
use crate::sqlite::Sqlite;
use crate::store::Outages;

/// How long SQLite may be waited for: for a connection from the pool, or another process's write lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// From one try to open a busy SQLite file to the next.
const OPEN_AGAIN: Duration = Duration::from_millis(20);

/// Where the database is.
#[derive(Clone)]
pub enum Location {
    /// A SQLite file. Made if it does not exist; its folder must.
    Sqlite(PathBuf),
    /// A PostgreSQL URL, such as `postgres:///bessemer?host=/run/postgresql`. May hold a password.
    Postgres(String),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => formatter.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => formatter.write_str("Postgres(…)"),
        }
    }
}

/// Opens the database and brings its schema up to date. `outages` is asked before reads.
pub(crate) async fn open(location: &Location, outages: Option<Outages>) -> Result<Database, Error> {
    match location {
        Location::Sqlite(path) => open_sqlite(path, outages).await,
        Location::Postgres(url) => open_postgres(url).await,
    }
}

async fn open_sqlite(path: &Path, outages: Option<Outages>) -> Result<Database, Error> {
    create_private(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(PATIENCE);
    let cannot_open =
        |error: &dyn Display| Error::Setup(format!("{} cannot be opened: {error}", path.display()));
    let mut schema = patiently(&options).await.map_err(|error| {
        if is_damaged(&error) {
            let damaged = "it is damaged, or no database: restore it from your backup";
            return cannot_open(&format_args!("{damaged} ({error})"));
        }
        cannot_open(&error)
    })?;
    migrate_sqlite(&mut schema).await?;
    // Opened before that one is closed: the last one to close folds the write-ahead log.
    let sqlite = Sqlite::open(path.to_owned(), PATIENCE, outages);
    let sqlite = sqlite.map_err(|error| cannot_open(&error))?;
    schema.close().await?;
    Ok(Database::Sqlite(sqlite))
}

/// Opens again while another process is bringing a new file into the write-ahead mode: both hold what
/// the other one needs then, so SQLite refuses one of them at once, whatever its patience.
async fn patiently(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let started = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && started.elapsed() < PATIENCE => {
                sleep(OPEN_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// `SQLITE_BUSY` and its extended codes (<https://www.sqlite.org/rescode.html>).
fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == Some(5)
}

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`.
fn is_damaged(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(11 | 26))
}

/// SQLite's result code, without what extends it.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

/// Makes the file, if there is none, for its owner's eyes only. SQLite gives the files beside it
/// the same mode. One that is there is left alone: to open and close it here would end the locks
/// that this process has on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
fn create_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::Setup(format!(
            "{} cannot be opened: {error}",
            path.display()
        ))),
        _ => Ok(()),
    }
}

async fn open_postgres(url: &str) -> Result<Database, Error> {
    // The parser's error is left out on purpose: it may repeat parts of the URL.
    let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = PgConnectOptions::from_str(url).ok().filter(|_| known);
    let options = options.ok_or_else(|| {
        Error::Setup("database_url: not a PostgreSQL URL such as postgres://user@host/name".into())
    })?;
    let options = options.application_name("bessemer").options([
        ("statement_timeout", "30s"),
        ("lock_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "60s"),
        // Or every start would log that the schema is there already.
        ("client_min_messages", "warning"),
    ]);
    let database = Postgres::connect(options)
        .await
        .map_err(|error| Error::Setup(format!("PostgreSQL cannot be reached: {error}")))?;
    migrate_postgres(&database).await?;
    Ok(Database::Postgres(database))
}

/// Inside one write transaction, so that two processes that open a new file take turns.
async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let migrated = schema::for_sqlite()
        .run_direct(None, &mut *transaction, false)
        .await;
    migrated.map_err(migration_failed)?;
    transaction.commit().await?;
    Ok(())
}

/// Under the advisory lock that the migrator takes on PostgreSQL.
async fn migrate_postgres(database: &Postgres) -> Result<(), Error> {
    let mut connection = database.pool().acquire().await?;
    let migrated = schema::for_postgres()
        .run_direct(None, &mut *connection, false)
        .await;
    if migrated.is_err() {
        // The lock belongs to the session: closing it is what surely lets go of it. What went wrong is told
        // by the migration; a connection that is gone cannot be taken leave of.
        connection.close().await.ok();
    }
    migrated.map_err(migration_failed)
}

fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Setup(format!(
            "the database has schema version {version}, which is newer than this program: \
             start the newer `bessemer`, or restore the backup from before the upgrade"
        )),
        MigrateError::VersionMismatch(version) => Error::Setup(format!(
            "the database's schema version {version} is not the one this program knows: it was \
             made by an unreleased build; start with a new database"
        )),
        MigrateError::Dirty(version) => Error::Setup(format!(
            "the database's schema version {version} was begun and not finished, by something else \
             than this program, which finishes each or undoes it: restore the backup from before"
        )),
        error => Error::Setup(format!(
            "the database's schema cannot be brought up to date: {error}"
        )),
    }
}
