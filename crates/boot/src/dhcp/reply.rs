//! The answer to a request, given what its machine is to do.

use std::net::{Ipv4Addr, SocketAddrV4};

use bessemer_core::net::Ipv4Subnet;
use dhcproto::Encodable;
use dhcproto::v4::{
    DhcpOption, DhcpOptions, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption,
};

use super::request::{
    CLIENT_IDENTIFIER, Client, MACHINE_IDENTIFIER, Port, Question, RELAY_INFORMATION, Request,
};
use super::silence::Silence;

/// Where clients and relays listen (RFC 2131 §4.1).
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// Some firmware drops what is shorter than a BOOTP packet (RFC 1542 §2.1).
const MINIMUM_REPLY: usize = 300;

/// What one option can hold; firmware does not join split ones (RFC 3396).
const MAX_NAME: usize = 255;

/// What the `file` field holds, with the zero that ends it.
const MAX_FILE: usize = 127;

/// Option 43 for PXE: discovery control (6) with bit 3: no boot servers are to be looked for, the
/// file that is named is the one (PXE specification 2.1, table 2-1).
const PXE_CONTROL: [u8; 4] = [6, 1, 8, 255];

/// Option 175, iPXE's own, with `no-pxedhcp` (176): there is no other server to wait for.
const NO_PROXY: [u8; 3] = [176, 1, 1];

/// Whose the addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ours.
    Full,
    /// Another DHCP server's; only boot files are ours.
    Proxy,
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The server's own address on the provisioning network; boot loaders come from there by TFTP.
    pub server: Ipv4Addr,
    /// Whose the addresses are.
    pub mode: Mode,
    /// How long an address is lent, in seconds. The agent keeps its address anyway; this is about
    /// the minutes in the firmware.
    pub lease_seconds: u32,
    /// The subnets whose relays are answered.
    pub relayed: Vec<Ipv4Subnet>,
    /// The file that PXE of a PC BIOS loads by TFTP.
    pub pxe_bios_file: String,
    /// The file that PXE of UEFI loads by TFTP.
    pub pxe_uefi_file: String,
}

impl Config {
    /// Whether a relay of this address is one of the site's.
    pub fn is_relay(&self, address: Ipv4Addr) -> bool {
        let mut subnets = self.relayed.iter();
        subnets.any(|subnet| subnet.contains_host(address))
    }
}

/// What a node that is to boot the agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLease {
    /// The node's address.
    pub address: Ipv4Addr,
    /// Its network.
    pub subnet: Ipv4Subnet,
    /// The router, if the boot server is on another network.
    pub router: Option<Ipv4Addr>,
    /// Name servers, if the URLs have names in them.
    pub dns: Vec<Ipv4Addr>,
    /// What UEFI fetches: `http://…`, at most 255 bytes of ASCII.
    pub url: String,
    /// What iPXE fetches: a script; the same bounds.
    pub script: String,
}

/// What a machine is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Boot the agent.
    Agent(BootLease),
    /// Boot its disk: a node of ours, with a tenant's system or at rest. iPXE that is loaded
    /// already and has an address can be told so by this script.
    Disk {
        /// `http://…`, at most 255 bytes of ASCII.
        script: String,
    },
    /// Nothing that is known here.
    Nothing,
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
    /// The address that is the client's; with a NAK the one it should have asked for. None beside
    /// another DHCP server.
    pub address: Option<Ipv4Addr>,
    /// Whether it names what makes the machine boot its disk, rather than the agent.
    pub boots_disk: bool,
    /// The packet.
    pub packet: Vec<u8>,
    /// Where it goes: the limited broadcast address, unless the client has its address already or
    /// a relay asked for it. `None`: to whoever sent the request.
    pub destination: Option<SocketAddrV4>,
}

/// What is to be booted, and from where the name was taken.
struct BootFile<'a> {
    class: &'static [u8],
    name: &'a str,
    /// Whether it is fetched by TFTP.
    tftp: bool,
}

