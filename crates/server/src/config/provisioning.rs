//! The network on which machines boot the agent.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bessemer_core::net::Ipv4Subnet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, vlan, wrong};
use super::relayed::Relayed;

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
    /// Its VLAN on the switches, 1 to 4094; needed for each switch that has no other one of its own.
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
    /// What DHCP is served on `interface`.
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

/// What DHCP is served on the provisioning network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DhcpMode {
    /// Addresses and boot files; ours is the only DHCP server there.
    #[default]
    Full,
    /// Boot files only, beside somebody else's DHCP server (PXE specification 2.1, proxyDHCP; UDP ports 67 and
    /// 4011). Its range must not overlap ours, from which agents still take their addresses.
    Proxy,
    /// None: machines boot by virtual media.
    Off,
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

    pub(super) fn check(&self, parked_vlan: u16) -> Result<(), ConfigError> {
        self.check_addresses()?;
        for relayed in &self.relayed {
            relayed.check(self)?;
        }
        self.check_vlans(parked_vlan)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
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
        Ok(())
    }

    fn check_vlans(&self, parked: u16) -> Result<(), ConfigError> {
        if let Some(id) = self.standby_vlan {
            vlan("provisioning.standby_vlan", id)?;
        }
        if let Some(id) = self.vlan {
            vlan("provisioning.vlan", id)?;
        }
        if self.standby_vlan == Some(parked) {
            return wrong(
                "provisioning.standby_vlan",
                "it is `parked_vlan`: nodes in standby must reach the conductor",
            );
        }
        if self.vlan == Some(parked) {
            return wrong(
                "parked_vlan",
                "it is the provisioning VLAN: parked must be a VLAN that exists nowhere",
            );
        }
        Ok(())
    }
}
