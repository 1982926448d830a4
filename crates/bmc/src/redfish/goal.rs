//! Check, act, verify: the one way in which anything is brought about.
//!
//! BMCs answer "No Content" and do nothing, answer "Conflict" and have done it, and restart in the
//! middle of a call. So an answer decides nothing: what is wanted is looked for first, asked for if
//! it is not there, and looked for until it is seen or time is up. A BMC that goes away meanwhile is
//! waited for, since what was asked of it may still come about.

use std::time::Duration;

use bessemer_core::reason::FailureClass;
use tokio::time::Instant;

use super::RedfishBmc;
use super::resource::Resource;
use crate::{Effect, Error};

/// Pause before looking again; doubled each time, up to `LONGEST_PAUSE`.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A BMC's own view lags by seconds; asking more often only slows it down.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A BMC that has had so long for one look, and has not answered, is slow.
const FAIR_TIME: Duration = Duration::from_millis(500);

/// How often something is asked for while the BMC answers that it cannot just now, for instance
/// within the first seconds after a reset, or does not answer.
const MOST_TRIES: u32 = 3;

/// Something to bring about.
pub(super) trait Goal: Sync {
    /// What it is about.
    fn effect(&self) -> Effect;

    /// What should be seen, for messages.
    fn wanted(&self) -> String;

    /// What is seen, for messages.
    fn shown(&self, seen: &Resource) -> String;

    /// Whether what is seen is what is wanted.
    fn is_reached(&self, seen: &Resource) -> bool;

    /// Whether this is a moment to ask; if not, it is awaited.
    fn may_ask(&self, _seen: &Resource) -> bool {
        true
    }

    /// Reads the resource in which it is seen.
    fn look(
        &self,
        bmc: &RedfishBmc,
        deadline: Instant,
    ) -> impl Future<Output = Result<Resource, Error>> + Send;

    /// Asks for it.
    fn ask(
        &self,
        bmc: &RedfishBmc,
        seen: &Resource,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl RedfishBmc {
    /// Brings `goal` about unless it is so already, and gives the resource in which it was seen.
    pub(super) async fn bring_about(
        &self,
        goal: &impl Goal,
        deadline: Instant,
    ) -> Result<Resource, Error> {
        let seen = goal.look(self, deadline).await?;
        self.bring_about_from(seen, goal, deadline).await
    }

    /// The same after a look that has just been taken.
    pub(super) async fn bring_about_from(
        &self,
        mut seen: Resource,
        goal: &impl Goal,
        deadline: Instant,
    ) -> Result<Resource, Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut accepted = false;
        let mut tries = 0;
        // Of the last look, if it failed.
        let mut trouble = None;
        loop {
            if goal.is_reached(&seen) {
                return Ok(seen);
            }
            if !accepted && trouble.is_none() && goal.may_ask(&seen) {
                tries += 1;
                match goal.ask(self, &seen, deadline).await {
                    Ok(()) => accepted = true,
                    Err(error) if tries < MOST_TRIES && may_pass(&error) => {}
                    Err(error) => return self.despite(error, goal, deadline).await,
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(trouble.unwrap_or_else(|| Error::NotVerified {
                    of: goal.effect(),
                    bmc: self.client.bmc().to_owned(),
                    wanted: goal.wanted(),
                    seen: goal.shown(&seen),
                    waited: began.elapsed(),
                }));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let asked = Instant::now();
            match goal.look(self, deadline).await {
                Ok(look) => (seen, trouble) = (look, None),
                // It was our time that was up, not its: what was seen last says more.
                Err(Error::TimedOut { .. }) if asked.elapsed() < FAIR_TIME => {}
                // It was there a moment ago, so it is probably restarting.
                Err(error) if error.class() == FailureClass::Transient => trouble = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// A refusal does not matter if what is wanted is there all the same: somebody else may have
    /// brought it about, or the BMC misreports.
    async fn despite(
        &self,
        error: Error,
        goal: &impl Goal,
        deadline: Instant,
    ) -> Result<Resource, Error> {
        if !matches!(error, Error::Refused { .. } | Error::TaskFailed { .. }) {
            return Err(error);
        }
        match goal.look(self, deadline).await {
            Ok(seen) if goal.is_reached(&seen) => Ok(seen),
            _ => Err(error),
        }
    }
}

/// Whether asking again may help. A refused precondition has been dealt with where it arose.
fn may_pass(error: &Error) -> bool {
    !matches!(error, Error::Refused { status: 412, .. }) && error.class() == FailureClass::Transient
}
