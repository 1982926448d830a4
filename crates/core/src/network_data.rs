//! What a new server is told about its network, in the words of whatever configures it there.
//!
//! There is one description, [`NodeNetworking`], and everything that is written down at first boot
//! comes from it: the OpenStack document that cloud-init reads ([`network_data`]), and whole files
//! for images whose tool cloud-init does not know, or knows too little of ([`files`]). So a bond or
//! a VLAN cannot be right in one place and lost in another. A description is checked first
//! ([`NodeNetworking::check`]), and only a checked one can be written: whoever takes an order
//! learns of a mistake by the field's name, not by a server that nobody can reach.
//!
//! Interfaces have the same names everywhere: bonds are `bond0`, `bond1`, … in their order, a VLAN
//! is its parent's name with its id (`bond0.100`). NICs keep the names that the operating system
//! gives them, unless one is asked for. Two exceptions: a NIC that carries VLANs, whose name has
//! to leave room for `.4094` in the kernel's 15 characters, and wicked, which knows NICs by name
//! only; these are `nic0`, `nic1`, … in their order.

mod check;
mod cloud_init;
mod error;
mod interface;
mod model;
mod networkd;
mod shell;
mod wicked;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use check::CheckedNetworking;
pub use cloud_init::network_data;
pub use error::{NetworkingError, Problem};
pub use model::{
    Addressing, Attachment, Bond, BondMode, FixedAddress, Gateway, IpPrefix, LacpRate, Link,
    NodeNetworking, ParsePrefixError, Port, Route, Tag,
};
pub use shell::set_variables;

/// What configures the network of an image's operating system at its first boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkConfiguration {
    /// cloud-init, or another reader of OpenStack's `network_data.json`: nothing is written to the
    /// image's own file system.
    #[default]
    CloudInit,
    /// SUSE's wicked: `ifcfg-*` and `ifroute-*` files.
    Wicked,
    /// systemd-networkd, with systemd-resolved for name servers.
    Networkd,
}

impl NetworkConfiguration {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::CloudInit, Self::Wicked, Self::Networkd];

    /// Its name, as it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudInit => "cloud_init",
            Self::Wicked => "wicked",
            Self::Networkd => "networkd",
        }
    }
}

/// A file of the image's root file system, as it has to be before its first boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// Absolute path within the image, without `.` and `..`.
    pub path: String,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
    /// What it has to say.
    pub content: Content,
}

/// What a [`ConfigurationFile`] has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The whole file, replacing whatever was there.
    Whole(String),
    /// Variables of a shell file of which everything else is to be kept: see [`set_variables`].
    Variables(Vec<(String, String)>),
}

impl ConfigurationFile {
    fn whole(path: String, content: String) -> Self {
        Self {
            path,
            mode: 0o644,
            content: Content::Whole(content),
        }
    }
}

/// The files that an image of this kind needs before its first boot; none for cloud-init, which
/// reads [`network_data`] by itself.
pub fn files(
    networking: &CheckedNetworking,
    configuration: NetworkConfiguration,
) -> Vec<ConfigurationFile> {
    let mut files = match configuration {
        NetworkConfiguration::CloudInit => return Vec::new(),
        NetworkConfiguration::Wicked => wicked::files(networking),
        NetworkConfiguration::Networkd => networkd::files(networking),
    };
    // An image may have cloud-init all the same, for keys and user data. Two that configure the
    // network is one too many.
    files.push(ConfigurationFile::whole(
        "/etc/cloud/cloud.cfg.d/99-bessemer-network.cfg".into(),
        "# The network is configured by files that Bessemer wrote.\n\
         network: {config: disabled}\n"
            .into(),
    ));
    files
}