impl Request {
    /// The answer to a request at `port`, given what the machine with this MAC address is to do.
    pub fn answer(
        &self,
        config: &Config,
        port: Port,
        expectation: &Expectation,
    ) -> Result<Reply, Silence> {
        if let Some(relay) = &self.relay
            && !config.is_relay(relay.address)
        {
            return Err(Silence::UnknownRelay(relay.address));
        }
        match config.mode {
            Mode::Full => self.answer_fully(config, expectation),
            Mode::Proxy => self.answer_beside(config, port, expectation),
        }
    }

    fn answer_fully(&self, config: &Config, expected: &Expectation) -> Result<Reply, Silence> {
        let lease = match expected {
            Expectation::Agent(lease) => lease,
            Expectation::Disk { .. } => return Err(Silence::BootsItsDisk),
            Expectation::Nothing => return Err(Silence::NotExpected),
        };
        let file = checked(self.boot_file(config, &lease.url, &lease.script))?;
        let kind = match (self.question, self.server) {
            (Question::Discover, _) => Kind::Offer,
            (_, Some(server)) if server != config.server => {
                return Err(Silence::OtherServer(server));
            }
            _ if self.wanted_address() == lease.address => Kind::Ack,
            _ => Kind::Nak,
        };
        let mut message = self.message(kind, config);
        if kind != Kind::Nak {
            message.set_yiaddr(lease.address);
            put_file(&mut message, &file, config.server);
            put_lease(message.opts_mut(), config, lease);
            if self.client == Client::Ipxe {
                put_raw(message.opts_mut(), 175, NO_PROXY.to_vec());
            }
        }
        let renewing = kind == Kind::Ack && !self.own_address.is_unspecified();
        let to = if renewing {
            lease.address
        } else {
            Ipv4Addr::BROADCAST
        };
        Ok(Reply {
            kind,
            address: Some(lease.address),
            boots_disk: false,
            packet: self.encode(message)?,
            destination: Some(self.destination(to)),
        })
    }

    /// Boot files only: an offer without an address, which firmware joins with the offer that has
    /// one; and, for firmware that asks again before it loads, an acknowledgement at port 4011.
    fn answer_beside(
        &self,
        config: &Config,
        port: Port,
        expected: &Expectation,
    ) -> Result<Reply, Silence> {
        let kind = match (port, self.question) {
            (Port::Dhcp, Question::Discover) => Kind::Offer,
            (Port::BootServer, Question::Request) => Kind::Ack,
            _ => return Err(Silence::NotForUs),
        };
        let file = match expected {
            Expectation::Agent(lease) => self.boot_file(config, &lease.url, &lease.script),
            Expectation::Disk { script } if self.client == Client::Ipxe => BootFile {
                class: b"PXEClient",
                name: script,
                tftp: false,
            },
            Expectation::Disk { .. } => return Err(Silence::BootsItsDisk),
            // The other server's clients are not our business.
            Expectation::Nothing => return Err(Silence::NotForUs),
        };
        let file = checked(file)?;
        let mut message = self.message(kind, config);
        put_file(&mut message, &file, config.server);
        let destination = match port {
            Port::Dhcp => Some(self.destination(Ipv4Addr::BROADCAST)),
            Port::BootServer => None,
        };
        Ok(Reply {
            kind,
            address: None,
            boots_disk: matches!(expected, Expectation::Disk { .. }),
            packet: self.encode(message)?,
            destination,
        })
    }

