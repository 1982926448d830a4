//! Port plans: whatever a node, its attachments and its site look like, no port carries a tenant's
//! network together with one of ours, and what nobody asked for is parked.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_core::lifecycle::PortRole;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::{
    Attachment, AttachmentMode, Cable, Carrier, GroupMode, NodePorts, PlanError, Port, PortGroup,
    PortMode, PortPlan, SiteModel, SiteVlans, SwitchModel, SwitchPlan, plan,
};
use proptest::prelude::*;

const SITE: SiteVlans = SiteVlans {
    parked: 4094,
    provisioning: Some(10),
    standby: Some(11),
    rescue: None,
};

fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

fn site(switches: &[&str]) -> SiteModel {
    let model = SwitchModel {
        vlans: SITE,
        largest_mtu: Some(9000),
        storm_limit: None,
    };
    let switches = switches.iter().map(|name| ((*name).to_owned(), model));
    SiteModel {
        switches: switches.collect(),
    }
}

/// A NIC with this number, cabled to port `p<number>` of `switch`; number 1 boots.
fn port(number: u8, switch: &str, group: Option<&str>) -> Port {
    Port {
        mac: mac(number),
        cable: Some(Cable {
            switch: switch.to_owned(),
            port: format!("p{number}"),
        }),
        group: group.map(str::to_owned),
        boots: number == 1,
    }
}

fn node(ports: Vec<Port>, mode: GroupMode) -> NodePorts {
    let names: BTreeSet<_> = ports.iter().filter_map(|port| port.group.clone()).collect();
    NodePorts {
        node: "n1".to_owned(),
        ports,
        groups: names
            .into_iter()
            .map(|name| PortGroup { name, mode })
            .collect(),
    }
}

fn attachment(carrier: Carrier, vlan: u16, mode: AttachmentMode) -> Attachment {
    Attachment {
        network: format!("net{vlan}"),
        carrier,
        vlan,
        mode,
        mtu: 1500,
        segment: None,
    }
}

fn native(number: u8, vlan: u16) -> Attachment {
    attachment(Carrier::Port(mac(number)), vlan, AttachmentMode::Native)
}

fn bond(vlan: u16, mode: AttachmentMode) -> Attachment {
    attachment(Carrier::Group("bond0".to_owned()), vlan, mode)
}

fn bonded() -> NodePorts {
    let ports = vec![
        port(1, "leaf1", Some("bond0")),
        port(2, "leaf1", Some("bond0")),
    ];
    node(ports, GroupMode::Lacp)
}

fn shown(plans: &[SwitchPlan]) -> Vec<String> {
    plans
        .iter()
        .flat_map(|each| each.ports.iter().map(|plan| line(&each.switch, plan)))
        .collect()
}

fn line(switch: &str, plan: &PortPlan) -> String {
    let ports: Vec<_> = plan.ports().iter().map(String::as_str).collect();
    format!("{switch} {}: {plan}", ports.join("+"))
}

#[test]
fn ports_carry_what_the_node_is_doing() {
    let node = node(vec![port(1, "leaf1", None)], GroupMode::Lacp);
    for (role, expected) in [
        (PortRole::Parked, "parked in VLAN 4094 (n1 parked)"),
        (
            PortRole::Standby,
            "isolated access port of VLAN 11 (n1 standby)",
        ),
        (
            PortRole::Provisioning,
            "isolated access port of VLAN 10 (n1 provisioning)",
        ),
        (
            PortRole::Cleaning,
            "isolated access port of VLAN 10 (n1 cleaning)",
        ),
        (
            PortRole::Rescue,
            "isolated access port of VLAN 10 (n1 rescue)",
        ),
        (PortRole::Tenant, "access port of VLAN 100 (n1 tenant)"),
    ] {
        let plans = plan(&node, role, &[native(1, 100)], &site(&["leaf1"])).unwrap();
        assert_eq!(shown(&plans), [format!("leaf1 p1: {expected}")]);
    }
}

#[test]
fn a_bond_is_one_on_the_switch_whatever_it_carries() {
    let attachments = [
        bond(100, AttachmentMode::Native),
        bond(200, AttachmentMode::Tagged),
        bond(300, AttachmentMode::Tagged),
    ];
    for (role, expected) in [
        (PortRole::Parked, "parked in VLAN 4094 (n1 parked)"),
        (
            PortRole::Provisioning,
            "isolated access port of VLAN 10 (n1 provisioning)",
        ),
        (
            PortRole::Tenant,
            "trunk of VLANs 200, 300, untagged 100 (n1 tenant)",
        ),
    ] {
        let plans = plan(&bonded(), role, &attachments, &site(&["leaf1"])).unwrap();
        let lag = "lag-p1 of p1 and p2, first p1";
        assert_eq!(shown(&plans), [format!("leaf1 p1+p2: {lag}: {expected}")]);
        let lag = plans[0].ports[0].aggregation().unwrap();
        assert!(lag.active && lag.fast && lag.fallback);
    }
}

