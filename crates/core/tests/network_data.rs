//! Descriptions that no server could make sense of are refused, each by the name of its field; and
//! the documents of two good ones, as a whole.

use std::net::IpAddr;

use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, Bond, BondMode, ConfigurationFile, Content, FixedAddress, Gateway,
    IpPrefix, LacpRate, Link, NetworkConfiguration, NodeNetworking, Port, Route, Tag, files,
    network_data,
};
use serde_json::json;

fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(number: u8, mtu: u16) -> Port {
    Port {
        mac: mac(number),
        name: None,
        mtu,
    }
}

fn fixed(address: &str, gateway: Option<&str>) -> FixedAddress {
    FixedAddress {
        address: prefix(address),
        gateway: gateway.map(|gateway| Gateway {
            address: ip(gateway),
            on_link: false,
        }),
        routes: Vec::new(),
    }
}

/// A bond with a native network, a tagged one of both families, and a third port of its own.
fn good() -> NodeNetworking {
    let mut private = fixed("10.0.0.5/24", None);
    private.routes.push(Route {
        destination: prefix("10.0.0.0/8"),
        gateway: ip("10.0.0.1"),
    });
    NodeNetworking {
        ports: vec![port(0, 9000), port(1, 9000), port(2, 1500), port(3, 1500)],
        bonds: vec![Bond {
            members: vec![mac(0), mac(1)],
            mode: BondMode::default(),
            mtu: 9000,
        }],
        attachments: vec![
            Attachment {
                network: "private".into(),
                link: Link::Bond(0),
                tag: Tag::Native,
                addressing: vec![Addressing::Fixed(private)],
            },
            Attachment {
                network: "public".into(),
                link: Link::Bond(0),
                tag: Tag::Vlan { id: 100, mtu: 1500 },
                addressing: vec![
                    Addressing::Fixed(fixed("2001:db8::a/64", Some("fe80::1"))),
                    Addressing::Fixed(fixed("192.0.2.10/28", Some("192.0.2.1"))),
                ],
            },
            Attachment {
                network: "lab".into(),
                link: Link::Port(mac(2)),
                tag: Tag::Native,
                addressing: vec![Addressing::Dhcpv4, Addressing::Slaac],
            },
        ],
        name_servers: vec![ip("192.0.2.53"), ip("2001:db8::53")],
        search_domains: vec!["example.org".into()],
    }
}

fn first_address(networking: &mut NodeNetworking, attachment: usize) -> &mut FixedAddress {
    match &mut networking.attachments[attachment].addressing[0] {
        Addressing::Fixed(fixed) => fixed,
        other => panic!("{other:?}"),
    }
}

type Change = fn(&mut NodeNetworking);

