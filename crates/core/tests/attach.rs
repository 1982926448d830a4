//! Which port carries which network: what is chosen, what is refused, and that the order in which ports
//! were registered changes nothing.

use bessemer_core::attach::{Bond, Link, Nic, NodeWiring, Place, WiringError, Wish, attach};
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::{
    Attachment, AttachmentMode, Cable, Carrier, GroupMode, Port, PortGroup, SiteModel, SiteVlans,
    SwitchModel, plan,
};
use proptest::prelude::*;

fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

/// A NIC `eth<number>` with a link, on port `p<number>` of `leaf1`; number 1 boots.
fn nic(number: u8) -> Nic {
    Nic {
        port: Port {
            mac: mac(number),
            cable: Some(Cable {
                switch: "leaf1".into(),
                port: format!("p{number}"),
            }),
            group: None,
            boots: number == 1,
        },
        physical_network: None,
        name: Some(format!("eth{number}")),
        link: Some(true),
        speed_mbps: Some(10_000),
    }
}

fn grouped(number: u8, group: &str) -> Nic {
    let mut nic = nic(number);
    nic.port.group = Some(group.into());
    nic
}

fn leading_to(mut nic: Nic, physical_network: &str) -> Nic {
    nic.physical_network = Some(physical_network.into());
    nic
}

fn node(nics: Vec<Nic>, groups: &[(&str, GroupMode)]) -> NodeWiring {
    let group = |(name, mode): &(&str, GroupMode)| PortGroup {
        name: (*name).to_owned(),
        mode: *mode,
    };
    NodeWiring {
        node: "n1".into(),
        nics,
        groups: groups.iter().map(group).collect(),
    }
}

fn bonded() -> NodeWiring {
    let nics = vec![grouped(1, "bond0"), grouped(2, "bond0")];
    node(nics, &[("bond0", GroupMode::Lacp)])
}

fn wish(number: u8) -> Wish {
    Wish {
        network: format!("net{number}"),
        physical_network: None,
        carrier: None,
        mode: None,
        mtu: 1500,
    }
}

fn on(number: u8, carrier: &str) -> Wish {
    Wish {
        carrier: Some(carrier.into()),
        ..wish(number)
    }
}

fn within(number: u8, physical_network: &str) -> Wish {
    Wish {
        physical_network: Some(physical_network.into()),
        ..wish(number)
    }
}

fn as_mode(wish: Wish, mode: AttachmentMode) -> Wish {
    Wish {
        mode: Some(mode),
        ..wish
    }
}

/// The last octet of a port, or the name of a group; with how a network is there.
fn told(places: &[Place]) -> String {
    let place = |place: &Place| {
        let carrier = match &place.carrier {
            Carrier::Port(mac) => mac.octets()[5].to_string(),
            Carrier::Group(name) => name.clone(),
        };
        format!("{carrier} {}", place.mode.name())
    };
    places.iter().map(place).collect::<Vec<_>>().join(", ")
}

fn chosen(wishes: &[Wish], wiring: &NodeWiring) -> String {
    told(&attach(wishes, wiring).unwrap())
}

fn refused(wishes: &[Wish], wiring: &NodeWiring) -> String {
    attach(wishes, wiring).unwrap_err().to_string()
}

#[test]
fn on_single_ports_the_first_network_is_native_and_the_others_are_tagged() {
    use AttachmentMode::{Native, Tagged};
    let two = node(vec![nic(1), nic(2)], &[]);
    let second = mac(2).to_string();
    for (wishes, expected) in [
        (vec![wish(1)], "1 native"),
        (
            vec![wish(1), wish(2), on(3, &second), on(4, "eth2")],
            "1 native, 1 tagged, 2 native, 2 tagged",
        ),
        // What is said goes before what is usual, wherever it is said.
        (
            vec![wish(1), as_mode(wish(2), Native)],
            "1 tagged, 1 native",
        ),
        (
            vec![as_mode(wish(1), Tagged), as_mode(wish(2), Tagged)],
            "1 tagged, 1 tagged",
        ),
        (
            vec![as_mode(wish(1), Tagged), wish(2)],
            "1 tagged, 1 native",
        ),
    ] {
        assert_eq!(chosen(&wishes, &two), expected);
    }
}

#[test]
fn a_bond_carries_everything_tagged_and_one_network_may_be_native() {
    let mut nics = bonded().nics;
    nics.push(nic(3));
    let wiring = node(nics, &[("bond0", GroupMode::Lacp)]);
    let native = as_mode(wish(2), AttachmentMode::Native);
    assert_eq!(
        chosen(&[wish(1), native, on(3, "bond0"), on(4, "eth3")], &wiring),
        "bond0 tagged, bond0 native, bond0 tagged, 3 native"
    );
    let mut single = wiring.clone();
    single.groups[0].mode = GroupMode::None;
    // A group that is not bonded is a name for several ports: the better one is taken.
    assert_eq!(
        chosen(&[on(1, "bond0"), on(2, "eth2")], &single),
        "1 native, 2 native"
    );
}

