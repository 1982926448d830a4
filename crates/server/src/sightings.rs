//! What has been seen of each node lately, for people who look for the cause of something: who
//! booted, what agents said, what switches read back. In memory only and bounded; it is gone after
//! a restart, and nothing is decided by it.
//!
//! Texts in here come from untrusted machines: they are cut, and hold no secrets, because those who
//! note them give none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bessemer_core::cause::Cause;
use bessemer_core::id::NodeId;
use bessemer_wire::api::Sighting;

use crate::site::now;

/// Sightings kept of each kind and node.
const KEPT: usize = 20;

/// The longest text of a sighting, in characters.
const MAX_TEXT: usize = 300;

/// Bytes kept of a serial console.
const CONSOLE_BYTES: usize = 16 << 10;

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The DHCP service.
    Dhcp,
    /// The services that boot files are fetched from.
    BootFile,
    /// Calls of agents.
    Agent,
    /// What agents reported of their commands.
    AgentWork,
    /// How systems will say that they are up.
    Report,
    /// A switch.
    Switch,
}

/// What has been seen of each node.
#[derive(Clone, Default)]
pub struct Sightings(Arc<Mutex<HashMap<NodeId, Seen>>>);

#[derive(Default)]
struct Seen {
    places: HashMap<Place, VecDeque<Sighting>>,
    /// What the agent said last, and when.
    agent: Option<Sighting>,
    console: VecDeque<u8>,
}

impl Sightings {
    /// Notes something about `node`; `trouble` is what it hints at, if it is not as it should be.
    pub fn note(
        &self,
        node: NodeId,
        place: Place,
        trouble: Option<Cause>,
        what: impl Into<String>,
    ) {
        let sighting = sighting(trouble, &what.into());
        let mut all = self.lock();
        let kept = all
            .entry(node)
            .or_default()
            .places
            .entry(place)
            .or_default();
        // The same again and again is one sighting, as of the last time.
        if let Some(last) = kept.back_mut()
            && (last.cause, &last.what) == (sighting.cause, &sighting.what)
        {
            last.times += 1;
            last.at = sighting.at;
            return;
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(sighting);
    }

    /// Notes what the agent of `node` says that it is doing.
    pub fn agent_says(&self, node: NodeId, what: &str) {
        let sighting = sighting(None, what);
        self.lock().entry(node).or_default().agent = Some(sighting);
    }

    /// Adds to what has been heard on the serial console of `node`.
    pub fn console(&self, node: NodeId, bytes: &[u8]) {
        let mut all = self.lock();
        let console = &mut all.entry(node).or_default().console;
        let bytes = &bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..];
        let surplus = (console.len() + bytes.len()).saturating_sub(CONSOLE_BYTES);
        console.drain(..surplus);
        console.extend(bytes);
    }

    /// What was seen of `node` at `place`, oldest first.
    pub fn at(&self, node: NodeId, place: Place) -> Vec<Sighting> {
        let all = self.lock();
        let kept = all.get(&node).and_then(|seen| seen.places.get(&place));
        kept.map_or_else(Vec::new, |kept| kept.iter().cloned().collect())
    }

    /// What the agent of `node` said last.
    pub fn agent(&self, node: NodeId) -> Option<Sighting> {
        self.lock().get(&node).and_then(|seen| seen.agent.clone())
    }

    /// The last lines heard on the serial console of `node`, at most `count`, without what only a
    /// terminal understands.
    pub fn console_tail(&self, node: NodeId, count: usize) -> Vec<String> {
        let bytes: Vec<u8> = match self.lock().get(&node) {
            Some(seen) => seen.console.iter().copied().collect(),
            None => return Vec::new(),
        };
        let text = String::from_utf8_lossy(&bytes);
        let plain =
            |line: &str| -> String { line.chars().filter(|letter| !letter.is_control()).collect() };
        let lines: Vec<_> = text.lines().map(plain).collect();
        let full = lines.into_iter().filter(|line| !line.trim().is_empty());
        let full: Vec<_> = full.collect();
        full[full.len().saturating_sub(count)..].to_vec()
    }

    /// Forgets a node.
    pub fn forget(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Seen>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sighting(trouble: Option<Cause>, what: &str) -> Sighting {
    Sighting {
        at: now(),
        well: trouble.is_none(),
        cause: trouble,
        times: 1,
        what: what.chars().take(MAX_TEXT).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NODE: NodeId = NodeId(Uuid::from_u128(1));

    #[test]
    fn what_is_kept_is_bounded() {
        let sightings = Sightings::default();
        for number in 0..100 {
            let text = format!("{number}{}", "x".repeat(1000));
            sightings.note(NODE, Place::Dhcp, None, text);
            sightings.console(NODE, &[b'y'; 1000]);
        }
        let kept = sightings.at(NODE, Place::Dhcp);
        assert_eq!(kept.len(), KEPT);
        assert!(kept[0].what.starts_with("80x"));
        assert_eq!(kept[0].what.len(), MAX_TEXT);
        let console = sightings.console_tail(NODE, 10);
        assert_eq!(console, ["y".repeat(CONSOLE_BYTES)]);
        sightings.console(NODE, &[b'z'; 2 * CONSOLE_BYTES]);
        let console = sightings.console_tail(NODE, 10);
        assert_eq!(console, ["z".repeat(CONSOLE_BYTES)]);
        sightings.forget(NODE);
        assert!(sightings.at(NODE, Place::Dhcp).is_empty());
    }

    #[test]
    fn the_same_again_is_counted() {
        let sightings = Sightings::default();
        for _ in 0..3 {
            let trouble = Some(Cause::DhcpRefused);
            sightings.note(NODE, Place::Dhcp, trouble, "asks in vain");
        }
        sightings.note(NODE, Place::Dhcp, None, "answered");
        let kept = sightings.at(NODE, Place::Dhcp);
        let times: Vec<_> = kept.iter().map(|each| each.times).collect();
        assert_eq!(times, [3, 1]);
    }

    #[test]
    fn a_console_is_shown_as_lines_without_control_characters() {
        let sightings = Sightings::default();
        sightings.console(NODE, b"one\r\n\r\n\x1b[1mtwo\x07\r\nthr");
        sightings.console(NODE, b"ee\xff");
        let tail = sightings.console_tail(NODE, 2);
        assert_eq!(tail, ["[1mtwo", "three\u{fffd}"]);
        assert!(sightings.console_tail(NodeId(Uuid::nil()), 2).is_empty());
    }
}
