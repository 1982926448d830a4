//! What has been seen of each node lately, for people who look for the cause of something: who
//! booted, what agents said, what switches read back. In memory and bounded, and gone after a restart;
//! [`shared`] writes it down for other servers. Nothing is decided by it.
//!
//! Texts in here come from untrusted machines: they are cut, and hold no secrets, because those who
//! note them give none.

mod mask;
mod seen;
pub(crate) mod shared;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_core::cause::Cause;
use bessemer_core::id::{NodeId, ServerId};
use bessemer_wire::api::Sighting;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;

pub use seen::{ConsoleTail, Place, Seen};

/// Sightings kept of each kind and node.
const KEPT: usize = 20;

/// The longest text of a sighting, in characters.
const MAX_TEXT: usize = 300;

/// Bytes kept of a serial console.
const CONSOLE_BYTES: usize = 16 << 10;

/// A node of which nothing new has been seen for so long has come to a halt.
const HALT: Duration = Duration::from_secs(3);

/// Of a node of which there is more and more to be seen, it is taken this often.
const LONGEST: Duration = Duration::from_secs(30);

/// Lines of a serial console that are shown.
const CONSOLE_LINES: usize = 20;

/// What has been seen of each node.
#[derive(Clone)]
pub struct Sightings {
    /// Names this server among those on the same database, until it ends.
    server: Uuid,
    clock: Clock,
    nodes: Arc<Mutex<Nodes>>,
}

#[derive(Default)]
struct Nodes {
    seen: HashMap<NodeId, Kept>,
    /// Of which something new has been seen, and not taken: when for the first time, and the last.
    new: BTreeMap<NodeId, (Instant, Instant)>,
}

/// What is kept of one node.
#[derive(Default)]
struct Kept {
    places: HashMap<Place, VecDeque<Sighting>>,
    /// What the agent said last, and when.
    agent: Option<Sighting>,
    console: Option<Console>,
}

/// What was heard on the serial console while the system of `server` was starting.
struct Console {
    server: ServerId,
    at: Timestamp,
    bytes: VecDeque<u8>,
}

impl Nodes {
    fn of(&mut self, node: NodeId) -> &mut Kept {
        self.renew(node);
        self.seen.entry(node).or_default()
    }

    fn renew(&mut self, node: NodeId) {
        let now = Instant::now();
        self.new.entry(node).or_insert((now, now)).1 = now;
    }
}

impl Sightings {
    /// Nothing, seen by the server of this name; what is seen is seen at times of this clock.
    pub fn new(server: Uuid, clock: Clock) -> Self {
        Self {
            server,
            clock,
            nodes: Arc::default(),
        }
    }

    /// What names this server among those on the same database.
    pub(crate) fn server(&self) -> Uuid {
        self.server
    }

    /// Notes something about `node`; `trouble` is what it hints at, if it is not as it should be.
    pub fn note(
        &self,
        node: NodeId,
        place: Place,
        trouble: Option<Cause>,
        what: impl Into<String>,
    ) {
        let sighting = self.sighting(trouble, &what.into());
        let mut nodes = self.lock();
        let kept = nodes.of(node).places.entry(place).or_default();
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
        let sighting = self.sighting(None, what);
        self.lock().of(node).agent = Some(sighting);
    }

    /// Notes that something was asked of the management controller of `node`, which keeps what.
    pub fn asked(&self, node: NodeId) {
        self.lock().renew(node);
    }

