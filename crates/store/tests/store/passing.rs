//! Deciding in passing: only about a node that nobody has, and for good.

use bessemer_core::id::{BootId, Generation};
use bessemer_core::lifecycle::{Action, Intent, IntentKey, Phase, Step};
use bessemer_store::{Claim, Error, HelloOutcome, Store, Turn, Work};

use crate::boots::booting;
use crate::on_both;
use crate::site::{LEASE, Site, at, claim, enroll, node_id, state, to};

on_both! {
    what_an_agent_is_to_do_is_decided_as_it_calls
    a_node_that_somebody_has_is_left_to_them
    a_claim_that_has_run_out_counts_for_nothing_after_it
    what_is_left_to_others_is_due_at_once
    nothing_is_decided_on_the_word_of_a_replay
}

/// An agent that is to inspect its machine.
fn inspects(work: &mut Work) -> Option<Turn> {
    let mut commit = to(
        work,
        state(&work.node.state, Phase::Inspecting, Step::Inspect),
    );
    commit.wake_at = Some(at(500));
    commit.intent = Some(Intent {
        key: IntentKey("inspect".into()),
        generation: Generation(1),
        action: Action::Inspect,
    });
    Some(Turn {
        commit,
        ended: None,
        foreseen: false,
        keep_ms: None,
    })
}

async fn calls(store: &Store, boot: BootId) -> HelloOutcome {
    let said = store.hello(boot, "session", at(21), Some(&inspects)).await;
    said.expect("no error")
}

async fn step(store: &Store) -> Step {
    let node = store.node_by_id(node_id(1)).await.expect("is there");
    node.state.step
}

/// A node whose agent boots, and that nobody has.
async fn given_back(store: &Store) -> BootId {
    enroll(store, 1).await;
    booting(store, 1).await
}

/// The same that is due, because its agent has called before.
async fn due(store: &Store) -> BootId {
    let boot = given_back(store).await;
    let said = store.hello(boot, "session", at(20), None).await;
    assert_eq!(said.unwrap(), HelloOutcome::Accepted);
    boot
}

async fn what_an_agent_is_to_do_is_decided_as_it_calls(site: Site) {
    let store = site.open().await;
    let boot = given_back(&store).await;
    let before = store.commits();
    assert_eq!(calls(&store, boot).await, HelloOutcome::Accepted);
    assert_eq!(store.commits(), before + 1);
    assert_eq!(step(&store).await, Step::Inspect);
    let session = store.agent_session("session").await.unwrap();
    let (_, _, open) = session.expect("is open");
    assert_eq!(open.map(|intent| intent.action), Some(Action::Inspect));
    let due = store.next_due(at(21)).await.unwrap();
    assert_eq!(
        due,
        Some(at(500)),
        "nobody has it, and nobody need look before"
    );
}

async fn a_node_that_somebody_has_is_left_to_them(site: Site) {
    let store = site.open().await;
    let boot = due(&store).await;
    let held = claim(&store, at(20)).await;
    let work = store.work(held).await.unwrap();
    assert_eq!(calls(&store, boot).await, HelloOutcome::Accepted);
    assert_ne!(step(&store).await, Step::Inspect);
    // They go on with what they have, and hear of the news.
    let next = state(&work.node.state, Phase::Inspecting, Step::AwaitAgent);
    store.commit(held, to(&work, next), at(22)).await.unwrap();
    let due = store.next_due(at(22)).await.unwrap();
    assert_eq!(due, Some(at(22)));
}

async fn a_claim_that_has_run_out_counts_for_nothing_after_it(site: Site) {
    let store = site.open().await;
    let boot = due(&store).await;
    let slow = store.claim_due("slow", at(20), 500).await.unwrap();
    let slow = slow.expect("is due");
    let work = store.work(slow).await.unwrap();
    assert_eq!(calls(&store, boot).await, HelloOutcome::Accepted);
    let next = state(&work.node.state, Phase::Failed, Step::Rest);
    let late = store.commit(slow, to(&work, next), at(22)).await;
    assert!(matches!(late, Err(Error::LeaseLost)));
    for claim in [
        slow,
        Claim {
            fence: slow.fence + 1,
            ..slow
        },
    ] {
        let renewed = store.renew(claim, at(22), LEASE).await;
        assert!(matches!(renewed, Err(Error::LeaseLost)), "nobody has it");
    }
    assert_eq!(step(&store).await, Step::Inspect);
    let next = claim(&store, at(500)).await;
    let claims = next.fence - slow.fence;
    assert_eq!(
        claims, 2,
        "what was seen of it before it was decided about is old"
    );
}

async fn what_is_left_to_others_is_due_at_once(site: Site) {
    let store = site.open().await;
    let boot = given_back(&store).await;
    let leaves = |_: &mut Work| None;
    let said = store.hello(boot, "session", at(21), Some(&leaves)).await;
    assert_eq!(said.unwrap(), HelloOutcome::Accepted);
    let claimed = store.claim_due("other", at(21), LEASE).await.unwrap();
    let work = store.work(claimed.expect("is due")).await.unwrap();
    assert_eq!(work.seen.agent.map(|agent| agent.boot), Some(boot));
}

async fn nothing_is_decided_on_the_word_of_a_replay(site: Site) {
    let store = site.open().await;
    let boot = given_back(&store).await;
    let leaves = |_: &mut Work| None;
    let said = store.hello(boot, "first", at(21), Some(&leaves)).await;
    assert_eq!(said.unwrap(), HelloOutcome::Accepted);
    assert_eq!(calls(&store, boot).await, HelloOutcome::Replayed);
    assert_ne!(step(&store).await, Step::Inspect);
    let claimed = store.claim_due("other", at(21), LEASE).await.unwrap();
    assert!(claimed.is_some(), "nobody has it");
}
