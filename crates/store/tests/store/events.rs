//! The outbox, and being woken.

use bessemer_store::{NewEvent, Store};

use crate::on_both;
use crate::site::{Site, at, enroll, project};

on_both! {
    numbers_become_visible_in_order
    an_event_reads_back_as_it_was_written
    every_write_is_news
}

const WRITERS: i64 = 16;
const BATCHES: i64 = 12;
const BATCH: i64 = 3;

/// A reader that only ever asks for what comes after the last one it has seen misses nothing.
async fn numbers_become_visible_in_order(site: Site) {
    let store = site.open().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..BATCHES {
                    let events = vec![event("tick"); BATCH as usize];
                    store.append_events(&events, at(1)).await.unwrap();
                }
            })
        })
        .collect();
    let reader = tokio::spawn(follow(store.clone(), WRITERS * BATCHES * BATCH));
    for writer in writers {
        writer.await.unwrap();
    }
    let seen = tokio::time::timeout(std::time::Duration::from_secs(60), reader);
    let seen = seen.await.expect("the reader has all").unwrap();
    assert_eq!(seen, (1..=WRITERS * BATCHES * BATCH).collect::<Vec<_>>());
    assert_eq!(store.last_event().await.unwrap(), WRITERS * BATCHES * BATCH);
}

async fn follow(store: Store, until: i64) -> Vec<i64> {
    let mut news = store.news();
    let mut seen = Vec::new();
    loop {
        news.mark_unchanged();
        let last = seen.last().copied().unwrap_or(0);
        let events = store.events_after(last, None, 50).await.unwrap();
        let empty = events.is_empty();
        seen.extend(events.into_iter().map(|event| event.sequence));
        if seen.last() == Some(&until) {
            return seen;
        }
        if empty {
            news.changed().await.unwrap();
        }
    }
}

async fn an_event_reads_back_as_it_was_written(site: Site) {
    let store = site.open().await;
    let node = enroll(&store, 1).await.id;
    let written = NewEvent {
        node: Some(node),
        project: Some(project()),
        message: "erased `nvme0n1`".into(),
        data: serde_json::json!({"bytes": 7}),
        ..event("node.progress")
    };
    store
        .append_events(std::slice::from_ref(&written), at(2))
        .await
        .unwrap();
    let events = store.events_after(1, None, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    let read = &events[0];
    assert_eq!(
        (read.sequence, read.at, read.kind.as_str()),
        (2, at(2), "node.progress")
    );
    assert_eq!(
        (read.node, read.server, read.project),
        (Some(node), None, Some(project()))
    );
    assert_eq!(
        (&read.message, &read.data),
        (&written.message, &written.data)
    );
    assert_eq!(store.events_after(0, None, 1).await.unwrap()[0].sequence, 1);
}

async fn every_write_is_news(site: Site) {
    let store = site.open().await;
    let mut news = store.news();
    news.mark_unchanged();
    let node = enroll(&store, 1).await.id;
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    store.wake(node, at(2)).await.unwrap();
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    // A conductor that was woken by its own claims would never sleep.
    store
        .claim_due("worker", at(2), 1)
        .await
        .unwrap()
        .expect("is due");
    assert!(!news.has_changed().unwrap());
}

fn event(kind: &'static str) -> NewEvent {
    NewEvent {
        kind,
        node: None,
        server: None,
        project: None,
        message: String::new(),
        data: serde_json::json!({}),
    }
}
