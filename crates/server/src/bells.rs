//! Bells: they wake whoever waits for something that has been committed, in this server and in others
//! on the same database. A bell says nothing; who hears it reads the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_core::id::NodeId;
use bessemer_store::{Store, Wake};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::site::Site;

/// Rung when a node has become due.
#[derive(Clone)]
pub struct Bell {
    here: Arc<Notify>,
    store: Store,
}

impl Bell {
    /// A bell of the servers on `store`.
    pub fn new(store: Store) -> Self {
        Self {
            here: Arc::default(),
            store,
        }
    }

    /// Wakes a conductor: this server's, and those of others, of which one may have more time.
    pub fn ring(&self) {
        self.ring_here();
        self.store.wake_others(Wake::NodesDue);
    }

    /// Wakes this server's conductor alone.
    pub fn ring_here(&self) {
        self.here.notify_one();
    }

    /// Waits until it is rung; at once if it was since the last time.
    pub async fn rung(&self) {
        self.here.notified().await;
    }
}

/// One bell a node, rung when there is a command for its agent, wherever that polls.
#[derive(Clone)]
pub struct AgentBells {
    here: Arc<Mutex<HashMap<NodeId, Arc<Notify>>>>,
    store: Store,
}

impl AgentBells {
    /// The bells of the servers on `store`.
    pub fn new(store: Store) -> Self {
        Self {
            here: Arc::default(),
            store,
        }
    }

    /// The bell of `node` in this server.
    pub fn of(&self, node: NodeId) -> Arc<Notify> {
        self.bells().entry(node).or_default().clone()
    }

    /// Wakes the agent of `node`, or lets its next wait end at once.
    pub fn ring(&self, node: NodeId) {
        self.ring_here(node);
        self.store.wake_others(Wake::Agent(node));
    }

    /// The same for an agent that polls this server.
    pub fn ring_here(&self, node: NodeId) {
        self.of(node).notify_one();
    }

    /// Wakes every agent that has ever polled this server.
    fn ring_all_here(&self) {
        for bell in self.bells().values() {
            bell.notify_one();
        }
    }

    fn bells(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Arc<Notify>>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rings here what others have rung, until `stop`.
pub(crate) async fn hear_others(site: Site, stop: CancellationToken) {
    let Some(mut woken) = site.store.woken() else {
        return;
    };
    loop {
        let heard = tokio::select! {
            heard = woken.recv() => heard,
            () = stop.cancelled() => return,
        };
        match heard {
            Ok(Wake::NodesDue) => site.bell.ring_here(),
            Ok(Wake::Agent(node)) => site.agents.ring_here(node),
            Err(RecvError::Lagged(_)) => {
                site.bell.ring_here();
                site.agents.ring_all_here();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Goes on when the database was away and is back, until `stop`: agents could not be heard meanwhile,
/// so their silence does not count, and everybody looks at what has happened.
pub(crate) async fn resume_after_outages(site: Site, stop: CancellationToken) {
    let mut seen = 0;
    loop {
        tokio::select! {
            comebacks = site.store.comeback_after(seen) => seen = comebacks,
            () = stop.cancelled() => return,
        }
        if let Err(error) = site.store.excuse_agents(site.now()).await {
            warn!(%error, "agents that could not be heard may be given up");
        }
        site.bell.ring_here();
        site.agents.ring_all_here();
    }
}
