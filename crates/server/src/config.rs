//! The configuration: one TOML file, and none is needed to start.
//!
//! Without a file the server keeps its data in a folder, serves the API on loopback and has no
//! boot services: enough to look around. `[provisioning]` turns the boot services on.
//! Unknown keys are refused, so that a misspelt one is noticed. Each section is in a file of its own.

mod api;
mod bmc;
mod boot_media;
mod database;
mod error;
mod fabric;
mod images;
mod phone_home;
mod provisioning;
mod reference;
mod relayed;
mod switch;

use std::path::{Path, PathBuf};

use bessemer_core::lifecycle::Timing;
use bessemer_core::port_plan::SiteVlans;
use schemars::JsonSchema;
use serde::Deserialize;

pub use api::Api;
pub use bmc::Bmc;
pub use boot_media::BootMedia;
pub use database::DatabaseUrl;
pub use error::ConfigError;
pub use fabric::Fabric;
pub use images::{Images, ProxyUrl};
pub use phone_home::PhoneHome;
pub use provisioning::{BootNetwork, DhcpMode, ImageTransport, Provisioning};
pub use reference::reference;
pub use relayed::Relayed;

use error::{vlan, wrong};

/// The least `timing.standby_silence`: the longest poll of an idle agent, and the interval in which
/// other conductors come to know of it.
const SHORTEST_STANDBY_SILENCE: u32 = 300;

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder for what must last: database, keys, images; made with mode 700. `serve --data`
    /// overrides it.
    pub data: PathBuf,
    /// PostgreSQL URL; without one, SQLite as `bessemer.db` in the data folder. Never shown.
    pub database_url: Option<DatabaseUrl>,
    /// The API.
    pub api: Api,
    /// The network on which machines boot the agent; without it nothing is booted.
    pub provisioning: Option<Provisioning>,
    /// Where management controllers fetch boot media; without it no machine boots by virtual media.
    pub boot_media: Option<BootMedia>,
    /// How management controllers are treated.
    pub bmc: Bmc,
    /// How new servers' operating systems say that they are up; without it, only the marker on the serial
    /// console does.
    pub phone_home: Option<PhoneHome>,
    /// How images are fetched.
    pub images: Images,
    /// The VLAN that exists nowhere: where ports are that must not reach anything. 1 to 4094, and
    /// not the provisioning VLAN. A switch can have another one.
    pub parked_vlan: u16,
    /// Requests that this conductor has at one switch at the same time, 1 to 1000.
    pub switch_requests: u16,
    /// Seconds after which each node's switch ports are read again, and put back if they have
    /// changed; 0: never, but when there is reason to.
    pub port_check: u32,
    /// What networks are made from.
    pub fabric: Fabric,
    /// How long things may and usually do take on this site's hardware: whole seconds, but for
    /// the rate.
    pub timing: Timing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/bessemer"),
            database_url: None,
            api: Api::default(),
            provisioning: None,
            boot_media: None,
            bmc: Bmc::default(),
            phone_home: None,
            images: Images::default(),
            parked_vlan: 4094,
            switch_requests: 32,
            port_check: 300,
            fabric: Fabric::default(),
            timing: Timing::default(),
        }
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, has unknown keys or senseless values.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        switch::refuse_sections(&text)?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.into(),
            source: Box::new(source),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types alone cannot.
    ///
    /// # Errors
    /// Names the first key whose value makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        vlan("parked_vlan", self.parked_vlan)?;
        if !(1..=1000).contains(&self.switch_requests) {
            return wrong("switch_requests", "give a number from 1 to 1000");
        }
        if self.timing.standby_silence < SHORTEST_STANDBY_SILENCE {
            return wrong(
                "timing.standby_silence",
                "at least 300: idle agents call only every few minutes",
            );
        }
        self.api.check()?;
        self.bmc.check()?;
        if let Some(phone_home) = &self.phone_home {
            phone_home.check()?;
        }
        self.images.check()?;
        self.fabric.check()?;
        if let Some(provisioning) = &self.provisioning {
            provisioning.check(self.parked_vlan)?;
        }
        Ok(())
    }

    /// The VLANs that are the operator's own on every switch that has no others.
    pub fn usual_vlans(&self) -> SiteVlans {
        let provisioning = self.provisioning.as_ref();
        SiteVlans {
            parked: self.parked_vlan,
            provisioning: provisioning.and_then(|network| network.vlan),
            standby: provisioning.and_then(|network| network.standby_vlan),
            rescue: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bessemer_fuzz::Kind;
    use bessemer_fuzz::damage::{any_damage, damaged};
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../packaging/bessemer.toml");

    proptest! {
        /// A file may have any mistake in it: each is an error or harmless.
        #[test]
        fn no_damage_to_the_example_panics(damages in prop::collection::vec(any_damage(), 1..6)) {
            let shown = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
                Some(key) if key.contains(" = ") || key.starts_with('[') => key,
                _ => line,
            });
            let everything = shown.collect::<Vec<_>>().join("\n");
            for text in [EXAMPLE, &everything] {
                let damaged = damaged(text.as_bytes(), &damages, Kind::Binary, 64 << 10);
                let _ = parse(&String::from_utf8_lossy(&damaged));
            }
        }
    }

    fn parse(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_needs_to_be_configured() {
        parse("").unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let provisioning = "[provisioning]\naddress = '10.77.0.1'\nsubnet = '10.77.0.0/24'\n\
                            pool_first = '10.77.0.50'\npool_last = ";
        for (text, named) in [
            ("colour = 'red'".to_string(), "colour"),
            ("parked_vlan = 0".to_string(), "parked_vlan"),
            ("[api]\nlisten = '0.0.0.0:1'".to_string(), "api.listen"),
            ("[api]\nkey = '/x'".to_string(), "api.key"),
            (
                "[phone_home]\nlisten = '127.0.0.1:1'\nurl = \"http://x/';reboot\"".to_string(),
                "phone_home.url",
            ),
            (
                format!("{provisioning}'10.78.0.99'"),
                "provisioning.pool_last",
            ),
            (format!("{provisioning}'10.77.0.9'"), "before"),
            (
                format!("{provisioning}'10.77.0.99'\nstandby_vlan = 4095"),
                "provisioning.standby_vlan",
            ),
            (
                format!("{provisioning}'10.77.0.99'\nstandby_vlan = 4094"),
                "provisioning.standby_vlan",
            ),
            (
                "[timing]\nstandby_silence = 299".to_string(),
                "timing.standby_silence",
            ),
            (
                "[fabric]\nvlan_pool = '100-4095'".to_string(),
                "fabric.vlan_pool",
            ),
            ("[bmc]\npower_check = 86401".to_string(), "bmc.power_check"),
            ("[fabric]\nvlan_pool = '9-1'".to_string(), "rising order"),
            ("[fabric]\nvni_pool = '0-9'".to_string(), "fabric.vni_pool"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_database_url_is_not_shown() {
        let config: Config = toml::from_str("database_url = 'postgres://u:planted@h/d'").unwrap();
        assert!(!format!("{config:?}").contains("planted"));
    }
}
