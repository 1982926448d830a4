//! Switching the machine on and off, and seeing it happen.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::RedfishBmc;
use super::goal::Goal;
use super::resource::{Resource, text, texts};
use crate::{Effect, Error, PowerAction, PowerState};

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
pub(super) struct Power {
    state: PowerState,
    /// The `ResetType`s (DSP0268, Resource) that lead there, best first.
    reset_types: &'static [&'static str],
    /// Whether a machine that is on its way, to either state, is let arrive before it is asked:
    /// many BMCs drop a request made in between. Force is for machines that never arrive.
    patient: bool,
}

pub(super) const ON: Power = Power {
    state: PowerState::On,
    reset_types: &["On", "ForceOn"],
    patient: true,
};

pub(super) const FORCE_OFF: Power = Power {
    state: PowerState::Off,
    reset_types: &["ForceOff"],
    patient: false,
};

pub(super) const GRACEFUL_OFF: Power = Power {
    state: PowerState::Off,
    reset_types: &["GracefulShutdown", "PushPowerButton"],
    patient: true,
};

impl Power {
    /// The best reset type that is offered; any is possible where a BMC does not say.
    pub(super) fn reset_type(&self, offered: &[String]) -> Option<&'static str> {
        let is_offered = |wanted: &&&str| offered.iter().any(|offered| offered == **wanted);
        let mut possible = self
            .reset_types
            .iter()
            .filter(|wanted| offered.is_empty() || is_offered(wanted));
        possible.next().copied()
    }
}

impl Goal for Power {
    fn effect(&self) -> Effect {
        Effect::Power
    }

    fn wanted(&self) -> String {
        format!("power {}", self.state)
    }

    fn shown(&self, seen: &Resource) -> String {
        format!("power {}", state(seen))
    }

    fn is_reached(&self, seen: &Resource) -> bool {
        state(seen) == self.state
    }

    fn may_ask(&self, seen: &Resource) -> bool {
        !(self.patient && is_moving(state(seen)))
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.system(deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        bmc.reset(seen, self, deadline).await
    }
}

impl RedfishBmc {
    /// Switches the machine, of which `system` has just been read.
    pub(super) async fn bring_power(
        &self,
        system: Resource,
        action: PowerAction,
        deadline: Instant,
    ) -> Result<(), Error> {
        let (first, then) = match action {
            PowerAction::On => (&ON, None),
            PowerAction::ForceOff => (&FORCE_OFF, None),
            PowerAction::GracefulOff => (&GRACEFUL_OFF, None),
            PowerAction::ForceRestart => (&FORCE_OFF, Some(&ON)),
        };
        let seen = self.bring_about_from(system, first, deadline).await?;
        if let Some(then) = then {
            self.bring_about_from(seen, then, deadline).await?;
        }
        Ok(())
    }

    async fn reset(&self, system: &Resource, goal: &Power, deadline: Instant) -> Result<(), Error> {
        let action = reset_action(system);
        let Some((action, target)) =
            action.and_then(|action| Some((action, text(action, "/target")?)))
        else {
            return Err(self
                .client
                .nonsense(format!("{} has no reset action", system.path)));
        };
        let offered = self.reset_types(action, deadline).await?;
        let Some(reset_type) = goal.reset_type(&offered) else {
            let wanted = format!("reset type {}", goal.reset_types.join(" or "));
            return Err(Error::NotOffered {
                bmc: self.client.bmc().to_owned(),
                wanted,
                offered,
            });
        };
        let body = json!({ "ResetType": reset_type });
        let governor = self.client.governor();
        governor.before_power(self.client.bmc(), deadline).await?;
        self.system_may_change();
        self.client.act(target, &body, deadline).await
    }

    /// Whether the operating system can be asked to shut down.
    pub(super) async fn can_shut_down(
        &self,
        system: &Resource,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let Some(action) = reset_action(system) else {
            return Ok(false);
        };
        let offered = self.reset_types(action, deadline).await?;
        Ok(GRACEFUL_OFF.reset_type(&offered).is_some())
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
        let listed = self.read_reset_types(path, deadline);
        self.reset_types.or_find(listed).await
    }

    async fn read_reset_types(&self, path: &str, deadline: Instant) -> Result<Vec<String>, Error> {
        let info = match self.client.get(path, deadline).await {
            Ok(info) => info.value,
            Err(Error::Refused { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(reset_types_in(&info))
    }
}

/// The reset types that a resource of their own lists (DSP0268, ActionInfo).
pub(super) fn reset_types_in(info: &Value) -> Vec<String> {
    let parameters = info.get("Parameters").and_then(Value::as_array);
    let mut parameters = parameters.into_iter().flatten();
    let reset_type = parameters.find(|each| text(each, "/Name") == Some("ResetType"));
    let listed = reset_type.and_then(|parameter| parameter.get("AllowableValues"));
    listed.map(texts).unwrap_or_default()
}

pub(super) fn reset_action(system: &Resource) -> Option<&Value> {
    system.value.pointer("/Actions/#ComputerSystem.Reset")
}

fn is_moving(state: PowerState) -> bool {
    matches!(state, PowerState::PoweringOn | PowerState::PoweringOff)
}
