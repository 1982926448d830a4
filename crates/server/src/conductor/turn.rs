//! One turn with a node that is held: carry out its open intent, no transaction open → read what has been
//! seen → [`decide`] → one commit of the intent's outcome, state, next intent and events, guarded by the
//! fence; and again, without giving the node back, while there is more to do at once.
//!
//! A turn that is lost at any point is taken again by whoever claims the node next; since intents check
//! before they act, nothing happens twice.

use std::time::Duration;

use bessemer_core::lifecycle::{Action, Executor, Intent, Outcome, abandon};
use bessemer_store::{
    Claim, Commit, Committed, Ended, Error as StoreError, NodeRecord, Turn, Work,
};
use bessemer_tasks::Panicked;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::decision::decide;
use super::{Conductor, LEASE, PANICKED, drift, tell};
use crate::evidence;

/// Decisions in one turn: more than any phase has steps in a row for the conductor. Whoever has gone so
/// far lets others go first.
const MOST_DECISIONS: u32 = 32;

/// How long what was read of a node before an intent was carried out is decided on after it, if there have
/// been no news of the node: when its agent was last heard of is no news.
const KNOWN_FOR: Duration = Duration::from_secs(1);

impl Conductor {
    /// One turn with a node that is held since `begun`. Nothing new is begun after `stop`.
    pub(super) async fn turn(
        &self,
        mut claim: Claim,
        work: Result<Work, StoreError>,
        begun: Instant,
        stop: CancellationToken,
    ) {
        let supervisor = &self.site.supervisor;
        // What is shared is behind locks that bear a panic of their holder.
        let reconciling = async {
            let known = Known::now(work?);
            self.reconcile(&mut claim, known, begun, &stop).await
        };
        let result = match supervisor.catch("a turn", reconciling).await {
            Ok(result) => result,
            Err(Panicked) => {
                let abandoning = supervisor.catch("giving a node up", self.abandon(claim));
                match abandoning.await {
                    Ok(result) => result,
                    Err(Panicked) => return self.site.metrics.reconcile_errors.inc(),
                }
            }
        };
        match result {
            // Its next step is often due at once.
            Ok(()) => self.site.bell.ring_here(),
            Err(StoreError::LeaseLost) => debug!("lost to another conductor; dropped"),
            // Nothing was decided: whoever is there first when the database is back does it.
            Err(error) if error.is_outage() => {
                self.site.hearing.note(&error, self.site.now());
                warn!(%error, "turn failed");
                let given = self.outlast(|| self.site.store.give_back(claim)).await;
                if given.is_ok() {
                    self.site.bell.ring_here();
                }
            }
            // The lease runs out and the node is claimed again.
            Err(error) => {
                self.site.hearing.note(&error, self.site.now());
                self.site.metrics.reconcile_errors.inc();
                error!(%error, "turn failed; the node is tried again after its lease");
            }
        }
    }

    /// Decides about a node until there is nothing more to do at once. `claim` is how it is held, since
    /// `begun`.
    async fn reconcile(
        &self,
        claim: &mut Claim,
        known: Known,
        mut begun: Instant,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut known = Some(known);
        for left in (0..MOST_DECISIONS).rev() {
            let may_keep = left > 0 && !stop.is_cancelled();
            let now = match known.take() {
                Some(known) => known,
                None => Known::now(self.site.store.work(*claim).await?),
            };
            let (committed, next, held) = self.decide(*claim, now, begun, may_keep).await?;
            match committed {
                Committed::GivenBack => return Ok(()),
                Committed::Kept(kept) => {
                    (*claim, begun, known) = (kept, held, next);
                }
                Committed::Overtaken | Committed::Outdated => {
                    debug!("overtaken by something else; deciding again");
                }
            }
        }
        self.site.store.give_back(*claim).await
    }

    /// Gives up a node at which this server has panicked. Otherwise it would be tried again whenever its
    /// lease runs out, for ever and with no reason.
    async fn abandon(&self, claim: Claim) -> Result<(), StoreError> {
        let work = self.site.store.work(claim).await?;
        let (now, before) = (self.site.now(), work.node.state.clone());
        let decision = abandon(&self.site.spec(&work.node), &before, PANICKED, now);
        let turn = Turn {
            ended: None,
            foreseen: false,
            keep_ms: None,
            commit: Commit {
                kexec: None,
                events: tell::events(&work.node, &before, &decision.next),
                before,
                next: decision.next,
                intent: decision.intent,
                wake_at: decision.wake_at,
                news: work.news,
            },
        };
        self.commit(claim, &work, &turn).await.map(drop)
    }

