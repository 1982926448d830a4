//! What is asked all day finds its rows by an index made for it, however many nodes there are: an index
//! that another one is preferred to is found by nobody, and slows down every write.

use rusqlite::Connection;

use crate::{Location, Store, StoreOptions, claims, nodes};

/// How SQLite goes about a statement (<https://www.sqlite.org/eqp.html>).
fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>("detail").unwrap());
    }
    steps.join("; ")
}

#[tokio::test]
async fn claims_and_orders_look_at_few_nodes() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("file");
    let location = Location::Sqlite(path.clone());
    let store = Store::open(&location, StoreOptions::default())
        .await
        .unwrap();
    store.close().await;
    let connection = Connection::open(path).unwrap();
    for (sql, index) in [
        (nodes::AVAILABLE, "INDEX node_available"),
        (claims::FREE, "COVERING INDEX node_by_due_at"),
        (claims::DUE, "COVERING INDEX node_by_due_at"),
    ] {
        let plan = plan(&connection, sql);
        assert!(plan.contains(index), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql} is sorted: {plan}");
    }
}
