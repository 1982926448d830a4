//! From the bytes of a request to the bytes of an answer, or to the reason why there is none.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use bessemer_core::net::{Ipv4Subnet, MacAddress};
use dhcproto::v4::{Architecture, DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

/// Where clients listen (RFC 2131 §4.1).
const CLIENT_PORT: u16 = 68;

/// Of a BOOTP packet before its options, and of the magic cookie after it (RFC 2131 §2, §3).
const FIXED_LENGTH: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

/// Some firmware drops what is shorter than a BOOTP packet (RFC 1542 §2.1).
const MINIMUM_REPLY: usize = 300;

/// "x64 UEFI HTTP" in IANA's registry of processor architecture types.
const UEFI_X64_HTTP: Architecture = Architecture(16);

/// What option 60 begins with when UEFI boots from HTTP, and what the answer must say.
const HTTP_CLIENT: &[u8] = b"HTTPClient";

/// What one option can hold; firmware does not join split ones (RFC 3396).
const MAX_URL: usize = 255;

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The server's own address on the provisioning network.
    pub server: Ipv4Addr,
    /// How long an address is lent, in seconds. The agent keeps its address anyway; this is about
    /// the minutes in the firmware.
    pub lease_seconds: u32,
}

/// What a node that is to boot the agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLease {
    /// The node's address.
    pub address: Ipv4Addr,
    /// The provisioning network.
    pub subnet: Ipv4Subnet,
    /// The router, if the boot server is on another network.
    pub router: Option<Ipv4Addr>,
    /// Name servers, if the URL has a name in it.
    pub dns: Vec<Ipv4Addr>,
    /// The boot file: `http://…`, at most 255 bytes of ASCII.
    pub url: String,
}

/// What kind of answer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK: the client wanted an address that is not its own.
    Nak,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub kind: Kind,
    /// The address that is the client's; with a NAK the one it should have asked for.
    pub address: Ipv4Addr,
    /// The packet.
    pub packet: Vec<u8>,
    /// Where it goes: the limited broadcast address, unless the client has its address already.
    pub destination: SocketAddrV4,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Silence {
    /// Not a DHCP request from an Ethernet client.
    Malformed,
    /// A request that came through a relay; the provisioning network has none.
    Relayed,
    /// A client that does not ask for UEFI HTTP boot on x86-64.
    NotUefiHttpBoot {
        /// What it says it is in option 93, if it does.
        architecture: Option<u16>,
    },
    /// No node of this MAC address is to boot the agent now.
    NotExpected,
    /// The directory could not be asked, or took too long.
    DirectoryFailed,
    /// The client accepted another server's offer.
    OtherServer(Ipv4Addr),
    /// The client says that the address is in use (DHCPDECLINE).
    Declined,
    /// The client gave its address back (DHCPRELEASE).
    Released,
    /// A message type that wants no address, such as DHCPINFORM.
    OtherMessage,
    /// The answer could not be sent.
    SendFailed,
    /// The boot file's URL does not fit a DHCP option.
    UnusableUrl,
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("not a DHCP request from an Ethernet client"),
            Self::Relayed => formatter.write_str(
                "the request came through a DHCP relay: connect the provisioning network directly",
            ),
            Self::NotUefiHttpBoot {
                architecture: Some(architecture),
            } => write!(
                formatter,
                "the client asks for boot architecture {architecture}, expected 16: \
                 enable UEFI HTTP boot in the machine's firmware"
            ),
            Self::NotUefiHttpBoot { architecture: None } => formatter.write_str(
                "the client does not ask for UEFI HTTP boot; it may be an operating system",
            ),
            Self::NotExpected => formatter.write_str(
                "no node with this MAC address is to boot now: enroll it, or correct its port",
            ),
            Self::DirectoryFailed => formatter.write_str("looking up the node failed"),
            Self::OtherServer(server) => write!(
                formatter,
                "the client accepted another DHCP server, {server}: there must be only one"
            ),
            Self::Declined => {
                formatter.write_str("the client says that its address is in use by somebody else")
            }
            Self::Released => formatter.write_str("the client gave its address back"),
            Self::SendFailed => {
                formatter.write_str("the answer could not be sent: check the server's link")
            }
            Self::OtherMessage => formatter.write_str("the message asks for no address"),
            Self::UnusableUrl => {
                formatter.write_str("the boot file's URL is not 1 to 255 bytes of ASCII")
            }
        }
    }
}

