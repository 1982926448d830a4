//! What the driver does to a switch, as the switch itself sees it.

use std::time::Duration;

use bessemer_core::port_plan::{Carries, PortMode, PortPlan, PortState};
use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Applied, Error, OnFailure, OvsdbAddress, OvsdbSwitch, Switch};
use tokio::time::Instant;

use crate::vswitch::Vswitch;

/// Long enough never to pass in a test that works.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// An access port of `vlan`.
pub(crate) fn plan(port: &str, vlan: u16) -> PortPlan {
    PortPlan::port(
        port,
        PortMode::Access { vlan },
        format!("node n1, VLAN {vlan}"),
    )
    .unwrap()
}

pub(crate) async fn apply(driver: &OvsdbSwitch, plans: &[PortPlan]) -> Result<Applied, Error> {
    driver.apply(plans, OnFailure::RollBack, soon()).await
}

pub(crate) async fn read(driver: &OvsdbSwitch, port: &str) -> PortState {
    let states = driver.read(&[port.to_owned()], soon()).await.unwrap();
    states.into_iter().next().unwrap()
}

#[tokio::test]
async fn once_applied_the_switch_forwards_by_it() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3", "p4"]);
    apply(&driver, &[plan("p1", 100)]).await.unwrap();
    assert!(vswitch.flooded_from("p1").is_empty());
    apply(&driver, &[plan("p3", 100)]).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p3"]);
    let state = read(&driver, "p1").await;
    assert_eq!(
        state.to_string(),
        "access port of VLAN 100 (node n1, VLAN 100)"
    );
    assert_eq!((state.mtu, state.fault), (Some(1500), None));
}

#[tokio::test]
async fn isolated_ports_reach_others_but_not_each_other() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let idle = [plan("p1", 1).isolated(true), plan("p2", 1).isolated(true)];
    apply(&driver, &idle).await.unwrap();
    assert_eq!(
        vswitch.flooded_from("p1"),
        ["p3", "p4"],
        "the conductor's ports"
    );
    assert_eq!(vswitch.flooded_from("p3"), ["p1", "p2", "p4"]);
    let state = [read(&driver, "p1").await];
    assert_eq!(idle[0].differences(&state), []);
    assert_eq!(plan("p1", 1).differences(&state)[0].what, "isolation");
    // As a tenant's, it reaches its neighbours again.
    apply(&driver, &[plan("p1", 1)]).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1"), ["p2", "p3", "p4"]);
}

#[tokio::test]
async fn every_change_is_in_effect_at_once() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    for round in 0..25 {
        let (vlan, expected) = if round % 2 == 0 {
            (2, vec![])
        } else {
            (1, vec!["p2", "p3", "p4"])
        };
        apply(&driver, &[plan("p1", vlan)]).await.unwrap();
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
    let before = read(&driver, "p1").await;
    assert!(matches!(before.carries, Carries::Trunk { .. }), "{before}");
    apply(&driver, &[plan("p1", 7)]).await.unwrap();
    let columns = ["get", "port", "p1", "vlan_mode", "tag", "trunks"];
    assert_eq!(vswitch.vsctl(&columns), "access\n7\n[]\n");
}

#[tokio::test]
async fn other_programs_notes_stay() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    vswitch.vsctl(&["set", "port", "p1", "external_ids:owner=somebody"]);
    apply(&driver, &[plan("p1", 7)]).await.unwrap();
    let parked = PortPlan::port("p1", PortMode::Parked { vlan: 7 }, "parked").unwrap();
    apply(&driver, &[parked]).await.unwrap();
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
            .apply(&[plan("p1", 100)], OnFailure::Keep, deadline)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotInEffect { .. }), "{error:?}");
        assert_eq!(error.class(), FailureClass::Transient);
        assert!(error.to_string().contains("ovs-vswitchd"), "{error}");
    }
    vswitch.start_daemon();
    apply(&driver, &[plan("p1", 100)]).await.unwrap();
    assert!(vswitch.flooded_from("p1").is_empty());
}

#[tokio::test]
async fn a_port_that_is_not_there_is_the_operators_to_mend() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    for name in ["p9", "", "p1\" or true"] {
        let states = driver.read(&[name.to_owned()], soon()).await;
        assert!(matches!(states, Err(Error::NoSuchPort { .. })));
    }
    // One that is missing keeps the others from being changed.
    let error = apply(&driver, &[plan("p1", 100), plan("p9", 100)]).await;
    assert_eq!(error.unwrap_err().class(), FailureClass::Operator);
    assert_eq!(vswitch.flooded_from("p1").len(), 3);
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
    let driver = vswitch.driver();
    let plans = [plan("p1", 100), plan("bad", 100)];
    let error = apply(&driver, &plans).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    assert!(error.to_string().contains("peer"), "{error}");
    // The good one has been put back: both or none.
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    vswitch.vsctl_whatever_comes_of_it(&["set", "open_vswitch", ".", "external_ids:seen=yes"]);
    assert_eq!(vswitch.flooded_from("p1").len(), 3);
    // What is parked stays parked, whatever else is wrong.
    let parked = |port| PortPlan::port(port, PortMode::Parked { vlan: 9 }, "").unwrap();
    let plans = [parked("p1"), parked("bad")];
    let error = driver.apply(&plans, OnFailure::Keep, soon()).await;
    assert!(matches!(error, Err(Error::PortFault { .. })), "{error:?}");
    assert!(vswitch.flooded_from("p1").is_empty());
}

#[tokio::test]
async fn ports_can_be_applied_at_the_same_time() {
    let vswitch = Vswitch::start();
    let driver = vswitch.driver();
    let plans = [plan("p1", 10), plan("p2", 20), plan("p3", 10)];
    let (one, two, three) = tokio::join!(
        apply(&driver, &plans[..1]),
        apply(&driver, &plans[1..2]),
        apply(&driver, &plans[2..]),
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
    let error = apply(&driver, &[plan("p1", 7)]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(
        error.to_string().contains(socket.to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_restarts_is_found_again() {
    let mut vswitch = Vswitch::start();
    let driver = vswitch.driver();
    apply(&driver, &[plan("p1", 100)]).await.unwrap();
    vswitch.stop_database();
    let error = apply(&driver, &[plan("p1", 7)]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(vswitch.flooded_from("p1").is_empty(), "forwards as before");
    vswitch.start_database();
    // The switch itself needs a moment to come back to its database: that is waited for.
    apply(&driver, &[plan("p1", 1)]).await.unwrap();
    assert_eq!(vswitch.flooded_from("p1").len(), 3);
}