    /// Carries out the open intent of a node that is held since `begun`, and decides how it goes on.
    /// What is to be carried out next, if that is known, and since when the node is held for it.
    async fn decide(
        &self,
        claim: Claim,
        mut known: Known,
        begun: Instant,
        may_keep: bool,
    ) -> Result<(Committed, Option<Known>, Instant), StoreError> {
        if known.work.node.ports_suspect {
            self.look_at_ports(claim, &known.work).await?;
            known = self.read(claim).await?;
        }
        let (mut known, mut ended, mut foreseen) = self.carried_out(claim, known, begun).await?;
        if evidence::is_asked_for(&known.work.node.state, self.site.now()) {
            let evidence = self.gather_evidence(claim, &known.work).await?;
            // What was waited for may have come meanwhile.
            known = self.read(claim).await?;
            foreseen = false;
            ended = ended.filter(|how| known.work.take_in(how));
            known.work.seen.evidence = evidence;
        }
        let mut turn = Turn {
            foreseen,
            ..decide(&self.site, &mut known.work, ended, may_keep)
        };
        // Not since the commit is known to stand: whoever stood still before that may have lost the node,
        // and what has just been opened is carried out without looking.
        let mut held = Instant::now();
        let mut committed = self.commit(claim, &known.work, &turn).await?;
        if committed == Committed::Outdated {
            known = self.read(claim).await?;
            // What comes after this reading leaves the node due at once.
            let ended = turn.ended.filter(|how| known.work.take_in(how));
            turn = decide(&self.site, &mut known.work, ended, may_keep);
            held = Instant::now();
            committed = self.commit(claim, &known.work, &turn).await?;
        }
        Ok((committed, known.after(turn.commit), held))
    }

    /// Carries out the open intent of a node that is held since `begun`, if there is one. What is known
    /// then, how it ended, and whether that is put to what was read before.
    async fn carried_out(
        &self,
        claim: Claim,
        mut known: Known,
        begun: Instant,
    ) -> Result<(Known, Option<Ended>, bool), StoreError> {
        let Some(intent) = known.work.intent.clone() else {
            return Ok((known, None, false));
        };
        let news = makes_news(&known.work.node, &intent);
        let how = self.act(claim, &known.work, intent, begun).await?;
        let foreseen = !news && known.read_at.elapsed() <= KNOWN_FOR;
        if !foreseen {
            known = self.read(claim).await?;
        }
        let ended = known.work.take_in(&how).then_some(how);
        Ok((known, ended, foreseen))
    }

    /// Reads all about a node that is held.
    async fn read(&self, claim: Claim) -> Result<Known, StoreError> {
        let work = self.outlast(|| self.site.store.work(claim)).await?;
        Ok(Known::now(work))
    }

    /// Stores a decision, and tells whom it concerns.
    async fn commit(
        &self,
        claim: Claim,
        work: &Work,
        turn: &Turn,
    ) -> Result<Committed, StoreError> {
        let store = &self.site.store;
        let committed = match store.commit_turn(claim, turn, self.site.now()).await {
            // What was done need not be done again because the database restarted meanwhile.
            Err(error) if error.is_outage() => {
                if let Some(Ended {
                    key,
                    outcome,
                    events,
                    ..
                }) = &turn.ended
                {
                    let now = self.site.now();
                    self.outlast(|| store.record_outcome(claim, key, outcome, events, now))
                        .await?;
                }
                return Err(error);
            }
            committed => committed?,
        };
        if matches!(committed, Committed::Overtaken | Committed::Outdated) {
            return Ok(committed);
        }
        let Commit {
            before,
            next,
            intent,
            ..
        } = &turn.commit;
        if drift::is_suspicious(before, next)
            && let Err(error) = store.suspect_ports(claim.node, self.site.now()).await
        {
            warn!(%error, "ports are looked at in their turn, and not at once");
        }
        self.consoles.follow(&work.node, next);
        if next.step != before.step || next.attempt != before.attempt {
            self.site.progress.set(claim.node, None);
        }
        let executor = intent.as_ref().map(|intent| intent.action.executor());
        if executor == Some(Executor::Agent) {
            self.site.agents.ring(claim.node);
        }
        Ok(committed)
    }

    /// Carries out the open intent of a node that is held since `begun`; how it ended.
    async fn act(
        &self,
        claim: Claim,
        work: &Work,
        intent: Intent,
        begun: Instant,
    ) -> Result<Ended, StoreError> {
        let store = &self.site.store;
        let role = drift::moves_ports(&work.node, &intent);
        if role.is_some() {
            // Until it is read back, nobody knows what they carry.
            store.expect_ports(claim, None, self.site.now()).await?;
        }
        // A turn that has stood still meanwhile may have lost its node to somebody.
        if begun.elapsed() > LEASE / 3 {
            let lease = LEASE.as_millis() as i64;
            store.renew(claim, self.site.now(), lease).await?;
        }
        let Some(outcome) = self.carry_out(claim, &work.node, &intent).await else {
            return Err(StoreError::LeaseLost);
        };
        if role.is_some() && outcome == Outcome::Done {
            store.expect_ports(claim, role, self.site.now()).await?;
        }
        let events = tell::switched(&self.site, &work.node, &intent, &outcome).await;
        let Intent { key, action, .. } = intent;
        Ok(Ended {
            key,
            action,
            outcome,
            events,
        })
    }
}

/// Whether carrying out an intent writes down more of its node than how it has ended.
fn makes_news(node: &NodeRecord, intent: &Intent) -> bool {
    matches!(intent.action, Action::CheckBmc | Action::PrepareBoot { .. })
        || drift::moves_ports(node, intent).is_some()
}

/// What is known of a node that is held.
struct Known {
    work: Work,
    read_at: Instant,
}

impl Known {
    fn now(work: Work) -> Self {
        Self {
            work,
            read_at: Instant::now(),
        }
    }

    /// What is known after a commit, if there is something to be carried out at once that needs nothing
    /// else.
    fn after(self, commit: Commit) -> Option<Self> {
        if drift::is_suspicious(&commit.before, &commit.next) {
            return None;
        }
        let read_at = self.read_at;
        let work = self.work.after(commit)?;
        Some(Self { work, read_at })
    }
}
