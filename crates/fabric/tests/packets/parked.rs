//! A parked port carries nothing, in either direction.

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::AttachmentMode::Native;

use crate::frames::{self, Frame};
use crate::rack::{BMC, PARKED, PROVISIONING, Rack, assert_deaf};

#[tokio::test]
async fn a_parked_port_is_heard_by_nobody_and_hears_nobody() {
    let rack = Rack::start();
    let mut machines = Vec::new();
    let nodes = [
        (1, "p1", PortRole::Parked, &[][..]),
        (1, "p2", PortRole::Parked, &[]),
        (2, "p1", PortRole::Parked, &[]),
        (1, "p3", PortRole::Tenant, &[(100, Native)]),
        (2, "p3", PortRole::Tenant, &[(100, Native)]),
        (1, "p4", PortRole::Provisioning, &[]),
        (2, "p4", PortRole::Standby, &[]),
    ];
    for (number, (leaf, port, role, networks)) in (1..).zip(nodes) {
        let machine = rack.node(number, leaf, &[port]).await;
        rack.connect(&machine, role, networks).await;
        machines.push(machine);
    }
    machines.push(rack.machine(50, 1, "conductor"));
    machines.push(rack.machine(51, 1, "bmc"));
    let parked = 0..3;
    let vlans = [100, PROVISIONING, BMC, PARKED];
    for from in 0..machines.len() {
        // Whoever sends: from a parked port to all, from all others to the parked ones.
        let targets = if parked.contains(&from) {
            0..machines.len()
        } else {
            parked.clone()
        };
        let mut sent: Vec<Frame> = Vec::new();
        for to in targets.clone().filter(|to| *to != from) {
            let first = u32::try_from(sent.len()).unwrap();
            let (attacker, victim) = (machines[from].station, machines[to].station);
            sent.extend(frames::malicious(attacker, victim, &[], &vlans, first));
        }
        rack.send(&mut machines, from, 0, &sent);
        for index in targets.filter(|index| *index != from) {
            assert_deaf(&mut machines[index], &sent);
        }
        for machine in &mut machines {
            machine.heard();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_parked_falls_silent() {
    let rack = Rack::start();
    let mut machines = Vec::new();
    for (number, leaf) in [(1, 1), (2, 2)] {
        let machine = rack.node(number, leaf, &["p1"]).await;
        rack.connect(&machine, PortRole::Tenant, &[(100, Native)])
            .await;
        machines.push(machine);
    }
    for (number, is_heard) in [(1, true), (2, false)] {
        let frame = Frame {
            name: "broadcast of a server".to_owned(),
            bytes: frames::broadcast(machines[0].station, number),
        };
        rack.send(&mut machines, 0, 0, &[frame]);
        assert_eq!(
            machines[1].nics[0].take_numbers().contains(&number),
            is_heard
        );
        rack.connect(&machines[0], PortRole::Parked, &[]).await;
    }
}
