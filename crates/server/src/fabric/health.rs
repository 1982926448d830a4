//! How switches fare, written down as they are used: no switch is asked anything for this alone.

use bessemer_core::port_plan::{Carries, PortState};
use bessemer_fabric::Error;
use tracing::warn;

use crate::site::Site;

/// Notes what was read of a switch's ports, or why it could not be. What is wrong with a single port or
/// plan says nothing about the switch, and one that is not ours to ask has told nothing.
pub(super) async fn note(site: &Site, switch: &str, read: Result<&[PortState], &Error>) {
    let now = site.now();
    let uncontrolled = |port: &PortState| port.carries == Carries::Uncontrolled;
    let noted = match read {
        Ok(ports) if ports.iter().any(uncontrolled) => Ok(()),
        Ok(ports) => site.store.note_ports_read(switch, ports, now).await,
        Err(error) if error.is_of_the_switch() => {
            let told = error.to_string();
            site.store.note_switch_error(switch, &told, now).await
        }
        Err(_) => Ok(()),
    };
    if let Err(error) = noted {
        warn!(%error, switch, "cannot note how the switch fares");
    }
}
