//! Who is answered and how, packet by packet.

use std::net::Ipv4Addr;

use bessemer_boot::dhcp::{
    BootLease, Client, Config, Expectation, Kind, Mode, Port, Reply, Request, Silence,
};
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
        mode: Mode::Full,
        lease_seconds: 600,
        relayed: vec!["10.76.0.0/24".parse().unwrap()],
        pxe_bios_file: "undionly.kpxe".into(),
        pxe_uefi_file: "snponly.efi".into(),
    }
}

fn lease() -> BootLease {
    BootLease {
        address: ADDRESS,
        subnet: "10.77.0.0/24".parse().unwrap(),
        router: None,
        dns: vec![],
        url: "http://10.77.0.1:8000/boot/1.efi".into(),
        script: "http://10.77.0.1:8000/boot/1.ipxe".into(),
    }
}

fn agent() -> Expectation {
    Expectation::Agent(lease())
}

/// What firmware of this kind sends. iPXE calls itself PXE, and says more.
fn request_of(client: Client, kind: MessageType) -> Message {
    let (class, architecture) = match client {
        Client::UefiHttp => ("HTTPClient:Arch:00016:UNDI:003001", 16),
        Client::PxeBios => ("PXEClient:Arch:00000:UNDI:002001", 0),
        Client::PxeUefi => ("PXEClient:Arch:00007:UNDI:003001", 7),
        Client::Ipxe => ("PXEClient:Arch:00007:UNDI:003010", 7),
    };
    let mut message = request(kind);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientSystemArchitecture(Architecture(
        architecture,
    )));
    options.insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
    if client == Client::Ipxe {
        let user_class = UnknownOption::new(OptionCode::from(77), b"iPXE".to_vec());
        options.insert(DhcpOption::Unknown(user_class));
    }
    message
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
    request.answer(&config(), Port::Dhcp, &agent())
}

fn decode(reply: &Reply) -> Message {
    Message::decode(&mut Decoder::new(&reply.packet)).unwrap()
}

