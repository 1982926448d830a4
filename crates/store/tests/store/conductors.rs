//! Which servers are alive.

use crate::on_both;
use crate::site::{Site, at};

on_both! {
    servers_on_one_database_know_of_each_other
}

async fn servers_on_one_database_know_of_each_other(site: Site) {
    let one = site.open().await;
    // A file has one server.
    let shared = one.woken().is_some();
    let alive = |mut ids: Vec<&'static str>| {
        if !shared {
            ids.truncate(1);
        }
        ids
    };
    let lives = async |id, second| one.conductor_lives(id, 30_000, at(second)).await.unwrap();
    assert_eq!(lives("one", 1).await, ["one"]);
    assert_eq!(lives("two", 2).await.len(), alive(vec!["one", "two"]).len());
    assert_eq!(lives("one", 3).await, alive(vec!["one", "two"]));
    // The second says nothing for too long, and comes back.
    assert_eq!(lives("one", 33).await, ["one"]);
    lives("two", 34).await;
    assert_eq!(lives("one", 35).await, alive(vec!["one", "two"]));
    one.conductor_ends("two").await.unwrap();
    assert_eq!(lives("one", 36).await, ["one"]);
}
