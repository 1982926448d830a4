//! A clock that was years ahead for a while, and leases that somebody has tampered with, in the middle
//! of an order: both are noticed and said, and nothing waits for years.

use bessemer_core::Timestamp;
use bessemer_server::config::DatabaseUrl;
use bessemer_store::{Claim, Commit, Store};
use bessemer_wire::event::Event;

use crate::conductors::postgres;
use crate::harness::disk::assert_has_image;
use crate::harness::{SimNode, Site, eager};

const YEAR: i64 = 365 * 24 * 3600;

/// A year from now.
fn ahead() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + YEAR).unwrap()
}

/// Takes the node that is moving away from the server that has it.
async fn snatch(store: &Store, site: &Site) -> Claim {
    site.wait("a node that is due", async || {
        store.claim_due("ghost", ahead(), 30_000).await.unwrap()
    })
    .await
}

/// An order whose agent is in the middle of the image, and goes no further.
async fn in_the_middle(site: &Site, node: &SimNode) {
    node.host.faults.hold_in_write.send_replace(true);
    site.order("web1").await;
    site.wait_for_node(node, "the image to be written", |node| {
        let progress = node.progress.as_ref();
        progress.is_some_and(|progress| progress.bytes > 0)
    })
    .await;
}

fn told<'a>(events: &'a [Event], kind: &str) -> Vec<&'a str> {
    let told = events.iter().filter(|event| event.kind == kind);
    told.map(|event| event.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fast_clock_has_left_does_not_wait_for_it() {
    let (mut site, node) = Site::ready().await;
    in_the_middle(&site, &node).await;
    // What a server leaves whose clock is a year ahead: times, due times and events of then.
    let store = site.server().site.store.clone();
    loop {
        let claim = snatch(&store, &site).await;
        let work = store.work(claim).await.unwrap();
        let mut next = work.node.state.clone();
        next.step_since = ahead();
        next.deadline = next
            .deadline
            .map(|_| ahead() + std::time::Duration::from_secs(600));
        let commit = Commit {
            before: work.node.state,
            next,
            intent: None,
            wake_at: Some(ahead() + std::time::Duration::from_secs(60)),
            news: work.news,
            kexec: None,
            events: vec![bessemer_store::NewEvent {
                kind: "planted",
                node: None,
                server: None,
                project: None,
                message: String::new(),
                data: serde_json::Value::Null,
            }],
        };
        if store.commit(claim, commit, ahead()).await.is_ok() {
            break;
        }
    }
    site.kill().await;
    site.start_again(None).await;
    node.host.faults.hold_in_write.send_replace(false);
    site.wait_for_active("web1").await;
    assert_has_image(node.disk());
    let events = site.events().await;
    let told = told(&events, "site.clock_set_back");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("was set back by 31"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lasts_for_a_year_holds_nobody_up() {
    let url = postgres::new_database().await;
    let mut site = Site::start_as(eager(), None, |config| {
        config.database_url = Some(DatabaseUrl(url));
    })
    .await;
    let node = site.available().await;
    site.offer(&node).await;
    in_the_middle(&site, &node).await;
    let store = site.server().site.store.clone();
    snatch(&store, &site).await;
    site.kill().await;
    site.start_again(None).await;
    node.host.faults.hold_in_write.send_replace(false);
    site.wait_for_active("web1").await;
    assert_has_image(node.disk());
    let events = site.events().await;
    let told = told(&events, "node.lease_mended");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("`ghost`"), "{told:?}");
}
