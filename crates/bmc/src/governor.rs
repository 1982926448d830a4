//! How gently one BMC is treated: not more often than it bears, and not at all for a while once it
//! does not answer.
//!
//! A BMC is a small computer. Some lose requests that come too close together, and one that is
//! restarting comes back later the more it is asked. So requests are paced by what is known of the
//! model ([`Tempo`]), and after several in a row without an answer the BMC is *left alone*: for a
//! time that grows, with jitter, so that a room full of BMCs is not asked in step after a power cut.
//! The first request after that time is the probe; an answer to it ends all of this. A person need
//! not wait: after [`Governor::insist`] the next request goes through as the probe. A BMC that
//! refuses the password is left alone at once and for longer, because many lock an account that
//! is tried with a wrong one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_core::cause::Cause;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::random::jitter;

/// A request that was given less time than this, in vain, says nothing about the BMC.
const ENOUGH_TIME: Duration = Duration::from_secs(5);

/// When a BMC is left alone, and for how long.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Requests in a row without an answer after which it is left alone.
    pub requests: u32,
    /// For how long the first time; doubled each further time, and lengthened by up to a quarter at
    /// random.
    pub first: Duration,
    /// For how long at most.
    pub longest: Duration,
    /// The same two for one that refuses the password.
    pub first_denied: Duration,
    /// For how long at most then.
    pub longest_denied: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            requests: 5,
            first: Duration::from_secs(15),
            longest: Duration::from_secs(300),
            first_denied: Duration::from_secs(300),
            longest_denied: Duration::from_secs(3600),
        }
    }
}

/// How fast a BMC may be asked, as a bucket that requests are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tempo {
    /// Requests a second, in the long run.
    pub(crate) per_second: u32,
    /// Requests that may come without a pause between them.
    pub(crate) burst: u32,
    /// Pause from one power command to the next.
    pub(crate) between_power: Duration,
}

/// A BMC that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// How long ago it answered last, or was asked for the first time.
    pub silent_for: Duration,
    /// When it is asked again.
    pub again_in: Duration,
    /// What came of the last request.
    pub why: String,
    /// The same, in the catalogue's names.
    pub cause: Cause,
}

/// Paces the requests to one BMC.
#[derive(Debug)]
pub(crate) struct Governor {
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tempo: Tempo,
    /// Requests that may be sent at once, in thousandths, as of `refilled_at`.
    tokens: u64,
    refilled_at: Instant,
    last_power: Option<Instant>,
    /// Since when nothing has been answered, while that is so.
    silent_since: Option<Instant>,
    /// Requests in a row without an answer.
    failures: u32,
    /// Logins in a row that were refused.
    denials: u32,
    shut: Option<Shut>,
}

#[derive(Debug)]
struct Shut {
    until: Instant,
    why: String,
    cause: Cause,
}

