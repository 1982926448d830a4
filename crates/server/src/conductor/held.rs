//! What a turn does for as long as it has its node: the lease is kept while something takes its time, which is
//! dropped where it stands if the node is somebody else's, and a database that is away for a moment is
//! outlasted.

use std::time::Duration;

use bessemer_core::diagnosis::Evidence;
use bessemer_core::lifecycle::{Intent, Outcome};
use bessemer_store::{Claim, Error as StoreError, NodeRecord, Work};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{Conductor, LEASE, drift, intents};
use crate::evidence;

/// The shortest time between two tries to reach a database that is away.
const OUTAGE_PAUSE: Duration = Duration::from_millis(100);

impl Conductor {
    /// Does something with the store, and again while the database is away, for as long as a lease
    /// lasts. What may not be done twice, the store itself sees to.
    pub(super) async fn outlast<T, F>(&self, does: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let deadline = Instant::now() + LEASE;
        loop {
            match does().await {
                Err(error) if error.is_outage() && Instant::now() < deadline => {
                    self.site.hearing.note(&error, self.site.now());
                    self.back_in_a_while(deadline - Instant::now()).await;
                }
                result => return result,
            }
        }
    }

    /// Waits until the database is back, for `limit` at most, and a moment in any case: a connection
    /// may break before anybody knows why.
    pub(super) async fn back_in_a_while(&self, limit: Duration) {
        sleep(OUTAGE_PAUSE.min(limit)).await;
        self.site.store.back_within(limit).await;
    }

    /// Carries an intent out while keeping the lease. `None` if the lease was lost meanwhile: the
    /// work is dropped where it stands.
    pub(super) async fn carry_out(
        &self,
        claim: Claim,
        node: &NodeRecord,
        intent: &Intent,
    ) -> Option<Outcome> {
        tokio::select! {
            outcome = intents::carry_out(self, claim, node, intent) => Some(outcome),
            () = self.keep_lease(claim) => None,
        }
    }

    /// Has the ports of a node under suspicion looked at, while keeping the lease.
    pub(super) async fn look_at_ports(&self, claim: Claim, work: &Work) -> Result<(), StoreError> {
        tokio::select! {
            result = drift::look(self, claim, &work.node, work.intent.as_ref()) => result,
            () = self.keep_lease(claim) => Err(StoreError::LeaseLost),
        }
    }

    /// What was seen of a machine that was waited for in vain, while keeping the lease.
    pub(super) async fn gather_evidence(
        &self,
        claim: Claim,
        work: &Work,
    ) -> Result<Evidence, StoreError> {
        let (node, since) = (&work.node, work.node.state.step_since);
        tokio::select! {
            evidence = evidence::gather(&self.site, node, since) => Ok(evidence),
            () = self.keep_lease(claim) => Err(StoreError::LeaseLost),
        }
    }

    /// Renews the lease for as long as that works.
    async fn keep_lease(&self, claim: Claim) {
        loop {
            sleep(LEASE / 3).await;
            let lease = LEASE.as_millis() as i64;
            match self.site.store.renew(claim, self.site.now(), lease).await {
                Ok(()) => {}
                Err(StoreError::LeaseLost) => return,
                // A database that is away for a moment does not stop the work: the commit at the
                // end is guarded anyway.
                Err(error) => warn!(%error, "cannot renew the lease"),
            }
        }
    }
}