#[test]
fn bonds_that_the_switch_does_not_know_are_single_ports() {
    for mode in [GroupMode::ActiveBackup, GroupMode::None] {
        let node = NodePorts {
            groups: vec![PortGroup {
                name: "bond0".to_owned(),
                mode,
            }],
            ..bonded()
        };
        let attachments = [bond(100, AttachmentMode::Tagged)];
        let tenant = plan(&node, PortRole::Tenant, &attachments, &site(&["leaf1"])).unwrap();
        let trunk = "trunk of VLANs 100, nothing untagged (n1 tenant)";
        assert_eq!(
            shown(&tenant),
            [format!("leaf1 p1: {trunk}"), format!("leaf1 p2: {trunk}")]
        );
        // Only where the agent boots is our own network.
        let ours = plan(&node, PortRole::Provisioning, &[], &site(&["leaf1"])).unwrap();
        assert_eq!(
            shown(&ours),
            [
                "leaf1 p1: isolated access port of VLAN 10 (n1 provisioning)",
                "leaf1 p2: parked in VLAN 4094 (n1 provisioning)"
            ]
        );
    }
}

#[test]
fn a_group_of_one_cable_is_a_single_port() {
    let mut node = bonded();
    node.ports[1].cable = None;
    let attachments = [bond(100, AttachmentMode::Native)];
    let plans = plan(&node, PortRole::Tenant, &attachments, &site(&["leaf1"])).unwrap();
    assert_eq!(
        shown(&plans),
        ["leaf1 p1: access port of VLAN 100 (n1 tenant)"]
    );
}

#[test]
fn the_switch_that_the_agent_boots_through_comes_last() {
    let ports = vec![
        port(1, "a-leaf", None),
        port(2, "b-leaf", None),
        port(3, "a-leaf", None),
    ];
    let node = node(ports, GroupMode::Lacp);
    let site = site(&["a-leaf", "b-leaf"]);
    for role in PortRole::ALL {
        let plans = plan(&node, *role, &[native(1, 100), native(2, 200)], &site).unwrap();
        let order: Vec<_> = plans.iter().map(|each| each.switch.as_str()).collect();
        assert_eq!(order, ["b-leaf", "a-leaf"]);
        assert_eq!(plans[1].ports.len(), 2, "one plan for each switch");
    }
}

