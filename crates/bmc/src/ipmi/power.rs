//! Switching the machine on and off (sections 28.2 and 28.3), and seeing it happen.

use std::time::Duration;

use bessemer_core::reason::FailureClass;
use tokio::time::Instant;

use super::IpmiBmc;
use super::client::Command;
use crate::{Effect, Error, PowerAction, PowerState};

/// Pause before the power state is read again; doubled each time, up to `LONGEST_PAUSE`.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a BMC is asked that accepts the request and does nothing, or cannot just now, and how
/// long each one is given: a request within the first seconds after the last is often dropped.
const MOST_TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

const CHASSIS_STATUS: Command = Command {
    name: "Get Chassis Status",
    network_function: 0x00,
    number: 0x01,
};

const CHASSIS_CONTROL: Command = Command {
    name: "Chassis Control",
    network_function: 0x00,
    number: 0x02,
};

/// Table 28-4, byte 1.
#[derive(Debug, Clone, Copy)]
enum Control {
    PowerDown = 0,
    PowerUp = 1,
    SoftShutdown = 5,
}

impl IpmiBmc {
    pub(super) async fn read_power(&self, deadline: Instant) -> Result<PowerState, Error> {
        let status = self.client.command(CHASSIS_STATUS, &[], deadline).await?;
        let power = status
            .first()
            .ok_or_else(|| self.client.nonsense(CHASSIS_STATUS))?;
        Ok(if power & 1 == 1 {
            PowerState::On
        } else {
            PowerState::Off
        })
    }

    pub(super) async fn bring_power(
        &self,
        action: PowerAction,
        deadline: Instant,
    ) -> Result<(), Error> {
        match action {
            PowerAction::On => self.reach(PowerState::On, Control::PowerUp, deadline).await,
            PowerAction::ForceOff => {
                self.reach(PowerState::Off, Control::PowerDown, deadline)
                    .await
            }
            PowerAction::GracefulOff => {
                self.reach(PowerState::Off, Control::SoftShutdown, deadline)
                    .await
            }
            PowerAction::ForceRestart => {
                self.reach(PowerState::Off, Control::PowerDown, deadline)
                    .await?;
                self.reach(PowerState::On, Control::PowerUp, deadline).await
            }
        }
    }

    /// Reads the power state until it is `wanted`, and on the way asks for it.
    async fn reach(
        &self,
        wanted: PowerState,
        control: Control,
        deadline: Instant,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        let mut asked: Option<Instant> = None;
        loop {
            let seen = self.read_power(deadline).await?;
            if seen == wanted {
                return Ok(());
            }
            if tries < MOST_TRIES && asked.is_none_or(|at| at.elapsed() >= PATIENCE) {
                tries += 1;
                let accepted = self.control(control, deadline).await;
                match accepted {
                    Ok(()) => asked = Some(Instant::now()),
                    Err(error) if tries < MOST_TRIES && is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(Error::NotVerified {
                    of: Effect::Power,
                    bmc: self.client.bmc().to_owned(),
                    wanted: format!("power {wanted}"),
                    seen: format!("power {seen}"),
                    waited: began.elapsed(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn control(&self, control: Control, deadline: Instant) -> Result<(), Error> {
        let (governor, bmc) = (self.client.governor(), self.client.bmc());
        governor.before_power(bmc, deadline).await?;
        self.client
            .command(CHASSIS_CONTROL, &[control as u8], deadline)
            .await
            .map(drop)
    }
}

/// Busy, or on its way to another state.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::CompletionCode { .. }) && error.class() == FailureClass::Transient
}
