//! How management controllers are treated.

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// The longest time between two looks: a day.
const LONGEST: u32 = 86_400;

/// How management controllers are treated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bmc {
    /// Seconds after which the power state of each machine is looked at again, one request each, spread
    /// over that time: 1 to 86400; 0: never. Machines that somebody has switched on although they must
    /// be off are switched off again.
    pub power_check: u32,
}

impl Default for Bmc {
    fn default() -> Self {
        Self { power_check: 60 }
    }
}

impl Bmc {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.power_check > LONGEST {
            return wrong("bmc.power_check", "give seconds, 86400 at most");
        }
        Ok(())
    }
}
