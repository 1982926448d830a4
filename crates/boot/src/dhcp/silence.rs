//! Why a request gets no answer, in words that lead to the remedy.

use std::fmt;
use std::net::Ipv4Addr;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Silence {
    /// Not a DHCP request from an Ethernet client.
    Malformed,
    /// A request that came through a relay that is not configured, or through too many.
    UnknownRelay(Ipv4Addr),
    /// A client that is not boot firmware for x86-64.
    NotNetworkBoot {
        /// What it says it is in option 93, if it does.
        architecture: Option<u16>,
    },
    /// No node of this MAC address is to boot the agent now.
    NotExpected,
    /// A node of ours that is to boot its disk asked the network first. Nothing is wrong.
    BootsItsDisk,
    /// The directory could not be asked, or took too long.
    DirectoryFailed,
    /// The client accepted another server's offer.
    OtherServer(Ipv4Addr),
    /// One of our servers looks out for other people's ([`super::watch()`]).
    Watch,
    /// Beside another DHCP server: the client talks to that one, as it should.
    NotForUs,
    /// The client says that the address is in use (DHCPDECLINE).
    Declined,
    /// The client gave its address back (DHCPRELEASE).
    Released,
    /// A message type that wants no address, such as DHCPINFORM.
    OtherMessage,
    /// The answer could not be sent.
    SendFailed,
    /// The boot file's name does not fit a DHCP option.
    UnusableUrl,
}

impl Silence {
    /// Whether it is how things should be.
    pub fn is_normal(self) -> bool {
        matches!(
            self,
            Self::BootsItsDisk | Self::Watch | Self::NotForUs | Self::Released
        )
    }

    /// Whether it says something about a machine that people may look for.
    pub(super) fn is_worth_telling(self) -> bool {
        self == Self::BootsItsDisk || !self.is_normal()
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "not a DHCP request from an Ethernet client",
            Self::UnknownRelay(relay) => {
                return write!(
                    formatter,
                    "the request came through DHCP relay {relay}, which is in no subnet of \
                     `[[provisioning.relayed]]`: add its subnet, or turn that relay off"
                );
            }
            Self::NotNetworkBoot {
                architecture: Some(architecture),
            } => {
                return write!(
                    formatter,
                    "the client asks for boot architecture {architecture}, expected 0 (BIOS), 7, 9 \
                     (UEFI PXE) or 16 (UEFI HTTP): enable one of these in the machine's firmware"
                );
            }
            Self::NotNetworkBoot { architecture: None } => {
                "the client does not ask for a boot file; it may be an operating system"
            }
            Self::NotExpected => {
                "no node with this MAC address is to boot now: enroll it, or correct its port"
            }
            Self::BootsItsDisk => "this node is to boot its disk",
            Self::DirectoryFailed => "looking up the node failed",
            Self::OtherServer(server) => {
                return write!(
                    formatter,
                    "the client accepted another DHCP server, {server}: there must be only one, \
                     or set `provisioning.dhcp = \"proxy\"`"
                );
            }
            Self::Watch => "a server of ours looks out for other DHCP servers",
            Self::NotForUs => "the client talks to the other DHCP server",
            Self::Declined => "the client says that its address is in use by somebody else",
            Self::Released => "the client gave its address back",
            Self::SendFailed => "the answer could not be sent: check the server's link",
            Self::OtherMessage => "the message asks for no address",
            Self::UnusableUrl => "the boot file's name is not 1 to 255 bytes of ASCII",
        })
    }
}
