//! The switches that we control.

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// A switch that we control.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name, as nodes' ports refer to it; unique.
    pub name: String,
    /// How it is spoken to.
    pub driver: SwitchDriver,
    /// Where: `unix:/path` or `tcp:address:port` for OVSDB.
    pub address: String,
}

/// How a switch is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchDriver {
    /// Open vSwitch's database protocol (RFC 7047).
    Ovsdb,
}

pub(super) fn check(switches: &[Switch]) -> Result<(), ConfigError> {
    for (index, switch) in switches.iter().enumerate() {
        let mut before = switches[..index].iter();
        if before.any(|other| other.name == switch.name) {
            return wrong("switch.name", &format!("`{}` is given twice", switch.name));
        }
    }
    Ok(())
}