/// How a request ended, as far as it matters here.
pub(crate) enum End<'a> {
    /// With an answer of any kind.
    Answered,
    /// With an answer that only somebody gets who is let in.
    Accepted,
    /// Without an answer.
    Silent(&'a Error),
    /// With a refusal of the password.
    Denied(&'a Error),
}

impl<'e> End<'e> {
    /// What an error says about the BMC.
    pub(crate) fn of(error: &'e Error) -> Self {
        match error {
            Error::Unreachable { .. } | Error::TimedOut { .. } => Self::Silent(error),
            Error::WrongCredentials { .. } => Self::Denied(error),
            _ => Self::Answered,
        }
    }
}

impl Governor {
    pub(crate) fn new(tempo: Tempo, patience: Patience) -> Self {
        Self {
            patience,
            state: Mutex::new(State {
                tempo,
                tokens: u64::from(tempo.burst) * 1000,
                refilled_at: Instant::now(),
                last_power: None,
                silent_since: None,
                failures: 0,
                denials: 0,
                shut: None,
            }),
        }
    }

    /// From now on the BMC is asked as fast as its model bears.
    pub(crate) fn set_tempo(&self, tempo: Tempo) {
        self.state().tempo = tempo;
    }

    /// Whether the BMC is left alone at this moment.
    pub(crate) fn left_alone(&self) -> Option<LeftAlone> {
        self.left_alone_at(Instant::now())
    }

    fn left_alone_at(&self, now: Instant) -> Option<LeftAlone> {
        let state = self.state();
        let shut = state.shut.as_ref().filter(|shut| now < shut.until)?;
        Some(LeftAlone {
            silent_for: now.duration_since(state.silent_since.unwrap_or(now)),
            again_in: shut.until.duration_since(now),
            why: shut.why.clone(),
            cause: shut.cause,
        })
    }

    /// Whether the next request is one that finds out whether the BMC answers again.
    pub(crate) fn is_probing(&self) -> bool {
        self.state().shut.is_some()
    }

    /// Has the next request go through, and those after it if that one is answered.
    pub(crate) fn insist(&self) {
        self.insist_at(Instant::now());
    }

    fn insist_at(&self, now: Instant) {
        if let Some(shut) = &mut self.state().shut {
            shut.until = now;
        }
    }

    /// Waits until the next request may be sent; [`Error::LeftAlone`] if that is not to be soon.
    pub(crate) async fn admit(&self, bmc: &str, deadline: Instant) -> Result<(), Error> {
        if let Some(left_alone) = self.left_alone() {
            return Err(Error::LeftAlone {
                bmc: bmc.to_owned(),
                left_alone,
            });
        }
        let pause = self.state().take(Instant::now());
        rest(bmc, pause, deadline).await
    }

    /// Waits until the next power command may be sent.
    pub(crate) async fn before_power(&self, bmc: &str, deadline: Instant) -> Result<(), Error> {
        let pause = self.state().take_power(Instant::now());
        rest(bmc, pause, deadline).await
    }

    /// Notes how a request that had `time` ended.
    pub(crate) fn ended(&self, end: &End<'_>, time: Duration) {
        self.ended_at(Instant::now(), end, time);
    }

    fn ended_at(&self, now: Instant, end: &End<'_>, time: Duration) {
        let mut state = self.state();
        match end {
            End::Answered | End::Accepted => {
                state.failures = 0;
                if matches!(end, End::Accepted) {
                    state.denials = 0;
                }
                if state.denials == 0 {
                    (state.silent_since, state.shut) = (None, None);
                }
            }
            End::Silent(Error::TimedOut { .. }) if time < ENOUGH_TIME => {}
            End::Silent(error) => {
                state.silent_since.get_or_insert(now);
                state.failures = state.failures.saturating_add(1);
                let further = state.failures.checked_sub(self.patience.requests);
                if let Some(further) = further {
                    let pause = grown(self.patience.first, further, self.patience.longest);
                    state.shut(now + pause, error);
                }
            }
            End::Denied(error) => {
                state.silent_since.get_or_insert(now);
                let (first, longest) = (self.patience.first_denied, self.patience.longest_denied);
                let pause = grown(first, state.denials, longest);
                state.denials = state.denials.saturating_add(1);
                state.shut(now + pause, error);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Its fields are changed together, by code that does not panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn shut(&mut self, until: Instant, error: &Error) {
        self.shut = Some(Shut {
            until,
            why: error.to_string(),
            cause: error.cause(),
        });
    }

    /// Takes a request from the bucket; how long it has to wait.
    fn take(&mut self, now: Instant) -> Duration {
        let Tempo {
            per_second, burst, ..
        } = self.tempo;
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let refill = elapsed.as_millis().saturating_mul(u128::from(per_second));
        let most = u64::from(burst) * 1000;
        if refill > 0 {
            let refill = u64::try_from(refill).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(refill).min(most);
            self.refilled_at = now;
        }
        let missing = 1000_u64.saturating_sub(self.tokens);
        self.tokens = self.tokens.saturating_sub(1000);
        let pause = Duration::from_millis(missing.div_ceil(u64::from(per_second.max(1))));
        if missing > 0 {
            // What comes in meanwhile is this request's.
            self.refilled_at = now + pause;
        }
        pause
    }

    /// How long a power command has to wait.
    fn take_power(&mut self, now: Instant) -> Duration {
        let last = self.last_power.map(|last| last + self.tempo.between_power);
        let pause = last.map(|at| at.saturating_duration_since(now));
        let pause = pause.unwrap_or_default();
        self.last_power = Some(now + pause);
        pause
    }
}

async fn rest(bmc: &str, pause: Duration, deadline: Instant) -> Result<(), Error> {
    if pause.is_zero() {
        return Ok(());
    }
    if Instant::now() + pause >= deadline {
        return Err(Error::TimedOut {
            bmc: bmc.to_owned(),
            doing: "waiting to ask no faster than this model bears".to_owned(),
        });
    }
    sleep(pause).await;
    Ok(())
}

/// A pause that has been doubled `times`, with jitter.
fn grown(first: Duration, times: u32, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX));
    jitter(doubled.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPO: Tempo = Tempo {
        per_second: 10,
        burst: 3,
        between_power: Duration::from_secs(2),
    };

    fn silence() -> Error {
        Error::Unreachable {
            bmc: "x".into(),
            detail: "connection refused".into(),
            source: "x".into(),
        }
    }

    fn denial() -> Error {
        Error::WrongCredentials {
            bmc: "x".into(),
            username: "root".into(),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Asks in vain `times`.
    fn asks_in_vain(governor: &Governor, now: Instant, times: u32) {
        for _ in 0..times {
            governor.ended_at(now, &End::Silent(&silence()), Duration::ZERO);
        }
    }

    #[test]
    fn requests_come_no_faster_than_the_model_bears() {
        let governor = Governor::new(TEMPO, Patience::default());
        let mut state = governor.state();
        let mut now = state.refilled_at;
        for _ in 0..3 {
            assert_eq!(state.take(now), Duration::ZERO);
        }
        for _ in 0..20 {
            let pause = state.take(now);
            assert_eq!(pause, Duration::from_millis(100));
            now += pause;
        }
        // The bucket is full again, and no fuller.
        now += seconds(60);
        for _ in 0..3 {
            assert_eq!(state.take(now), Duration::ZERO);
        }
        assert_eq!(state.take(now), Duration::from_millis(100));
    }

    #[test]
    fn power_commands_are_further_apart() {
        let governor = Governor::new(TEMPO, Patience::default());
        let (mut state, now) = (governor.state(), Instant::now());
        assert_eq!(state.take_power(now), Duration::ZERO);
        assert_eq!(state.take(now), Duration::ZERO);
        assert_eq!(state.take_power(now + seconds(1)), seconds(1));
        assert_eq!(state.take_power(now + seconds(10)), Duration::ZERO);
    }

    #[tokio::test]
    async fn who_has_no_time_to_wait_is_told_so() {
        let slow = Tempo {
            per_second: 1,
            burst: 1,
            ..TEMPO
        };
        let governor = Governor::new(slow, Patience::default());
        let soon = Instant::now() + Duration::from_millis(500);
        governor.admit("x", soon).await.unwrap();
        let late = governor.admit("x", soon).await.unwrap_err();
        assert!(matches!(late, Error::TimedOut { .. }), "{late:?}");
    }

    #[tokio::test]
    async fn a_silent_bmc_is_left_alone_for_longer_and_longer_until_a_probe_is_answered() {
        let governor = Governor::new(TEMPO, Patience::default());
        let mut now = Instant::now();
        asks_in_vain(&governor, now, 4);
        governor.ended_at(now, &End::Answered, Duration::ZERO);
        asks_in_vain(&governor, now, 4);
        assert_eq!(governor.left_alone_at(now), None);
        let far = now + seconds(3600);
        for shortest in [15, 30, 60, 120, 240, 300, 300, 300] {
            asks_in_vain(&governor, now, 1);
            let left_alone = governor.left_alone_at(now).unwrap();
            assert!(left_alone.why.contains("connection refused"));
            assert_eq!(left_alone.cause, Cause::BmcUnreachable);
            let pause = left_alone.again_in.as_secs();
            assert!((shortest..=shortest * 5 / 4).contains(&pause), "{pause}");
            let error = governor.admit("x", far).await.unwrap_err();
            assert!(error.to_string().contains("left alone"), "{error}");
            now += left_alone.again_in;
            assert_eq!(governor.left_alone_at(now), None);
            assert!(governor.is_probing());
        }
        governor.ended_at(now, &End::Answered, Duration::ZERO);
        assert!(!governor.is_probing());
        asks_in_vain(&governor, now, 1);
        assert_eq!(governor.left_alone_at(now), None, "counting starts anew");
    }

    /// As after a power cut: a room full of BMCs that were silent together is not asked together.
    #[test]
    fn those_that_fall_silent_together_are_not_asked_in_step() {
        let now = Instant::now();
        let pauses: std::collections::BTreeSet<_> = (0..64)
            .map(|_| {
                let governor = Governor::new(TEMPO, Patience::default());
                asks_in_vain(&governor, now, 5);
                governor.left_alone_at(now).unwrap().again_in
            })
            .collect();
        assert!(pauses.len() > 32, "{pauses:?}");
    }

    #[tokio::test]
    async fn who_insists_is_the_probe() {
        let governor = Governor::new(TEMPO, Patience::default());
        let now = Instant::now();
        asks_in_vain(&governor, now, 5);
        let before = governor.left_alone_at(now + seconds(1)).unwrap();
        assert_eq!(before.silent_for, seconds(1));
        governor.insist_at(now);
        assert_eq!(governor.left_alone_at(now), None);
        asks_in_vain(&governor, now, 1);
        let after = governor.left_alone_at(now + seconds(1)).unwrap();
        assert!(after.again_in > before.again_in, "{after:?}");
        governor.insist_at(now);
        governor.admit("x", now + seconds(60)).await.unwrap();
        governor.ended_at(now, &End::Answered, Duration::ZERO);
        assert!(!governor.is_probing());
    }

    #[test]
    fn a_refused_password_is_not_tried_again_soon() {
        let governor = Governor::new(TEMPO, Patience::default());
        let now = Instant::now();
        governor.ended_at(now, &End::Denied(&denial()), Duration::ZERO);
        let first = governor.left_alone_at(now).unwrap();
        assert!(first.again_in >= seconds(300));
        assert!(first.why.contains("refuses the password"));
        assert_eq!(first.cause, Cause::BmcPasswordRefused);
        let now = now + first.again_in;
        // Anybody may read the service root.
        governor.ended_at(now, &End::Answered, Duration::ZERO);
        governor.ended_at(now, &End::Denied(&denial()), Duration::ZERO);
        let second = governor.left_alone_at(now).unwrap();
        assert!(second.again_in >= seconds(600));
        governor.insist_at(now);
        governor.ended_at(now, &End::Accepted, Duration::ZERO);
        assert!(!governor.is_probing());
    }

    #[test]
    fn a_request_that_had_no_time_says_nothing() {
        let governor = Governor::new(TEMPO, Patience::default());
        let (now, late) = (
            Instant::now(),
            Error::TimedOut {
                bmc: "x".into(),
                doing: "GET /".into(),
            },
        );
        for _ in 0..9 {
            governor.ended_at(now, &End::Silent(&late), seconds(1));
        }
        assert!(!governor.is_probing());
        for _ in 0..5 {
            governor.ended_at(now, &End::Silent(&late), seconds(10));
        }
        assert!(governor.is_probing());
    }
}
