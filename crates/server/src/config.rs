//! The configuration: one TOML file, and none is needed to start.
//!
//! Without a file the server keeps its data in a folder, serves the API on loopback and has no
//! boot services: enough to look around. `[provisioning]` turns the boot services on.
//! Unknown keys are refused, so that a misspelt one is noticed.

mod reference;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bessemer_core::lifecycle::Timing;
use bessemer_core::net::Ipv4Subnet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use reference::reference;

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
    /// How new servers' operating systems say that they are up; without it no server ever becomes
    /// `active`.
    pub phone_home: Option<PhoneHome>,
    /// How images are fetched.
    pub images: Images,
    /// A switch that we control, once for each. A site without any is *flat*.
    pub switch: Vec<Switch>,
    /// The VLAN that exists nowhere: where ports are that must not reach anything. 1 to 4094, and
    /// not the provisioning VLAN.
    pub parked_vlan: u16,
    /// Requests that this conductor has at one switch at the same time, 1 to 1000.
    pub switch_requests: u16,
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
            phone_home: None,
            images: Images::default(),
            switch: Vec::new(),
            parked_vlan: 4094,
            switch_requests: 8,
            timing: Timing::default(),
        }
    }
}

/// A database URL, which may hold a password and so is never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DatabaseUrl(…)")
    }
}

/// Where the API listens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether it may listen on other than loopback addresses without TLS, tokens then crossing
    /// the network in the clear: for use behind a proxy that does TLS.
    pub insecure: bool,
    /// PEM certificate chain; with `key`, the API is served over TLS. If neither file exists, a
    /// self-signed pair is made.
    pub certificate: Option<PathBuf>,
    /// PEM private key of `certificate`; both or neither.
    pub key: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            insecure: false,
            certificate: None,
            key: None,
        }
    }
}

/// The network on which machines boot the agent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provisioning {
    /// Our network interface on it. Without one no DHCP is served (for tests and for sites whose
    /// machines boot by other means).
    #[serde(default)]
    pub interface: Option<String>,
    /// Our address on it, already configured on the interface.
    pub address: Ipv4Addr,
    /// Its IPv4 subnet, such as `10.77.0.0/24`.
    #[schemars(with = "String")]
    pub subnet: Ipv4Subnet,
    /// First address leased to agents.
    pub pool_first: Ipv4Addr,
    /// Last address leased to agents; the pool must not contain `address`. One is used by each node that has an agent
    /// booting or running.
    pub pool_last: Ipv4Addr,
    /// Its VLAN on the switches, 1 to 4094; required where there is a `[[switch]]`.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The VLAN of nodes that wait for orders in the agent, if it is another than `vlan`: such as
    /// an isolated secondary of it (private VLAN, RFC 5517). The conductor must be reachable there
    /// under the same address.
    #[serde(default)]
    pub standby_vlan: Option<u16>,
    /// The folder with `vmlinuz`, `initramfs.zst` and `linuxx64.efi.stub`, as `ramdisk/build`
    /// makes it; read when the first machine boots, and kept.
    #[serde(default = "default_ramdisk")]
    pub ramdisk: PathBuf,
    /// TCP port of the agent protocol (TLS), on `address`; 0 takes any free one.
    #[serde(default = "default_agent_port")]
    pub agent_port: u16,
    /// TCP port from which firmware loads the agent (HTTP), on `address`; 0 takes any free one.
    #[serde(default = "default_boot_port")]
    pub boot_port: u16,
    /// What DHCP is served on `interface`: `full`, addresses and boot files, ours being the only server
    /// there; `proxy`, boot files only, beside somebody else's server (UDP ports 67 and 4011), whose
    /// range must not overlap ours, since agents still take their addresses from it; `off`, none:
    /// machines boot by virtual media.
    #[serde(default)]
    pub dhcp: DhcpMode,
    /// How the chunks of images travel to agents; they are always checked against the block map,
    /// which travels over TLS.
    #[serde(default)]
    pub image_transport: ImageTransport,
    /// The folder with iPXE (`undionly.kpxe`, `snponly.efi`), which PXE loads by TFTP; Debian's package
    /// `ipxe` has it there. Without it no machine boots by PXE.
    #[serde(default = "default_ipxe")]
    pub ipxe: PathBuf,
    /// Subnets whose machines reach us through a DHCP relay: a list of `subnet`, `router` (through which
    /// its machines reach `address`), `pool_first` and `pool_last`. Relays must have their `giaddr` in
    /// such a subnet and reach us through `interface`.
    #[serde(default)]
    pub relayed: Vec<Relayed>,
    /// More words for the agent's kernel command line.
    #[serde(default = "default_kernel_arguments")]
    pub kernel_arguments: String,
}

