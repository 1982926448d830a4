//! What every part of the server shares: configuration, store, keys, images, and what is known
//! only in memory (the progress of agents).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_core::Timestamp;
use bessemer_core::id::{BootId, NodeId};
use bessemer_core::lifecycle::NodeSpec;
use bessemer_store::{NodeRecord, Store};
use bessemer_tasks::Supervisor;
use bessemer_wire::agent::Progress;

use crate::api::{Placing, Surveys};
use crate::bells::{AgentBells, Bell};
use crate::bmcs::BmcPool;
use crate::clock::Clock;
use crate::config::Config;
use crate::fabric::Fabric;
use crate::heard::Heard;
use crate::hearing::Hearing;
use crate::images::ImageLibrary;
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::ramdisk::Ramdisk;
use crate::sightings::Sightings;

/// What every part of the server shares. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    /// The configuration.
    pub config: Arc<Config>,
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Sealing and deriving secrets.
    pub keyring: Arc<Keyring>,
    /// The images.
    pub images: ImageLibrary,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Keeps tasks going that panic, and counts that.
    pub supervisor: Supervisor,
    /// What agents are doing at this moment.
    pub progress: ProgressBoard,
    /// The clients of the management controllers.
    pub bmcs: Arc<BmcPool>,
    /// What has been seen of each node lately.
    pub sightings: Sightings,
    /// What agents boot at present.
    pub ramdisk: Ramdisk,
    /// When agents were last heard of.
    pub heard: Heard,
    /// Since when we hear what we are told.
    pub hearing: Arc<Hearing>,
    /// Wakes agents that wait for a command.
    pub agents: AgentBells,
    /// The switches.
    pub fabric: Arc<Fabric>,
    /// The other servers on this database, and where machines reach all of them.
    pub peers: Arc<Peers>,
    /// The URL under which management controllers reach boot media, without a path.
    pub boot_media_base: Option<String>,
    /// Orders that are being placed.
    pub placing: Placing,
    /// What is told to orders that find no node.
    pub surveys: Arc<Surveys>,
    /// Rung when a node has become due, so that a conductor looks at once.
    pub bell: Bell,
}

impl Site {
    /// The time, by the only clock of the server; everything else is handed times.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where a boot's medium is, if this site serves media.
    pub fn boot_media_url(&self, boot: BootId) -> Option<String> {
        let secret = self.keyring.boot_url_secret(boot);
        let base = self.boot_media_base.as_ref()?;
        Some(format!("{base}/boot/{boot}/{secret}/agent.iso"))
    }

    /// A node's spec with this site's timing, on its hardware.
    pub fn spec(&self, node: &NodeRecord) -> NodeSpec {
        let timing = &self.config.timing;
        NodeSpec {
            timing: match &node.inventory {
                Some(inventory) => timing.on(inventory),
                None => timing.clone(),
            },
            ..node.spec.clone()
        }
    }
}

/// What agents are doing at this moment. Not stored: it is old news a second later.
#[derive(Clone, Default)]
pub struct ProgressBoard(Arc<Mutex<HashMap<NodeId, Progress>>>);

impl ProgressBoard {
    /// What the agent of `node` is doing.
    pub fn get(&self, node: NodeId) -> Option<Progress> {
        self.lock().get(&node).cloned()
    }

    /// What every agent is doing that is at work.
    pub fn all(&self) -> HashMap<NodeId, Progress> {
        self.lock().clone()
    }

    /// Notes what the agent of `node` is doing; `None` when it is doing nothing.
    pub fn set(&self, node: NodeId, progress: Option<Progress>) {
        match progress {
            Some(progress) => self.lock().insert(node, progress),
            None => self.lock().remove(&node),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Progress>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