/// A request that may be answered if its node is to boot.
#[derive(Debug, Clone)]
pub struct Request {
    mac: MacAddress,
    kind: MessageType,
    message: Message,
}

impl Request {
    /// Reads a packet. Gives the client's MAC address, where there is one, with the reason when
    /// it is not to be answered. Never panics, whatever the bytes.
    pub fn parse(packet: &[u8]) -> Result<Self, (Option<MacAddress>, Silence)> {
        let mac = ethernet_address(packet).ok_or((None, Silence::Malformed))?;
        let silence = |why| (Some(mac), why);
        let message = Message::decode(&mut Decoder::new(&known_options(packet)))
            .map_err(|_| silence(Silence::Malformed))?;
        let kind = message
            .opts()
            .msg_type()
            .ok_or(silence(Silence::Malformed))?;
        match kind {
            _ if message.opcode() != Opcode::BootRequest => Err(silence(Silence::Malformed)),
            _ if !message.giaddr().is_unspecified() => Err(silence(Silence::Relayed)),
            MessageType::Decline => Err(silence(Silence::Declined)),
            MessageType::Release => Err(silence(Silence::Released)),
            MessageType::Discover | MessageType::Request => {
                check_client(&message).map_err(silence)?;
                Ok(Self { mac, kind, message })
            }
            _ => Err(silence(Silence::OtherMessage)),
        }
    }

    /// Who asks.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The answer, given what the node with this MAC address is to boot.
    pub fn answer(&self, config: &Config, lease: Option<&BootLease>) -> Result<Reply, Silence> {
        let lease = lease.ok_or(Silence::NotExpected)?;
        if lease.url.is_empty() || lease.url.len() > MAX_URL || !lease.url.is_ascii() {
            return Err(Silence::UnusableUrl);
        }
        if self.kind == MessageType::Discover {
            return self.reply(Kind::Offer, config, lease);
        }
        match self.message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) if *server != config.server => {
                Err(Silence::OtherServer(*server))
            }
            _ if self.wanted_address() == lease.address => self.reply(Kind::Ack, config, lease),
            _ => self.reply(Kind::Nak, config, lease),
        }
    }

    /// What it asks to have: option 50 before it has it, `ciaddr` when it renews (RFC 2131 §4.3.2).
    fn wanted_address(&self) -> Ipv4Addr {
        match self.message.opts().get(OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(address)) => *address,
            _ => self.message.ciaddr(),
        }
    }

    fn reply(&self, kind: Kind, config: &Config, lease: &BootLease) -> Result<Reply, Silence> {
        let client = self.message.ciaddr();
        let is_nak = kind == Kind::Nak;
        let (ciaddr, yiaddr, siaddr) = match kind {
            Kind::Offer => (Ipv4Addr::UNSPECIFIED, lease.address, config.server),
            Kind::Ack => (client, lease.address, config.server),
            Kind::Nak => (
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::UNSPECIFIED,
            ),
        };
        let none = Ipv4Addr::UNSPECIFIED;
        let octets = self.mac.octets();
        let mut message =
            Message::new_with_id(self.message.xid(), ciaddr, yiaddr, siaddr, none, &octets);
        // An unconfigured client cannot be reached otherwise without a raw socket, and hearing
        // this flag back it expects nothing else (RFC 2131 §4.1).
        message
            .set_opcode(Opcode::BootReply)
            .set_flags(Flags::default().set_broadcast());
        self.put_options(message.opts_mut(), kind, config, lease);
        let mut packet = message.to_vec().map_err(|_| Silence::Malformed)?;
        if packet.len() < MINIMUM_REPLY {
            packet.resize(MINIMUM_REPLY, 0);
        }
        let destination = if is_nak || client.is_unspecified() {
            Ipv4Addr::BROADCAST
        } else {
            lease.address
        };
        let destination = SocketAddrV4::new(destination, CLIENT_PORT);
        Ok(Reply {
            kind,
            address: lease.address,
            packet,
            destination,
        })
    }

    fn put_options(
        &self,
        options: &mut dhcproto::v4::DhcpOptions,
        kind: Kind,
        config: &Config,
        lease: &BootLease,
    ) {
        options.insert(DhcpOption::MessageType(match kind {
            Kind::Offer => MessageType::Offer,
            Kind::Ack => MessageType::Ack,
            Kind::Nak => MessageType::Nak,
        }));
        options.insert(DhcpOption::ServerIdentifier(config.server));
        // RFC 6842: given back as it came.
        if let Some(identifier) = self.message.opts().get(OptionCode::ClientIdentifier) {
            options.insert(identifier.clone());
        }
        if kind == Kind::Nak {
            return;
        }
        options.insert(DhcpOption::AddressLeaseTime(config.lease_seconds));
        options.insert(DhcpOption::SubnetMask(lease.subnet.netmask()));
        if let Some(router) = lease.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if !lease.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(lease.dns.clone()));
        }
        options.insert(DhcpOption::ClassIdentifier(HTTP_CLIENT.to_vec()));
        options.insert(DhcpOption::BootfileName(lease.url.clone().into_bytes()));
    }
}