/// What is changed, and what the refusal then says.
const WRONG: &[(Change, &str)] = &[
    (
        |n| n.ports[1].mac = mac(0),
        "ports[1].mac: 52:54:00:00:00:00 is the MAC address of another port",
    ),
    (
        |n| n.ports[2].name = Some("eth 0".into()),
        "ports[2].name: `eth 0` cannot be the name",
    ),
    (
        |n| n.ports[2].name = Some("bond0".into()),
        "ports[2].name: `bond0` cannot be",
    ),
    (
        |n| n.ports[2].name = Some("../x".into()),
        "ports[2].name: `../x` cannot be",
    ),
    (
        |n| n.ports[2].name = Some(String::new()),
        "ports[2].name: `` cannot be",
    ),
    (
        |n| n.ports[2].name = Some("a234567890123456".into()),
        "1 to 15 lowercase letters",
    ),
    (
        |n| {
            n.ports[2].name = Some("a2345678901".into());
            n.attachments[2].tag = Tag::Vlan { id: 5, mtu: 1500 };
        },
        "ports[2].name: `a2345678901` cannot be the name of an interface: write 1 to 10",
    ),
    (
        |n| n.ports[2].name = Some("nic3".into()),
        "ports[3].name: `nic3` is the name of another",
    ),
    (
        |n| n.ports[3].mtu = 575,
        "ports[3].mtu: 575 is not from 576 to 9216 bytes",
    ),
    (|n| n.bonds[0].mtu = 9217, "bonds[0].mtu: 9217 is not from"),
    (
        |n| n.ports[1].mtu = 1500,
        "ports[1].mtu: 1500 is not the 9000 bytes of the bond",
    ),
    (
        |n| n.bonds[0].members.clear(),
        "bonds[0].members: a bond has at least two members, and this has 0",
    ),
    (
        |n| n.bonds[0].members.truncate(1),
        "bonds[0].members: a bond has at least two members, and this has 1",
    ),
    (
        |n| n.bonds[0].members[1] = mac(9),
        "bonds[0].members[1]: there is no port with the MAC address",
    ),
    (
        |n| n.bonds[0].members[1] = mac(0),
        "bonds[0].members[1]: 52:54:00:00:00:00 is a member of a bond already",
    ),
    (
        |n| {
            n.ports[3].mtu = 9000;
            n.bonds.push(Bond {
                members: vec![mac(3), mac(1)],
                ..n.bonds[0].clone()
            });
        },
        "bonds[1].members[1]: 52:54:00:00:00:01 is a member of a bond already",
    ),
    (
        |n| n.attachments[2].link = Link::Port(mac(9)),
        "attachments[2].link: there is no port",
    ),
    (
        |n| n.attachments[2].link = Link::Port(mac(1)),
        "attachments[2].link: 52:54:00:00:00:01 is a member of a bond: attach",
    ),
    (
        |n| n.attachments[2].link = Link::Bond(1),
        "attachments[2].link: there is no bond number 1",
    ),
    (
        |n| n.attachments[2].network = "public".into(),
        "attachments[2].network: the network `public` is attached already",
    ),
    (
        |n| n.attachments[1].tag = Tag::Vlan { id: 0, mtu: 1500 },
        "attachments[1].tag.id: 0 is not a VLAN id",
    ),
    (
        |n| {
            n.attachments[1].tag = Tag::Vlan {
                id: 4095,
                mtu: 1500,
            }
        },
        "attachments[1].tag.id: 4095 is not a VLAN id",
    ),
    (
        |n| n.attachments[1].tag = Tag::Vlan { id: 5, mtu: 9001 },
        "attachments[1].tag.mtu: 9001 is more than the 9000 bytes",
    ),
    (
        |n| n.attachments[1].tag = Tag::Vlan { id: 5, mtu: 1279 },
        "attachments[1].addressing: IPv6 needs an MTU of at least 1280",
    ),
    (
        |n| n.attachments[1].tag = Tag::Native,
        "attachments[1].tag: another network is native on this link",
    ),
    (
        |n| {
            n.attachments[2].link = Link::Bond(0);
            n.attachments[2].tag = n.attachments[1].tag;
        },
        "attachments[2].tag: VLAN 100 is on this link already",
    ),
    (
        |n| n.attachments[2].addressing.clear(),
        "attachments[2].addressing: there is no address, and no way",
    ),
    (
        |n| n.attachments[2].addressing.push(Addressing::Slaac),
        "attachments[2].addressing[2]: this is said twice",
    ),
    (
        |n| n.attachments[2].addressing.push(Addressing::Dhcpv6),
        "attachments[2].addressing: the network has SLAAC and DHCPv6",
    ),
    (
        |n| n.attachments[1].addressing.push(Addressing::Slaac),
        "attachments[1].addressing[2]: the network has fixed IPv6 addresses as well",
    ),
    (
        |n| n.attachments[0].addressing.push(Addressing::Dhcpv4),
        "attachments[0].addressing[1]: the network has fixed IPv4 addresses as well",
    ),
    (
        |n| first_address(n, 0).address = prefix("10.0.0.0/24"),
        "attachments[0].addressing[0].address: 10.0.0.0/24 cannot be the address of a host",
    ),
    (
        |n| first_address(n, 0).address = prefix("10.0.0.255/24"),
        "attachments[0].addressing[0].address: 10.0.0.255/24 cannot be",
    ),
    (
        |n| first_address(n, 0).address = prefix("224.0.0.9/24"),
        "attachments[0].addressing[0].address: 224.0.0.9/24 cannot be",
    ),
    (
        |n| first_address(n, 0).address = prefix("127.0.0.9/8"),
        "attachments[0].addressing[0].address: 127.0.0.9/8 cannot be",
    ),
    (
        |n| first_address(n, 0).address = prefix("10.0.0.9/0"),
        "attachments[0].addressing[0].address: 10.0.0.9/0 cannot be",
    ),
    (
        |n| first_address(n, 1).address = prefix("2001:db8::/64"),
        "attachments[1].addressing[0].address: 2001:db8::/64 cannot be",
    ),
    (
        |n| first_address(n, 0).address = prefix("192.0.2.10/24"),
        "attachments[1].addressing[1].address: 192.0.2.10 is given twice",
    ),
    (
        |n| first_address(n, 0).gateway = fixed("10.0.0.5/24", Some("10.0.1.1")).gateway,
        "attachments[0].addressing[0].gateway: 10.0.1.1 is not in 10.0.0.5/24",
    ),
    (
        |n| first_address(n, 0).gateway = fixed("10.0.0.5/24", Some("10.0.0.5")).gateway,
        "attachments[0].addressing[0].gateway: 10.0.0.5 is the server's own",
    ),
    (
        |n| first_address(n, 0).gateway = fixed("10.0.0.5/24", Some("10.0.0.255")).gateway,
        "attachments[0].addressing[0].gateway: 10.0.0.255/24 cannot be the address of a host",
    ),
    (
        |n| first_address(n, 0).gateway = fixed("10.0.0.5/24", Some("fe80::1")).gateway,
        "attachments[0].addressing[0].gateway: fe80::1 is not of the family",
    ),
    (
        |n| first_address(n, 0).gateway = fixed("10.0.0.5/24", Some("10.0.0.1")).gateway,
        "attachments[1].addressing[1].gateway: there is another IPv4 default gateway",
    ),
    (
        |n| first_address(n, 0).routes[0].destination = prefix("10.0.0.1/8"),
        "attachments[0].addressing[0].routes[0].destination: 10.0.0.1/8 has host bits",
    ),
    (
        |n| first_address(n, 0).routes[0].destination = prefix("0.0.0.0/0"),
        "attachments[0].addressing[0].routes[0].destination: 0.0.0.0/0 is everywhere",
    ),
    (
        |n| first_address(n, 0).routes[0].destination = prefix("2001:db8:1::/48"),
        "attachments[0].addressing[0].routes[0].destination: 2001:db8:1:: is not of the family",
    ),
    (
        |n| first_address(n, 0).routes[0].gateway = ip("10.0.1.1"),
        "attachments[0].addressing[0].routes[0].gateway: 10.0.1.1 is not in",
    ),
    (
        |n| {
            let route = first_address(n, 0).routes[0];
            first_address(n, 0).routes.push(route)
        },
        "attachments[0].addressing[0].routes[1].destination: there is another route to 10.0.0.0/8",
    ),
    (
        |n| n.name_servers[1] = ip("::"),
        "name_servers[1]: :: cannot be the address of a name server",
    ),
    (
        |n| n.name_servers[1] = ip("192.0.2.53"),
        "name_servers[1]: 192.0.2.53 is given twice",
    ),
    (
        |n| n.search_domains.push("Example.ORG".into()),
        "search_domains[1]: `Example.ORG` is listed twice",
    ),
    (
        |n| n.search_domains.push("a b".into()),
        "search_domains[1]: `a b` is not a domain name",
    ),
    (
        |n| n.search_domains.push("a'.org".into()),
        "search_domains[1]: `a'.org` is not",
    ),
    (
        |n| n.search_domains.push("-a.org".into()),
        "search_domains[1]: `-a.org` is not",
    ),
    (
        |n| n.search_domains.push(String::new()),
        "search_domains[1]: `` is not",
    ),
];

