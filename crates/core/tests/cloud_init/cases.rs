//! The cases: every kind of link with every way of tagging and every kind of addressing, with routes and
//! MTUs in turn; every third of these with another sort of routes and MTUs as well. Always the same
//! ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, Bond, BondMode, CheckedNetworking, FixedAddress, Gateway, LacpRate,
    Link, NodeNetworking, Port, Route, Tag,
};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) networking: CheckedNetworking,
    /// What the operating system calls its NICs, by MAC address.
    pub(crate) interfaces: BTreeMap<String, String>,
}

const LINKS: [&str; 7] = [
    "one_port",
    "named_port",
    "two_ports",
    "lacp_fast",
    "lacp_slow",
    "active_backup",
    "bond_and_port",
];
const TAGGING: [&str; 4] = ["native", "tagged", "native_and_tagged", "two_tagged"];
const ADDRESSING: [&str; 7] = [
    "ipv4", "ipv6", "dual", "subnets", "dhcpv4", "slaac", "dhcpv6",
];
/// What is ordered beside: routes (none, some), MTU of link and of VLANs.
const BESIDE: [(bool, u16, u16); 5] = [
    (false, 1500, 1500),
    (true, 9000, 1500),
    (false, 9000, 9000),
    (true, 1500, 1400),
    (true, 9216, 9000),
];

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for link in LINKS {
        for tagging in TAGGING {
            for addressing in ADDRESSING {
                let count = cases.len();
                let beside = |step: usize| BESIDE[(count + step) % BESIDE.len()];
                cases.push(case(link, tagging, addressing, beside(0)));
                if count % 3 == 0 {
                    cases.push(case(link, tagging, addressing, beside(2)));
                }
            }
        }
    }
    cases.extend([
        two_bonds(),
        many_subnets(),
        on_link(),
        automatic(),
        four_servers(),
    ]);
    cases
}

pub(crate) fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0xab, 0xc0, number]).unwrap()
}

fn finish(name: String, networking: NodeNetworking) -> Case {
    let interfaces = networking.ports.iter().enumerate();
    let interfaces =
        interfaces.map(|(index, port)| (port.mac.to_string(), format!("enp{}s0f1", index + 1)));
    Case {
        interfaces: interfaces.collect(),
        networking: networking
            .check()
            .unwrap_or_else(|error| panic!("{name}: {error}")),
        name,
    }
}

fn ports(mtus: &[u16]) -> Vec<Port> {
    let ports = mtus.iter().enumerate();
    ports
        .map(|(index, mtu)| Port {
            mac: mac(index as u8),
            name: None,
            mtu: *mtu,
        })
        .collect()
}

