//! From the bytes of a packet to a request that may be answered.
//!
//! The packet is read here and not by a general decoder: those trust the lengths and values of some
//! options (a route with a prefix of 33 bits makes one panic), and what is needed is little.

use std::net::Ipv4Addr;

use bessemer_core::net::MacAddress;

use super::silence::Silence;
use super::watch;

/// Of a BOOTP packet before its options, and of the magic cookie after it (RFC 2131 §2, §3).
const FIXED_LENGTH: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

/// The most relays that a request may have passed (RFC 1542 §4.1.1).
const MAX_HOPS: u8 = 16;

/// Options (RFC 2132, 3004, 3046, 4578).
const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER_IDENTIFIER: u8 = 54;
const CLASS_IDENTIFIER: u8 = 60;
pub(super) const CLIENT_IDENTIFIER: u8 = 61;
const USER_CLASS: u8 = 77;
pub(super) const RELAY_INFORMATION: u8 = 82;
const ARCHITECTURE: u8 = 93;
pub(super) const MACHINE_IDENTIFIER: u8 = 97;

/// Architectures in IANA's registry of processor architecture types.
const BIOS: u16 = 0;
const UEFI_X64: [u16; 2] = [7, 9];
const UEFI_X64_HTTP: u16 = 16;

/// What kind of firmware asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// UEFI that fetches its boot file over HTTP.
    UefiHttp,
    /// PXE of a PC BIOS.
    PxeBios,
    /// PXE of UEFI.
    PxeUefi,
    /// iPXE, on either.
    Ipxe,
}

/// The port that a request came in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// 67: DHCP.
    Dhcp,
    /// 4011: a boot server beside another DHCP server (PXE specification 2.1, §2.2.3).
    BootServer,
}

/// The relay that passed a request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its address on the client's network (`giaddr`).
    pub address: Ipv4Addr,
    /// Option 82 as it came; goes back as it is (RFC 3046 §2.2). Empty if there was none.
    pub information: Vec<u8>,
}

impl Relay {
    /// Which of the relay's ports the client is at (RFC 3046 §3.1), readable.
    pub fn circuit_id(&self) -> Option<String> {
        self.part(1)
    }

    /// The client's or the relay's name (RFC 3046 §3.2), readable.
    pub fn remote_id(&self) -> Option<String> {
        self.part(2)
    }

    /// Printable text as it is, anything else in hexadecimal.
    fn part(&self, code: u8) -> Option<String> {
        let value = options(&self.information)
            .find(|(found, _)| *found == code)?
            .1;
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        if !value.is_empty() && value.iter().all(printable) {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        Some(value.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Discover,
    Request,
}

/// A request that may be answered if its node is to boot.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) mac: MacAddress,
    pub(super) question: Question,
    pub(super) client: Client,
    pub(super) transaction: u32,
    /// The address that the client has already (`ciaddr`).
    pub(super) own_address: Ipv4Addr,
    pub(super) requested_address: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) hops: u8,
    pub(super) relay: Option<Relay>,
    pub(super) client_identifier: Option<Vec<u8>>,
    pub(super) machine_identifier: Option<Vec<u8>>,
}

impl Request {
    /// Reads a packet. Gives the client's MAC address, where there is one, with the reason when
    /// it is not to be answered. Never panics, whatever the bytes.
    pub fn parse(packet: &[u8]) -> Result<Self, (Option<MacAddress>, Silence)> {
        let mac = ethernet_address(packet).ok_or((None, Silence::Malformed))?;
        parse(packet, mac).map_err(|silence| (Some(mac), silence))
    }

    /// Who asks.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// What kind of firmware asks.
    pub fn client(&self) -> Client {
        self.client
    }

