//! Nodes that wait in the agent, and what is remembered of `kexec`.

use bessemer_core::lifecycle::{Phase, Standby, Step, step};
use bessemer_store::{Commit, NodeChanges};

use crate::machine::run_until;
use crate::on_both;
use crate::site::{Site, at, claim, enroll, image, inventory, node_id, order, stock, to};

on_both! {
    idle_agents_are_marked_few_at_a_time_and_ordered_ones_never
    what_became_of_kexec_is_remembered_until_it_is_forgotten
}

const ALWAYS: NodeChanges = NodeChanges {
    rack: None,
    boot_method: None,
    root_disk_hint: None,
    standby: Some(Standby::Always),
    bmc: None,
};

async fn idle_agents_are_marked_few_at_a_time_and_ordered_ones_never(site: Site) {
    let store = site.open().await;
    let mut now = at(10);
    stock(&store, 5).await;
    let node = enroll(&store, 1).await.id;
    store.change_node(node, ALWAYS, now).await.unwrap();
    run_until(&store, node, Phase::Available, &mut now).await;
    let idle = store.node_by_id(node).await.unwrap();
    assert_eq!(idle.state.step, Step::Standby);
    let seen = async || store.agent_of(node).await.unwrap().expect("has called");
    let agent = seen().await;
    assert!(!agent.replace);

    // When it was heard of is stored if that is news.
    let later = now + jiff::SignedDuration::from_secs(5);
    let heard = [(agent.boot, later), (agent.boot, now)];
    store.touch_agents(&heard).await.unwrap();
    assert_eq!(seen().await.last_seen, later);

    assert_eq!(store.replace_idle_agents("new", 0, now).await.unwrap(), 0);
    assert_eq!(store.replace_idle_agents("new", 4, now).await.unwrap(), 1);
    assert!(seen().await.replace);
    assert_eq!(store.replace_idle_agents("new", 4, now).await.unwrap(), 0);
    let claimed = claim(&store, now).await;
    let work = store.work(claimed).await.unwrap();
    assert!(work.node.spec.standby && work.seen.agent.unwrap().replace);
    let decision = step(&work.node.spec, &work.seen, &work.node.state, now);
    assert_eq!(decision.next.step, Step::PowerOff);
    let commit = Commit {
        intent: decision.intent,
        wake_at: decision.wake_at,
        ..to(&work, decision.next)
    };
    store.commit(claimed, commit, now).await.unwrap();
    run_until(&store, node, Phase::Available, &mut now).await;
    let replaced = seen().await;
    assert!(replaced.boot != agent.boot && !replaced.replace);

    store.place(order(1, 1), now).await.unwrap();
    assert_eq!(store.replace_idle_agents("newer", 4, now).await.unwrap(), 0);
}

async fn what_became_of_kexec_is_remembered_until_it_is_forgotten(site: Site) {
    let store = site.open().await;
    let mut now = at(10);
    stock(&store, 5).await;
    let node = enroll(&store, 1).await.id;
    run_until(&store, node, Phase::Available, &mut now).await;
    store.place(order(1, 1), now).await.unwrap();
    run_until(&store, node, Phase::Active, &mut now).await;
    let known = store.kexec_outcomes().await.unwrap();
    assert_eq!(
        (&*known[0].kernel, known[0].worked, known[0].failed),
        ("6.1", 1, 0)
    );
    assert!(!store.kexec_failed(&inventory(), image()).await.unwrap());

    store.wake(node_id(1), now).await.unwrap();
    let claimed = claim(&store, now).await;
    let work = store.work(claimed).await.unwrap();
    assert!(!work.seen.kexec_failed);
    let commit = Commit {
        kexec: Some(false),
        ..to(&work, work.node.state.clone())
    };
    store.commit(claimed, commit, now).await.unwrap();
    assert!(store.kexec_failed(&inventory(), image()).await.unwrap());
    store.wake(node_id(1), now).await.unwrap();
    let claimed = claim(&store, now).await;
    let work = store.work(claimed).await.unwrap();
    assert!(work.seen.kexec_failed);

    let [known] = &store.kexec_outcomes().await.unwrap()[..] else {
        panic!("it is one model and one kernel");
    };
    assert_eq!(
        (known.worked, known.failed, known.last_worked),
        (1, 1, false)
    );
    store
        .forget_kexec(&known.model, &known.kernel)
        .await
        .unwrap();
    assert!(!store.kexec_failed(&inventory(), image()).await.unwrap());
    let again = store.forget_kexec(&known.model, &known.kernel).await;
    assert!(again.is_err(), "nothing is left to be forgotten");
}
