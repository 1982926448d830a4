//! Tenants hear each other nowhere, nor us; their own networks they hear everywhere.

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::AttachmentMode::{self, Native, Tagged};

use crate::frames::{self, Frame};
use crate::rack::{BMC, Machine, PARKED, PROVISIONING, Rack, assert_deaf};

/// The machines of [`full_rack`], in their order.
const ATTACKER: usize = 0;
const FELLOW: usize = 1;
const VICTIM: usize = 2;
const VICTIMS_FELLOW: usize = 3;
const OTHERS: std::ops::Range<usize> = 2..10;

/// The tagger for a VLAN of the customer.
const CUSTOMER: u16 = 0x8100;

/// On both switches a server of a tenant in VLAN 100 (attached as `attacker` says on leaf1), one of
/// another tenant in 200, a node with our agent, a parked one; and the conductor and a controller.
async fn full_rack(rack: &Rack, attacker: &[(u16, AttachmentMode)]) -> Vec<Machine> {
    let mut machines = Vec::new();
    let nodes = [
        (1, "p1", PortRole::Tenant, attacker),
        (2, "p1", PortRole::Tenant, &[(100, Native)]),
        (1, "p2", PortRole::Tenant, &[(200, Native)]),
        (2, "p2", PortRole::Tenant, &[(200, Native)]),
        (1, "p3", PortRole::Provisioning, &[]),
        (2, "p3", PortRole::Standby, &[]),
        (1, "p4", PortRole::Parked, &[]),
        (2, "p4", PortRole::Parked, &[]),
    ];
    for (number, (leaf, port, role, networks)) in (1..).zip(nodes) {
        let machine = rack.node(number, leaf, &[port]).await;
        rack.connect(&machine, role, networks).await;
        machines.push(machine);
    }
    machines.push(rack.machine(50, 1, "conductor"));
    machines.push(rack.machine(51, 1, "bmc"));
    machines
}

/// Sends all that the attacker can think of, and gives what it was.
fn attack(rack: &Rack, machines: &mut [Machine], own: &[u16]) -> Vec<Frame> {
    let forbidden = [200, PROVISIONING, BMC, PARKED];
    let attacker = machines[ATTACKER].station;
    let mut sent: Vec<Frame> = Vec::new();
    for target in OTHERS {
        let first = u32::try_from(sent.len()).unwrap();
        let victim = machines[target].station;
        sent.extend(frames::malicious(attacker, victim, own, &forbidden, first));
    }
    rack.send(machines, ATTACKER, 0, &sent);
    sent
}

/// Asserts that servers of the other tenant still find each other, and are heard by nobody else.
fn assert_undisturbed(rack: &Rack, machines: &mut [Machine]) {
    for (from, to) in [(VICTIM, VICTIMS_FELLOW), (VICTIMS_FELLOW, VICTIM)] {
        let bytes = frames::unicast(machines[from].station, machines[to].station, 7);
        let frame = Frame {
            name: "between servers of one tenant".to_owned(),
            bytes: bytes.clone(),
        };
        rack.send(machines, from, 0, std::slice::from_ref(&frame));
        for (index, machine) in machines.iter_mut().enumerate() {
            let heard = machine.heard();
            let expected = if index == to {
                vec![bytes.clone()]
            } else {
                vec![]
            };
            assert_eq!(heard, expected, "{}", machine.name);
        }
    }
}

#[tokio::test]
async fn a_malicious_guest_is_heard_in_its_own_network_only() {
    let rack = Rack::start();
    let mut machines = full_rack(&rack, &[(100, Native)]).await;
    let sent = attack(&rack, &mut machines, &[100]);
    for index in OTHERS {
        assert_deaf(&mut machines[index], &sent);
    }
    // All the same it was heard on the other switch, as far as it spoke in its own network: the
    // silence of the others means something.
    let heard = machines[FELLOW].nics[0].take_numbers();
    let named = |part: &str| sent.iter().position(|frame| frame.name.starts_with(part));
    for kind in [
        "ARP request, own MAC address, tags []",
        "DHCP request, own MAC address, tags []",
        "router advertisement, spoofed MAC address, tags []",
    ] {
        let number = u32::try_from(named(kind).unwrap()).unwrap();
        assert!(heard.contains(&number), "{kind}");
    }
    for frame in &sent {
        let number = frames::number(&frame.bytes).unwrap();
        let tags = frames::vlans(&frame.bytes);
        let outside = tags.first().is_some_and(|vlan| *vlan != 0);
        assert!(
            !(outside && heard.contains(&number)),
            "access port took {}",
            frame.name
        );
    }
    assert_undisturbed(&rack, &mut machines);
}

#[tokio::test]
async fn a_malicious_guest_with_a_trunk_reaches_what_it_has_ordered_only() {
    let rack = Rack::start();
    for networks in [
        &[(101, Native), (100, Tagged)][..],
        &[(100, Tagged), (101, Tagged)],
    ] {
        let mut machines = full_rack(&rack, networks).await;
        let sent = attack(&rack, &mut machines, &[100, 101]);
        for index in OTHERS {
            assert_deaf(&mut machines[index], &sent);
        }
        machines[FELLOW].heard();
        assert_undisturbed(&rack, &mut machines);
        // Tagged here, native there: one network.
        let plain = frames::broadcast(machines[ATTACKER].station, 9);
        let frame = Frame {
            name: "tagged".to_owned(),
            bytes: frames::tagged(&plain, &[(CUSTOMER, 100)]),
        };
        rack.send(&mut machines, ATTACKER, 0, &[frame]);
        assert_eq!(machines[FELLOW].heard(), [plain]);
        let answer = frames::broadcast(machines[FELLOW].station, 10);
        let frame = Frame {
            name: "native".to_owned(),
            bytes: answer.clone(),
        };
        rack.send(&mut machines, FELLOW, 0, &[frame]);
        let heard = machines[ATTACKER].heard();
        assert_eq!(heard, [frames::tagged(&answer, &[(CUSTOMER, 100)])]);
    }
}
