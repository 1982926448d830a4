//! Subnets: which addresses are theirs, and what is wrong with one.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn subnet(text: &str) -> IpSubnet {
    text.parse().unwrap()
}

fn pool(first: &str, last: &str) -> AddressPool {
    AddressPool {
        first: address(first),
        last: address(last),
    }
}

fn plan(cidr: &str, pools: &[(&str, &str)]) -> SubnetPlan {
    SubnetPlan {
        cidr: subnet(cidr),
        gateway: None,
        dns: vec![],
        routes: vec![],
        pools: pools.iter().map(|(a, b)| pool(a, b)).collect(),
    }
}

fn fault(plan: &SubnetPlan) -> (String, String) {
    let fault = plan.check().unwrap_err();
    (fault.field, fault.message)
}

#[test]
fn subnets_have_one_spelling() {
    for text in [
        "10.0.0.0/8",
        "192.168.1.4/30",
        "2001:db8::/64",
        "::/0",
        "0.0.0.0/0",
    ] {
        assert_eq!(subnet(text).to_string(), text);
    }
    assert_eq!(subnet("2001:0db8:0::0/64").to_string(), "2001:db8::/64");
    for wrong in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "2001:db8::1/64",
        "2001:db8::/129",
        "::ffff:10.0.0.0/104",
        "10.0.0.0",
        "10.0.0.0/-1",
        "/8",
        "",
    ] {
        assert!(wrong.parse::<IpSubnet>().is_err(), "{wrong}");
    }
}

#[test]
fn hosts_are_told_from_what_no_host_has() {
    let four = subnet("192.168.100.0/24");
    for (text, host) in [
        ("192.168.100.1", true),
        ("192.168.100.254", true),
        ("192.168.100.0", false),
        ("192.168.100.255", false),
        ("192.168.101.1", false),
        ("::c0a8:6401", false),
    ] {
        assert_eq!(four.contains_host(address(text)), host, "{text}");
    }
    let six = subnet("2001:db8::/64");
    for (text, host) in [
        ("2001:db8::1", true),
        ("2001:db8::ffff:ffff:ffff:ffff", true),
        ("2001:db8::", false),
        ("2001:db8:0:1::1", false),
        ("192.168.100.1", false),
    ] {
        assert_eq!(six.contains_host(address(text)), host, "{text}");
    }
}

