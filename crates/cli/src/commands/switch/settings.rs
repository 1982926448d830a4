//! What is said about a switch, when it is made and later.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use bessemer_core::network::IdPool;
use bessemer_wire::api::{PrivateKey, SwitchUpdate};
use clap::Args;

use crate::commands::read_text;
use crate::secret;

/// The longest file of certificates, in bytes.
const MOST_BYTES: u64 = 64 << 10;

/// Everything about a switch but its name and driver.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Where it is: unix:/path, tcp:HOST:PORT or, with TLS, ssl:HOST:PORT (ovsdb).
    #[arg(long)]
    pub(super) address: Option<String>,
    /// The rack that it is in, by name or id.
    #[arg(long)]
    pub(super) rack: Option<String>,
    /// The file (PEM) with the authority that signs its certificate; needed with ssl:.
    #[arg(long, value_name = "FILE")]
    authority_file: Option<PathBuf>,
    /// The file (PEM) with the certificate that we show it, if it asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// The file (PEM) with that certificate's private key; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where VXLAN tunnels to it end.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) tunnel_address: Option<IpAddr>,
    /// Its VLANs for VXLAN networks [default: 3000-3999].
    #[arg(long, value_name = "IDS")]
    pub(super) tunnel_vlans: Option<IdPool>,
    /// The physical network that its ports reach.
    #[arg(long, value_name = "NAME")]
    pub(super) physical_network: Option<String>,
    /// Bytes of the longest IP packet that it forwards, 1280 to 9216.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9216))]
    pub(super) largest_mtu: Option<u16>,
    /// The VLAN of parked ports, if it is another than `parked_vlan` of the configuration.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(super) parked_vlan: Option<u16>,
    /// Where agents meet the conductor, if elsewhere than in `provisioning.vlan`.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(super) provisioning_vlan: Option<u16>,
    /// Where idle agents do, if elsewhere than in `provisioning.standby_vlan`.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(super) standby_vlan: Option<u16>,
    /// Where agents that rescue a server do, if elsewhere than where they are provisioned.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(super) rescue_vlan: Option<u16>,
}

impl Settings {
    pub(super) fn authority(&self) -> anyhow::Result<Option<String>> {
        certificates(self.authority_file.as_deref())
    }

    pub(super) fn certificate(&self) -> anyhow::Result<Option<String>> {
        certificates(self.certificate_file.as_deref())
    }

    pub(super) fn key(&self) -> anyhow::Result<Option<PrivateKey>> {
        let path = self.key_file.as_deref();
        let key = path.map(|path| secret::read(path, "Private key (PEM): "));
        Ok(key.transpose()?.map(PrivateKey))
    }
}

fn certificates(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    path.map(|path| read_text(path, MOST_BYTES)).transpose()
}

/// What can be taken away from a switch.
const REMOVABLE: [&str; 10] = [
    "rack",
    "authority",
    "certificate",
    "tunnel-address",
    "physical-network",
    "largest-mtu",
    "parked-vlan",
    "provisioning-vlan",
    "standby-vlan",
    "rescue-vlan",
];

/// Change a switch. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch set leaf1 --address ssl:leaf1.example:6640 --authority-file switches.pem
  bessemer switch set leaf1 --rack a08 --largest-mtu 9000
  bessemer switch set leaf1 --remove tunnel-address --remove rescue-vlan")]
pub(in crate::commands) struct Set {
    /// Its name or id.
    switch: String,
    #[command(flatten)]
    settings: Settings,
    /// What it has no more (a certificate goes with its key); can be given several times.
    #[arg(long, value_name = "SETTING", value_parser = REMOVABLE)]
    remove: Vec<String>,
}

impl Set {
    /// Which switch is meant.
    pub(super) fn switch(&self) -> &str {
        &self.switch
    }

    /// The request, after the files have been read.
    pub(super) fn request(&self) -> anyhow::Result<SwitchUpdate> {
        let settings = &self.settings;
        let update = SwitchUpdate {
            address: settings.address.clone(),
            rack: self.given("rack", settings.rack.clone())?,
            authority: self.given("authority", settings.authority()?)?,
            certificate: self.given("certificate", settings.certificate()?)?,
            key: settings.key()?,
            tunnel_address: self.given("tunnel-address", settings.tunnel_address)?,
            tunnel_vlans: settings.tunnel_vlans.clone(),
            physical_network: self.given("physical-network", settings.physical_network.clone())?,
            largest_mtu: self.given("largest-mtu", settings.largest_mtu)?,
            parked_vlan: self.given("parked-vlan", settings.parked_vlan)?,
            provisioning_vlan: self.given("provisioning-vlan", settings.provisioning_vlan)?,
            standby_vlan: self.given("standby-vlan", settings.standby_vlan)?,
            rescue_vlan: self.given("rescue-vlan", settings.rescue_vlan)?,
        };
        if serde_json::to_value(&update)? == serde_json::json!({}) {
            bail!("nothing to change: see `bessemer switch set --help`");
        }
        Ok(update)
    }

    /// A setting as it is to be: absent stays, `Some(None)` is taken away.
    fn given<T>(&self, name: &str, value: Option<T>) -> anyhow::Result<Option<Option<T>>> {
        let removed = self.remove.iter().any(|each| each == name);
        match value {
            Some(_) if removed => bail!("--{name} cannot be given and removed"),
            Some(value) => Ok(Some(Some(value))),
            None => Ok(removed.then_some(None)),
        }
    }
}
