//! A conductor, a machine and its agent in a few lines, all perfect: enough to run the real
//! lifecycle through the real store.

use std::net::Ipv4Addr;

use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Action, Outcome, Phase, Step, kexec_outcome, step};
use bessemer_store::{
    Claim, Commit, Committed, Decide, Error, HelloOutcome, Learned, NewBoot, Reported, Store, Turn,
    Work,
};

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
        let moved = machine_moves(store, node, *now).await;
        if let Some(due) = store.next_due(*now).await.expect("no error")
            && !moved
        {
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
        carry_out(store, claim, &intent.action, now).await?;
        store
            .record_outcome(claim, &intent.key, &Outcome::Done, &[], now)
            .await?;
        work = store.work(claim).await?;
    }
    let commit = decision(&work, now);
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

fn decision(work: &Work, now: Timestamp) -> Commit {
    let state = &work.node.state;
    let decision = step(&work.node.spec, &work.seen, state, now);
    Commit {
        kexec: kexec_outcome(&work.node.spec, state, &decision.next),
        before: state.clone(),
        next: decision.next,
        intent: decision.intent,
        wake_at: decision.wake_at,
        news: work.news,
        events: vec![],
    }
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
    claim: Claim,
    action: &Action,
    now: Timestamp,
) -> Result<(), Error> {
    if let Action::PrepareBoot { boot } = action {
        let pool = Ipv4Addr::new(10, 0, 0, 10)..=Ipv4Addr::new(10, 0, 0, 20);
        let new = NewBoot {
            ramdisk: None,
            boot: *boot,
            claim,
            mac: mac(1),
            method: BootMethod::UefiHttp,
        };
        store.prepare_boot(new, pool, "pool", now).await?;
    }
    Ok(())
}

/// What the machine does by itself: its agent calls and obeys, its OS says that it is up. What follows is
/// decided in passing, or left to the conductor, by turns. Whether anything has happened.
async fn machine_moves(store: &Store, node: NodeId, now: Timestamp) -> bool {
    let record = store.node_by_id(node).await.expect("is there");
    let boot = record.state.boot(node);
    let session = boot.to_string();
    let in_passing = |work: &mut Work| {
        assert_eq!(
            work.intent, None,
            "a machine waits for the conductor, and moves"
        );
        Some(Turn {
            commit: decision(work, now),
            ended: None,
            foreseen: false,
            keep_ms: None,
        })
    };
    let decide = (now.as_second() % 2 == 0).then_some(&in_passing as Decide<'_>);
    match record.state.step {
        Step::AwaitAgent => {
            let said = store.hello(boot, &session, now, decide).await;
            said.expect("no error") == HelloOutcome::Accepted
        }
        Step::AwaitOs => {
            let server = record.server.expect("has a server");
            let told = store.os_up(server, record.state.generation, now).await;
            told.expect("no error")
        }
        _ => obey(store, node, &session, now, decide).await,
    }
}

/// Carries out what the agent is to do; `false` if there is nothing.
async fn obey(
    store: &Store,
    node: NodeId,
    session: &str,
    now: Timestamp,
    decide: Option<Decide<'_>>,
) -> bool {
    let found = store.agent_session(session).await.expect("no error");
    let Some((boot, _, Some(intent))) = found else {
        return false;
    };
    let inventory = (intent.action == Action::Inspect).then(inventory);
    let learned = match &inventory {
        Some(inventory) => Learned::Inventory(inventory),
        None if intent.action == Action::LoadKernel => Learned::Kernel(image(), "6.1"),
        None => Learned::Nothing,
    };
    let ended = (&intent.key, &Outcome::Done);
    let told = store.agent_outcome(boot, ended, learned, now, decide).await;
    match told.expect("no error") {
        Reported::Unasked => panic!("it was open"),
        // To be decided by a conductor: this one, or one that has died and has the node still.
        Reported::Noted => {}
        Reported::Decided(node_now, next) => {
            let stored = store.node_by_id(node).await.expect("is there");
            assert_eq!(node_now.state, stored.state);
            assert_eq!(node_now.inventory, stored.inventory);
            let open = store.agent_session(session).await.expect("no error");
            assert_eq!(next, open.and_then(|(_, _, open)| open));
        }
    }
    true
}
