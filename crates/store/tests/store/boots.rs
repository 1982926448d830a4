//! Addresses and sessions of the agent's boots.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::cause::Cause;
use bessemer_core::id::{BootId, Generation};
use bessemer_core::lifecycle::{
    Action, Intent, IntentKey, NodeState, Outcome, Phase, PortRole, Step,
};
use bessemer_core::reason::Failure;
use bessemer_store::{
    Claim, Commit, Committed, Error, HelloOutcome, Learned, NewBoot, RelayRecord, Reported, Store,
    Turn,
};

use crate::on_both;
use crate::site::{
    LEASE, Site, at, claim, claim_of, enroll, inventory, mac, node_id, reach, state, to,
};

on_both! {
    addresses_are_taken_in_turn_and_none_twice
    a_medium_may_be_inserted_until_it_was_seen_ejected
    many_boots_at_once_share_no_address
    a_token_opens_one_session
    an_agent_is_heard_only_for_its_own_boot
    agents_are_not_blamed_for_a_silence_of_ours
    a_node_at_rest_gives_its_address_back
    who_has_lost_a_node_prepares_no_boot_of_it
    a_relayed_boot_moves_to_its_own_subnet_until_its_agent_calls
}

async fn a_relayed_boot_moves_to_its_own_subnet_until_its_agent_calls(site: Site) {
    let store = site.open().await;
    for number in 1..=2 {
        enroll(&store, number).await;
        prepare(&store, number, 0, 3).await.unwrap();
    }
    let relay = RelayRecord {
        address: address(1),
        circuit_id: Some("swp7".into()),
        remote_id: None,
    };
    let behind = || address(200)..=address(200);
    let boot = BootId::of(node_id(1), 0);
    for _ in 0..2 {
        let moved = store.relay_boot(boot, &relay, behind(), "behind").await;
        assert_eq!(moved.unwrap(), address(200));
    }
    let found = store.boot_by_address(address(200)).await.unwrap().unwrap();
    assert_eq!((found.boot, found.relay), (boot, Some(relay.clone())));
    let other = BootId::of(node_id(2), 0);
    let full = store.relay_boot(other, &relay, behind(), "behind").await;
    assert!(matches!(full, Err(Error::Exhausted { pool, .. }) if pool == "behind"));
    // An agent that runs keeps its address, whoever asks with its MAC address.
    store.hello(boot, "session", at(21), None).await.unwrap();
    let late = store.relay_boot(boot, &relay, pool(3), "ours").await;
    assert!(matches!(late, Err(Error::NotFound { .. })));
}

const POOL_NAME: &str = "provisioning pool";

