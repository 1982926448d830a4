//! Bonded ports, trunks and MTUs, on a real Open vSwitch.

use bessemer_core::port_plan::{Lag, PortMode, PortPlan};
use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Error, OnFailure, Switch};

use crate::real::{apply, plan, read, soon};
use crate::vswitch::Vswitch;

fn lag() -> Lag {
    let members = ["p1".to_owned(), "p2".to_owned()];
    Lag::of(members.into(), Some("p1".to_owned())).unwrap()
}

fn bonded(mode: PortMode) -> PortPlan {
    PortPlan::lag(lag(), mode, "n1").unwrap()
}

fn access(vlan: u16) -> PortMode {
    PortMode::Access { vlan }
}

fn trunk(native: Option<u16>, tagged: &[u16]) -> PortMode {
    PortMode::Trunk {
        native,
        tagged: tagged.iter().copied().collect(),
    }
}

fn ofports(vswitch: &Vswitch) -> String {
    vswitch.vsctl(&["--columns=name,ofport", "--format=csv", "list", "interface"])
}

#[tokio::test]
async fn a_trunk_carries_what_it_says_and_nothing_else() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let trunk = |native, tagged| PortPlan::port("p1", trunk(native, tagged), "n1").unwrap();
    let plans = [
        trunk(Some(10), &[20, 30]),
        plan("p2", 10),
        plan("p3", 20),
        plan("p4", 40),
    ];
    apply(&driver, &plans).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p2"]);
    assert_eq!(vswitch.flooded_from_tagged("p1", 20), ["p3"]);
    assert!(vswitch.flooded_from_tagged("p1", 40).is_empty());
    assert_eq!(vswitch.flooded_from("p3"), ["p1"]);
    assert_eq!(read(&driver, "p1").await.to_string(), plans[0].to_string());
    // A machine in an access port cannot tag itself into another network.
    assert!(vswitch.flooded_from_tagged("p2", 20).is_empty());
    // Without a native network untagged frames go nowhere.
    apply(&driver, &[trunk(None, &[20])]).await.unwrap();
    assert!(vswitch.flooded_from("p1").is_empty() && vswitch.flooded_from("p2").is_empty());
    assert_eq!(vswitch.flooded_from_tagged("p1", 20), ["p3"]);
    // Parked, it has no neighbours at all, parked ones included.
    let parked = |port| PortPlan::port(port, PortMode::Parked { vlan: 99 }, "").unwrap();
    apply(&driver, &[parked("p1"), parked("p3")]).await.unwrap();
    for vlan in [20, 30, 99, 4095] {
        assert!(vswitch.flooded_from_tagged("p1", vlan).is_empty(), "{vlan}");
    }
    assert!(vswitch.flooded_from("p1").is_empty());
}

#[tokio::test]
async fn two_ports_become_one_and_two_again() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let devices = ofports(&vswitch);
    let provisioning = bonded(access(1)).isolated(true);
    apply(&driver, &[provisioning]).await.unwrap();
    for port in ["p1", "p2"] {
        let state = read(&driver, port).await;
        assert_eq!(state.lag, Some(lag()));
        assert_eq!(state.carries.to_string(), "access port of VLAN 1");
    }
    let shown = vswitch.appctl(&["bond/show", "lag-p1"]);
    for part in ["lacp_fallback_ab: true", "primary: p1"] {
        assert!(shown.contains(part), "{shown}");
    }
    let shown = vswitch.appctl(&["lacp/show", "lag-p1"]);
    for part in ["active", "lacp_time: fast"] {
        assert!(shown.contains(part), "{shown}");
    }
    // The same aggregation carries something else: it is the same row.
    let row = ["get", "port", "lag-p1", "_uuid"];
    let before = vswitch.vsctl(&row);
    apply(&driver, &[bonded(trunk(Some(100), &[200]))])
        .await
        .unwrap();
    assert_eq!(vswitch.vsctl(&row), before);
    let ports = vswitch.vsctl(&["list-ports", "br0"]);
    assert_eq!(ports, "lag-p1\np3\np4\n");

    apply(&driver, &[plan("p1", 1), plan("p2", 7)])
        .await
        .unwrap();
    let ports = vswitch.vsctl(&["list-ports", "br0"]);
    assert_eq!(ports, "p1\np2\np3\np4\n");
    assert_eq!(vswitch.flooded_from("p1"), ["p3", "p4"]);
    assert!(vswitch.flooded_from("p2").is_empty());
    assert_eq!(read(&driver, "p1").await.lag, None);
    assert_eq!(ofports(&vswitch), devices, "the devices were never let go");
}

