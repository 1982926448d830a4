//! Which servers are alive.

use bessemer_store::ConductorRecord;

use crate::on_both;
use crate::site::{Site, at};

on_both! {
    servers_on_one_database_know_of_each_other
}

fn conductor(id: &str) -> ConductorRecord {
    ConductorRecord {
        id: id.into(),
        agent_url: Some(format!("https://{id}:8443")),
        agent_pin: Some("ab".repeat(32)),
        phone_home_url: None,
    }
}

async fn servers_on_one_database_know_of_each_other(site: Site) {
    let one = site.open().await;
    // A file has one server.
    let shared = one.woken().is_some();
    let alive = |ids: &[&str]| {
        let known = ids.len().min(if shared { 2 } else { 1 });
        ids[..known]
            .iter()
            .map(|id| conductor(id))
            .collect::<Vec<_>>()
    };
    let lives = async |id, second| {
        let own = conductor(id);
        one.conductor_lives(&own, 30_000, at(second)).await.unwrap()
    };
    assert_eq!(lives("one", 1).await, alive(&["one"]));
    assert_eq!(lives("two", 2).await.len(), alive(&["one", "two"]).len());
    assert_eq!(lives("one", 3).await, alive(&["one", "two"]));
    // The second says nothing for too long, and comes back.
    assert_eq!(lives("one", 33).await, alive(&["one"]));
    lives("two", 34).await;
    assert_eq!(lives("one", 35).await, alive(&["one", "two"]));
    one.conductor_ends("two").await.unwrap();
    assert_eq!(lives("one", 36).await, alive(&["one"]));
    // It is to be had elsewhere from now on.
    let moved = ConductorRecord {
        phone_home_url: Some("http://one:8483".into()),
        agent_url: None,
        ..conductor("one")
    };
    one.conductor_lives(&moved, 30_000, at(37)).await.unwrap();
    let seen = lives("two", 38).await;
    assert_eq!(seen.contains(&moved), shared);
}
