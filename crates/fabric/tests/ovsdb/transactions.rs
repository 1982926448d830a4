//! How many transactions a change takes, and what becomes of it when its connection breaks, somebody
//! else interferes, or the switch forgets.

use std::sync::Arc;

use bessemer_core::port_plan::{Lag, PortMode, PortPlan};
use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Error, OnFailure, Switch, ThrottledSwitch};

use crate::real::{apply, plan, read, soon};
use crate::relay::{Relay, Trouble};
use crate::vswitch::Vswitch;

fn bond(mode: PortMode) -> PortPlan {
    let members = ["p1".to_owned(), "p2".to_owned()];
    let lag = Lag::of(members.into(), Some("p1".to_owned())).unwrap();
    PortPlan::lag(lag, mode, "n1").unwrap()
}

#[tokio::test]
async fn a_change_of_all_ports_of_a_node_is_one_transaction() {
    let vswitch = Vswitch::start();
    let relay = Relay::start(vswitch.socket(), vec![]);
    let driver = relay.driver();
    let parked = || PortMode::Parked { vlan: 99 };
    let single = |mode| PortPlan::port("p3", mode, "n1").unwrap();
    let trunk = PortMode::Trunk {
        native: Some(100),
        tagged: [200, 300].into(),
    };
    for plans in [
        [bond(parked()), single(parked())],
        [bond(PortMode::Access { vlan: 10 }), single(parked())],
        [
            bond(trunk).with_mtu(9000).unwrap(),
            single(PortMode::Access { vlan: 200 }),
        ],
        [bond(parked()), single(parked())],
    ] {
        apply(&driver, &plans).await.unwrap();
        assert_eq!(relay.changes(), 1);
        let again = apply(&driver, &plans).await.unwrap();
        assert_eq!(relay.changes(), 0, "nothing had to be changed");
        assert_eq!(again.before, again.after);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_transaction_is_made_anew() {
    for (trouble, changes) in [(Trouble::BreakBefore, 2), (Trouble::BreakAfter, 1)] {
        let vswitch = Vswitch::start();
        let relay = Relay::start(vswitch.socket(), vec![trouble]);
        let driver = relay.driver();
        let applied = apply(&driver, &[plan("p1", 100)]).await.unwrap();
        assert_eq!(relay.changes(), changes);
        assert!(vswitch.flooded_from("p1").is_empty());
        let before = applied.before[0].carries.to_string();
        assert_eq!(
            before, "access port of VLAN 1",
            "as it was before all tries"
        );
    }
}

#[tokio::test]
async fn a_connection_that_always_breaks_leaves_open_what_was_done() {
    let vswitch = Vswitch::start();
    let troubles = (0..20).map(|_| Trouble::BreakBefore).collect();
    let relay = Relay::start(vswitch.socket(), troubles);
    let error = apply(&relay.driver(), &[plan("p1", 100)])
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(vswitch.flooded_from("p1").len(), 3);
    let troubles = (0..20).map(|_| Trouble::BreakAfter).collect();
    let relay = Relay::start(vswitch.socket(), troubles);
    let plans = [plan("p1", 100), plan("p2", 100)];
    apply(&relay.driver(), &plans).await.unwrap();
    assert_eq!(relay.changes(), 1, "seen to be done when it was read again");
}

#[tokio::test]
async fn a_switch_that_accepts_and_forgets_is_not_believed() {
    let vswitch = Arc::new(Vswitch::start());
    let forgetful = vswitch.clone();
    let forgets = Trouble::Then(Box::new(move || {
        forgetful.vsctl(&["set", "port", "p1", "tag=1"]);
    }));
    let relay = Relay::start(vswitch.socket(), vec![forgets]);
    let driver = relay.driver();
    let error = apply(&driver, &[plan("p1", 100), plan("p2", 100)])
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    let text = error.to_string();
    assert!(
        text.contains("VLAN 100") && text.contains("VLAN 1;") || text.contains("VLAN 1."),
        "{text}"
    );
    // Neither half of it is left.
    vswitch.until(|| vswitch.flooded_from("p1").len() == 3);
    assert_eq!(read(&driver, "p2").await.description, "");
}

#[tokio::test]
async fn somebody_elses_change_in_between_is_seen_first() {
    let vswitch = Arc::new(Vswitch::start());
    let other = vswitch.clone();
    let meanwhile = Trouble::Meanwhile(Box::new(move || {
        other.vsctl(&["set", "port", "p1", "tag=7", "external_ids:owner=somebody"]);
    }));
    let relay = Relay::start(vswitch.socket(), vec![meanwhile]);
    apply(&relay.driver(), &[plan("p1", 100)]).await.unwrap();
    assert_eq!(relay.changes(), 2, "the first was refused as a whole");
    let owner = vswitch.vsctl(&["get", "port", "p1", "external_ids:owner"]);
    assert_eq!(owner, "somebody\n");
    assert!(vswitch.flooded_from("p1").is_empty());
}

#[tokio::test]
async fn a_switch_has_no_more_requests_at_once_than_it_may() {
    let vswitch = Vswitch::start();
    let relay = Relay::start(vswitch.socket(), vec![]);
    let switch = ThrottledSwitch::new(Arc::new(relay.driver()), 2);
    let plans: Vec<_> = (0..24u16)
        .map(|number| [plan(&format!("p{}", number % 4 + 1), 100 + number % 4)])
        .collect();
    let all = plans
        .iter()
        .map(|plans| switch.apply(plans, OnFailure::RollBack, soon()));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(relay.most_at_once(), 2);
    // One that does not get its turn says why.
    let late = switch.apply(&plans[0], OnFailure::RollBack, tokio::time::Instant::now());
    let held = switch.apply(&plans[1], OnFailure::RollBack, soon());
    let other = switch.apply(&plans[2], OnFailure::RollBack, soon());
    let (one, two, late) = tokio::join!(held, other, late);
    assert!(one.is_ok() && two.is_ok());
    let error = late.unwrap_err();
    assert!(matches!(error, Error::Busy { limit: 2, .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
}