    /// The relay that passed it on.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// What it asks to have: option 50 before it has it, `ciaddr` when it renews (RFC 2131 §4.3.2).
    pub(super) fn wanted_address(&self) -> Ipv4Addr {
        self.requested_address.unwrap_or(self.own_address)
    }
}

fn parse(packet: &[u8], mac: MacAddress) -> Result<Request, Silence> {
    const BOOT_REQUEST: u8 = 1;
    if packet.first() != Some(&BOOT_REQUEST) {
        return Err(Silence::Malformed);
    }
    let after = packet.get(FIXED_LENGTH + MAGIC.len()..).unwrap_or_default();
    let find = |code| {
        options(after)
            .find(|(found, _)| *found == code)
            .map(|(_, value)| value)
    };
    let address_in =
        |code| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(find(code)?).ok()?.into()) };
    let question = match find(MESSAGE_TYPE) {
        Some([1]) => Question::Discover,
        Some([3]) => Question::Request,
        Some([4]) => return Err(Silence::Declined),
        Some([7]) => return Err(Silence::Released),
        Some([_]) => return Err(Silence::OtherMessage),
        _ => return Err(Silence::Malformed),
    };
    Ok(Request {
        mac,
        question,
        client: client(find(CLASS_IDENTIFIER), find(USER_CLASS), find(ARCHITECTURE))?,
        transaction: u32::from_be_bytes(fixed(packet, 4)?),
        own_address: Ipv4Addr::from(fixed::<4>(packet, 12)?),
        requested_address: address_in(REQUESTED_ADDRESS),
        server: address_in(SERVER_IDENTIFIER),
        hops: packet.get(3).copied().unwrap_or_default(),
        relay: relay(packet, find(RELAY_INFORMATION))?,
        client_identifier: find(CLIENT_IDENTIFIER).map(<[u8]>::to_vec),
        machine_identifier: find(MACHINE_IDENTIFIER).map(<[u8]>::to_vec),
    })
}

fn relay(packet: &[u8], information: Option<&[u8]>) -> Result<Option<Relay>, Silence> {
    let address = Ipv4Addr::from(fixed::<4>(packet, 24)?);
    if address.is_unspecified() {
        return Ok(None);
    }
    if packet.get(3).is_none_or(|hops| *hops > MAX_HOPS) {
        return Err(Silence::UnknownRelay(address));
    }
    let information = information.unwrap_or_default().to_vec();
    Ok(Some(Relay {
        address,
        information,
    }))
}

fn client(
    class: Option<&[u8]>,
    user_class: Option<&[u8]>,
    architecture: Option<&[u8]>,
) -> Result<Client, Silence> {
    let architecture = architecture.and_then(|value| value.first_chunk::<2>());
    let architecture = architecture.map(|value| u16::from_be_bytes(*value));
    let class = class.unwrap_or_default();
    if class == watch::CLASS {
        return Err(Silence::Watch);
    }
    // iPXE sends the bare word; RFC 3004 has a length before it.
    let is_ipxe = user_class.is_some_and(|class| class == b"iPXE" || class == b"\x04iPXE");
    let (pxe, http) = (
        class.starts_with(b"PXEClient"),
        class.starts_with(b"HTTPClient"),
    );
    match architecture {
        Some(BIOS) if is_ipxe => Ok(Client::Ipxe),
        Some(code) if is_ipxe && UEFI_X64.contains(&code) => Ok(Client::Ipxe),
        Some(UEFI_X64_HTTP) if http => Ok(Client::UefiHttp),
        Some(BIOS) if pxe => Ok(Client::PxeBios),
        Some(code) if pxe && UEFI_X64.contains(&code) => Ok(Client::PxeUefi),
        _ => Err(Silence::NotNetworkBoot { architecture }),
    }
}

/// Bytes of the part that every packet has.
fn fixed<const N: usize>(packet: &[u8], offset: usize) -> Result<[u8; N], Silence> {
    let bytes = packet.get(offset..offset + N);
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Silence::Malformed)
}

/// The client's address, if the packet is long enough and says Ethernet with six octets.
fn ethernet_address(packet: &[u8]) -> Option<MacAddress> {
    const ETHERNET: u8 = 1;
    if packet.get(1..3)? != [ETHERNET, 6] || packet.get(FIXED_LENGTH..FIXED_LENGTH + 4)? != MAGIC {
        return None;
    }
    MacAddress::new(packet.get(28..34)?.try_into().ok()?).ok()
}

/// The options up to their end, or up to where they say more than there is.
pub(super) fn options(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let [PAD, tail @ ..] = rest {
            rest = tail;
        }
        let [code, length, tail @ ..] = rest else {
            return None;
        };
        if *code == END {
            return None;
        }
        let (value, after) = tail.split_at_checked(usize::from(*length))?;
        rest = after;
        Some((*code, value))
    })
}

/// Of an answer by somebody else: the server that gave it.
pub(super) fn server_of(packet: &[u8]) -> Option<(u32, Ipv4Addr)> {
    const BOOT_REPLY: u8 = 2;
    if packet.first() != Some(&BOOT_REPLY) || packet.get(FIXED_LENGTH..FIXED_LENGTH + 4)? != MAGIC {
        return None;
    }
    let after = packet.get(FIXED_LENGTH + MAGIC.len()..)?;
    let (_, server) = options(after).find(|(code, _)| *code == SERVER_IDENTIFIER)?;
    let server = <[u8; 4]>::try_from(server).ok()?;
    let transaction = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
    Some((transaction, server.into()))
}