#[test]
fn a_discover_gets_an_offer_with_the_boot_file() {
    let reply = ask(&request(MessageType::Discover)).unwrap();
    assert_eq!(reply.kind, Kind::Offer);
    assert_eq!(reply.destination.unwrap().to_string(), "255.255.255.255:68");
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
    let offer = decode(
        &request
            .answer(&config(), Port::Dhcp, &Expectation::Agent(lease))
            .unwrap(),
    );
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
    assert_eq!(
        (ack.kind, *ack.destination.unwrap().ip()),
        (Kind::Ack, ADDRESS)
    );
    renewal.set_ciaddr(OTHER);
    let nak = ask(&renewal).unwrap();
    assert_eq!(
        (nak.kind, *nak.destination.unwrap().ip()),
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
    let mut reply = request(MessageType::Discover);
    reply.set_opcode(Opcode::BootReply);
    assert_eq!(silence(&reply), Silence::Malformed);

    // 6 is UEFI of 32 bits, 11 ARM; with HTTP's class, PXE's architectures make no sense.
    for architecture in [0, 6, 7, 9, 11, 15, 19] {
        let mut other = request(MessageType::Discover);
        let option = DhcpOption::ClientSystemArchitecture(Architecture(architecture));
        other.opts_mut().insert(option);
        let expected = Silence::NotNetworkBoot {
            architecture: Some(architecture),
        };
        assert_eq!(silence(&other), expected);
    }
    let mut operating_system = request(MessageType::Discover);
    operating_system
        .opts_mut()
        .remove(OptionCode::ClientSystemArchitecture);
    let expected = Silence::NotNetworkBoot { architecture: None };
    assert_eq!(silence(&operating_system), expected);

    let discover = Request::parse(&request(MessageType::Discover).to_vec().unwrap()).unwrap();
    let answer = |expected: &Expectation| discover.answer(&config(), Port::Dhcp, expected);
    assert_eq!(answer(&Expectation::Nothing), Err(Silence::NotExpected));
    for url in [String::new(), "x".repeat(256), "http://ä".into()] {
        let lease = BootLease { url, ..lease() };
        assert_eq!(
            answer(&Expectation::Agent(lease)),
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
        request.answer(&config(), Port::Dhcp, &agent()).unwrap();
    }
}

#[test]
fn each_kind_of_firmware_gets_its_own_boot_file() {
    for (client, file, class) in [
        (
            Client::UefiHttp,
            "http://10.77.0.1:8000/boot/1.efi",
            "HTTPClient",
        ),
        (Client::PxeBios, "undionly.kpxe", "PXEClient"),
        (Client::PxeUefi, "snponly.efi", "PXEClient"),
        (
            Client::Ipxe,
            "http://10.77.0.1:8000/boot/1.ipxe",
            "PXEClient",
        ),
    ] {
        let request = request_of(client, MessageType::Discover).to_vec().unwrap();
        let request = Request::parse(&request).unwrap();
        assert_eq!(request.client(), client);
        let offer = request.answer(&config(), Port::Dhcp, &agent()).unwrap();
        let offer = decode(&offer);
        let options = offer.opts();
        let expected = DhcpOption::BootfileName(file.as_bytes().to_vec());
        assert_eq!(options.get(OptionCode::BootfileName), Some(&expected));
        let expected = DhcpOption::ClassIdentifier(class.as_bytes().to_vec());
        assert_eq!(options.get(OptionCode::ClassIdentifier), Some(&expected));
        assert_eq!((offer.siaddr(), offer.yiaddr()), (SERVER, ADDRESS));
        // Without it, UEFI's PXE takes no offer that says PXEClient.
        let control = options.contains(OptionCode::from(43));
        assert_eq!(control, class == "PXEClient");
        let tftp = matches!(client, Client::PxeBios | Client::PxeUefi);
        let named = offer.fname().map(|name| name.starts_with(file.as_bytes()));
        assert_eq!(named == Some(true), tftp, "{client:?}");
        assert_eq!(options.contains(OptionCode::TFTPServerName), tftp);
    }
}

#[test]
fn a_node_that_is_to_boot_its_disk_never_gets_the_agent() {
    let disk = Expectation::Disk {
        script: "http://10.77.0.1:8000/boot/disk.ipxe".into(),
    };
    let proxy = Config {
        mode: Mode::Proxy,
        ..config()
    };
    for client in [
        Client::UefiHttp,
        Client::PxeBios,
        Client::PxeUefi,
        Client::Ipxe,
    ] {
        let request = request_of(client, MessageType::Discover).to_vec().unwrap();
        let request = Request::parse(&request).unwrap();
        let answer = request.answer(&config(), Port::Dhcp, &disk);
        assert_eq!(answer, Err(Silence::BootsItsDisk), "{client:?}");
        let beside = request.answer(&proxy, Port::Dhcp, &disk);
        // iPXE that is there already has an address of the other server's, and can be told.
        if client != Client::Ipxe {
            assert_eq!(beside, Err(Silence::BootsItsDisk), "{client:?}");
            continue;
        }
        let beside = beside.unwrap();
        assert!(beside.boots_disk);
        let offer = decode(&beside);
        let expected = DhcpOption::BootfileName(b"http://10.77.0.1:8000/boot/disk.ipxe".to_vec());
        assert_eq!(offer.opts().get(OptionCode::BootfileName), Some(&expected));
    }
    assert!(Silence::BootsItsDisk.is_normal());
}

#[test]
fn beside_another_server_there_are_boot_files_but_no_addresses() {
    let proxy = Config {
        mode: Mode::Proxy,
        ..config()
    };
    let ask = |message: &Message, port, expected: &Expectation| {
        let request = Request::parse(&message.to_vec().unwrap()).unwrap();
        request.answer(&proxy, port, expected)
    };
    for client in [Client::UefiHttp, Client::PxeBios, Client::Ipxe] {
        let discover = request_of(client, MessageType::Discover);
        let offer = ask(&discover, Port::Dhcp, &agent()).unwrap();
        assert_eq!((offer.kind, offer.address), (Kind::Offer, None));
        let message = decode(&offer);
        assert!(message.yiaddr().is_unspecified());
        assert!(message.opts().contains(OptionCode::BootfileName));
        for address in [OptionCode::AddressLeaseTime, OptionCode::SubnetMask] {
            assert!(!message.opts().contains(address));
        }
        let control = message.opts().contains(OptionCode::from(43));
        assert_eq!(control, client != Client::UefiHttp, "PXE's own option");
        // The address is settled with the other server, and the boot file once more with us.
        let request = request_of(client, MessageType::Request);
        let elsewhere = ask(&request, Port::Dhcp, &agent());
        assert_eq!(elsewhere, Err(Silence::NotForUs));
        let ack = ask(&request, Port::BootServer, &agent()).unwrap();
        assert_eq!((ack.kind, ack.destination), (Kind::Ack, None));
        let stranger = ask(&discover, Port::Dhcp, &Expectation::Nothing);
        assert_eq!(stranger, Err(Silence::NotForUs), "no business of ours");
    }
}

/// A request as a relay passes it on, with option 82.
fn relayed(relay: Ipv4Addr, hops: u8) -> Message {
    let mut message = request(MessageType::Discover);
    message.set_giaddr(relay).set_hops(hops);
    let information = b"\x01\x04swp7\x02\x06\x52\x54\x00\xb5\x00\x01".to_vec();
    let information = UnknownOption::new(OptionCode::from(82), information);
    message.opts_mut().insert(DhcpOption::Unknown(information));
    message
}

#[test]
fn a_relay_gets_the_answer_with_its_own_option_last() {
    let relay = Ipv4Addr::new(10, 76, 0, 1);
    let packet = relayed(relay, 1).to_vec().unwrap();
    let request = Request::parse(&packet).unwrap();
    let told = request.relay().unwrap();
    assert_eq!(told.address, relay);
    assert_eq!(told.circuit_id().as_deref(), Some("swp7"));
    assert_eq!(told.remote_id().as_deref(), Some("525400b50001"));
    let offer = request.answer(&config(), Port::Dhcp, &agent()).unwrap();
    assert_eq!(offer.destination.unwrap().to_string(), "10.76.0.1:67");
    let ending = b"\x52\x0e\x01\x04swp7\x02\x06\x52\x54\x00\xb5\x00\x01\xff";
    let end = offer.packet.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(offer.packet[..=end].ends_with(ending));
    let message = decode(&offer);
    assert_eq!((message.giaddr(), message.hops()), (relay, 1));
    assert!(message.flags().broadcast());
}

#[test]
fn relays_of_nobody_and_endless_chains_are_refused() {
    let silence = |message: &Message| match Request::parse(&message.to_vec().unwrap()) {
        Ok(request) => request.answer(&config(), Port::Dhcp, &agent()).unwrap_err(),
        Err((_, silence)) => silence,
    };
    // A forged giaddr would have us send packets to somebody else.
    for stranger in [
        OTHER,
        SERVER,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(8, 8, 8, 8),
    ] {
        let refused = Silence::UnknownRelay(stranger);
        assert_eq!(silence(&relayed(stranger, 1)), refused);
    }
    let relay = Ipv4Addr::new(10, 76, 0, 1);
    assert_eq!(silence(&relayed(relay, 17)), Silence::UnknownRelay(relay));
    let broadcast = Ipv4Addr::new(10, 76, 0, 255);
    let refused = Silence::UnknownRelay(broadcast);
    assert_eq!(silence(&relayed(broadcast, 1)), refused);
}

#[test]
fn answers_of_other_servers_are_noticed() {
    let answer = |server: Ipv4Addr| {
        let mut message = request(MessageType::Offer);
        message.set_opcode(Opcode::BootReply);
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(server));
        message.to_vec().unwrap()
    };
    let found = bessemer_boot::dhcp::stranger(&answer(OTHER), SERVER);
    assert_eq!(found.unwrap().server, OTHER);
    assert_eq!(bessemer_boot::dhcp::stranger(&answer(SERVER), SERVER), None);
    let question = request(MessageType::Discover).to_vec().unwrap();
    for other in [&question[..], b"", b"\x02garbage"] {
        assert_eq!(bessemer_boot::dhcp::stranger(other, SERVER), None);
    }
}

proptest! {
    #[test]
    fn no_packet_panics(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Request::parse(&packet);
        let _ = bessemer_boot::dhcp::stranger(&packet, SERVER);
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
            let answer = request.answer(&config(), Port::Dhcp, &agent());
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