fn bond(members: &[u8], mode: BondMode, mtu: u16) -> Bond {
    Bond {
        members: members.iter().map(|member| mac(*member)).collect(),
        mode,
        mtu,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn case(link: &str, tagging: &str, addressing: &str, beside: (bool, u16, u16)) -> Case {
    let (routes, link_mtu, vlan_mtu) = beside;
    let routed = if routes { "routes" } else { "no_routes" };
    let name = format!("{link} {tagging} {addressing} {routed} {link_mtu}/{vlan_mtu}");
    let lacp = |rate| BondMode::Lacp { rate };
    let mut networking = NodeNetworking {
        name_servers: vec![address("192.0.2.53"), address("2001:db8:53::1")],
        search_domains: vec!["rack.example".into(), "example.org".into()],
        ..NodeNetworking::default()
    };
    let count = match link {
        "one_port" | "named_port" => 1,
        "bond_and_port" => 3,
        _ => 2,
    };
    networking.ports = ports(&vec![link_mtu; count]);
    let mode = match link {
        "lacp_slow" => Some(lacp(LacpRate::Slow)),
        "lacp_fast" | "bond_and_port" => Some(lacp(LacpRate::Fast)),
        "active_backup" => Some(BondMode::ActiveBackup),
        _ => None,
    };
    networking.bonds = mode
        .map(|mode| bond(&[0, 1], mode, link_mtu))
        .into_iter()
        .collect();
    if link == "named_port" {
        networking.ports[0].name = Some("uplink".into());
    }
    let (first, last) = match link {
        "two_ports" => (Link::Port(mac(0)), Link::Port(mac(1))),
        "bond_and_port" => (Link::Bond(0), Link::Port(mac(2))),
        "one_port" | "named_port" => (Link::Port(mac(0)), Link::Port(mac(0))),
        _ => (Link::Bond(0), Link::Bond(0)),
    };
    let vlan = |id| Tag::Vlan { id, mtu: vlan_mtu };
    let places = match tagging {
        "native" if first == last => vec![(first, Tag::Native)],
        "native" => vec![(first, Tag::Native), (last, Tag::Native)],
        "tagged" => vec![(last, vlan(100))],
        "native_and_tagged" => vec![(first, Tag::Native), (last, vlan(4094))],
        _ => vec![(first, vlan(1)), (last, vlan(2345))],
    };
    for (number, (link, tag)) in places.into_iter().enumerate() {
        networking.attachments.push(Attachment {
            network: format!("network-{number}"),
            link,
            tag,
            addressing: ways(addressing, number as u8, routes),
        });
    }
    finish(name, networking)
}

/// How addresses are come by on network `number`; the first network has the gateways.
fn ways(kind: &str, number: u8, routes: bool) -> Vec<Addressing> {
    let ipv4 = |subnet| fixed_ipv4(number, subnet, routes);
    let ipv6 = |subnet| fixed_ipv6(number, subnet, routes);
    match kind {
        "ipv4" => vec![ipv4(0)],
        "ipv6" => vec![ipv6(0)],
        "dual" => vec![ipv6(0), ipv4(0)],
        "subnets" => vec![
            ipv4(0),
            without_gateway(ipv4(1)),
            ipv6(0),
            without_gateway(ipv6(1)),
        ],
        "dhcpv4" => vec![Addressing::Dhcpv4],
        "slaac" if number == 0 => vec![ipv4(0), Addressing::Slaac],
        "slaac" => vec![Addressing::Slaac],
        _ if number == 0 => vec![Addressing::Dhcpv4, Addressing::Dhcpv6],
        _ => vec![ipv4(0), Addressing::Dhcpv6],
    }
}

fn fixed_ipv4(number: u8, subnet: u8, routes: bool) -> Addressing {
    let net = format!("10.{number}.{subnet}");
    let routes_to = [
        (
            format!("172.{}.{subnet}.0/24", 16 + number),
            format!("{net}.9"),
        ),
        (format!("198.51.{number}.{subnet}/32"), format!("{net}.8")),
    ];
    let routes = if routes { &routes_to[..] } else { &[] };
    fixed(&format!("{net}.10/28"), number, &format!("{net}.1"), routes)
}

fn fixed_ipv6(number: u8, subnet: u8, routes: bool) -> Addressing {
    let net = format!("2001:db8:{number}:{subnet}");
    let routes_to = [
        (
            format!("2001:db8:a{number}{subnet}::/48"),
            format!("{net}::9"),
        ),
        (
            format!("2001:db8:b::{number}:{subnet}/128"),
            "fe80::1".into(),
        ),
    ];
    let routes = if routes { &routes_to[..] } else { &[] };
    fixed(
        &format!("{net}::a/64"),
        number,
        &format!("{net}::1"),
        routes,
    )
}

/// Only the first network has a default gateway.
fn fixed(own: &str, number: u8, gateway: &str, routes: &[(String, String)]) -> Addressing {
    let routes = routes.iter().map(|(destination, gateway)| Route {
        destination: destination.parse().unwrap(),
        gateway: address(gateway),
    });
    Addressing::Fixed(FixedAddress {
        address: own.parse().unwrap(),
        gateway: (number == 0).then(|| Gateway {
            address: address(gateway),
            on_link: false,
        }),
        routes: routes.collect(),
    })
}

fn without_gateway(addressing: Addressing) -> Addressing {
    match addressing {
        Addressing::Fixed(fixed) => Addressing::Fixed(FixedAddress {
            gateway: None,
            ..fixed
        }),
        other => other,
    }
}

fn attach(network: &str, link: Link, tag: Tag, addressing: Vec<Addressing>) -> Attachment {
    Attachment {
        network: network.into(),
        link,
        tag,
        addressing,
    }
}

/// Two bonds, three networks, the same VLAN on both.
fn two_bonds() -> Case {
    let vlan = |id| Tag::Vlan { id, mtu: 1500 };
    let networking = NodeNetworking {
        ports: ports(&[9000, 1500, 9000, 1500]),
        bonds: vec![
            bond(&[0, 2], BondMode::default(), 9000),
            bond(&[3, 1], BondMode::ActiveBackup, 1500),
        ],
        attachments: vec![
            attach("storage", Link::Bond(0), Tag::Native, ways("ipv6", 1, true)),
            attach("public", Link::Bond(1), vlan(7), ways("dual", 0, false)),
            attach("private", Link::Bond(0), vlan(7), ways("subnets", 2, true)),
        ],
        ..NodeNetworking::default()
    };
    finish("two bonds".into(), networking)
}

/// A dozen addresses on one network.
fn many_subnets() -> Case {
    let all = (0..6).flat_map(|subnet| [fixed_ipv4(9, subnet, true), fixed_ipv6(9, subnet, true)]);
    let networking = NodeNetworking {
        ports: ports(&[1500, 1500]),
        attachments: vec![attach(
            "many",
            Link::Port(mac(1)),
            Tag::Native,
            all.collect(),
        )],
        name_servers: vec![address("192.0.2.53")],
        ..NodeNetworking::default()
    };
    finish(
        "many subnets, and a port that nothing uses".into(),
        networking,
    )
}

/// A host route for an address, and gateways beyond it, as hosters have them.
fn on_link() -> Case {
    let own = |address: &str, gateway: &str| {
        Addressing::Fixed(FixedAddress {
            address: address.parse().unwrap(),
            gateway: Some(Gateway {
                address: gateway.parse().unwrap(),
                on_link: !gateway.starts_with("fe80"),
            }),
            routes: Vec::new(),
        })
    };
    let networking = NodeNetworking {
        ports: ports(&[1500]),
        attachments: vec![attach(
            "hosts",
            Link::Port(mac(0)),
            Tag::Native,
            vec![
                own("203.0.113.7/32", "198.51.100.1"),
                own("2001:db8:1:2::7/128", "fe80::1"),
            ],
        )],
        name_servers: vec![address("192.0.2.53")],
        ..NodeNetworking::default()
    };
    finish("gateways on the link".into(), networking)
}

/// Nothing is fixed but name servers and search domains.
fn automatic() -> Case {
    let networking = NodeNetworking {
        ports: ports(&[1500]),
        attachments: vec![attach(
            "dynamic",
            Link::Port(mac(0)),
            Tag::Native,
            vec![Addressing::Dhcpv4],
        )],
        name_servers: vec![address("192.0.2.53")],
        search_domains: vec!["example.org".into()],
        ..NodeNetworking::default()
    };
    finish("DHCP and own name servers".into(), networking)
}

fn four_servers() -> Case {
    let servers = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
    let networking = NodeNetworking {
        ports: ports(&[1500]),
        attachments: vec![attach(
            "only",
            Link::Port(mac(0)),
            Tag::Native,
            ways("dual", 0, false),
        )],
        name_servers: servers.into_iter().map(address).collect(),
        ..NodeNetworking::default()
    };
    finish("four name servers".into(), networking)
}