#[test]
fn anything_unknown_is_parked() {
    let node = node(
        vec![port(1, "leaf1", None), port(2, "leaf1", None)],
        GroupMode::Lacp,
    );
    let parked = |plans: &[SwitchPlan], index: usize| plans[0].ports[index].is_parked();
    let all = site(&["leaf1"]);
    let tenant = plan(&node, PortRole::Tenant, &[native(2, 100)], &all).unwrap();
    assert!(parked(&tenant, 0) && !parked(&tenant, 1));
    let mut nowhere = all.clone();
    let leaf = nowhere.switches.get_mut("leaf1").unwrap();
    (leaf.vlans.provisioning, leaf.vlans.standby) = (None, None);
    for role in PortRole::ALL {
        let plans = plan(&node, *role, &[], &nowhere).unwrap();
        assert!(parked(&plans, 0) && parked(&plans, 1), "{role:?}");
    }
    let mut uncabled = node;
    uncabled.ports.iter_mut().for_each(|port| port.cable = None);
    assert_eq!(plan(&uncabled, PortRole::Tenant, &[], &all), Ok(vec![]));
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy() {
    let single = node(
        vec![port(1, "leaf1", None), port(2, "leaf1", None)],
        GroupMode::Lacp,
    );
    let mtu = |mtu| Attachment {
        mtu,
        ..native(1, 100)
    };
    let group = |vlan| bond(vlan, AttachmentMode::Tagged);
    for (node, attachments, part) in [
        (&single, vec![native(1, 0)], "VLAN 0 is not one of 1 to"),
        (
            &single,
            vec![native(1, 4095)],
            "VLAN 4095 is not one of 1 to",
        ),
        (&single, vec![native(1, 10)], "the operator's own"),
        (&single, vec![native(1, 11)], "the operator's own"),
        (&single, vec![native(1, 4094)], "the operator's own"),
        (&single, vec![mtu(9001)], "at most 9000"),
        (
            &single,
            vec![native(1, 100), native(1, 200)],
            "both untagged on port 52:54:00:00:00:01",
        ),
        (
            &single,
            vec![native(1, 100), native(1, 100)],
            "both VLAN 100 on port 52:54:00:00:00:01",
        ),
        (
            &single,
            vec![native(9, 100)],
            "port 52:54:00:00:00:09, which node `n1` does not have",
        ),
        (
            &single,
            vec![group(100)],
            "group `bond0`, which node `n1` does not have",
        ),
        (&bonded(), vec![native(1, 100)], "attach it to the group"),
        (
            &bonded(),
            vec![group(100), group(100)],
            "both VLAN 100 on group `bond0`",
        ),
    ] {
        let error = plan(node, PortRole::Tenant, &attachments, &site(&["leaf1"])).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        // A tenant's wish never keeps a port from being parked.
        plan(node, PortRole::Parked, &attachments, &site(&["leaf1"])).unwrap();
    }
    // The same network on two carriers is one on each; the same VLAN on another port is another's.
    let both = [native(1, 100), native(2, 100)];
    plan(&single, PortRole::Tenant, &both, &site(&["leaf1"])).unwrap();
}

#[test]
fn a_group_across_switches_needs_what_no_driver_has() {
    let ports = vec![
        port(1, "leaf1", Some("bond0")),
        port(2, "leaf2", Some("bond0")),
    ];
    let across = node(ports.clone(), GroupMode::Lacp);
    let site = site(&["leaf1", "leaf2"]);
    for role in [PortRole::Provisioning, PortRole::Tenant] {
        let error = plan(&across, role, &[], &site).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("leaf1 and leaf2") && text.contains("MLAG"),
            "{text}"
        );
    }
    let parked = plan(&across, PortRole::Parked, &[], &site).unwrap();
    assert!(parked.iter().all(|each| each.ports[0].is_parked()));
    let backup = node(ports, GroupMode::ActiveBackup);
    let attachments = [bond(100, AttachmentMode::Native)];
    let plans = plan(&backup, PortRole::Tenant, &attachments, &site).unwrap();
    assert_eq!(plans.len(), 2);
}

#[test]
fn wrong_cables_are_refused_but_can_be_parked() {
    let mut twice = vec![port(1, "leaf1", None), port(2, "leaf1", None)];
    twice[1].cable = twice[0].cable.clone();
    let twice = node(twice, GroupMode::Lacp);
    let all = site(&["leaf1"]);
    let error = plan(&twice, PortRole::Provisioning, &[], &all).unwrap_err();
    assert!(matches!(error, PlanError::PortTwice { .. }), "{error}");
    assert_eq!(plan(&twice, PortRole::Parked, &[], &all).unwrap().len(), 1);
    let unknown = node(vec![port(1, "leaf9", None)], GroupMode::Lacp);
    let error = plan(&unknown, PortRole::Parked, &[], &all).unwrap_err();
    assert!(error.to_string().contains("leaf9"), "{error}");
}

fn vlans() -> impl Strategy<Value = u16> {
    // Few numbers, so that they meet.
    prop_oneof![Just(0), Just(4095), Just(4094), 8..14u16, 100..104u16]
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let each = (
        0..3usize,
        prop::option::weighted(0.9, 1..6u8),
        prop::option::of(0..2usize),
        any::<bool>(),
    );
    prop::collection::vec(each, 0..6).prop_map(|each| {
        let ports = each.into_iter().enumerate();
        ports
            .map(|(index, (switch, number, group, boots))| Port {
                mac: mac(u8::try_from(index).unwrap()),
                cable: number.map(|number| Cable {
                    switch: format!("leaf{switch}"),
                    port: format!("p{number}"),
                }),
                group: group.map(|group| format!("bond{group}")),
                boots,
            })
            .collect()
    })
}

fn nodes() -> impl Strategy<Value = NodePorts> {
    let modes = prop::collection::vec(0..3usize, 2);
    (ports(), modes).prop_map(|(ports, modes)| NodePorts {
        node: "n1".to_owned(),
        ports,
        groups: modes
            .into_iter()
            .enumerate()
            .map(|(index, mode)| PortGroup {
                name: format!("bond{index}"),
                mode: GroupMode::ALL[mode],
            })
            .collect(),
    })
}

fn attachments() -> impl Strategy<Value = Vec<Attachment>> {
    let carrier = prop_oneof![
        (0..6u8).prop_map(|number| Carrier::Port(mac(number))),
        (0..2u8).prop_map(|number| Carrier::Group(format!("bond{number}"))),
    ];
    let each = (carrier, vlans(), any::<bool>(), 1000..9500u16);
    let each = each.prop_map(|(carrier, vlan, tagged, mtu)| Attachment {
        mtu,
        ..attachment(carrier, vlan, AttachmentMode::ALL[usize::from(tagged)])
    });
    prop::collection::vec(each, 0..5)
}

