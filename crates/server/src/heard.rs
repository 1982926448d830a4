//! When each agent was last heard of, in memory.
//!
//! A thousand agents that idle would be a thousand writes every few minutes for something that is
//! old news by then. So only agents at work, whose silence is noticed within a minute or two, are
//! written down as they call; the others are all written down at once, now and then, for other
//! conductors on the same database and for orders that these place. A restart loses nothing: every
//! agent is given its full time again then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bessemer_core::Timestamp;
use bessemer_core::id::BootId;
use bessemer_core::lifecycle::AgentSeen;

/// The most seconds between two notes in the database that an agent at work is alive.
const TOUCH_SECONDS: u32 = 10;

/// An agent unheard of for so long is not remembered here any more, in seconds.
const FORGOTTEN: i64 = 24 * 3600;

/// When each agent was last heard of.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<HashMap<BootId, Note>>>);

#[derive(Clone, Copy)]
struct Note {
    last: Timestamp,
    stored: Option<Timestamp>,
}

impl Heard {
    /// Notes that the agent of `boot` has called.
    pub fn note(&self, boot: BootId, now: Timestamp) {
        let mut notes = self.lock();
        let stored = notes.get(&boot).and_then(|note| note.stored);
        notes.insert(boot, Note { last: now, stored });
    }

    /// The same of one whose call has been stored with what it said.
    pub(crate) fn note_stored(&self, boot: BootId, now: Timestamp) {
        let stored = Some(now);
        self.lock().insert(boot, Note { last: now, stored });
    }

    /// Notes that an agent at work has called, and says whether that is to be stored now.
    /// `silence` is how many seconds without a note it may take until the agent is given up.
    pub(crate) fn note_at_work(&self, boot: BootId, now: Timestamp, silence: u32) -> bool {
        let pause = i64::from((silence / 3).min(TOUCH_SECONDS));
        let mut notes = self.lock();
        let stored = notes.get(&boot).and_then(|note| note.stored);
        let is_due = stored.is_none_or(|stored| now.duration_since(stored).as_secs() >= pause);
        let stored = if is_due { Some(now) } else { stored };
        notes.insert(boot, Note { last: now, stored });
        is_due
    }

    /// What the database says of an agent, with what is known here and not there.
    pub fn freshen(&self, agent: &mut AgentSeen) {
        if let Some(note) = self.lock().get(&agent.boot) {
            agent.last_seen = agent.last_seen.max(note.last);
        }
    }

    /// Nobody was heard later than now, whatever the clock said then.
    pub(crate) fn clock_was_set_back(&self, now: Timestamp) {
        for note in self.lock().values_mut() {
            note.last = note.last.min(now);
            note.stored = note.stored.map(|stored| stored.min(now));
        }
    }

    /// What is to be stored, which counts as stored from now on.
    pub(crate) fn take_unstored(&self, now: Timestamp) -> Vec<(BootId, Timestamp)> {
        let mut notes = self.lock();
        notes.retain(|_, note| now.duration_since(note.last).as_secs() < FORGOTTEN);
        let unstored = notes.iter_mut().filter_map(|(boot, note)| {
            let is_new = note.stored.is_none_or(|stored| stored < note.last);
            note.stored = Some(note.last);
            is_new.then_some((*boot, note.last))
        });
        unstored.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BootId, Note>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn idle_agents_are_stored_all_at_once_and_once() {
        let heard = Heard::default();
        let boots = [BootId(Uuid::from_u128(1)), BootId(Uuid::from_u128(2))];
        heard.note(boots[0], at(1));
        heard.note(boots[1], at(2));
        heard.note(boots[0], at(3));
        let mut unstored = heard.take_unstored(at(4));
        unstored.sort();
        assert_eq!(unstored, [(boots[0], at(3)), (boots[1], at(2))]);
        assert!(heard.take_unstored(at(5)).is_empty());
        heard.note(boots[1], at(6));
        assert_eq!(heard.take_unstored(at(7)), [(boots[1], at(6))]);
    }

    #[test]
    fn agents_at_work_are_stored_every_few_seconds() {
        let heard = Heard::default();
        let boot = BootId(Uuid::from_u128(1));
        assert!(heard.note_at_work(boot, at(0), 90));
        assert!(!heard.note_at_work(boot, at(9), 90));
        assert!(heard.note_at_work(boot, at(10), 90));
        assert!(heard.note_at_work(boot, at(13), 9), "as often as is needed");
    }

    #[test]
    fn nobody_was_heard_in_the_future() {
        let heard = Heard::default();
        let boot = BootId(Uuid::from_u128(1));
        assert!(heard.note_at_work(boot, at(1000), 90));
        heard.clock_was_set_back(at(10));
        let mut agent = AgentSeen {
            boot,
            last_seen: at(0),
            replace: false,
        };
        heard.freshen(&mut agent);
        assert_eq!(agent.last_seen, at(10));
        assert!(heard.note_at_work(boot, at(20), 90), "is stored again");
    }

    #[test]
    fn what_is_known_here_counts_beside_what_is_stored() {
        let heard = Heard::default();
        let mut agent = AgentSeen {
            boot: BootId(Uuid::from_u128(1)),
            last_seen: at(5),
            replace: false,
        };
        heard.freshen(&mut agent);
        assert_eq!(agent.last_seen, at(5));
        heard.note(agent.boot, at(9));
        heard.freshen(&mut agent);
        assert_eq!(agent.last_seen, at(9));
    }
}
