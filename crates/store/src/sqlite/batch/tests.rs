use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;

use tempfile::TempDir;

use super::*;
use crate::sqlite::Sqlite;
use crate::value::values;

const PATIENCE: Duration = Duration::from_secs(10);
const INSERT: &str = "INSERT INTO thing (name) VALUES ($1)";

/// An open file with one table.
fn file() -> (TempDir, PathBuf, Sqlite) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    connection
        .execute_batch("CREATE TABLE thing (name TEXT NOT NULL PRIMARY KEY)")
        .unwrap();
    drop(connection);
    let sqlite = Sqlite::open(path.clone(), PATIENCE, None).unwrap();
    (folder, path, sqlite)
}

/// What others see.
fn names(path: &PathBuf) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT name FROM thing ORDER BY name")
        .unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

async fn begin(sqlite: &Sqlite, name: &str) -> SqliteTransaction {
    let mut write = sqlite.begin().await.unwrap();
    write.execute(INSERT, values![name]).unwrap();
    write
}

/// Polls a future once: it goes as far as it can.
async fn goes_on<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    let mut future = Some(future);
    std::future::poll_fn(move |context| {
        Poll::Ready(future.take().expect("is polled once").poll(context))
    })
    .await
}

type Ended<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + 's>>;

/// Two writes, of which the first has ended and waits, because the second queued behind it.
async fn two(sqlite: &Sqlite) -> (Ended<'_>, SqliteTransaction) {
    let first = begin(sqlite, "first").await;
    let mut second = pin!(sqlite.begin());
    assert!(goes_on(second.as_mut()).await.is_pending());
    let mut first: Ended<'_> = Box::pin(first.commit());
    assert!(goes_on(first.as_mut()).await.is_pending());
    (first, second.await.unwrap())
}

#[tokio::test]
async fn those_in_the_queue_are_committed_together() {
    let (_folder, path, sqlite) = file();
    let (first, mut second) = two(&sqlite).await;
    second.execute(INSERT, values!["second"]).unwrap();
    assert_eq!(names(&path), [""; 0], "nothing before all that queue");
    second.commit().await.unwrap();
    first.await.unwrap();
    assert_eq!(names(&path), ["first", "second"]);
}

#[tokio::test]
async fn what_is_rolled_back_takes_nothing_of_others_with_it() {
    let (_folder, path, sqlite) = file();
    let (first, mut second) = two(&sqlite).await;
    let mut third = pin!(sqlite.begin());
    assert!(goes_on(third.as_mut()).await.is_pending());

    // One undoes its write, and one is dropped with it.
    second.execute(INSERT, values!["second"]).unwrap();
    let mut second = pin!(second.roll_back());
    assert!(
        goes_on(second.as_mut()).await.is_pending(),
        "what it saw is not on the disk yet"
    );
    let mut third = third.await.unwrap();
    assert!(third.execute(INSERT, values!["first"]).is_err());
    third.execute(INSERT, values!["third"]).unwrap();
    drop(third);

    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(names(&path), ["first"]);
    begin(&sqlite, "later").await.commit().await.unwrap();
    assert_eq!(names(&path), ["first", "later"]);
}

#[tokio::test]
async fn who_leaves_leaves_nobody_waiting() {
    let (_folder, path, sqlite) = file();
    // Neither waits any longer, and nobody else asks to write.
    drop(two(&sqlite).await);
    begin(&sqlite, "third").await.commit().await.unwrap();
    assert_eq!(names(&path), ["first", "third"]);

    let fourth = begin(&sqlite, "fourth").await;
    let mut queued = Box::pin(sqlite.begin());
    assert!(goes_on(queued.as_mut()).await.is_pending());
    let mut fourth = pin!(fourth.commit());
    assert!(goes_on(fourth.as_mut()).await.is_pending());
    drop(queued);
    fourth.await.unwrap();
    assert_eq!(names(&path), ["first", "fourth", "third"]);
}

#[tokio::test]
async fn a_row_that_is_read_is_on_the_disk() {
    const NAMED: &str = "SELECT name FROM thing WHERE name = $1";
    let (_folder, _, sqlite) = file();
    let is_there = async |name: &'static str| {
        let row = sqlite.row(NAMED, values![name]).await.unwrap();
        row.is_some()
    };
    let (first, second) = two(&sqlite).await;
    assert!(!is_there("first").await, "it is being gathered");
    drop(second);
    assert!(!is_there("first").await, "it waits to be committed");
    first.await.unwrap();
    assert!(is_there("first").await);

    // Nobody writes: what is read is read by the connection that does, once it is back.
    let other = sqlite.begin().await.unwrap();
    other.roll_back().await.unwrap();
    let idle = sqlite.writer.idle().unwrap().expect("nobody has it");
    assert!(sqlite.writer.idle().unwrap().is_none());
    assert!(is_there("first").await, "a reader is asked meanwhile");
    drop(idle);
    let mut undone = begin(&sqlite, "undone").await;
    undone.ended = true;
    drop(undone);
    assert!(!is_there("undone").await, "it was left open");
}

#[tokio::test]
async fn all_hear_of_an_error_that_undoes_all() {
    let (_folder, path, sqlite) = file();
    let (first, mut second) = two(&sqlite).await;
    // A full disk does the same by itself.
    let undoes_all = "INSERT OR ROLLBACK INTO thing (name) VALUES ($1)";
    assert!(second.execute(undoes_all, values!["first"]).is_err());
    drop(second);
    let told = first.await.unwrap_err();
    assert!(told.is_unique_violation(), "{told}");
    assert_eq!(names(&path), [""; 0]);
    begin(&sqlite, "later").await.commit().await.unwrap();
    assert_eq!(names(&path), ["later"]);
}

#[tokio::test]
async fn a_file_that_is_closed_has_what_had_ended() {
    let (_folder, path, sqlite) = file();
    let (first, second) = two(&sqlite).await;
    let second = tokio::spawn(second.commit());
    sqlite.close().await;
    assert!(sqlite.begin().await.is_err());
    first.await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(names(&path), ["first"]);
}
