//! Who else is on the provisioning network: none of them is of our making.

use std::process::Stdio;

use anyhow::{Context, Result};
use bessemer_sim::rack::RackDescription;
use tokio::process::{Child, Command};

use crate::demo::server::Settings;

/// Who else is on the provisioning network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbors {
    Nobody,
    /// Somebody else's DHCP server (dnsmasq).
    Server,
    /// The same; it gives iPXE to every UEFI that asks for PXE.
    ServerWithIpxe,
    /// A router with a DHCP relay (ISC's dhcrelay), and the nodes behind it.
    Relay,
}

/// What starts the other DHCP server, but for its interface.
const SERVER: &str = "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --leasefile-ro \
                      --user=root --pid-file= --bind-interfaces --log-facility=/dev/null \
                      --dhcp-range=10.77.0.200,10.77.0.220,255.255.255.0,10m";

/// What makes it give Debian's iPXE to UEFI (architecture 7), unless iPXE (option 175) asks.
const WITH_IPXE: &str = "--enable-tftp --tftp-root=/usr/lib/ipxe --dhcp-match=set:ipxe,175 \
                         --dhcp-match=set:uefi,option:client-arch,7 \
                         --dhcp-boot=tag:uefi,tag:!ipxe,snponly.efi";

impl Neighbors {
    /// Starts what is not ours; it ends when the value is dropped.
    pub(crate) fn start(self, rack: &RackDescription) -> Result<Option<Child>> {
        let addresses = &rack.addresses;
        let control = addresses.provisioning.split('/').next().unwrap_or_default();
        let uplink = &addresses.remote_uplink;
        let line = match self {
            Self::Nobody => return Ok(None),
            Self::Server => format!("{SERVER} --interface={uplink}"),
            Self::ServerWithIpxe => format!("{SERVER} --interface={uplink} {WITH_IPXE}"),
            Self::Relay => format!(
                "dhcrelay -4 -d --no-pid -a -iu {uplink} -id {} {control}",
                addresses.remote_interface
            ),
        };
        let child = Command::new("ip")
            .args(["netns", "exec", &rack.namespaces.remote])
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Ok(Some(
            child.with_context(|| format!("cannot start `{line}`"))?,
        ))
    }

    /// Our side of it.
    pub(crate) fn settings(self, rack: &RackDescription) -> Settings {
        let own = Settings::of(rack);
        match self {
            Self::Nobody => own,
            Self::Server | Self::ServerWithIpxe => Settings {
                dhcp: "proxy",
                ..own
            },
            Self::Relay => Settings {
                vlan: rack.vlans.remote,
                relayed: "\n[[provisioning.relayed]]\nsubnet = \"10.76.0.0/24\"\n\
                          router = \"10.76.0.1\"\npool_first = \"10.76.0.50\"\n\
                          pool_last = \"10.76.0.99\"\n"
                    .to_owned(),
                ..own
            },
        }
    }
}
