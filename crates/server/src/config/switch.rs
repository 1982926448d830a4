//! The switches of a site.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// A switch of the site.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name, as nodes' ports refer to it; unique.
    pub name: String,
    /// How it is spoken to.
    pub driver: SwitchDriver,
    /// Where: `unix:/path`, `tcp:address:port` or, with TLS, `ssl:address:port` for OVSDB; nothing for
    /// `flat`.
    #[serde(default)]
    pub address: String,
    /// A PEM file with the authority that signs the switch's certificate; needed with `ssl:`.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// A PEM file with the certificate that we show the switch, if it asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// A PEM file with its key, which nobody else should be able to read.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl Switch {
    /// Whether its ports are ours to move.
    pub fn is_ours(&self) -> bool {
        self.driver != SwitchDriver::Flat
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.is_ours() && self.address.is_empty() {
            return wrong("switch.address", "needed for this driver");
        }
        if self.address.starts_with("ssl:") && self.authority.is_none() {
            return wrong("switch.authority", "needed where TLS is spoken");
        }
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("switch.key", "give `certificate` and `key` together");
        }
        Ok(())
    }
}

/// How a switch is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchDriver {
    /// Open vSwitch's database protocol (RFC 7047).
    Ovsdb,
    /// None: its ports are not ours to move. They are checked against what LLDP tells.
    Flat,
}

pub(super) fn check(switches: &[Switch]) -> Result<(), ConfigError> {
    for (index, switch) in switches.iter().enumerate() {
        let mut before = switches[..index].iter();
        if before.any(|other| other.name == switch.name) {
            return wrong("switch.name", &format!("`{}` is given twice", switch.name));
        }
        switch.check()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        let switch: Switch = toml::from_str(&format!("name = 'leaf1'\n{text}")).unwrap();
        check(&[switch]).err().map(|error| error.to_string())
    }

    #[test]
    fn a_switch_is_described_as_a_whole_or_refused() {
        for text in [
            "driver = 'flat'",
            "driver = 'ovsdb'\naddress = 'unix:/x'",
            "driver = 'ovsdb'\naddress = 'ssl:leaf1:6640'\nauthority = '/a'",
            "driver = 'ovsdb'\naddress = 'ssl:leaf1:6640'\nauthority = '/a'\ncertificate = '/c'\nkey = '/k'",
        ] {
            assert_eq!(problem(text), None, "{text}");
        }
        for (text, key) in [
            ("driver = 'ovsdb'", "switch.address"),
            (
                "driver = 'ovsdb'\naddress = 'ssl:leaf1:6640'",
                "switch.authority",
            ),
            (
                "driver = 'ovsdb'\naddress = 'unix:/x'\ncertificate = '/c'",
                "switch.key",
            ),
        ] {
            let problem = problem(text).unwrap();
            assert!(problem.contains(key), "{text}: {problem}");
        }
    }
}
