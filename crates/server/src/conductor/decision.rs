//! What is decided about a node, by all that is known of it: mostly in a turn of the conductor; and in passing,
//! in the transaction that stores news of a node which nobody has at that moment.

use bessemer_core::lifecycle::{Step, kexec_outcome, step};
use bessemer_store::{Commit, Ended, Turn, Work};

use super::{LEASE, drift, tell};
use crate::evidence;
use crate::site::Site;

/// The next decision about a node, after how its intent has `ended`. Whoever `may_keep` the node keeps it if
/// there is more to do at once.
pub(super) fn decide(site: &Site, work: &mut Work, ended: Option<Ended>, may_keep: bool) -> Turn {
    let now = site.now();
    site.metrics.reconciles.inc();
    if let Some(agent) = &mut work.seen.agent {
        site.heard.freshen(agent);
    }
    work.seen.heard_since = Some(site.hearing.since(now));
    let before = work.node.state.clone();
    let spec = site.spec(&work.node);
    let decision = step(&spec, &work.seen, &before, now);
    let events = tell::events(&work.node, &before, &decision.next);
    // What was asked for while the intent before it was being carried out.
    let unfinished = work.intent.is_some() && decision.next.at_rest();
    let wake_at = if unfinished {
        Some(now)
    } else {
        decision.wake_at
    };
    let goes_on = may_keep && wake_at.is_some_and(|at| at <= now);
    Turn {
        ended,
        foreseen: false,
        keep_ms: goes_on.then_some(LEASE.as_millis() as i64),
        commit: Commit {
            kexec: kexec_outcome(&spec, &before, &decision.next),
            events,
            before,
            next: decision.next,
            intent: decision.intent,
            wake_at,
            news: work.news,
        },
    }
}

/// The same for a node that nobody has, while news of it are being stored. `None` if it takes a turn: if there
/// is something to be done or looked at first, or something to begin or end with the decision.
pub(crate) fn decide_in_passing(site: &Site, work: &mut Work) -> Option<Turn> {
    let first = work.intent.is_some()
        || work.node.ports_suspect
        || evidence::is_asked_for(&work.node.state, site.now());
    if first {
        return None;
    }
    // A turn comes to it again, and knows what to do with a panic.
    let deciding = site
        .supervisor
        .catch_now("a decision", || decide(site, work, None, false));
    let turn = deciding.ok()?;
    let Commit { before, next, .. } = &turn.commit;
    // A conductor listens to the consoles of those that await their system.
    let awaits = [before, next].map(|state| state.step == Step::AwaitOs);
    (awaits == [false; 2] && !drift::is_suspicious(before, next)).then_some(turn)
}
