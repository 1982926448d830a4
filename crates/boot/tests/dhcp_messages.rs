//! Who is answered and how, packet by packet.

use std::net::Ipv4Addr;

use bessemer_boot::dhcp::{BootLease, Config, Kind, Reply, Request, Silence};
use bessemer_core::net::MacAddress;
use dhcproto::v4::{
    Architecture, DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::prelude::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);

fn config() -> Config {
    Config {
        server: SERVER,
        lease_seconds: 600,
    }
}

fn lease() -> BootLease {
    BootLease {
        address: ADDRESS,
        subnet: "10.77.0.0/24".parse().unwrap(),
        router: None,
        dns: vec![],
        url: "http://10.77.0.1:8000/boot/1.efi".into(),
    }
}

/// What OVMF sends when it boots from HTTP.
fn request(kind: MessageType) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(0x1234_5678, none, none, none, none, &MAC);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ClientSystemArchitecture(Architecture(16)));
    options.insert(DhcpOption::ClassIdentifier(
        b"HTTPClient:Arch:00016:UNDI:003001".to_vec(),
    ));
    options.insert(DhcpOption::ClientIdentifier(vec![1, 2, 3]));
    message
}

fn selecting(server: Ipv4Addr, address: Ipv4Addr) -> Message {
    let mut message = request(MessageType::Request);
    message
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier(server));
    message
        .opts_mut()
        .insert(DhcpOption::RequestedIpAddress(address));
    message
}

fn ask(message: &Message) -> Result<Reply, Silence> {
    let request = Request::parse(&message.to_vec().unwrap()).map_err(|(_, why)| why)?;
    assert_eq!(request.mac(), MacAddress::new(MAC).unwrap());
    request.answer(&config(), Some(&lease()))
}

fn decode(reply: &Reply) -> Message {
    Message::decode(&mut Decoder::new(&reply.packet)).unwrap()
}

#[test]
fn a_discover_gets_an_offer_with_the_boot_file() {
    let reply = ask(&request(MessageType::Discover)).unwrap();
    assert_eq!(reply.kind, Kind::Offer);
    assert_eq!(reply.destination.to_string(), "255.255.255.255:68");
    assert!(reply.packet.len() >= 300);
    let offer = decode(&reply);
    assert_eq!(
        (offer.opcode(), offer.xid()),
        (Opcode::BootReply, 0x1234_5678)
    );
    assert_eq!((offer.yiaddr(), offer.chaddr()), (ADDRESS, MAC.as_slice()));
    assert!(offer.flags().broadcast());
    for expected in [
        DhcpOption::MessageType(MessageType::Offer),
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::AddressLeaseTime(600),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()),
        DhcpOption::BootfileName(b"http://10.77.0.1:8000/boot/1.efi".to_vec()),
        DhcpOption::ClientIdentifier(vec![1, 2, 3]),
    ] {
        assert_eq!(offer.opts().get((&expected).into()), Some(&expected));
    }
    assert!(!offer.opts().contains(OptionCode::Router));
    assert!(!offer.opts().contains(OptionCode::DomainNameServer));
}

#[test]
fn router_and_name_servers_are_told_if_there_are_any() {
    let lease = BootLease {
        router: Some(SERVER),
        dns: vec![OTHER, SERVER],
        ..lease()
    };
    let request = Request::parse(&request(MessageType::Discover).to_vec().unwrap()).unwrap();
    let offer = decode(&request.answer(&config(), Some(&lease)).unwrap());
    let options = offer.opts();
    assert_eq!(
        options.get(OptionCode::Router),
        Some(&DhcpOption::Router(vec![SERVER]))
    );
    assert_eq!(
        options.get(OptionCode::DomainNameServer),
        Some(&DhcpOption::DomainNameServer(vec![OTHER, SERVER]))
    );
}

#[test]
fn a_request_for_its_own_address_is_acknowledged_and_for_another_refused() {
    let ack = ask(&selecting(SERVER, ADDRESS)).unwrap();
    assert_eq!(ack.kind, Kind::Ack);
    assert_eq!(decode(&ack).yiaddr(), ADDRESS);
    let nak = ask(&selecting(SERVER, OTHER)).unwrap();
    assert_eq!(nak.kind, Kind::Nak);
    let message = decode(&nak);
    assert!(message.yiaddr().is_unspecified());
    assert!(!message.opts().contains(OptionCode::BootfileName));

    // A reboot that remembers its address, or remembers a wrong one.
    for (address, kind) in [(ADDRESS, Kind::Ack), (OTHER, Kind::Nak)] {
        let mut reboot = request(MessageType::Request);
        reboot
            .opts_mut()
            .insert(DhcpOption::RequestedIpAddress(address));
        assert_eq!(ask(&reboot).unwrap().kind, kind);
    }
}

#[test]
fn a_renewal_is_answered_to_the_client_itself() {
    let mut renewal = request(MessageType::Request);
    renewal.set_ciaddr(ADDRESS);
    let ack = ask(&renewal).unwrap();
    assert_eq!((ack.kind, *ack.destination.ip()), (Kind::Ack, ADDRESS));
    renewal.set_ciaddr(OTHER);
    let nak = ask(&renewal).unwrap();
    assert_eq!(
        (nak.kind, *nak.destination.ip()),
        (Kind::Nak, Ipv4Addr::BROADCAST)
    );
}

