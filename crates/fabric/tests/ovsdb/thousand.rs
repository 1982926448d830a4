//! A thousand nodes that change networks at once, from two conductors, on one real Open vSwitch: how
//! long until all is settled, and what a change costs. `make bench` tells the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_core::port_plan::PortPlan;
use bessemer_fabric::{OnFailure, Switch, ThrottledSwitch};
use futures_util::future::join_all;

use crate::figure::figure;
use crate::real::plan;
use crate::vswitch::{Vswitch, cpu_of};

const NODES: u16 = 1000;

/// Requests that each of the two conductors has at the switch at once: the default of
/// `switch_requests`.
const LIMIT: usize = 32;

/// The longest that it may take.
const SETTLED: Duration = Duration::from_secs(60);

fn plans() -> Vec<[PortPlan; 1]> {
    let port = |number| [plan(&format!("n{number}"), 100 + number % 400)];
    (0..NODES).map(port).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which wants a machine of its own: `make bench` takes it"]
async fn a_thousand_nodes_change_networks_at_once() {
    let vswitch = Vswitch::with_ports(NODES, "99");
    let conductor = || ThrottledSwitch::new(Arc::new(vswitch.driver()), LIMIT);
    let conductors = [conductor(), conductor()];
    let plans = plans();
    let spent = || {
        let [database, switch] = vswitch.cpu();
        [cpu_of(std::process::id()), database, switch]
    };
    let (before, begun) = (spent(), Instant::now());
    let deadline = tokio::time::Instant::now() + 10 * SETTLED;
    let all = plans.iter().enumerate().map(|(index, plans)| {
        conductors[index % conductors.len()].apply(plans, OnFailure::RollBack, deadline)
    });
    for applied in join_all(all).await {
        applied.unwrap();
    }
    let settled = begun.elapsed();
    figure("port_changes_settle", settled.as_secs_f64(), "s");
    let names = ["conductor", "switch_database", "switch"];
    for ((name, before), after) in names.into_iter().zip(before).zip(spent()) {
        let each = (after - before).as_secs_f64() * 1e3 / f64::from(NODES);
        figure(&format!("port_change_cpu_{name}"), each, "ms");
    }
    assert!(settled < SETTLED, "settled in {settled:?}");
}