/// How the chunks of images travel to agents. What they must be always travels over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageTransport {
    /// In the clear, from the boot port: whoever reads the provisioning network's traffic reads
    /// the image, and nobody can change it.
    #[default]
    Http,
    /// Over TLS, like everything else that agents are told. Costs processor time at both ends.
    Https,
}

fn default_ramdisk() -> PathBuf {
    PathBuf::from("/usr/share/bessemer/ramdisk")
}

fn default_ipxe() -> PathBuf {
    PathBuf::from("/usr/lib/ipxe")
}

fn default_agent_port() -> u16 {
    8443
}

fn default_boot_port() -> u16 {
    8481
}

fn default_kernel_arguments() -> String {
    "console=tty0 console=ttyS0,115200 quiet".into()
}

/// A provisioning subnet behind a DHCP relay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relayed {
    /// The subnet; its relays have addresses in it.
    #[schemars(with = "String")]
    pub subnet: Ipv4Subnet,
    /// The router through which its machines reach us.
    pub router: Ipv4Addr,
    /// First address leased to agents there.
    pub pool_first: Ipv4Addr,
    /// Last address leased to agents there.
    pub pool_last: Ipv4Addr,
}

/// A subnet on which machines boot the agent, ours or behind a relay.
#[derive(Clone, Copy, Debug)]
pub struct BootNetwork {
    /// The subnet.
    pub subnet: Ipv4Subnet,
    /// The router through which its machines reach us, if we are not on it.
    pub router: Option<Ipv4Addr>,
    /// First address leased there.
    pub pool_first: Ipv4Addr,
    /// Last address leased there.
    pub pool_last: Ipv4Addr,
}

/// What DHCP is served on the provisioning network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DhcpMode {
    /// Addresses and boot files; ours is the only DHCP server there.
    #[default]
    Full,
    /// Boot files only, beside somebody else's DHCP server (PXE specification 2.1, proxyDHCP).
    Proxy,
    /// None: machines boot by virtual media.
    Off,
}

/// Where management controllers fetch boot media.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootMedia {
    /// Where they are served (HTTP): an address that management controllers reach and tenants do
    /// not.
    pub listen: SocketAddr,
    /// The URL under which management controllers reach that address, if it is another one.
    #[serde(default)]
    pub url: Option<String>,
}

/// How new servers' operating systems say that they are up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneHome {
    /// Address and port that tenants' networks reach; nothing else is served there.
    pub listen: SocketAddr,
    /// The URL under which tenants reach it, if it is another one than `http://` and `listen`;
    /// without quotes.
    #[serde(default)]
    pub url: Option<String>,
}

/// How images are fetched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// URL of a proxy for all of them. Without one, those of the environment (`HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used.
    pub proxy: Option<ProxyUrl>,
}

/// A proxy's URL, which may hold a password and so is never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ProxyUrl(pub String);

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ProxyUrl(…)")
    }
}

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

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is wrong: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value does not make sense.
    #[error("configuration `{field}`: {message}")]
    Value {
        /// Which key.
        field: String,
        /// What is wrong and what would be right.
        message: String,
    },
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
        let tls = self.api.certificate.is_some();
        if tls != self.api.key.is_some() {
            return wrong(
                "api.key",
                "`certificate` and `key` go together: give both or neither",
            );
        }
        if !self.api.listen.ip().is_loopback() && !tls && !self.api.insecure {
            return wrong(
                "api.listen",
                "tokens would cross the network in the clear: give `certificate` and `key`, or \
                 say `insecure = true` if a proxy in front does TLS",
            );
        }
        if let Some(url) = self
            .phone_home
            .as_ref()
            .and_then(|each| each.url.as_deref())
        {
            let plain = url
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"'\"\\`$".contains(&byte));
            if !plain || !(url.starts_with("http://") || url.starts_with("https://")) {
                return wrong(
                    "phone_home.url",
                    "give an http:// or https:// URL without quotes",
                );
            }
        }
        if let Some(ProxyUrl(url)) = &self.images.proxy
            && !["http://", "https://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        {
            return wrong("images.proxy", "give an http:// or https:// URL");
        }
        for (index, switch) in self.switch.iter().enumerate() {
            if self.switch[..index]
                .iter()
                .any(|other| other.name == switch.name)
            {
                return wrong("switch.name", &format!("`{}` is given twice", switch.name));
            }
        }
        if let Some(provisioning) = &self.provisioning {
            provisioning.check(!self.switch.is_empty())?;
            if provisioning.standby_vlan == Some(self.parked_vlan) {
                return wrong(
                    "provisioning.standby_vlan",
                    "it is `parked_vlan`: nodes in standby must reach the conductor",
                );
            }
            if provisioning.vlan == Some(self.parked_vlan) {
                return wrong(
                    "parked_vlan",
                    "it is the provisioning VLAN: parked must be a VLAN that exists nowhere",
                );
            }
        }
        Ok(())
    }

    /// The switch of that name.
    pub fn switch(&self, name: &str) -> Option<&Switch> {
        self.switch.iter().find(|switch| switch.name == name)
    }
}