fn pool(count: u8) -> RangeInclusive<Ipv4Addr> {
    Ipv4Addr::new(10, 0, 0, 10)..=Ipv4Addr::new(10, 0, 0, 9 + count)
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn new_boot(number: u32, claim: Claim, boot: BootId) -> NewBoot {
    NewBoot {
        ramdisk: None,
        boot,
        claim,
        mac: mac(number),
        method: BootMethod::Pxe,
    }
}

/// Prepares a boot of a node that is due.
async fn prepare(store: &Store, number: u32, boot: u64, size: u8) -> Result<Ipv4Addr, Error> {
    let claim = claim_of(store, number, at(20)).await;
    let prepared = prepare_by(store, claim, number, boot, size).await;
    store.give_back(claim).await?;
    prepared
}

async fn prepare_by(
    store: &Store,
    claim: Claim,
    number: u32,
    boot: u64,
    size: u8,
) -> Result<Ipv4Addr, Error> {
    let new = new_boot(number, claim, BootId::of(claim.node, boot));
    store.prepare_boot(new, pool(size), POOL_NAME, at(20)).await
}

async fn addresses_are_taken_in_turn_and_none_twice(site: Site) {
    let store = site.open().await;
    for number in 1..=4 {
        enroll(&store, number).await;
    }
    assert_eq!(prepare(&store, 1, 1, 3).await.unwrap(), address(10));
    assert_eq!(prepare(&store, 2, 1, 3).await.unwrap(), address(11));
    assert_eq!(
        prepare(&store, 1, 1, 3).await.unwrap(),
        address(10),
        "the same boot"
    );
    assert_eq!(
        prepare(&store, 1, 2, 3).await.unwrap(),
        address(10),
        "the same node"
    );
    assert!(
        store
            .boot(BootId::of(node_id(1), 1))
            .await
            .unwrap()
            .is_none(),
        "replaced"
    );
    assert_eq!(
        prepare(&store, 3, 1, 3).await.unwrap(),
        address(12),
        "the first is taken"
    );
    let full = prepare(&store, 4, 1, 3).await.err().unwrap();
    assert_eq!(
        full.to_string(),
        "provisioning pool has no free address left"
    );
    store.delete_node(node_id(2), true, at(30)).await.unwrap();
    assert_eq!(prepare(&store, 4, 1, 3).await.unwrap(), address(11));
    // The pool has been made smaller: an address outside of it is given up.
    let smaller = address(40)..=address(41);
    let boot = BootId::of(node_id(4), 2);
    let new = new_boot(4, claim_of(&store, 4, at(20)).await, boot);
    let moved = store.prepare_boot(new, smaller, POOL_NAME, at(20)).await;
    assert_eq!(moved.unwrap(), address(41), "in turn");
    let found = store
        .boot_by_mac(mac(4))
        .await
        .unwrap()
        .expect("has a boot");
    assert_eq!(
        (found.boot, found.node, found.address),
        (boot, node_id(4), address(41))
    );
    assert!(store.boot_by_mac(mac(9)).await.unwrap().is_none());
}

async fn many_boots_at_once_share_no_address(site: Site) {
    let store = site.open().await;
    for number in 1..=24 {
        enroll(&store, number).await;
    }
    let mut boots = Vec::new();
    for number in 1..=24 {
        let (store, claim) = (store.clone(), claim_of(&store, number, at(30)).await);
        let preparing = async move { prepare_by(&store, claim, number, 1, 24).await };
        boots.push(tokio::spawn(preparing));
    }
    let mut addresses = Vec::new();
    for boot in boots {
        addresses.push(boot.await.unwrap().expect("the pool is large enough"));
    }
    addresses.sort_unstable();
    assert_eq!(addresses, (10..34).map(address).collect::<Vec<_>>());
}

async fn a_token_opens_one_session(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    enroll(&store, 2).await;
    let boot = booting(&store, 1).await;
    let unknown = store
        .hello(BootId::of(node_id(1), 7), "session", at(21), None)
        .await
        .unwrap();
    assert_eq!(unknown, HelloOutcome::Unknown);
    assert!(store.agent_session("session").await.unwrap().is_none());

    assert_eq!(
        store.next_due(at(21)).await.unwrap(),
        Some(at(2)),
        "only the other one"
    );
    let accepted = store.hello(boot, "session", at(21), None).await.unwrap();
    assert_eq!(accepted, HelloOutcome::Accepted);
    let again = store.hello(boot, "session", at(22), None).await.unwrap();
    assert_eq!(
        again,
        HelloOutcome::Accepted,
        "the answer may have been lost"
    );
    let replay = store.hello(boot, "another", at(23), None).await.unwrap();
    assert_eq!(replay, HelloOutcome::Replayed);
    let (found, node, open) = store
        .agent_session("session")
        .await
        .unwrap()
        .expect("is open");
    assert_eq!((found, node.id), (boot, node_id(1)));
    assert!(open.is_none());
    // Nobody gets into another node's session.
    let second = booting(&store, 2).await;
    let stolen = store.hello(second, "session", at(24), None).await.unwrap();
    assert_eq!(stolen, HelloOutcome::Replayed);

    store.touch_agent(boot, at(30)).await.unwrap();
    store.touch_agent(boot, at(29)).await.unwrap();
    let claim = claim(&store, at(30)).await;
    let seen = store
        .work(claim)
        .await
        .unwrap()
        .seen
        .agent
        .expect("has called");
    assert_eq!((seen.boot, seen.last_seen), (boot, at(30)));
}

async fn an_agent_is_heard_only_for_its_own_boot(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let boot = booting(&store, 1).await;
    store.hello(boot, "session", at(21), None).await.unwrap();
    let inspect = IntentKey("inspect".into());
    let claimed = claim(&store, at(21)).await;
    let work = store.work(claimed).await.unwrap();
    let commit = Commit {
        intent: Some(Intent {
            key: inspect.clone(),
            generation: work.node.spec.generation,
            action: Action::Inspect,
        }),
        ..to(
            &work,
            state(&work.node.state, Phase::Inspecting, Step::Inspect),
        )
    };
    store.commit(claimed, commit, at(22)).await.unwrap();
    let (_, _, open) = store
        .agent_session("session")
        .await
        .unwrap()
        .expect("is open");
    assert_eq!(open.map(|intent| intent.action), Some(Action::Inspect));

    let done = Outcome::Done;
    let other = BootId::of(node_id(1), 9);
    let inventory = inventory();
    let heard = store
        .agent_outcome(
            other,
            (&inspect, &done),
            Learned::Inventory(&inventory),
            at(23),
            None,
        )
        .await;
    assert!(matches!(heard.unwrap(), Reported::Unasked));
    let wrong = IntentKey("erase".into());
    let heard = store
        .agent_outcome(boot, (&wrong, &done), Learned::Nothing, at(23), None)
        .await;
    assert!(matches!(heard.unwrap(), Reported::Unasked));
    assert_eq!(
        store.next_due(at(23)).await.unwrap(),
        None,
        "none of this woke the node"
    );
    let heard = store
        .agent_outcome(
            boot,
            (&inspect, &done),
            Learned::Inventory(&inventory),
            at(24),
            None,
        )
        .await;
    assert!(matches!(heard.unwrap(), Reported::Noted));
    let heard = store
        .agent_outcome(boot, (&inspect, &done), Learned::Nothing, at(25), None)
        .await;
    let heard = heard.unwrap();
    assert!(
        matches!(heard, Reported::Unasked),
        "it is not pending any more"
    );
    assert_eq!(
        store.node("node1").await.unwrap().inventory.as_deref(),
        Some(&inventory)
    );
    let claim = claim(&store, at(25)).await;
    let work = store.work(claim).await.unwrap();
    assert_eq!(work.seen.intent, Some((inspect, Outcome::Done)));
    assert_eq!(work.intent, None);

    // The next boot is decided, though not prepared yet: this agent's time is over.
    let next = NodeState {
        boots: work.node.state.boots + 1,
        ..state(&work.node.state, Phase::Inspecting, Step::PrepareBoot)
    };
    store.commit(claim, to(&work, next), at(26)).await.unwrap();
    assert!(store.agent_session("session").await.unwrap().is_none());
    let late = store.hello(boot, "session", at(27), None).await.unwrap();
    assert_eq!(late, HelloOutcome::Unknown);
}

async fn agents_are_not_blamed_for_a_silence_of_ours(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let boot = booting(&store, 1).await;
    store.excuse_agents(at(15)).await.unwrap();
    store.wake(node_id(1), at(21)).await.unwrap();
    let claimed = claim(&store, at(21)).await;
    let work = store.work(claimed).await.unwrap();
    assert_eq!(
        work.seen.agent, None,
        "one that never called was not silent"
    );
    store.hello(boot, "session", at(21), None).await.unwrap();
    store.excuse_agents(at(99)).await.unwrap();
    let work = store.work(claimed).await.unwrap();
    assert_eq!(work.seen.agent.unwrap().last_seen, at(99));
}

async fn a_node_at_rest_gives_its_address_back(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let boot = booting(&store, 1).await;
    store.hello(boot, "session", at(21), None).await.unwrap();
    let had = store.boot(boot).await.unwrap().expect("boots").address;
    reach(&store, Phase::Failed, Step::Rest, at(22)).await;
    assert!(store.boot(boot).await.unwrap().is_none());
    assert!(store.agent_session("session").await.unwrap().is_none());
    enroll(&store, 2).await;
    let claim = claim_of(&store, 2, at(23)).await;
    let new = new_boot(2, claim, BootId::of(claim.node, 1));
    let prepared = store.prepare_boot(new, had..=had, POOL_NAME, at(23)).await;
    assert_eq!(prepared.unwrap(), had);
}

/// Takes a node to waiting for the agent of its first boot.
pub(crate) async fn booting(store: &Store, number: u32) -> BootId {
    let claim = claim(store, at(20)).await;
    assert_eq!(claim.node, node_id(number));
    let work = store.work(claim).await.unwrap();
    let next = NodeState {
        boots: 1,
        ..state(&work.node.state, Phase::Inspecting, Step::AwaitAgent)
    };
    let claim = keep(store, claim, to(&work, next)).await;
    prepare_by(store, claim, number, 1, 9).await.unwrap();
    store.give_back(claim).await.unwrap();
    BootId::of(claim.node, 1)
}

/// Commits, and keeps the node.
async fn keep(store: &Store, held: Claim, commit: Commit) -> Claim {
    let turn = Turn {
        commit,
        ended: None,
        foreseen: false,
        keep_ms: Some(LEASE),
    };
    match store.commit_turn(held, &turn, at(20)).await.unwrap() {
        Committed::Kept(kept) => kept,
        lost => panic!("{lost:?}"),
    }
}

async fn who_has_lost_a_node_prepares_no_boot_of_it(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let slow = claim(&store, at(20)).await;
    let again = at(20 + LEASE / 1000 + 1);
    let quick = claim(&store, again).await;
    let by = async |claim, boot, method| {
        let new = NewBoot {
            method,
            ..new_boot(1, claim, BootId::of(node_id(1), boot))
        };
        store.prepare_boot(new, pool(2), POOL_NAME, again).await
    };
    let (before, after) = (1, 2);
    by(quick, before, BootMethod::Pxe).await.unwrap();
    // Neither the boot that there is, with a medium now, nor another one.
    for boot in [before, after] {
        let late = by(slow, boot, BootMethod::VirtualMedia).await;
        assert!(matches!(late, Err(Error::LeaseLost)), "{late:?}");
    }
    let found = store.boot_of(node_id(1)).await.unwrap().expect("a boot");
    assert_eq!(found.boot, BootId::of(node_id(1), before));
    assert!(!found.media_inserted);
    by(quick, after, BootMethod::Pxe).await.unwrap();
}

async fn a_medium_may_be_inserted_until_it_was_seen_ejected(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let boot = BootId::of(node_id(1), 1);
    let noted = async || {
        let boot = store.boot(boot).await.unwrap();
        boot.expect("is prepared").media_inserted
    };
    let by = async |claim, method| {
        let new = NewBoot {
            method,
            ..new_boot(1, claim, boot)
        };
        let prepared = store.prepare_boot(new, pool(1), POOL_NAME, at(20)).await;
        assert_eq!(prepared.unwrap(), address(10));
    };
    let mut held = claim(&store, at(20)).await;
    by(held, BootMethod::Pxe).await;
    assert!(!noted().await);
    let carry_out = async |held, action, outcome| {
        let intent = Intent {
            key: IntentKey(format!("{action:?}")),
            generation: Generation(1),
            action,
        };
        let work = store.work(held).await.unwrap();
        let commit = Commit {
            intent: Some(intent.clone()),
            ..to(&work, work.node.state.clone())
        };
        let kept = keep(&store, held, commit).await;
        let recorded = store.record_outcome(kept, &intent.key, &outcome, &[], at(20));
        recorded.await.unwrap();
        kept
    };
    let failed = Outcome::Failed {
        failure: Failure::transient(Cause::BmcSlow, "the drive would not open"),
    };
    let role = PortRole::Tenant;
    for action in [Action::PowerOff, Action::ConnectPorts { role }] {
        // Once more for the same boot, too, whose medium was taken out in between.
        by(held, BootMethod::VirtualMedia).await;
        assert!(noted().await);
        held = carry_out(held, Action::PowerOn, Outcome::Done).await;
        held = carry_out(held, action.clone(), failed.clone()).await;
        assert!(noted().await, "it may be there still");
        held = carry_out(held, action, Outcome::Done).await;
        assert!(!noted().await);
    }
}
