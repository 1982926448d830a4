//! Bonded ports, with a machine behind them that speaks no LACP: firmware, or somebody malicious.

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::AttachmentMode::{Native, Tagged};

use crate::frames::{self, Frame};
use crate::rack::{BMC, Machine, PARKED, PROVISIONING, Rack, assert_deaf};

const CONDUCTOR: usize = 1;

/// A bonded node at p1 and p2 of leaf2, the conductor, and a server of another tenant on either switch.
async fn machines(rack: &Rack) -> Vec<Machine> {
    let mut machines = vec![
        rack.node(1, 2, &["p1", "p2"]).await,
        rack.machine(50, 1, "conductor"),
    ];
    for (number, leaf) in [(2, 1), (3, 2)] {
        let machine = rack.node(number, leaf, &["p3"]).await;
        rack.connect(&machine, PortRole::Tenant, &[(200, Native)])
            .await;
        machines.push(machine);
    }
    machines
}

#[tokio::test]
async fn firmware_boots_by_one_member_of_a_bond() {
    let rack = Rack::start();
    let mut machines = machines(&rack).await;
    rack.connect(&machines[0], PortRole::Provisioning, &[])
        .await;
    // The fallback needs a moment: the switch waits for a partner first, as firmware repeats its requests.
    let leaf = rack.leaf(2);
    leaf.until(|| {
        leaf.appctl(&["bond/show", "lag-p1"])
            .contains("member p1: enabled")
    });
    for (from, to) in [(0, CONDUCTOR), (CONDUCTOR, 0)] {
        let bytes = frames::unicast(machines[from].station, machines[to].station, 1);
        let frame = Frame {
            name: "boot request".to_owned(),
            bytes: bytes.clone(),
        };
        rack.send(&mut machines, from, 0, &[frame]);
        assert_eq!(machines[to].heard(), [bytes]);
    }
}

#[tokio::test]
async fn a_malicious_guest_gets_no_further_by_a_bond() {
    let rack = Rack::start();
    let mut machines = machines(&rack).await;
    rack.connect(
        &machines[0],
        PortRole::Tenant,
        &[(100, Tagged), (101, Tagged)],
    )
    .await;
    let leaf = rack.leaf(2);
    leaf.until(|| {
        leaf.appctl(&["bond/show", "lag-p1"])
            .contains("member p1: enabled")
    });
    for nic in [0, 1] {
        let mut sent: Vec<Frame> = Vec::new();
        for target in 1..machines.len() {
            let first = u32::try_from(sent.len()).unwrap();
            let (attacker, victim) = (machines[0].station, machines[target].station);
            let vlans = [200, PROVISIONING, BMC, PARKED];
            sent.extend(frames::malicious(
                attacker,
                victim,
                &[100, 101],
                &vlans,
                first,
            ));
        }
        rack.send(&mut machines, 0, nic, &sent);
        for machine in &mut machines[1..] {
            assert_deaf(machine, &sent);
        }
    }
}