#[test]
fn a_network_goes_where_its_physical_network_is() {
    let mut nics = bonded().nics;
    nics.extend([leading_to(nic(3), "storage"), leading_to(nic(4), "public")]);
    let wiring = node(nics, &[("bond0", GroupMode::Lacp)]);
    assert_eq!(
        chosen(
            &[within(1, "public"), within(2, "storage"), wish(3)],
            &wiring
        ),
        "4 native, 3 native, bond0 tagged"
    );
    let text = refused(&[within(1, "backup")], &wiring);
    for part in [
        "`net1`",
        "physical network `backup`",
        "group `bond0` of 52:54:00:00:00:01 and 52:54:00:00:00:02",
        "52:54:00:00:00:03 (physical network `storage`)",
        "52:54:00:00:00:04 (physical network `public`)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What was asked for must not lead elsewhere; of the bond nothing is known.
    let asked = |carrier: &str| Wish {
        carrier: Some(carrier.into()),
        ..within(1, "public")
    };
    assert_eq!(chosen(&[asked("bond0")], &wiring), "bond0 tagged");
    let text = refused(&[asked("eth3")], &wiring);
    assert!(
        text.contains("`public`") && text.contains("leads to `storage`"),
        "{text}"
    );
}

#[test]
fn links_and_what_boots_decide_where_nothing_else_does() {
    let with = |change: fn(&mut Nic)| {
        let mut first = nic(1);
        change(&mut first);
        node(vec![first, nic(2)], &[])
    };
    for (wiring, expected) in [
        (with(|_| {}), "1 native"),
        (with(|nic| nic.link = None), "2 native"),
        (with(|nic| nic.link = Some(false)), "2 native"),
        (with(|nic| nic.port.cable = None), "2 native"),
        (with(|nic| nic.port.boots = false), "1 native"),
        (
            with(|nic| (nic.port.boots, nic.speed_mbps) = (false, Some(1000))),
            "2 native",
        ),
    ] {
        assert_eq!(chosen(&[wish(1)], &wiring), expected);
    }
}

#[test]
fn what_cannot_be_carried_is_told() {
    use AttachmentMode::Native;
    let jumbo = |wish: Wish| Wish { mtu: 9000, ..wish };
    let single = node(vec![nic(1), nic(2)], &[]);
    for (wishes, wiring, words) in [
        (
            vec![on(1, "52:54:00:00:00:09")],
            &single,
            "no port or port group `52:54:00:00:00:09`, but 52:54:00:00:00:01, 52:54:00:00:00:02",
        ),
        (vec![on(1, "eth9")], &single, "no port or port group `eth9`"),
        (
            vec![on(1, "eth2")],
            &bonded(),
            "port 52:54:00:00:00:02 is bonded in group `bond0`: ask for the group",
        ),
        (
            vec![as_mode(wish(1), Native), as_mode(wish(2), Native)],
            &single,
            "`net1` and `net2` are both native on port 52:54:00:00:00:01",
        ),
        (
            vec![as_mode(wish(1), Native), as_mode(wish(2), Native)],
            &bonded(),
            "both native on group `bond0`",
        ),
        (
            vec![wish(1), jumbo(wish(2))],
            &single,
            "`net2` has an MTU of 9000 bytes",
        ),
        (vec![wish(1)], &node(vec![], &[]), "`n1` has no ports"),
    ] {
        let text = refused(&wishes, wiring);
        assert!(text.contains(words), "{text}");
    }
    // Side by side, or both tagged, they are no matter to each other.
    attach(&[wish(1), jumbo(on(2, "eth2"))], &single).unwrap();
    attach(&[wish(1), jumbo(wish(2))], &bonded()).unwrap();
}

#[test]
fn all_nics_of_a_bond_with_a_link_are_in_it() {
    let carrier = Carrier::Group("bond0".into());
    let members = |wiring: &NodeWiring| match wiring.link(&carrier) {
        Some(Link::Bond(Bond { members, mode })) => {
            assert_eq!(mode, GroupMode::Lacp);
            members
        }
        other => panic!("{other:?}"),
    };
    let mut nics = vec![
        grouped(3, "bond0"),
        grouped(2, "bond0"),
        grouped(4, "bond0"),
    ];
    nics[0].port.boots = true;
    let mut wiring = node(nics, &[("bond0", GroupMode::Lacp)]);
    assert_eq!(members(&wiring), [mac(3), mac(2), mac(4)]);
    wiring.nics[1].link = Some(false);
    assert_eq!(members(&wiring), [mac(3), mac(4)]);
    // A bond of one would be none when the cables are put back.
    wiring.nics[2].link = Some(false);
    assert_eq!(members(&wiring), [mac(3), mac(2), mac(4)]);
    wiring.nics.truncate(1);
    assert_eq!(wiring.link(&carrier), Some(Link::Port(mac(3))));
    assert_eq!(wiring.link(&Carrier::Port(mac(9))), None);
}

#[test]
fn nodes_cannot_be_wired_as_nothing_could_work() {
    let lacp = &[("bond0", GroupMode::Lacp)][..];
    let moved = |mut nic: Nic, switch: Option<&str>| {
        nic.port.cable = switch.map(|switch| Cable {
            switch: switch.into(),
            port: "p9".into(),
        });
        nic
    };
    let two = |second: Nic| vec![grouped(1, "bond0"), second];
    for (wiring, words) in [
        (
            node(two(moved(grouped(2, "bond0"), Some("leaf2"))), lacp),
            "switches leaf1 and leaf2, which form no MLAG pair",
        ),
        (
            node(two(moved(grouped(2, "bond0"), None)), lacp),
            "port 52:54:00:00:00:02 of port group `bond0` is not cabled",
        ),
        (node(two(nic(2)), lacp), "has 1 ports"),
        (node(two(grouped(2, "bond1")), lacp), "port group `bond1`"),
        (
            node(
                vec![
                    leading_to(grouped(1, "bond0"), "public"),
                    leading_to(grouped(2, "bond0"), "storage"),
                ],
                lacp,
            ),
            "physical networks public and storage",
        ),
        (
            node(bonded().nics, &[lacp[0], ("bond0", GroupMode::None)]),
            "two port groups `bond0`",
        ),
        (
            node(
                vec![nic(1), nic(2)],
                &[("52:54:00:00:00:01", GroupMode::None)],
            ),
            "no MAC address",
        ),
        (
            node(
                vec![nic(1), {
                    let mut again = nic(1);
                    again.port.mac = mac(2);
                    again.port.boots = false;
                    again
                }],
                &[],
            ),
            "port p1 of switch `leaf1` is given for both",
        ),
        (
            node(
                vec![nic(1), {
                    let mut other = nic(2);
                    other.port.boots = true;
                    other
                }],
                &[],
            ),
            "both said to boot",
        ),
    ] {
        let error = wiring.check().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    bonded().check().unwrap();
    // Without LACP, two switches are as good as one; where switches are not ours, nothing is known.
    let mut apart = node(two(moved(grouped(2, "bond0"), Some("leaf2"))), lacp);
    apart.groups[0].mode = GroupMode::ActiveBackup;
    apart.check().unwrap();
    let mut flat = bonded();
    for nic in &mut flat.nics {
        nic.port.cable = None;
    }
    flat.check().unwrap();
    assert!(matches!(
        node(vec![nic(1)], &[("bond0", GroupMode::Lacp)]).check(),
        Err(WiringError::TooFewMembers(_, 0))
    ));
}

/// Any wiring of up to six NICs, any of which may be in one of two groups.
fn any_wiring() -> impl Strategy<Value = NodeWiring> {
    let segment = || prop::option::of(prop::sample::select(vec!["a", "b"]));
    let properties = (
        prop::option::of(prop::sample::select(vec!["g1", "g2"])),
        segment(),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::sample::select(vec![1000, 10_000])),
        any::<bool>(),
    );
    let nics = prop::collection::vec(properties, 1..7);
    let mode = || prop::sample::select(GroupMode::ALL);
    (nics, mode(), mode(), 0..6_usize).prop_map(|(nics, one, other, boots)| {
        let boots = boots % nics.len();
        let nics = nics.into_iter().zip(1..).map(
            |((group, physical_network, link, speed_mbps, cabled), number)| {
                let mut nic = nic(number);
                nic.port.group = group.map(str::to_owned);
                nic.port.boots = usize::from(number) == boots + 1;
                nic.port.cable = nic.port.cable.filter(|_| cabled);
                nic.physical_network = physical_network.map(str::to_owned);
                (nic.link, nic.speed_mbps) = (link, speed_mbps);
                nic
            },
        );
        node(nics.collect(), &[("g1", one), ("g2", other)])
    })
}

/// The same, with what cannot be put right: groups of less than two ports are none, and the ports of the
/// others are all cabled and lead to one physical network.
fn any_sound_wiring() -> impl Strategy<Value = NodeWiring> {
    any_wiring().prop_map(|mut wiring| {
        let names: Vec<_> = wiring
            .groups
            .iter()
            .map(|group| group.name.clone())
            .collect();
        for name in names {
            let members = wiring.members(&name).count();
            let bonded = |nic: &&mut Nic| nic.port.group.as_ref() == Some(&name);
            for (nic, number) in wiring
                .nics
                .iter_mut()
                .zip(1..)
                .filter(|(nic, _)| bonded(nic))
            {
                nic.physical_network = None;
                nic.port.cable = self::nic(number).port.cable;
                nic.port.group = nic.port.group.take().filter(|_| members > 1);
            }
            wiring
                .groups
                .retain(|group| group.name != name || members > 1);
        }
        wiring
    })
}

fn any_wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (
        prop::option::of(prop::sample::select(vec!["a", "b"])),
        prop::option::weighted(0.3, prop::sample::select(vec!["g1", "g2", "eth1", "eth4"])),
        prop::option::weighted(0.3, prop::sample::select(AttachmentMode::ALL)),
        prop::sample::select(vec![1500_u16, 9000]),
    );
    prop::collection::vec(wish, 1..5).prop_map(|wishes| {
        let wishes = wishes.into_iter().zip(1..);
        let wish = |((physical_network, carrier, mode, mtu), number): (
            (Option<&str>, Option<&str>, _, _),
            u8,
        )| Wish {
            network: format!("net{number}"),
            physical_network: physical_network.map(str::to_owned),
            carrier: carrier.map(str::to_owned),
            mode,
            mtu,
        };
        wishes.map(wish).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever registers the ports in another order gets the same answer, and the same words.
    #[test]
    fn the_order_of_registration_never_matters(
        (wiring, shuffled) in any_wiring().prop_flat_map(|wiring| {
            let nics = Just(wiring.nics.clone()).prop_shuffle();
            let groups = Just(wiring.groups.clone()).prop_shuffle();
            let shuffled = (nics, groups).prop_map({
                let wiring = wiring.clone();
                move |(nics, groups)| NodeWiring { nics, groups, ..wiring.clone() }
            });
            (Just(wiring), shuffled)
        }),
        wishes in any_wishes(),
    ) {
        let first = attach(&wishes, &wiring);
        prop_assert_eq!(&first, &attach(&wishes, &shuffled));
        for place in first.iter().flatten() {
            prop_assert_eq!(wiring.link(&place.carrier), shuffled.link(&place.carrier));
        }
    }

    /// What is chosen leads where the network is, is a whole bond or no part of one, and is one native
    /// network for each at most.
    #[test]
    fn what_is_chosen_can_carry_the_network(wiring in any_wiring(), wishes in any_wishes()) {
        let Ok(places) = attach(&wishes, &wiring) else { return Ok(()) };
        prop_assert_eq!(places.len(), wishes.len());
        for (wish, place) in wishes.iter().zip(&places) {
            let carries = |nic: &&Nic| match &place.carrier {
                Carrier::Port(mac) => nic.port.mac == *mac,
                Carrier::Group(group) => nic.port.group.as_ref() == Some(group),
            };
            let nics: Vec<_> = wiring.nics.iter().filter(carries).collect();
            prop_assert!(!nics.is_empty());
            for nic in nics {
                let group = wiring.bond_of(nic).map(|group| Carrier::Group(group.name.clone()));
                let single = Carrier::Port(nic.port.mac);
                prop_assert_eq!(&group.unwrap_or(single), &place.carrier);
                let elsewhere = nic.physical_network.as_ref().zip(wish.physical_network.as_ref());
                prop_assert!(elsewhere.is_none_or(|(found, wanted)| found == wanted));
            }
            if let Some(mode) = wish.mode {
                prop_assert_eq!(place.mode, mode);
            }
            let native = |other: &&Place| {
                other.carrier == place.carrier && other.mode == AttachmentMode::Native
            };
            prop_assert!(places.iter().filter(native).count() <= 1);
        }
    }

    /// Wherever a node can be wired so and a network chosen, its switch ports can carry it.
    #[test]
    fn what_is_chosen_can_be_planned(wiring in any_sound_wiring(), wishes in any_wishes()) {
        wiring.check().unwrap();
        let Ok(places) = attach(&wishes, &wiring) else { return Ok(()) };
        let attachments = wishes.iter().zip(places).zip(100..).map(|((wish, place), vlan)| Attachment {
            network: wish.network.clone(),
            carrier: place.carrier,
            vlan,
            mode: place.mode,
            mtu: wish.mtu,
            segment: None,
        });
        let attachments: Vec<_> = attachments.collect();
        let vlans = SiteVlans { parked: 4094, provisioning: Some(10), standby: None, rescue: None };
        let leaf = SwitchModel { vlans, largest_mtu: None, storm_limit: None };
        let site = SiteModel { switches: [("leaf1".to_owned(), leaf)].into() };
        for role in bessemer_core::lifecycle::PortRole::ALL {
            plan(&wiring.node_ports(), *role, &attachments, &site).unwrap();
        }
    }
}