    /// Adds to what has been heard on the serial console of `node`, whose machine starts the system of
    /// `server`. What was heard for another server is nobody's any more.
    pub fn console(&self, node: NodeId, server: ServerId, bytes: &[u8]) {
        let mut nodes = self.lock();
        let console = &mut nodes.of(node).console;
        if console
            .as_ref()
            .is_none_or(|console| console.server != server)
        {
            *console = None;
        }
        let console = console.get_or_insert_with(|| Console {
            server,
            at: self.clock.now(),
            bytes: VecDeque::new(),
        });
        let bytes = &bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..];
        let surplus = (console.bytes.len() + bytes.len()).saturating_sub(CONSOLE_BYTES);
        console.bytes.drain(..surplus);
        console.bytes.extend(bytes);
        console.at = self.clock.now();
    }

    fn sighting(&self, trouble: Option<Cause>, what: &str) -> Sighting {
        Sighting {
            at: self.clock.now(),
            well: trouble.is_none(),
            cause: trouble,
            times: 1,
            what: what.chars().take(MAX_TEXT).collect(),
        }
    }

    /// What was seen of `node`.
    pub fn seen(&self, node: NodeId) -> Seen {
        let nodes = self.lock();
        let Some(kept) = nodes.seen.get(&node) else {
            return Seen::default();
        };
        let places = kept.places.iter();
        let places = places.map(|(place, kept)| (*place, kept.iter().cloned().collect()));
        Seen {
            places: places.collect(),
            agent: kept.agent.clone(),
            console: kept.console.as_ref().map(Console::tail),
        }
    }

    /// At most so many of the nodes of which something new has been seen since they were taken last:
    /// those that have come to a halt since, and those of which there is more and more for long.
    pub(crate) fn take_new(&self, most: usize, now: Instant) -> Vec<NodeId> {
        let mut nodes = self.lock();
        let is_due = |first: Instant, last: Instant| {
            now.duration_since(last) >= HALT || now.duration_since(first) >= LONGEST
        };
        let new = nodes.new.iter();
        let due = new.filter(|(_, (first, last))| is_due(*first, *last));
        let taken: Vec<_> = due.map(|(node, _)| *node).take(most).collect();
        for node in &taken {
            nodes.new.remove(node);
        }
        taken
    }

    /// Forgets a node.
    pub fn forget(&self, node: NodeId) {
        let mut nodes = self.lock();
        nodes.seen.remove(&node);
        nodes.new.remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        // The map stays whole whatever happens to a holder of the lock.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// The last lines, without what only a terminal understands and what looks like a secret.
    fn tail(&self) -> ConsoleTail {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let plain =
            |line: &str| -> String { line.chars().filter(|letter| !letter.is_control()).collect() };
        let lines = text.lines().map(plain);
        let full: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
        // Masked as a whole: what a line is may be said by the one before it.
        let mut lines = mask::masked(full);
        lines.drain(..lines.len().saturating_sub(CONSOLE_LINES));
        ConsoleTail {
            server: self.server,
            at: self.at,
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NODE: NodeId = NodeId(Uuid::from_u128(1));
    const SERVER: ServerId = ServerId(Uuid::from_u128(2));

    fn none() -> Sightings {
        Sightings::new(Uuid::nil(), Clock::default())
    }

    fn console_of(sightings: &Sightings, server: ServerId) -> Vec<String> {
        sightings.seen(NODE).console_of(Some(server))
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let sightings = none();
        for number in 0..100 {
            let text = format!("{number}{}", "x".repeat(1000));
            sightings.note(NODE, Place::Dhcp, None, text);
            sightings.console(NODE, SERVER, &[b'-'; 1000]);
        }
        let seen = sightings.seen(NODE);
        let kept = seen.at(Place::Dhcp);
        assert_eq!(kept.len(), KEPT);
        assert!(kept[0].what.starts_with("80x"));
        assert_eq!(kept[0].what.len(), MAX_TEXT);
        assert_eq!(console_of(&sightings, SERVER), ["-".repeat(CONSOLE_BYTES)]);
        sightings.console(NODE, SERVER, &[b'.'; 2 * CONSOLE_BYTES]);
        assert_eq!(console_of(&sightings, SERVER), [".".repeat(CONSOLE_BYTES)]);
        sightings.forget(NODE);
        assert!(sightings.seen(NODE).places.is_empty());
        assert!(console_of(&sightings, SERVER).is_empty());
        assert!(sightings.take_new(9, Instant::now() + LONGEST).is_empty());
    }

    #[test]
    fn the_same_again_is_counted() {
        let sightings = none();
        for _ in 0..3 {
            let trouble = Some(Cause::DhcpRefused);
            sightings.note(NODE, Place::Dhcp, trouble, "asks in vain");
        }
        sightings.note(NODE, Place::Dhcp, None, "answered");
        let seen = sightings.seen(NODE);
        let times: Vec<_> = seen.at(Place::Dhcp).iter().map(|each| each.times).collect();
        assert_eq!(times, [3, 1]);
    }

    #[test]
    fn a_console_is_shown_as_lines_without_control_characters() {
        let sightings = none();
        sightings.console(NODE, SERVER, b"one\r\n\r\n\x1b[1mtwo\x07\r\nthr");
        sightings.console(NODE, SERVER, b"ee\xff\r\npassword: hunter2\r\n");
        let shown = console_of(&sightings, SERVER);
        assert_eq!(shown, ["one", "[1mtwo", "three\u{fffd}", "password: ***"]);
    }

    #[test]
    fn a_console_is_of_one_server() {
        let sightings = none();
        sightings.console(NODE, SERVER, b"theirs\n");
        let next = ServerId(Uuid::from_u128(3));
        assert!(console_of(&sightings, next).is_empty());
        sightings.console(NODE, next, b"ours\n");
        assert_eq!(console_of(&sightings, next), ["ours"]);
        assert!(console_of(&sightings, SERVER).is_empty());
    }

    #[test]
    fn what_is_new_is_taken_once() {
        let sightings = none();
        let other = NodeId(Uuid::from_u128(5));
        sightings.note(NODE, Place::Dhcp, None, "answered");
        sightings.asked(other);
        let start = Instant::now();
        assert!(sightings.take_new(9, start).is_empty(), "it gets on");
        assert_eq!(sightings.take_new(1, start + HALT), [NODE]);
        assert_eq!(sightings.take_new(9, start + HALT), [other]);
        assert!(sightings.take_new(9, start + LONGEST).is_empty());
    }
}