    fn boot_file<'a>(&self, config: &'a Config, url: &'a str, script: &'a str) -> BootFile<'a> {
        let (class, name): (&[u8], _) = match self.client {
            Client::UefiHttp => (b"HTTPClient", url),
            Client::Ipxe => (b"PXEClient", script),
            Client::PxeBios => (b"PXEClient", config.pxe_bios_file.as_str()),
            Client::PxeUefi => (b"PXEClient", config.pxe_uefi_file.as_str()),
        };
        let tftp = matches!(self.client, Client::PxeBios | Client::PxeUefi);
        BootFile { class, name, tftp }
    }

    /// What every answer has.
    fn message(&self, kind: Kind, config: &Config) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let own = if kind == Kind::Ack {
            self.own_address
        } else {
            none
        };
        let relay = self.relay.as_ref().map_or(none, |relay| relay.address);
        let mac = self.mac.octets();
        let mut message = Message::new_with_id(self.transaction, own, none, none, relay, &mac);
        // An unconfigured client cannot be reached otherwise without a raw socket, and hearing
        // this flag back it expects nothing else (RFC 2131 §4.1).
        message
            .set_opcode(Opcode::BootReply)
            .set_hops(self.hops)
            .set_flags(Flags::default().set_broadcast());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(match kind {
            Kind::Offer => MessageType::Offer,
            Kind::Ack => MessageType::Ack,
            Kind::Nak => MessageType::Nak,
        }));
        options.insert(DhcpOption::ServerIdentifier(config.server));
        // RFC 6842 and RFC 4578 §2.3: given back as they came.
        for (code, value) in [
            (CLIENT_IDENTIFIER, &self.client_identifier),
            (MACHINE_IDENTIFIER, &self.machine_identifier),
        ] {
            if let Some(value) = value {
                put_raw(options, code, value.clone());
            }
        }
        message
    }

    /// Through the relay if there is one, which does the rest (RFC 2131 §4.1).
    fn destination(&self, otherwise: Ipv4Addr) -> SocketAddrV4 {
        match &self.relay {
            Some(relay) => SocketAddrV4::new(relay.address, SERVER_PORT),
            None => SocketAddrV4::new(otherwise, CLIENT_PORT),
        }
    }

    /// The packet, with the relay's own option as the last one (RFC 3046 §2.2).
    fn encode(&self, message: Message) -> Result<Vec<u8>, Silence> {
        const END: u8 = 255;
        let mut packet = message.to_vec().map_err(|_| Silence::Malformed)?;
        if let Some(relay) = &self.relay
            && let Ok(length @ 1..) = u8::try_from(relay.information.len())
        {
            if packet.last() == Some(&END) {
                packet.pop();
            }
            packet.extend([RELAY_INFORMATION, length]);
            packet.extend_from_slice(&relay.information);
            packet.push(END);
        }
        if packet.len() < MINIMUM_REPLY {
            packet.resize(MINIMUM_REPLY, 0);
        }
        Ok(packet)
    }
}

fn checked(file: BootFile<'_>) -> Result<BootFile<'_>, Silence> {
    let usable = (1..=MAX_NAME).contains(&file.name.len()) && file.name.is_ascii();
    usable.then_some(file).ok_or(Silence::UnusableUrl)
}

/// The name of the boot file: in its option, and for PXE, which is older than that, also in the
/// fields that BOOTP has for it.
fn put_file(message: &mut Message, file: &BootFile<'_>, server: Ipv4Addr) {
    message.set_siaddr(server);
    if file.tftp && file.name.len() <= MAX_FILE {
        message.set_fname_str(file.name);
        let text = server.to_string();
        message
            .opts_mut()
            .insert(DhcpOption::TFTPServerName(text.into_bytes()));
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::ClassIdentifier(file.class.to_vec()));
    options.insert(DhcpOption::BootfileName(file.name.as_bytes().to_vec()));
    if file.class == b"PXEClient" {
        put_raw(options, 43, PXE_CONTROL.to_vec());
    }
}

fn put_lease(options: &mut DhcpOptions, config: &Config, lease: &BootLease) {
    options.insert(DhcpOption::AddressLeaseTime(config.lease_seconds));
    options.insert(DhcpOption::SubnetMask(lease.subnet.netmask()));
    if let Some(router) = lease.router {
        options.insert(DhcpOption::Router(vec![router]));
    }
    if !lease.dns.is_empty() {
        options.insert(DhcpOption::DomainNameServer(lease.dns.clone()));
    }
}

fn put_raw(options: &mut DhcpOptions, code: u8, value: Vec<u8>) {
    let code = OptionCode::from(code);
    options.insert(DhcpOption::Unknown(UnknownOption::new(code, value)));
}
