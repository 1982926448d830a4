//! Switching the machine on and off, and seeing it happen.

use std::time::Duration;

use bessemer_core::reason::FailureClass;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::RedfishBmc;
use super::resource::{Resource, text, texts};
use crate::{Error, PowerAction, PowerState};

/// Pause before the power state is read again; doubled each time, up to `LONGEST_PAUSE`.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A BMC's own view lags by seconds; asking more often only slows it down.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a reset is asked for while the BMC answers that it cannot just now, for instance
/// within the first seconds after the last one.
const MOST_TRIES: u32 = 3;

/// `PowerState` (DSP0268, ComputerSystem).
pub(super) fn state(system: &Resource) -> PowerState {
    match text(&system.value, "/PowerState") {
        Some("On") => PowerState::On,
        Some("Off") => PowerState::Off,
        Some("PoweringOn") => PowerState::PoweringOn,
        Some("PoweringOff") => PowerState::PoweringOff,
        _ => PowerState::Unknown,
    }
}

/// A power state to reach, and how.
struct Goal {
    state: PowerState,
    /// The `ResetType`s (DSP0268, Resource) that lead there, best first.
    reset_types: &'static [&'static str],
    /// Whether a machine that is on its way, to either state, is let arrive before it is asked:
    /// many BMCs drop a request made in between. Force is for machines that never arrive.
    patient: bool,
}

const ON: Goal = Goal {
    state: PowerState::On,
    reset_types: &["On", "ForceOn"],
    patient: true,
};

const FORCE_OFF: Goal = Goal {
    state: PowerState::Off,
    reset_types: &["ForceOff"],
    patient: false,
};

const GRACEFUL_OFF: Goal = Goal {
    state: PowerState::Off,
    reset_types: &["GracefulShutdown", "PushPowerButton"],
    patient: true,
};

impl RedfishBmc {
    pub(super) async fn bring_power(
        &self,
        action: PowerAction,
        deadline: Instant,
    ) -> Result<(), Error> {
        match action {
            PowerAction::On => self.reach(&ON, deadline).await,
            PowerAction::ForceOff => self.reach(&FORCE_OFF, deadline).await,
            PowerAction::GracefulOff => self.reach(&GRACEFUL_OFF, deadline).await,
            PowerAction::ForceRestart => {
                self.reach(&FORCE_OFF, deadline).await?;
                self.reach(&ON, deadline).await
            }
        }
    }

    /// Reads the power state until it is the wanted one, and on the way asks for it.
    async fn reach(&self, goal: &Goal, deadline: Instant) -> Result<(), Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut accepted = false;
        let mut tries = 0;
        loop {
            let system = self.system(deadline).await?;
            let seen = state(&system);
            if seen == goal.state {
                return Ok(());
            }
            let let_arrive = goal.patient && is_moving(seen);
            if !accepted && !let_arrive {
                tries += 1;
                match self.reset(&system, goal, deadline).await {
                    Ok(()) => accepted = true,
                    Err(error) => self.forgive(error, tries, goal, deadline).await?,
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(Error::NotVerified {
                    bmc: self.client.bmc().to_owned(),
                    wanted: format!("power {}", goal.state),
                    seen: format!("power {seen}"),
                    waited: began.elapsed(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A refused reset does not matter if the machine is already there (it may have been
    /// switched by hand meanwhile), nor, a few times, if the BMC was only busy.
    async fn forgive(
        &self,
        error: Error,
        tries: u32,
        goal: &Goal,
        deadline: Instant,
    ) -> Result<(), Error> {
        let Error::Refused { .. } = error else {
            return Err(error);
        };
        if tries < MOST_TRIES && error.class() == FailureClass::Transient {
            return Ok(());
        }
        match self.system(deadline).await {
            Ok(system) if state(&system) == goal.state => Ok(()),
            _ => Err(error),
        }
    }

    async fn reset(&self, system: &Resource, goal: &Goal, deadline: Instant) -> Result<(), Error> {
        let action = system.value.pointer("/Actions/#ComputerSystem.Reset");
        let Some((action, target)) =
            action.and_then(|action| Some((action, text(action, "/target")?)))
        else {
            return Err(self
                .client
                .nonsense(format!("{} has no reset action", system.path)));
        };
        let offered = self.reset_types(action, deadline).await?;
        let wanted = goal
            .reset_types
            .iter()
            .find(|wanted| offered.is_empty() || offered.iter().any(|offered| offered == *wanted));
        let Some(reset_type) = wanted else {
            let wanted = format!("reset type {}", goal.reset_types.join(" or "));
            return Err(Error::NotOffered {
                bmc: self.client.bmc().to_owned(),
                wanted,
                offered,
            });
        };
        let body = json!({ "ResetType": reset_type });
        self.client
            .write(Method::POST, target, &body, None, deadline)
            .await
    }

    /// The reset types the BMC offers, listed in the action or in a resource of its own (DSP0266,
    /// sections 9.6.16 and 9.6.17); empty if it does not say.
    async fn reset_types(&self, action: &Value, deadline: Instant) -> Result<Vec<String>, Error> {
        if let Some(listed) = action.get("ResetType@Redfish.AllowableValues") {
            return Ok(texts(listed));
        }
        let Some(path) = text(action, "/@Redfish.ActionInfo") else {
            return Ok(Vec::new());
        };
        let info = match self.client.get(path, deadline).await {
            Ok(info) => info.value,
            Err(Error::Refused { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let parameters = info
            .get("Parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut reset_types =
            parameters.filter(|parameter| text(parameter, "/Name") == Some("ResetType"));
        let listed = reset_types
            .next()
            .and_then(|parameter| parameter.get("AllowableValues"));
        Ok(listed.map(texts).unwrap_or_default())
    }
}

fn is_moving(state: PowerState) -> bool {
    matches!(state, PowerState::PoweringOn | PowerState::PoweringOff)
}
