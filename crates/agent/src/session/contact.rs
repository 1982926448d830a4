//! How the agent bears a conductor that does not answer.

use std::time::{Duration, Instant};

use crate::client::ClientError;
use crate::console::{causes, say};
use crate::random;

/// The first pause before trying again.
const SHORTEST: Duration = Duration::from_millis(500);

/// The longest pause: a conductor that is back wants its agents back soon.
const LONGEST: Duration = Duration::from_secs(5);

/// How often the console is told that there is still no answer.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// How long to wait after this many failures in a row: twice as long each time, and by up to half
/// less at random, so that a rack of agents does not come back in step.
pub fn backoff(failures: u32) -> Duration {
    let longest = SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    let millis = longest.as_millis() as u64;
    // Without randomness the pause is whole, which is still a pause.
    longest - Duration::from_millis(random::below(millis / 2).unwrap_or(0))
}

/// When the conductor was last heard, and what happened since.
#[derive(Debug)]
pub(super) struct Contact {
    patience: Duration,
    last: Instant,
    failures: u32,
    told: Option<Instant>,
}

impl Contact {
    /// Counts from now on.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            last: Instant::now(),
            failures: 0,
            told: None,
        }
    }

    /// The conductor has answered.
    pub(super) fn made(&mut self) {
        if self.told.take().is_some() {
            say("conductor: answers again");
        }
        self.last = Instant::now();
        self.failures = 0;
    }

    /// The conductor has not answered.
    pub(super) fn lost(&mut self, error: &ClientError) {
        self.failures += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            self.told = Some(Instant::now());
            say(format_args!("{}: trying again", causes(error)));
        }
    }

    /// How long to wait before the next try.
    pub(super) fn pause(&self) -> Duration {
        backoff(self.failures.saturating_sub(1))
    }

    /// Whether the conductor has been away for longer than the agent bears.
    pub(super) fn is_given_up(&self) -> bool {
        self.last.elapsed() >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in 0..100 {
            let longest = SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST);
            let pause = backoff(failures);
            assert!(
                pause <= longest && pause >= longest / 2,
                "{failures}: {pause:?}"
            );
        }
    }
}