/// The client's address, if the packet is long enough and says Ethernet with six octets. Checked
/// here because the decoder trusts the length.
fn ethernet_address(packet: &[u8]) -> Option<MacAddress> {
    const ETHERNET: u8 = 1;
    if packet.get(1..3)? != [ETHERNET, 6] || packet.get(FIXED_LENGTH..FIXED_LENGTH + 4)? != MAGIC {
        return None;
    }
    MacAddress::new(packet.get(28..34)?.try_into().ok()?).ok()
}

/// The packet with only those options that are looked at, and of those only well-formed ones.
///
/// The decoder trusts the lengths and values of some options it knows (a route with a prefix of 33
/// bits, for one, panics in it), and the network is not to be trusted with that.
fn known_options(packet: &[u8]) -> Vec<u8> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    let (fixed, mut rest) = packet.split_at(FIXED_LENGTH + MAGIC.len());
    let mut known = fixed.to_vec();
    while let [code, tail @ ..] = rest {
        if *code == END {
            break;
        }
        if *code == PAD {
            rest = tail;
            continue;
        }
        let Some((value, after)) = tail
            .split_first()
            .and_then(|(length, tail)| tail.split_at_checked((*length).into()))
        else {
            break;
        };
        if is_known(OptionCode::from(*code), value.len()) {
            known.extend_from_slice(&rest[..2 + value.len()]);
        }
        rest = after;
    }
    known.push(END);
    known
}

fn is_known(code: OptionCode, length: usize) -> bool {
    match code {
        OptionCode::MessageType => length == 1,
        OptionCode::ServerIdentifier | OptionCode::RequestedIpAddress => length == 4,
        OptionCode::ClientSystemArchitecture => length == 2,
        OptionCode::ClassIdentifier | OptionCode::ClientIdentifier => true,
        _ => false,
    }
}

fn check_client(message: &Message) -> Result<(), Silence> {
    let architecture = match message.opts().get(OptionCode::ClientSystemArchitecture) {
        Some(DhcpOption::ClientSystemArchitecture(architecture)) => Some(*architecture),
        _ => None,
    };
    let is_http = matches!(
        message.opts().get(OptionCode::ClassIdentifier),
        Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(HTTP_CLIENT)
    );
    if is_http && architecture == Some(UEFI_X64_HTTP) {
        return Ok(());
    }
    Err(Silence::NotUefiHttpBoot {
        architecture: architecture.map(u16::from),
    })
}
