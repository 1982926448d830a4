//! A conductor, a machine and its agent in a few lines, all perfect: enough to run the real
//! lifecycle through the real store.

use std::net::Ipv4Addr;

use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Action, Outcome, Phase, Step, kexec_outcome, step};
use bessemer_store::{Commit, Committed, Error, Learned, NewBoot, Store, Turn, Work};

use crate::site::{LEASE, image, inventory, mac};

/// No way through the lifecycle takes more moves.
const MAX_MOVES: usize = 300;

/// Moves node 1 until it rests in `phase`; the time goes on by a second a move.
pub(crate) async fn run_until(store: &Store, node: NodeId, phase: Phase, now: &mut Timestamp) {
    for _ in 0..MAX_MOVES {
        *now += jiff::SignedDuration::from_secs(1);
        let record = store.node_by_id(node).await.expect("is there");
        let settled = record.state.generation == record.spec.generation;
        if settled && record.state.phase == phase && record.state.settled() {
            return;
        }
        machine_moves(store, node, *now).await;
        if let Some(due) = store.next_due(*now).await.expect("no error") {
            // Nothing else happens in this world: wait for it.
            *now = due.max(*now);
        }
        match conductor_moves(store, *now).await {
            Ok(()) | Err(Error::LeaseLost) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let state = store.node_by_id(node).await.expect("is there").state;
    panic!("never rests in {phase:?}: {state:?}");
}

/// One reconcile, as the conductor does it.
async fn conductor_moves(store: &Store, now: Timestamp) -> Result<(), Error> {
    let Some(claim) = store.claim_due("conductor", now, LEASE).await? else {
        return Ok(());
    };
    let mut work = store.work(claim).await?;
    if let Some(intent) = work.intent.clone() {
        carry_out(store, &work, &intent.action, now).await?;
        store
            .record_outcome(claim, &intent.key, &Outcome::Done, &[], now)
            .await?;
        work = store.work(claim).await?;
    }
    let state = &work.node.state;
    let decision = step(&work.node.spec, &work.seen, state, now);
    let kexec = kexec_outcome(&work.node.spec, state, &decision.next);
    let commit = Commit {
        before: state.clone(),
        next: decision.next,
        intent: decision.intent,
        wake_at: decision.wake_at,
        news: work.news,
        kexec,
        events: vec![],
    };
    let foreseen = work.after(commit.clone());
    let turn = Turn {
        commit,
        ended: None,
        foreseen: true,
        keep_ms: Some(LEASE),
    };
    let Committed::Kept(kept) = store.commit_turn(claim, &turn, now).await? else {
        panic!("it was to be kept");
    };
    if let Some(foreseen) = foreseen {
        is_what_is_stored(foreseen, &store.work(kept).await?);
    }
    store.give_back(kept).await
}

/// What was foreseen to be known after a commit is what there is to read.
fn is_what_is_stored(foreseen: Work, stored: &Work) {
    assert_eq!(foreseen.seen, stored.seen);
    assert_eq!(foreseen.intent, stored.intent);
    assert_eq!(foreseen.news, stored.news);
    assert_eq!(foreseen.node.state, stored.node.state);
    assert_eq!(foreseen.node.spec, stored.node.spec);
}

async fn carry_out(
    store: &Store,
    work: &Work,
    action: &Action,
    now: Timestamp,
) -> Result<(), Error> {
    if let Action::PrepareBoot { boot } = action {
        let pool = Ipv4Addr::new(10, 0, 0, 10)..=Ipv4Addr::new(10, 0, 0, 20);
        let new = NewBoot {
            ramdisk: None,
            boot: *boot,
            node: work.node.id,
            mac: mac(1),
            method: BootMethod::UefiHttp,
        };
        store.prepare_boot(new, pool, "pool", now).await?;
    }
    Ok(())
}

/// What the machine does by itself: its agent calls and obeys, its OS says that it is up.
async fn machine_moves(store: &Store, node: NodeId, now: Timestamp) {
    let record = store.node_by_id(node).await.expect("is there");
    let boot = record.state.boot(node);
    let session = boot.to_string();
    match record.state.step {
        Step::AwaitAgent => {
            store.hello(boot, &session, now).await.expect("no error");
        }
        Step::AwaitOs => {
            let server = record.server.expect("has a server");
            store
                .os_up(server, record.state.generation, now)
                .await
                .expect("no error");
        }
        _ => {
            let session = store.agent_session(&session).await.expect("no error");
            if let Some((_, _, Some(intent))) = session {
                let inventory = (intent.action == Action::Inspect).then(inventory);
                let learned = match &inventory {
                    Some(inventory) => Learned::Inventory(inventory),
                    None if intent.action == Action::LoadKernel => Learned::Kernel(image(), "6.1"),
                    None => Learned::Nothing,
                };
                let told = store.agent_outcome(boot, &intent.key, &Outcome::Done, learned, now);
                told.await.expect("no error");
            }
        }
    }
}
