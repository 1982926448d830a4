//! Nodes with our agent reach the conductor, and each other nowhere.

use bessemer_core::lifecycle::PortRole;

use crate::frames::{self, Frame};
use crate::rack::{BMC, Machine, PARKED, Rack, assert_deaf};

/// The machines of [`idle_rack`]: after the nodes.
const CONDUCTOR: usize = 4;

/// Two nodes in `role` on each switch, and the conductor.
async fn idle_rack(rack: &Rack, role: PortRole) -> Vec<Machine> {
    let mut machines = Vec::new();
    for (number, (leaf, port)) in (1..).zip([(1, "p1"), (1, "p2"), (2, "p1"), (2, "p2")]) {
        let machine = rack.node(number, leaf, &[port]).await;
        rack.connect(&machine, role, &[]).await;
        machines.push(machine);
    }
    machines.push(rack.machine(50, 1, "conductor"));
    machines
}

#[tokio::test]
async fn agents_on_any_switch_reach_the_conductor_and_not_each_other() {
    let rack = Rack::start();
    for role in [
        PortRole::Provisioning,
        PortRole::Cleaning,
        PortRole::Standby,
        PortRole::Rescue,
    ] {
        let mut machines = idle_rack(&rack, role).await;
        for from in 0..CONDUCTOR {
            let mut sent: Vec<Frame> = Vec::new();
            for to in (0..CONDUCTOR).filter(|to| *to != from) {
                let first = u32::try_from(sent.len()).unwrap();
                let (attacker, victim) = (machines[from].station, machines[to].station);
                let vlans = [BMC, PARKED];
                sent.extend(frames::malicious(attacker, victim, &[], &vlans, first));
            }
            rack.send(&mut machines, from, 0, &sent);
            for index in (0..CONDUCTOR).filter(|index| *index != from) {
                assert_deaf(&mut machines[index], &sent);
            }
            assert!(!machines[CONDUCTOR].heard().is_empty(), "{role:?}");
            converse(&rack, &mut machines, from);
        }
    }
}

/// Asserts that a node and the conductor find each other, although others have just used the node's MAC
/// address in the same VLAN: a switch needs a moment to see where it is after all.
fn converse(rack: &Rack, machines: &mut [Machine], node: usize) {
    let [question, answer] = [(node, CONDUCTOR), (CONDUCTOR, node)].map(|(from, to)| Frame {
        name: "conversation with the conductor".to_owned(),
        bytes: frames::unicast(machines[from].station, machines[to].station, 1),
    });
    rack.leaf(1).until(|| {
        rack.send(machines, node, 0, std::slice::from_ref(&question));
        assert_eq!(
            machines[CONDUCTOR].heard(),
            std::slice::from_ref(&question.bytes)
        );
        rack.send(machines, CONDUCTOR, 0, std::slice::from_ref(&answer));
        machines[node].heard() == std::slice::from_ref(&answer.bytes)
    });
    for machine in machines {
        machine.heard();
    }
}

/// Isolation is a matter of one switch; what keeps agents of two switches apart is that the trunk's end
/// near the conductor is protected, too. Without that they meet: this is what operators are told.
#[tokio::test]
async fn a_trunk_that_is_not_protected_lets_agents_of_two_switches_meet() {
    let rack = Rack::with_trunk(false);
    let mut machines = idle_rack(&rack, PortRole::Standby).await;
    let frame = Frame {
        name: "broadcast of an idle agent".to_owned(),
        bytes: frames::broadcast(machines[0].station, 1),
    };
    rack.send(&mut machines, 0, 0, std::slice::from_ref(&frame));
    let heard = machines.iter_mut().map(|machine| machine.heard().len());
    assert_eq!(heard.collect::<Vec<_>>(), [0, 0, 1, 1, 1]);
}