#[test]
fn mistakes_are_refused_by_the_name_of_their_field() {
    good().check().unwrap();
    for (change, expected) in WRONG {
        let mut networking = good();
        change(&mut networking);
        let said = match networking.check() {
            Ok(_) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "said: {said}\nnot: {expected}");
    }
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    let right: &[Change] = &[
        |n| {
            let fixed = first_address(n, 0);
            fixed.address = prefix("10.0.0.4/31");
            fixed.routes.clear();
        },
        |n| {
            let fixed = first_address(n, 1);
            fixed.address = prefix("2001:db8::a/128");
        },
        |n| {
            n.attachments[1].addressing.truncate(1);
            let fixed = first_address(n, 0);
            fixed.gateway = Some(Gateway {
                address: ip("198.51.100.1"),
                on_link: true,
            });
        },
        |n| n.ports[3].name = Some("a23456789012345".into()),
        |n| n.search_domains.push("_tcp.example.org".into()),
        |n| n.bonds[0].mode = BondMode::ActiveBackup,
        |n| {
            n.attachments.truncate(1);
            n.attachments[0].tag = Tag::Vlan { id: 4094, mtu: 576 };
        },
    ];
    for change in right {
        let mut networking = good();
        change(&mut networking);
        networking.check().unwrap();
    }
    NodeNetworking::default().check().unwrap();
}

#[test]
fn prefixes_are_read_and_written() {
    for text in ["192.0.2.10/24", "10.0.0.0/0", "2001:db8::a/128", "::/0"] {
        assert_eq!(prefix(text).to_string(), text);
    }
    for wrong in [
        "192.0.2.10",
        "192.0.2.10/33",
        "2001:db8::/129",
        "x/24",
        "192.0.2.10/-1",
        "/24",
    ] {
        let error = wrong.parse::<IpPrefix>().unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
    }
    assert!(prefix("192.0.2.10/24").contains(ip("192.0.2.200")));
    assert!(!prefix("192.0.2.10/28").contains(ip("192.0.2.200")));
    assert!(!prefix("0.0.0.1/0").contains(ip("::1")));
}

