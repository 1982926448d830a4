//! VXLAN tunnels on a real Open vSwitch: what it would put into them, and what it lets out.

use bessemer_core::overlay::Tunnels;
use bessemer_core::port_plan::{PortMode, PortPlan};
use bessemer_fabric::{Error, Switch};

use crate::real::{apply, plan, soon};
use crate::vswitch::{EVERYBODY, Vswitch, frame};

/// The tunnels of VNI 5000 to 10.50.0.2 and 10.50.0.3.
const FIRST: &str = "x0013880a320002";
const SECOND: &str = "x0013880a320003";

fn network(vni: u32, vlan: u16, remotes: &[&str]) -> Tunnels {
    Tunnels {
        vni,
        vlan,
        remotes: remotes
            .iter()
            .map(|remote| remote.parse().unwrap())
            .collect(),
        beside: "p1".to_owned(),
    }
}

/// A switch with p1 to p3 in VLANs 100, 101 and 100.
async fn start() -> Vswitch {
    let vswitch = Vswitch::start();
    let plans = [plan("p1", 100), plan("p2", 101), plan("p3", 100)];
    apply(&vswitch.driver(), &plans).await.unwrap();
    vswitch
}

/// Where a broadcast from `port` goes: ports, and tunnels by their names.
fn goes(vswitch: &Vswitch, port: &str) -> Vec<String> {
    let flow = format!("in_port={port},dl_src=52:54:00:00:00:05,dl_dst=ff:ff:ff:ff:ff:ff");
    let trace = vswitch.appctl(&["ofproto/trace", "--names", "br0", &flow]);
    let actions = trace
        .lines()
        .find_map(|line| line.strip_prefix("Datapath actions: "));
    let actions = actions.unwrap_or_else(|| panic!("{trace}"));
    let ports = actions.split(',').filter(|action| {
        (action.starts_with('p') && action.len() == 2) || action.starts_with("x0")
    });
    let mut ports: Vec<_> = ports.map(str::to_owned).collect();
    ports.sort();
    ports
}

/// VNI and far end of a tunnel, as the switch has them.
fn options(vswitch: &Vswitch, tunnel: &str) -> String {
    let options = vswitch.vsctl(&["get", "interface", tunnel, "options"]);
    options.trim().to_owned()
}

#[tokio::test]
async fn a_network_goes_through_its_own_tunnels_and_comes_out_in_its_vlan() {
    let vswitch = start().await;
    let driver = vswitch.driver();
    let wanted = [
        network(5000, 100, &["10.50.0.2", "10.50.0.3"]),
        network(6000, 101, &["10.50.0.2"]),
    ];
    driver.set_tunnels(&wanted, soon()).await.unwrap();
    assert_eq!(goes(&vswitch, "p1"), ["p3", FIRST, SECOND]);
    assert_eq!(goes(&vswitch, "p2"), ["x0017700a320002"]);
    let first = "{key=\"5000\", remote_ip=\"10.50.0.2\"}";
    assert_eq!(options(&vswitch, FIRST), first);
    // What comes out of a tunnel goes to the network's ports, and into no other tunnel.
    assert_eq!(goes(&vswitch, FIRST), ["p1", "p3"]);
    assert_eq!(goes(&vswitch, "x0017700a320002"), ["p2"]);
    // A machine in another network, or a parked port, reaches none of them.
    let parked = PortPlan::port("p2", PortMode::Parked { vlan: 99 }, "").unwrap();
    apply(&driver, &[parked]).await.unwrap();
    assert!(goes(&vswitch, "p2").is_empty() && goes(&vswitch, "p4").is_empty());
}

#[tokio::test]
async fn frames_pass_between_switches_within_a_network_and_nowhere_else() {
    let (one, two) = (Vswitch::with_tunnels(), Vswitch::with_tunnels());
    one.join(&two);
    // VNI 5000 is VLAN 100 here and VLAN 101 there; VNI 6000 the other way round.
    let plans = [plan("p1", 100), plan("p2", 101), plan("p3", 100)];
    apply(&one.driver(), &plans).await.unwrap();
    let plans = [plan("p1", 101), plan("p2", 100), plan("p3", 200)];
    apply(&two.driver(), &plans).await.unwrap();
    let here = [
        network(5000, 100, &["10.50.0.2"]),
        network(6000, 101, &["10.50.0.2"]),
    ];
    let there = [
        network(5000, 101, &["10.50.0.1"]),
        network(6000, 100, &["10.50.0.1"]),
    ];
    let applied = one.driver().set_tunnels(&here, soon()).await.unwrap();
    assert!(applied.changed && applied.before.is_empty());
    assert_eq!(applied.after.len(), 2);
    two.driver().set_tunnels(&there, soon()).await.unwrap();
    let again = one.driver().set_tunnels(&here, soon()).await.unwrap();
    assert!(!again.changed && again.before == again.after);

    let first = frame(EVERYBODY, 1, 0xa1);
    one.receive("p1", &first);
    one.until(|| two.sent("p1").contains(&first));
    assert!(one.sent("p3").contains(&first), "the network here, too");
    // An answer goes to the one that is meant, and the other way through the tunnel.
    let answer = frame([0x52, 0x54, 0, 0, 0, 1], 2, 0xa2);
    two.receive("p1", &answer);
    one.until(|| one.sent("p1").contains(&answer));
    let other = frame(EVERYBODY, 3, 0xa3);
    one.receive("p2", &other);
    one.until(|| two.sent("p2").contains(&other));
    for (switch, port, seen) in [
        (&one, "p1", &[&answer][..]),
        (&one, "p2", &[]),
        (&one, "p3", &[&first]),
        (&two, "p1", &[&first]),
        (&two, "p2", &[&other]),
        (&two, "p3", &[]),
        (&two, "p4", &[]),
    ] {
        let sent = switch.sent(port);
        let expected: Vec<_> = seen.iter().map(|frame| (*frame).clone()).collect();
        assert_eq!(sent, expected, "{port}");
    }
    // Without the tunnel nothing passes: what comes later by the other one shows it.
    let only = [network(6000, 101, &["10.50.0.2"])];
    one.driver().set_tunnels(&only, soon()).await.unwrap();
    one.revalidated();
    let lost = frame(EVERYBODY, 1, 0xa4);
    one.receive("p1", &lost);
    let last = frame(EVERYBODY, 3, 0xa5);
    one.receive("p2", &last);
    one.until(|| two.sent("p2").contains(&last));
    assert!(!two.sent("p1").contains(&lost));
}