#[test]
fn everything_else_meets_silence_and_a_reason() {
    let silence = |message: &Message| ask(message).unwrap_err();
    assert_eq!(
        silence(&selecting(OTHER, ADDRESS)),
        Silence::OtherServer(OTHER)
    );
    assert_eq!(
        silence(&request(MessageType::Inform)),
        Silence::OtherMessage
    );
    assert_eq!(silence(&request(MessageType::Decline)), Silence::Declined);
    assert_eq!(silence(&request(MessageType::Release)), Silence::Released);
    let mut relayed = request(MessageType::Discover);
    relayed.set_giaddr(OTHER);
    assert_eq!(silence(&relayed), Silence::Relayed);
    let mut reply = request(MessageType::Discover);
    reply.set_opcode(Opcode::BootReply);
    assert_eq!(silence(&reply), Silence::Malformed);

    for architecture in [0, 7, 9, 15, 19] {
        let mut other = request(MessageType::Discover);
        let option = DhcpOption::ClientSystemArchitecture(Architecture(architecture));
        other.opts_mut().insert(option);
        let expected = Silence::NotUefiHttpBoot {
            architecture: Some(architecture),
        };
        assert_eq!(silence(&other), expected);
    }
    let mut pxe = request(MessageType::Discover);
    pxe.opts_mut().insert(DhcpOption::ClassIdentifier(
        b"PXEClient:Arch:00007".to_vec(),
    ));
    assert!(matches!(silence(&pxe), Silence::NotUefiHttpBoot { .. }));
    let mut operating_system = request(MessageType::Discover);
    operating_system
        .opts_mut()
        .remove(OptionCode::ClientSystemArchitecture);
    let expected = Silence::NotUefiHttpBoot { architecture: None };
    assert_eq!(silence(&operating_system), expected);

    let discover = Request::parse(&request(MessageType::Discover).to_vec().unwrap()).unwrap();
    assert_eq!(discover.answer(&config(), None), Err(Silence::NotExpected));
    for url in [String::new(), "x".repeat(256), "http://ä".into()] {
        let lease = BootLease { url, ..lease() };
        assert_eq!(
            discover.answer(&config(), Some(&lease)),
            Err(Silence::UnusableUrl)
        );
    }
}

#[test]
fn malformed_packets_are_told_apart_from_known_clients() {
    let packet = request(MessageType::Discover).to_vec().unwrap();
    let why = |packet: &[u8]| Request::parse(packet).unwrap_err();
    assert_eq!(why(&[]), (None, Silence::Malformed));
    assert_eq!(why(&packet[..200]), (None, Silence::Malformed));
    for (at, value) in [(1, 6), (2, 255), (2, 0), (28, 1), (236, 0)] {
        let mut wrong = packet.clone();
        wrong[at] = value;
        assert_eq!(why(&wrong), (None, Silence::Malformed), "byte {at}");
    }
    let (mac, reason) = why(&packet[..240]);
    assert_eq!(
        (mac, reason),
        (MacAddress::new(MAC).ok(), Silence::Malformed)
    );
}

/// Each of these made the packet library panic.
#[test]
fn options_that_lie_about_themselves_are_not_looked_at() {
    for (code, value) in [
        (152, vec![0; 5]),
        (151, vec![]),
        (121, vec![33, 0, 0, 0, 0, 0, 0, 0, 0]),
        (94, vec![1]),
        (80, vec![1]),
    ] {
        let mut message = request(MessageType::Discover);
        let lie = UnknownOption::new(OptionCode::from(code), value);
        message.opts_mut().insert(DhcpOption::Unknown(lie));
        let request = Request::parse(&message.to_vec().unwrap()).unwrap();
        request.answer(&config(), Some(&lease())).unwrap();
    }
}

proptest! {
    #[test]
    fn no_packet_panics(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Request::parse(&packet);
    }

    #[test]
    fn no_damage_to_a_real_packet_panics(
        kind in 1u8..20,
        damage in prop::collection::vec((0usize..400, any::<u8>()), 0..20),
        cut in 0usize..400,
        extra in prop::collection::vec(any::<u8>(), 0..60),
        code in 1u8..254,
    ) {
        let mut message = request(MessageType::from(kind));
        let unknown = UnknownOption::new(OptionCode::from(code), extra);
        message.opts_mut().insert(DhcpOption::Unknown(unknown));
        let mut packet = message.to_vec().unwrap();
        for (at, value) in damage {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(packet.len().saturating_sub(cut % 50));
        if let Ok(request) = Request::parse(&packet) {
            let answer = request.answer(&config(), Some(&lease()));
            if let Ok(reply) = answer {
                prop_assert!(reply.packet.len() >= 300 && reply.packet.len() <= 1472);
                prop_assert_eq!(decode(&reply).xid(), request_xid(&packet));
            }
        }
    }
}

fn request_xid(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[4..8].try_into().unwrap())
}