#[test]
fn the_document_has_every_link_and_every_address() {
    let document = network_data(&good().check().unwrap());
    let dns = json!(["192.0.2.53", "2001:db8::53"]);
    let search = json!(["example.org"]);
    assert_eq!(
        document,
        json!({
            "links": [
                { "id": "nic0", "type": "phy", "ethernet_mac_address": mac(0), "mtu": 9000 },
                { "id": "nic1", "type": "phy", "ethernet_mac_address": mac(1), "mtu": 9000 },
                { "id": "nic2", "type": "phy", "ethernet_mac_address": mac(2), "mtu": 1500 },
                { "id": "bond0", "type": "bond", "ethernet_mac_address": mac(0), "mtu": 9000,
                    "bond_links": ["nic0", "nic1"], "bond_mode": "802.3ad", "bond_miimon": 100,
                    "bond_lacp_rate": "fast", "bond_xmit_hash_policy": "layer3+4",
                    "bond-mode": "802.3ad", "bond-xmit-hash-policy": "layer3+4" },
                { "id": "bond0.100", "type": "vlan", "vlan_link": "bond0", "vlan_id": 100,
                    "vlan_mac_address": mac(0), "mtu": 1500 },
            ],
            "networks": [
                { "id": "network0", "network_id": "lab", "link": "nic2", "type": "ipv4_dhcp",
                    "routes": [], "dns_nameservers": dns, "dns_search": search },
                { "id": "network1", "network_id": "lab", "link": "nic2", "type": "ipv6_slaac",
                    "routes": [] },
                { "id": "network2", "network_id": "private", "link": "bond0", "type": "ipv4",
                    "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
                    "routes": [{ "network": "10.0.0.0", "netmask": "255.0.0.0",
                        "gateway": "10.0.0.1" }],
                    "dns_nameservers": dns, "dns_search": search },
                { "id": "network3", "network_id": "public", "link": "bond0.100", "type": "ipv4",
                    "ip_address": "192.0.2.10", "netmask": "255.255.255.240",
                    "gateway": "192.0.2.1", "routes": [],
                    "dns_nameservers": dns, "dns_search": search },
                { "id": "network4", "network_id": "public", "link": "bond0.100", "type": "ipv6",
                    "ip_address": "2001:db8::a", "netmask": "ffff:ffff:ffff:ffff::",
                    "gateway": "fe80::1", "routes": [] },
            ],
            "services": [
                { "type": "dns", "address": "192.0.2.53", "search": ["example.org"] },
                { "type": "dns", "address": "2001:db8::53" },
            ],
        })
    );
}

/// The files as one text.
fn as_text(files: &[ConfigurationFile]) -> String {
    let files = files.iter().map(|file| {
        let content = match &file.content {
            Content::Whole(text) => text.clone(),
            Content::Variables(variables) => variables
                .iter()
                .map(|(name, value)| format!("{name} becomes {value}\n"))
                .collect(),
        };
        format!("=== {} {:o}\n{content}", file.path, file.mode)
    });
    files.collect()
}

#[test]
fn wicked_gets_a_file_for_each_interface() {
    let networking = good().check().unwrap();
    let text = as_text(&files(&networking, NetworkConfiguration::Wicked));
    assert_eq!(text, include_str!("network_data/wicked.txt"));
}

#[test]
fn networkd_gets_its_units() {
    let mut networking = good();
    networking.bonds[0].mode = BondMode::Lacp {
        rate: LacpRate::Slow,
    };
    networking.ports[2].name = Some("lab".into());
    let networking = networking.check().unwrap();
    let text = as_text(&files(&networking, NetworkConfiguration::Networkd));
    assert_eq!(text, include_str!("network_data/networkd.txt"));
}

#[test]
fn cloud_init_gets_no_files() {
    let networking = good().check().unwrap();
    assert_eq!(files(&networking, NetworkConfiguration::CloudInit), []);
    let names = ["cloud_init", "wicked", "networkd"];
    for (configuration, name) in NetworkConfiguration::ALL.into_iter().zip(names) {
        assert_eq!(configuration.name(), name);
        assert_eq!(serde_json::to_value(configuration).unwrap(), name);
        let read: NetworkConfiguration = serde_json::from_value(json!(name)).unwrap();
        assert_eq!(read, configuration);
    }
}
