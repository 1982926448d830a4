//! Power (sections 28.2 and 28.3).

use super::{Answer, code};
use crate::machine::{MachineError, PowerState};
use crate::redfish::Bmc;

pub(super) async fn status(bmc: &Bmc) -> Answer {
    let on = bmc.machine().power_state().await == PowerState::On;
    // Restored to what it was after a loss of mains; nothing else to tell.
    Ok(vec![0x20 | u8::from(on), 0, 0x40, 0])
}

pub(super) async fn control(bmc: &Bmc, data: &[u8]) -> Answer {
    let machine = bmc.machine();
    let wanted = *data.first().ok_or(code::TRUNCATED)? & 0x0f;
    if wanted > 5 || wanted == 4 {
        return Err(code::INVALID_DATA);
    }
    if bmc.faults().get().ignore_power_commands {
        return Ok(Vec::new());
    }
    let on = machine.power_state().await == PowerState::On;
    let done = match wanted {
        0 if on => machine.force_off().await,
        1 if !on => machine.power_on().await,
        2 => match machine.force_off().await {
            Ok(()) => machine.power_on().await,
            Err(error) => Err(error),
        },
        3 => machine.restart().await,
        5 => machine.shut_down().await,
        // In that state already.
        _ => Ok(()),
    };
    match done {
        Ok(()) => Ok(Vec::new()),
        Err(MachineError::WrongState(_)) => Err(code::NOT_IN_THIS_STATE),
        Err(error) => {
            tracing::warn!(%error, "power command failed");
            Err(code::UNSPECIFIED)
        }
    }
}