#[tokio::test]
async fn without_a_partner_the_boot_ports_member_carries_everything() {
    for primary in ["p1", "p2"] {
        let vswitch = Vswitch::start();
        let driver = vswitch.driver();
        let lag = Lag {
            primary: Some(primary.to_owned()),
            ..lag()
        };
        let plan = PortPlan::lag(lag, access(1), "n1").unwrap();
        apply(&driver, &[plan]).await.unwrap();
        vswitch.until(|| vswitch.flooded_from("p3") == [primary, "p4"]);
        assert_eq!(vswitch.flooded_from(primary), ["p3", "p4"]);
        assert_eq!(read(&driver, primary).await.lacp_current, Some(false));
    }
}

/// Wires p1 and p2 of one switch to p1 and p2 of the other.
fn wire(one: &Vswitch, other: &Vswitch) {
    for port in ["p1", "p2"] {
        let socket = one.socket().with_file_name(format!("{port}.wire"));
        let end =
            |option: &str, kind: &str| format!("options:{option}=\"{kind}:{}\"", socket.display());
        one.vsctl(&["set", "interface", port, &end("pstream", "punix")]);
        other.vsctl(&["set", "interface", port, &end("stream", "unix")]);
    }
}

#[tokio::test]
async fn lacp_is_negotiated_and_a_member_may_go() {
    // The partner stands for an operating system with a bond: it is set up by Open vSwitch's own
    // tools, and negotiates by itself.
    let (vswitch, partner) = (Vswitch::start(), Vswitch::start());
    let driver = vswitch.driver();
    apply(&driver, &[bonded(trunk(None, &[100]))])
        .await
        .unwrap();
    partner.vsctl(&["del-port", "p1", "--", "del-port", "p2"]);
    let mut bond = vec!["add-bond", "br0", "bond0", "p1", "p2", "lacp=active"];
    bond.extend(["bond_mode=balance-tcp", "other_config:lacp-time=fast"]);
    for port in ["p1", "p2"] {
        bond.extend(["--", "set", "interface", port, "type=dummy"]);
    }
    partner.vsctl(&bond);
    wire(&vswitch, &partner);
    let enabled = |port: &str| {
        let shown = vswitch.appctl(&["bond/show", "lag-p1"]);
        shown.contains("lacp_status: negotiated")
            && shown.contains(&format!("member {port}: enabled"))
    };
    vswitch.until(|| enabled("p1") && enabled("p2"));
    for port in ["p1", "p2"] {
        assert_eq!(read(&driver, port).await.lacp_current, Some(true));
    }
    // A change of what it carries does not disturb it.
    apply(&driver, &[bonded(trunk(None, &[100, 200]))])
        .await
        .unwrap();
    assert!(enabled("p1") && enabled("p2"));
    // One member is pulled: the other goes on.
    partner.vsctl(&["clear", "interface", "p1", "options"]);
    vswitch.until(|| !enabled("p1") && enabled("p2"));
    let state = read(&driver, "p1").await;
    let plan = bonded(trunk(None, &[100, 200]));
    let states = [state, read(&driver, "p2").await];
    assert_eq!(
        plan.differences(&states),
        [],
        "the plan is kept all the same"
    );
    // The operating system is gone: firmware, which knows no LACP, is heard again.
    drop(partner);
    vswitch.until(|| {
        let shown = vswitch.appctl(&["bond/show", "lag-p1"]);
        shown.contains("lacp_status: configured")
    });
}

