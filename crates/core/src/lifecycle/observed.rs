//! What has been seen of a node: the outcomes of its intents, its agent, its tenant's OS.

use jiff::Timestamp;

use super::intent::{IntentKey, Outcome};
use crate::diagnosis::Evidence;
use crate::id::{BootId, Generation};

/// What has been seen of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The latest intent and how far it has come. Older ones do not matter.
    pub intent: Option<(IntentKey, Outcome)>,
    /// The agent that has called, if any.
    pub agent: Option<AgentSeen>,
    /// The generation whose OS has said that it is up.
    pub os_up: Option<Generation>,
    /// Whether the machine was found switched on after it had been left off, and nothing of ours has
    /// switched it on.
    pub switched_on: bool,
    /// Whether `kexec` of the kernel that is to be started is remembered to have failed on this
    /// model of machine the last time it was tried.
    pub kexec_failed: bool,
    /// Since when whatever is told to us is heard: before that, this server or its database was away.
    /// What was waited for may have come meanwhile, and comes again.
    pub heard_since: Option<Timestamp>,
    /// The traces of the machine, if it is waited for and the wait is over: they say why.
    pub evidence: Evidence,
}

impl Observed {
    /// The outcome of the intent with this key.
    pub fn outcome(&self, key: &IntentKey) -> Option<&Outcome> {
        self.intent
            .as_ref()
            .filter(|(seen, _)| seen == key)
            .map(|(_, outcome)| outcome)
    }
}

/// An agent that has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentSeen {
    /// The boot it belongs to.
    pub boot: BootId,
    /// When it was heard of last.
    pub last_seen: Timestamp,
    /// Whether it is its turn to be replaced by an agent of the present RAM disk, if it is idle.
    pub replace: bool,
}
