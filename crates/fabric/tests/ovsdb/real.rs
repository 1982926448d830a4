//! What the driver does to a switch, as the switch itself sees it.

use std::time::Duration;

use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Error, OvsdbAddress, OvsdbSwitch, PortPlan, PortState, Switch};
use tokio::time::Instant;

use crate::vswitch::Vswitch;

/// Long enough never to pass in a test that works.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn plan(vlan: u16) -> PortPlan {
    PortPlan::access(vlan, format!("node n1, VLAN {vlan}")).unwrap()
}

#[tokio::test]
async fn once_applied_the_switch_forwards_by_it() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3"]);
    driver.apply_port("p1", &plan(100), soon()).await.unwrap();
    assert!(vswitch.flooded_from("p1").is_empty());
    driver.apply_port("p3", &plan(100), soon()).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p3"]);
    let expected = PortState::Access {
        vlan: 100,
        isolated: false,
        description: "node n1, VLAN 100".to_owned(),
    };
    assert_eq!(driver.read_port("p1", soon()).await.unwrap(), expected);
}

#[tokio::test]
async fn isolated_ports_reach_others_but_not_each_other() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let idle = plan(1).isolated(true);
    driver.apply_port("p1", &idle, soon()).await.unwrap();
    driver.apply_port("p2", &idle, soon()).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p3"], "the conductor's port");
    assert_eq!(vswitch.flooded_from("p3"), ["p1", "p2"]);
    let state = driver.read_port("p1", soon()).await.unwrap();
    assert!(
        state.satisfies(&idle) && !state.satisfies(&plan(1)),
        "{state}"
    );
    // As a tenant's, it reaches its neighbours again.
    driver.apply_port("p1", &plan(1), soon()).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3"]);
}

#[tokio::test]
async fn every_change_is_in_effect_at_once() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    for round in 0..25 {
        let (vlan, expected) = if round % 2 == 0 {
            (2, vec![])
        } else {
            (1, vec!["p2", "p3"])
        };
        driver.apply_port("p1", &plan(vlan), soon()).await.unwrap();
        assert_eq!(vswitch.flooded_from("p1"), expected, "{round}");
    }
}

#[tokio::test]
async fn a_trunk_becomes_an_access_port() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    vswitch.vsctl(&[
        "set",
        "port",
        "p1",
        "vlan_mode=native-untagged",
        "tag=1",
        "trunks=2,3",
    ]);
    let before = driver.read_port("p1", soon()).await.unwrap();
    assert!(matches!(before, PortState::Other(_)), "{before}");
    driver.apply_port("p1", &plan(7), soon()).await.unwrap();
    let columns = ["get", "port", "p1", "vlan_mode", "tag", "trunks"];
    assert_eq!(vswitch.vsctl(&columns), "access\n7\n[]\n");
}

#[tokio::test]
async fn other_programs_notes_stay() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    vswitch.vsctl(&["set", "port", "p1", "external_ids:owner=somebody"]);
    driver.apply_port("p1", &plan(7), soon()).await.unwrap();
    let renamed = PortPlan::access(7, "parked").unwrap();
    driver.apply_port("p1", &renamed, soon()).await.unwrap();
    let ids = vswitch.vsctl(&["get", "port", "p1", "external_ids"]);
    assert_eq!(ids, "{bessemer-description=parked, owner=somebody}\n");
}

#[tokio::test]
async fn what_is_stored_but_not_in_effect_is_not_success() {
    let mut vswitch = Vswitch::start();
    let driver = vswitch.driver();
    vswitch.stop_daemon();
    for _ in 0..2 {
        // The second time the port reads as planned, and still nobody forwards by it.
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = driver
            .apply_port("p1", &plan(100), deadline)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotInEffect { .. }), "{error:?}");
        assert_eq!(error.class(), FailureClass::Transient);
        assert!(error.to_string().contains("ovs-vswitchd"), "{error}");
    }
    vswitch.start_daemon();
    driver.apply_port("p1", &plan(100), soon()).await.unwrap();
    assert!(vswitch.flooded_from("p1").is_empty());
}

#[tokio::test]
async fn a_port_that_is_not_there_is_the_operators_to_mend() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    for name in ["p9", "", "p1\" or true"] {
        let error = driver
            .apply_port(name, &plan(100), soon())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NoSuchPort { .. }), "{error:?}");
        assert_eq!(error.class(), FailureClass::Operator);
    }
}

#[tokio::test]
async fn a_port_the_switch_cannot_use_is_not_success() {
    let vswitch = Vswitch::start();
    let arguments = [
        "add-port",
        "br0",
        "bad",
        "--",
        "set",
        "interface",
        "bad",
        "type=patch",
    ];
    vswitch.vsctl_whatever_comes_of_it(&arguments);
    let error = vswitch
        .driver()
        .apply_port("bad", &plan(100), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PortFault { .. }), "{error:?}");
    assert!(error.to_string().contains("peer"), "{error}");
}

#[tokio::test]
async fn ports_can_be_applied_at_the_same_time() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let (one, two, three) = (plan(10), plan(20), plan(10));
    let (one, two, three) = tokio::join!(
        driver.apply_port("p1", &one, soon()),
        driver.apply_port("p2", &two, soon()),
        driver.apply_port("p3", &three, soon()),
    );
    for result in [one, two, three] {
        result.unwrap();
    }
    assert_eq!(vswitch.flooded_from("p1"), ["p3"]);
    assert!(vswitch.flooded_from("p2").is_empty());
}

#[tokio::test]
async fn a_switch_that_is_gone_is_transient() {
    let socket = Vswitch::start().socket();
    let driver = OvsdbSwitch::new("leaf1", OvsdbAddress::Unix(socket.clone()));
    let error = driver.read_port("p1", soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(
        error.to_string().contains(socket.to_str().unwrap()),
        "{error}"
    );
}