impl Provisioning {
    /// The network that `address` belongs to: ours, or one behind a relay.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<BootNetwork> {
        let ours = BootNetwork {
            subnet: self.subnet,
            router: None,
            pool_first: self.pool_first,
            pool_last: self.pool_last,
        };
        let relayed = self.relayed.iter().map(|relayed| BootNetwork {
            subnet: relayed.subnet,
            router: Some(relayed.router),
            pool_first: relayed.pool_first,
            pool_last: relayed.pool_last,
        });
        let mut networks = std::iter::once(ours).chain(relayed);
        networks.find(|network| network.subnet.contains_host(address))
    }

    fn check(&self, switched: bool) -> Result<(), ConfigError> {
        for (field, address) in [
            ("provisioning.address", self.address),
            ("provisioning.pool_first", self.pool_first),
            ("provisioning.pool_last", self.pool_last),
        ] {
            if !self.subnet.contains_host(address) {
                return wrong(
                    field,
                    &format!("{address} is no host address of {}", self.subnet),
                );
            }
        }
        if self.pool_first > self.pool_last {
            return wrong("provisioning.pool_last", "it is before `pool_first`");
        }
        if (self.pool_first..=self.pool_last).contains(&self.address) {
            return wrong(
                "provisioning.pool_first",
                "the pool must not contain our own `address`",
            );
        }
        if let Some(id) = self.standby_vlan {
            vlan("provisioning.standby_vlan", id)?;
        }
        for relayed in &self.relayed {
            relayed.check(self)?;
        }
        match self.vlan {
            Some(id) => vlan("provisioning.vlan", id),
            None if switched => wrong("provisioning.vlan", "needed where there are switches"),
            None => Ok(()),
        }
    }
}

impl Relayed {
    fn check(&self, provisioning: &Provisioning) -> Result<(), ConfigError> {
        for (field, address) in [
            ("provisioning.relayed.router", self.router),
            ("provisioning.relayed.pool_first", self.pool_first),
            ("provisioning.relayed.pool_last", self.pool_last),
        ] {
            if !self.subnet.contains_host(address) {
                let subnet = self.subnet;
                return wrong(field, &format!("{address} is no host address of {subnet}"));
            }
        }
        if self.pool_first > self.pool_last {
            return wrong(
                "provisioning.relayed.pool_last",
                "it is before `pool_first`",
            );
        }
        if (self.pool_first..=self.pool_last).contains(&self.router) {
            return wrong(
                "provisioning.relayed.pool_first",
                "the pool must not contain the `router`",
            );
        }
        let networks = provisioning.relayed.iter().map(|other| other.subnet);
        let mut networks = networks.chain([provisioning.subnet]);
        let same = networks
            .clone()
            .filter(|other| *other == self.subnet)
            .count();
        let overlaps = networks.any(|other| {
            other != self.subnet
                && (other.contains_host(self.pool_first) || other.contains_host(self.router))
        });
        if same > 1 || overlaps {
            return wrong(
                "provisioning.relayed.subnet",
                "it overlaps another provisioning subnet",
            );
        }
        Ok(())
    }
}

fn vlan(field: &str, id: u16) -> Result<(), ConfigError> {
    if (1..=4094).contains(&id) {
        Ok(())
    } else {
        wrong(field, "a VLAN id is 1 to 4094")
    }
}

fn wrong(field: &str, message: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        field: field.into(),
        message: message.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
                format!(
                    "{provisioning}'10.77.0.99'\n[[switch]]\nname='a'\ndriver='ovsdb'\naddress='unix:/x'"
                ),
                "provisioning.vlan",
            ),
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
