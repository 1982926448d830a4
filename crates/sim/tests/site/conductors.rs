//! Two servers on one PostgreSQL database: they share the work, wake each other, and go on with what
//! the other one leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bessemer_server::Server;
use bessemer_server::config::DatabaseUrl;
use bessemer_sim::agent::Inside;
use bessemer_store::{Gate, When};
use bessemer_wire::api::NodeExplanation;
use tokio::sync::Notify;

use crate::harness::disk::{assert_erased, assert_has_image};
use crate::harness::{Site, eager};

#[path = "../../../store/tests/store/postgres.rs"]
pub(crate) mod postgres;

async fn site() -> Site {
    let url = postgres::new_database().await;
    Site::start_as(eager(), None, |config| {
        config.database_url = Some(DatabaseUrl(url));
    })
    .await
}

/// Decisions that the conductor of `server` has taken.
fn decisions(server: &Server) -> u64 {
    server.site.metrics.reconciles.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_work() {
    let mut site = site().await;
    site.start_second(None).await;
    let node = site.available().await;
    site.offer(&node).await;
    // This machine's agent polls the second server, whichever of them gives it something to do; its
    // system is ordered, and its release asked for, at the first.
    site.boot_from_second();
    for name in ["web1", "web2"] {
        site.deploy(name).await;
        assert_has_image(node.disk());
        site.release(name, &node).await;
        assert_erased(node.disk());
    }
    for server in [site.server(), site.second()] {
        assert!(decisions(server) > 0, "one of them has done nothing");
    }
    assert_eq!(
        node.boots(),
        1 + 2 * 2,
        "a POST for each start of the agent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_has_seen_the_other_explains() {
    let mut site = site().await;
    site.start_second(None).await;
    site.boot_from_second();
    let node = site.available().await;
    let seen = |explained: &NodeExplanation| {
        let agent = explained.agent.recent.iter();
        let agent: Vec<_> = agent.map(|each| each.what.as_str()).collect();
        agent.join("; ")
    };
    // Its agent has called the second one only.
    site.wait("the first to know of it", async || {
        let explained = site.api.explain_node(&node.name).await.unwrap();
        says_all(&seen(&explained), &["an agent called", "erase"]).then_some(())
    })
    .await;
    // What a server has seen outlives it for a while.
    site.kill_second().await;
    let explained = site.api.explain_node(&node.name).await.unwrap();
    assert!(says_all(&seen(&explained), &["an agent called", "inspect"]));
}

fn says_all(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| text.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_whose_server_is_gone_for_good_go_on_with_another() {
    let mut site = site().await;
    let node = site.available().await;
    site.offer(&node).await;
    for number in 0..2 {
        site.start_second(None).await;
        site.boot_from_second();
        // The second one is gone while the agent writes, or before the system says that it is up.
        let held = match number {
            0 => &node.host.faults.hold_in_write,
            _ => &node.host.faults.hold_system,
        };
        held.send_replace(true);
        let name = format!("web{number}");
        site.order(&name).await;
        let what = "the machine to be at work with the second server";
        site.wait(what, async || match number {
            0 => {
                let id = site.node(&node).await.id;
                site.second().site.progress.get(id).map(drop)
            }
            _ => (node.host.inside() == Inside::System).then_some(()),
        })
        .await;
        site.kill_second().await;
        held.send_replace(false);
        let server = site.wait_for_active(&name).await;
        assert_eq!(server.posts, 1, "{name}: it was not begun again");
        assert_has_image(node.disk());
        site.release(&name, &node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_conductor_holds_is_taken_over_when_its_lease_ends() {
    let mut site = site().await;
    let node = site.available().await;
    site.offer(&node).await;
    // The second one dies as soon as it would commit what it has decided about a node.
    let (dead, died) = (AtomicBool::new(false), Arc::new(Notify::new()));
    let told = died.clone();
    let gate: Gate = Arc::new(move |point| {
        if point.name == "commit" && point.when == When::Before {
            dead.store(true, Ordering::SeqCst);
            told.notify_one();
        }
        !dead.load(Ordering::SeqCst)
    });
    site.start_second(Some(gate)).await;
    let mut names = (1..).map(|number| format!("web{number}"));
    let name = loop {
        let name = names.next().unwrap();
        let order = site.order(&name).await;
        tokio::select! {
            () = died.notified() => break name,
            _ = site.wait_for_active(&order.name) => site.release(&name, &node).await,
        }
    };
    site.kill_second().await;
    site.wait_for_active(&name).await;
    assert_has_image(node.disk());
    let active = site.events().await;
    let active = active.iter().filter(|event| event.kind == "server.active");
    let of_it = active.filter(|event| event.message.contains(&name));
    assert_eq!(of_it.count(), 1);
}