fn sites() -> impl Strategy<Value = SiteModel> {
    let vlan = || prop::option::of(8..14u16);
    let each = (vlan(), vlan(), vlan(), prop::option::of(1500..9000u16));
    prop::collection::vec(each, 1..4).prop_map(|each| {
        let switches = each.into_iter().enumerate();
        let switches = switches.map(|(index, (provisioning, standby, rescue, largest_mtu))| {
            let vlans = SiteVlans {
                parked: 4094,
                provisioning,
                standby,
                rescue,
            };
            let model = SwitchModel {
                vlans,
                largest_mtu,
                storm_limit: None,
            };
            (format!("leaf{index}"), model)
        });
        SiteModel {
            switches: switches.collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_port_carries_a_tenants_network_and_ours(
        node in nodes(), role in 0..6usize, attachments in attachments(), site in sites(),
    ) {
        let role = PortRole::ALL[role];
        let Ok(plans) = plan(&node, role, &attachments, &site) else { return Ok(()) };
        let own = site.own_vlans();
        let mut seen: BTreeMap<(&str, &str), &PortPlan> = BTreeMap::new();
        let switches: BTreeSet<_> = plans.iter().map(|each| each.switch.as_str()).collect();
        prop_assert_eq!(switches.len(), plans.len(), "a switch has two plans");
        for (each, plan) in plans.iter().flat_map(|each| each.ports.iter().map(move |plan| (each, plan))) {
            for port in plan.ports() {
                let twice = seen.insert((&each.switch, port), plan);
                prop_assert!(twice.is_none(), "{} is planned twice", port);
            }
            let vlans = plan.mode().vlans();
            let ours = vlans.iter().filter(|vlan| own.contains(vlan)).count();
            if plan.is_parked() {
                prop_assert!(plan.is_isolated() && vlans == [4094].into());
            } else if role == PortRole::Tenant {
                prop_assert_eq!(ours, 0, "a tenant is in our network: {}", plan);
                let asked = |vlan: &u16| attachments.iter().any(|each| each.vlan == *vlan);
                prop_assert!(vlans.iter().all(asked), "nobody asked for {}", plan);
            } else {
                prop_assert!(plan.is_isolated() && ours == 1 && vlans.len() == 1, "{}", plan);
                prop_assert!(role != PortRole::Parked);
            }
        }
        // Every cable of a known port has a plan.
        for cable in node.ports.iter().filter_map(|port| port.cable.as_ref()) {
            prop_assert!(seen.contains_key(&(cable.switch.as_str(), cable.port.as_str())));
        }
    }

    #[test]
    fn every_network_that_was_ordered_is_carried(
        node in nodes(), attachments in attachments(), site in sites(),
    ) {
        let Ok(plans) = plan(&node, PortRole::Tenant, &attachments, &site) else { return Ok(()) };
        for attachment in &attachments {
            for port in &node.ports {
                let carries = match &attachment.carrier {
                    Carrier::Port(mac) => port.mac == *mac,
                    Carrier::Group(group) => port.group.as_ref() == Some(group),
                };
                let Some(cable) = port.cable.as_ref().filter(|_| carries) else { continue };
                let switch = plans.iter().find(|each| each.switch == cable.switch).unwrap();
                let plan = switch.ports.iter().find(|plan| plan.ports().contains(&cable.port)).unwrap();
                let native = match plan.mode() {
                    PortMode::Parked { .. } => None,
                    PortMode::Access { vlan } => Some(*vlan),
                    PortMode::Trunk { native, .. } => *native,
                };
                prop_assert!(plan.mode().vlans().contains(&attachment.vlan));
                prop_assert_eq!(
                    attachment.mode == AttachmentMode::Native,
                    native == Some(attachment.vlan)
                );
                prop_assert!(plan.mtu() >= attachment.mtu);
            }
        }
    }

    #[test]
    fn parking_is_never_refused_on_a_known_switch(
        node in nodes(), attachments in attachments(), site in sites(),
    ) {
        match plan(&node, PortRole::Parked, &attachments, &site) {
            Ok(plans) => prop_assert!(plans.iter().flat_map(|each| &each.ports).all(PortPlan::is_parked)),
            Err(error) => {
                let unknown = matches!(error, PlanError::UnknownSwitch { .. });
                prop_assert!(unknown, "{}", error);
            }
        }
    }
}