#[test]
fn overlapping_is_having_an_address_in_common() {
    for (one, other, overlap) in [
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.0.0.0/24", "10.0.0.0/24", true),
        ("10.0.0.0/24", "10.0.1.0/24", false),
        ("0.0.0.0/0", "10.0.1.0/24", true),
        ("2001:db8::/32", "2001:db8:1::/64", true),
        ("2001:db8::/64", "2001:db8:0:1::/64", false),
        ("::/0", "10.0.0.0/8", false),
    ] {
        assert_eq!(
            subnet(one).overlaps(subnet(other)),
            overlap,
            "{one} {other}"
        );
        assert_eq!(
            subnet(other).overlaps(subnet(one)),
            overlap,
            "{other} {one}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_subnet_is_named() {
    let good = || plan("192.168.100.0/24", &[("192.168.100.10", "192.168.100.20")]);
    good().check().unwrap();
    let with = |change: &dyn Fn(&mut SubnetPlan)| {
        let mut plan = good();
        change(&mut plan);
        fault(&plan)
    };
    let route = |destination: &str, next_hop: &str| Route {
        destination: subnet(destination),
        next_hop: address(next_hop),
    };
    let cases: Vec<((String, String), &str, &str)> = vec![
        (with(&|p| p.cidr = subnet("10.0.0.0/31")), "cidr", "8 to 30"),
        (
            with(&|p| p.cidr = subnet("2001:db8::/48")),
            "cidr",
            "64 to 126",
        ),
        (
            with(&|p| p.cidr = subnet("127.0.1.0/24")),
            "cidr",
            "not for hosts",
        ),
        (
            with(&|p| p.cidr = subnet("239.0.0.0/8")),
            "cidr",
            "not for hosts",
        ),
        (
            with(&|p| p.cidr = subnet("fe80::/64")),
            "cidr",
            "not for hosts",
        ),
        (
            with(&|p| p.pools[0].first = address("192.168.101.1")),
            "pools[0].first",
            "no host address",
        ),
        (
            with(&|p| p.pools[0].last = address("192.168.100.255")),
            "pools[0].last",
            "no host address",
        ),
        (
            with(&|p| p.pools[0].last = address("192.168.100.9")),
            "pools[0].last",
            "before",
        ),
        (
            with(&|p| p.pools.push(pool("192.168.100.20", "192.168.100.30"))),
            "pools[1]",
            "overlaps",
        ),
        (
            with(&|p| p.gateway = Some(address("192.168.100.15"))),
            "gateway",
            "pool",
        ),
        (
            with(&|p| p.gateway = Some(address("192.168.101.1"))),
            "gateway",
            "no host",
        ),
        (
            with(&|p| p.gateway = Some(address("fe80::1"))),
            "gateway",
            "no host",
        ),
        (
            with(&|p| p.dns = vec![address("0.0.0.0")]),
            "dns[0]",
            "No name server",
        ),
        (
            with(&|p| p.dns = vec![address("10.0.0.1"); 4]),
            "dns",
            "At most",
        ),
        (
            with(&|p| p.routes = vec![route("10.0.0.0/8", "192.168.101.1")]),
            "routes[0].next_hop",
            "no host",
        ),
        (
            with(&|p| p.routes = vec![route("192.168.0.0/16", "192.168.100.1")]),
            "routes[0].destination",
            "overlaps the subnet",
        ),
        (
            with(&|p| p.routes = vec![route("0.0.0.0/0", "192.168.100.1")]),
            "routes[0].destination",
            "default route",
        ),
        (
            with(&|p| p.routes = vec![route("2001:db8::/32", "192.168.100.1")]),
            "routes[0].destination",
            "another IP version",
        ),
        (
            with(&|p| p.routes = vec![route("10.0.0.0/8", "192.168.100.1"); 2]),
            "routes[1].destination",
            "two routes",
        ),
    ];
    for ((field, message), named, words) in cases {
        assert_eq!(field, named, "{message}");
        assert!(message.contains(words), "{field}: {message}");
    }
}

#[test]
fn an_ipv6_router_may_be_known_by_its_link_local_address() {
    let mut six = plan("2001:db8::/64", &[("2001:db8::10", "2001:db8::ff")]);
    six.gateway = Some(address("fe80::1"));
    six.routes = vec![Route {
        destination: subnet("2001:db8:7::/48"),
        next_hop: address("fe80::2"),
    }];
    six.check().unwrap();
    let (field, _) = fault(&plan(
        "2001:db8::/64",
        &[("2001:db8::1", "2001:db8::1:ffff")],
    ));
    assert_eq!(field, "pools[0].last", "too many");
    let middle = ("2001:db8::7fff:ffff:ffff:fff0", "2001:db8::8000:0:0:5");
    assert!(
        fault(&plan("2001:db8::/64", &[middle]))
            .1
            .contains("middle")
    );
}

#[test]
fn the_usual_pools_are_every_host_but_the_gateway() {
    let pools = |cidr: &str, gateway: Option<&str>| {
        let pools = SubnetPlan::usual_pools(subnet(cidr), gateway.map(address));
        let texts: Vec<_> = pools.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    assert_eq!(pools("10.0.0.0/29", None), "10.0.0.1-10.0.0.6");
    assert_eq!(pools("10.0.0.0/29", Some("10.0.0.1")), "10.0.0.2-10.0.0.6");
    assert_eq!(pools("10.0.0.0/29", Some("10.0.0.6")), "10.0.0.1-10.0.0.5");
    assert_eq!(
        pools("10.0.0.0/29", Some("10.0.0.3")),
        "10.0.0.1-10.0.0.2 10.0.0.4-10.0.0.6"
    );
    assert_eq!(pools("10.0.0.0/8", None), "10.0.0.1-10.1.0.0");
    assert_eq!(
        pools("2001:db8::/64", Some("fe80::1")),
        "2001:db8::1-2001:db8::1:0"
    );
    assert_eq!(
        pools("2001:db8::4/126", Some("2001:db8::5")),
        "2001:db8::6-2001:db8::7"
    );
}

/// Any subnet that a network can have.
fn any_subnet() -> impl Strategy<Value = IpSubnet> {
    let four = (any::<u32>(), 8_u8..=30).prop_map(|(bits, prefix)| {
        let first = bits & (u32::MAX << (32 - prefix));
        IpSubnet::new(Ipv4Addr::from(first).into(), prefix)
    });
    let six = (any::<u64>(), any::<u64>(), 64_u8..=126).prop_map(|(high, low, prefix)| {
        let whole = (u128::from(high | 1 << 61) << 64) | u128::from(low);
        let first = whole & (u128::MAX << (128 - prefix));
        IpSubnet::new(Ipv6Addr::from(first).into(), prefix)
    });
    prop_oneof![four, six].prop_map(|subnet| subnet.unwrap())
}

proptest! {
    #[test]
    fn the_usual_pools_are_always_good(cidr in any_subnet(), choice in any::<u16>()) {
        let hosts = SubnetPlan::usual_pools(cidr, None);
        let number = number(hosts[0].first) + u128::from(choice) % u128::from(hosts[0].size());
        let gateway = like(cidr.first(), number);
        let pools = SubnetPlan::usual_pools(cidr, Some(gateway));
        let plan = SubnetPlan { cidr, gateway: Some(gateway), dns: vec![], routes: vec![], pools };
        prop_assert_eq!(plan.size(), hosts[0].size() - 1);
        match plan.check() {
            Ok(()) => {}
            // Blocks that are for no host, whatever their pools.
            Err(fault) => prop_assert_eq!(fault.field, "cidr"),
        }
    }

    #[test]
    fn a_subnet_contains_what_lies_between_its_ends(cidr in any_subnet(), bits in any::<u128>()) {
        let address = like(cidr.first(), if cidr.is_ipv4() { bits & 0xffff_ffff } else { bits });
        prop_assert_eq!(cidr.contains(address), (cidr.first()..=cidr.last()).contains(&address));
        prop_assert_eq!(cidr.to_string().parse::<IpSubnet>().unwrap(), cidr);
    }
}