#[tokio::test]
async fn tunnels_come_and_go_and_only_ours() {
    let vswitch = start().await;
    let driver = vswitch.driver();
    vswitch.vsctl(&[
        "add-port",
        "br0",
        "theirs",
        "tag=900",
        "--",
        "set",
        "interface",
        "theirs",
        "type=vxlan",
        "options:remote_ip=10.50.0.9",
        "options:key=9",
    ]);
    let ports = || {
        let ports = vswitch.vsctl(&["list-ports", "br0"]);
        let ports = ports.lines().filter(|port| port.len() > 2);
        ports.map(str::to_owned).collect::<Vec<_>>()
    };
    let both = [network(5000, 100, &["10.50.0.2", "10.50.0.3"])];
    driver.set_tunnels(&both, soon()).await.unwrap();
    assert_eq!(ports(), ["theirs", FIRST, SECOND]);
    let row = ["get", "port", FIRST, "_uuid"];
    let before = vswitch.vsctl(&row);
    // The same again changes nothing; one that goes leaves the other alone.
    driver.set_tunnels(&both, soon()).await.unwrap();
    let one = [network(5000, 100, &["10.50.0.2"])];
    driver.set_tunnels(&one, soon()).await.unwrap();
    assert_eq!(ports(), ["theirs", FIRST]);
    assert_eq!(vswitch.vsctl(&row), before);
    // Another VLAN is another tunnel, under the same name.
    let moved = [network(5000, 101, &["10.50.0.2"])];
    driver.set_tunnels(&moved, soon()).await.unwrap();
    assert_eq!(goes(&vswitch, "p2"), [FIRST]);
    assert_eq!(goes(&vswitch, "p1"), ["p3"]);
    // Somebody has bent it: it is made anew.
    vswitch.vsctl(&["set", "interface", FIRST, "options:key=7"]);
    driver.set_tunnels(&moved, soon()).await.unwrap();
    assert_eq!(goes(&vswitch, "p2"), [FIRST]);
    driver.set_tunnels(&[], soon()).await.unwrap();
    assert_eq!(ports(), ["theirs"]);
}

#[tokio::test]
async fn tunnels_beside_a_port_that_is_not_there_are_refused() {
    let vswitch = start().await;
    let mut wanted = network(5000, 100, &["10.50.0.2"]);
    wanted.beside = "p9".to_owned();
    let error = vswitch
        .driver()
        .set_tunnels(&[wanted], soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchPort { .. }), "{error:?}");
}

#[tokio::test]
async fn a_vlan_that_would_leave_the_switch_by_a_trunk_is_told() {
    let vswitch = start().await;
    let driver = vswitch.driver();
    let alone = [network(5000, 100, &[])];
    driver.set_tunnels(&alone, soon()).await.unwrap();
    for (trunk, leaks) in [
        ("trunks=[]", true),
        ("trunks=99,100", true),
        ("trunks=99,101", false),
        ("tag=100", true),
        ("tag=99 vlan_mode=native-untagged", true),
        ("tag=99 vlan_mode=native-untagged trunks=101", false),
    ] {
        let setting: Vec<_> = trunk.split(' ').collect();
        let clear = ["set", "port", "p4", "tag=[]", "trunks=[]", "vlan_mode=[]"];
        let set = [&clear, &["--", "set", "port", "p4"][..], &setting].concat();
        vswitch.vsctl(&set);
        let result = driver.set_tunnels(&alone, soon()).await;
        match result {
            Err(Error::Leaks {
                port, vlan, vni, ..
            }) if leaks => assert_eq!((port.as_str(), vlan, vni), ("p4", 100, 5000)),
            Ok(_) if !leaks => {}
            other => panic!("{trunk}: {other:?}"),
        }
    }
}
