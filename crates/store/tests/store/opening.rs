//! Opening: twice, at once, after a kill, and what is refused.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bessemer_store::{Error, Location, NewEvent, Store, StoreOptions};

use crate::on_both;
use crate::site::{Site, at, enroll};

on_both! {
    opened_again_everything_is_there
    opened_many_times_at_once_it_is_made_once
    what_is_committed_is_counted
    a_newer_database_is_refused
    a_schema_that_something_else_has_left_unfinished_is_refused
}

async fn opened_again_everything_is_there(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    store.close().await;
    let store = site.open().await;
    assert_eq!(store.node("node1").await.unwrap().name, "node1");
    enroll(&store, 2).await;
    assert_eq!(store.last_event().await.unwrap(), 2);
}

async fn opened_many_times_at_once_it_is_made_once(site: Site) {
    let opened = futures(8, || {
        let location = site.location.clone();
        async move { Store::open(&location, StoreOptions::default()).await }
    });
    for store in opened.await {
        let store = store.expect("opens");
        assert_eq!(store.last_event().await.unwrap(), 0);
    }
}

async fn what_is_committed_is_counted(site: Site) {
    let store = site.open().await;
    let before = store.commits();
    let node = enroll(&store, 1).await;
    assert_eq!(store.commits(), before + 1);
    store.node("node1").await.unwrap();
    let refused = store.delete_node(node.id, false, at(2)).await;
    refused.expect_err("it could still be used");
    assert_eq!(store.commits(), before + 1, "reading and refusing are none");
}

async fn futures<T: Send + 'static, F>(count: usize, make: impl Fn() -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(make())).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("does not panic"));
    }
    results
}

async fn a_newer_database_is_refused(site: Site) {
    const NEWER: &str = "UPDATE _sqlx_migrations SET version = 9999
        WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
    site.open().await.close().await;
    site.tamper(NEWER.into()).await;
    is_refused(&site, "9999, which is newer").await;
}

async fn a_schema_that_something_else_has_left_unfinished_is_refused(site: Site) {
    const UNFINISHED: &str = "UPDATE _sqlx_migrations SET success = FALSE
        WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
    site.open().await.close().await;
    site.tamper(UNFINISHED.into()).await;
    is_refused(&site, "begun and not finished").await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bessemer.db");
    std::fs::write(&path, [0x5a; 8192]).unwrap();
    let refused = Store::open(&Location::Sqlite(path), StoreOptions::default()).await;
    let message = refused.err().expect("is refused").to_string();
    assert!(message.contains("restore it from your backup"), "{message}");
}

/// Twice: the refusal must not leave a lock behind.
async fn is_refused(site: &Site, why: &str) {
    for _ in 0..2 {
        let refused = Store::open(&site.location, StoreOptions::default()).await;
        match refused {
            Err(Error::Setup(message)) => assert!(message.contains(why), "{message}"),
            _ => panic!("must be refused"),
        }
    }
}

#[tokio::test]
async fn a_location_keeps_its_password() {
    let url = "postgres://bessemer:hunter2@db.example/bessemer";
    let location = Location::Postgres(url.into());
    assert!(!format!("{location:?}").contains("hunter2"));
    for wrong in [
        "mysql://me:hunter2@db.example/x",
        "postgres://me:hunter2@db:port/x",
    ] {
        let location = Location::Postgres(wrong.into());
        let refused = Store::open(&location, StoreOptions::default())
            .await
            .err()
            .unwrap();
        assert!(refused.to_string().starts_with("database_url"), "{refused}");
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let missing = Location::Sqlite("/nowhere/at/all.db".into());
    let refused = Store::open(&missing, StoreOptions::default())
        .await
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .starts_with("/nowhere/at/all.db cannot be opened")
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not.db");
    std::fs::write(&path, "this is no database at all, and long enough to tell").unwrap();
    let garbage = Location::Sqlite(path.clone());
    let refused = Store::open(&garbage, StoreOptions::default())
        .await
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains("cannot be opened"),
        "{refused}"
    );
}

#[tokio::test]
async fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::sqlite();
    let store = site.open().await;
    enroll(&store, 1).await;
    let Location::Sqlite(path) = &site.location else {
        unreachable!("it was made as SQLite")
    };
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(
            mode & 0o077,
            0,
            "of the database and of the files beside it"
        );
    }
}

/// What a killed process had been told is committed is there, and the file opens at once.
#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let site = Site::sqlite();
    let Location::Sqlite(path) = &site.location else {
        unreachable!("it was made as SQLite")
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "opening::write_until_killed",
        ])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines
        .map_while(Result::ok)
        .filter_map(|line| line.parse::<i64>().ok());
    let committed = said.take(25).last();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(committed, Some(25));

    let store = site.open().await;
    let events = store.events_after(0, None, 10_000).await.unwrap();
    let last = store.last_event().await.unwrap();
    assert!(last >= 25);
    let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
}

/// The variable that tells the process to be killed which file to write to.
const FILE: &str = "BESSEMER_STORE_TEST_FILE";

#[tokio::test]
#[ignore = "runs only as the child of `a_killed_process_loses_nothing`"]
async fn write_until_killed() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let location = Location::Sqlite(path.into());
    let store = Store::open(&location, StoreOptions::default())
        .await
        .unwrap();
    let event = NewEvent {
        kind: "tick",
        node: None,
        server: None,
        project: None,
        message: String::new(),
        data: serde_json::Value::Null,
    };
    println!();
    // Bounded, should nobody kill it.
    for _ in 0..100_000 {
        store
            .append_events(std::slice::from_ref(&event), at(1))
            .await
            .unwrap();
        println!("{}", store.last_event().await.unwrap());
    }
}