#[tokio::test]
async fn a_port_that_leaves_an_aggregation_takes_nothing_along() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let members = ["p1".to_owned(), "p2".to_owned(), "p3".to_owned()];
    let three = Lag::of(members.into(), None).unwrap();
    let plans = [PortPlan::lag(three, access(1), "n1").unwrap()];
    apply(&driver, &plans).await.unwrap();
    // p3 is in no plan any more: it must not vanish, nor carry what it did.
    apply(&driver, &[bonded(access(1))]).await.unwrap();
    assert!(vswitch.flooded_from("p3").is_empty());
    assert!(vswitch.flooded_from_tagged("p3", 1).is_empty());
    // Somebody else's aggregation keeps its other members.
    vswitch.vsctl(&["del-port", "p3", "--", "del-port", "p4"]);
    vswitch.vsctl(&[
        "add-bond",
        "br0",
        "theirs",
        "p3",
        "p4",
        "tag=5",
        "--",
        "set",
        "interface",
        "p3",
        "type=dummy",
        "--",
        "set",
        "interface",
        "p4",
        "type=dummy",
    ]);
    apply(&driver, &[plan("p3", 6)]).await.unwrap();
    assert_eq!(
        vswitch.vsctl(&["list-ports", "br0"]),
        "lag-p1\np3\ntheirs\n"
    );
    assert_eq!(
        read(&driver, "p4").await.carries.to_string(),
        "access port of VLAN 5"
    );
}

#[tokio::test]
async fn an_aggregation_that_cannot_be_is_taken_back_as_a_whole() {
    let vswitch = Vswitch::start();
    vswitch.vsctl_whatever_comes_of_it(&[
        "add-port",
        "br0",
        "bad",
        "tag=1",
        "--",
        "set",
        "interface",
        "bad",
        "type=patch",
    ]);
    let driver = vswitch.driver();
    let columns = [
        "--format=csv",
        "--columns=name,tag,vlan_mode,trunks,lacp,other_config,external_ids",
        "list",
        "port",
    ];
    let mut before: Vec<_> = vswitch.vsctl(&columns).lines().map(str::to_owned).collect();
    let members = ["p1".to_owned(), "bad".to_owned()];
    let lag = Lag::of(members.into(), None).unwrap();
    let plan = PortPlan::lag(lag, trunk(Some(100), &[200]), "n1").unwrap();
    let plan = plan.with_mtu(9000).unwrap();
    let error = apply(&driver, &[plan]).await.unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    let mut after: Vec<_> = vswitch
        .vsctl_whatever_comes_of_it(&columns)
        .lines()
        .map(str::to_owned)
        .collect();
    before.sort();
    after.sort();
    assert_eq!(after, before);
    assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3", "p4"]);
}

#[tokio::test]
async fn an_mtu_is_set_and_read_back() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let large = plan("p1", 100).with_mtu(9000).unwrap();
    apply(&driver, &[large]).await.unwrap();
    assert_eq!(read(&driver, "p1").await.mtu, Some(9000));
    apply(&driver, &[plan("p1", 100)]).await.unwrap();
    assert_eq!(read(&driver, "p1").await.mtu, Some(1500));
}

#[tokio::test]
async fn what_open_vswitch_cannot_do_is_refused_before_anything_changes() {
    let vswitch = Vswitch::start();
    vswitch.vsctl(&[
        "add-br",
        "br1",
        "--",
        "set",
        "bridge",
        "br1",
        "datapath_type=dummy",
    ]);
    vswitch.vsctl(&[
        "add-port",
        "br1",
        "q1",
        "--",
        "set",
        "interface",
        "q1",
        "type=dummy",
    ]);
    let driver = vswitch.driver();
    let members = ["p1".to_owned(), "q1".to_owned()];
    let lag = Lag::of(members.into(), None).unwrap();
    let across = PortPlan::lag(lag, access(100), "n1").unwrap();
    let storm = plan("p1", 100).with_storm_limit(Some(1000));
    for (plan, part) in [(across, "2 bridges"), (storm, "broadcast storms")] {
        let error = driver
            .apply(&[plan], OnFailure::RollBack, soon())
            .await
            .unwrap_err();
        assert_eq!(error.class(), FailureClass::Operator);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3", "p4"]);
    }
}
